//! Everything that is in a file system, for those who want to show or compare it.

use super::format::{Attributes, Format};
use super::meter::Meter;
use super::path::{MAX_TARGET, read, visit};
use super::{EntryKind, Filesystem, FilesystemError, Inner};
use std::collections::HashSet;

/// Names that are walked over at most.
const MAX_NODES: usize = 1 << 20;

/// Directories within each other at most.
const MAX_DEPTH: usize = 256;

/// Work that one walk may do, in bytes read and decompressed. Where metadata is compressed, a block of it is
/// decompressed for each file, so this is enough for a million of them at least.
const WALK_WORK: u64 = 16 << 30;

/// A file, directory or link in a file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its path from the root, without a leading slash.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Permissions, set-user-ID, set-group-ID and sticky bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of content; 0 for what isn't a file.
    pub size: u64,
    /// Where a symbolic link leads.
    pub target: Option<Vec<u8>>,
}

impl Filesystem<'_> {
    /// All that is below the root directory: each directory before what is in it, names in the order of their bytes.
    /// What has several names comes under each of them.
    ///
    /// # Errors
    /// [`FilesystemError::TooManyEntries`] beyond 1048576 names, [`FilesystemError::TooManySteps`] beyond 256 directories within
    /// each other, or whatever keeps the file system from being read.
    pub fn walk(&self) -> Result<Vec<Node>, FilesystemError> {
        let meter = Meter::new(self.source, &self.cache, WALK_WORK);
        with_format!(self, format => walk(format, &meter))
    }
}

fn walk<F: Format>(format: &F, meter: &Meter<'_>) -> Result<Vec<Node>, FilesystemError> {
    let mut found = Vec::new();
    let mut todo = vec![Place { path: Vec::new(), node: format.node(meter, format.root())?, depth: 0 }];
    let mut waiting = todo.len();
    let mut directories = HashSet::from([format.root()]);
    while let Some(place) = todo.pop() {
        if !place.path.is_empty() {
            found.push(describe(format, meter, &place)?);
        }
        if F::kind(&place.node) != EntryKind::Directory {
            continue;
        }
        if place.depth >= MAX_DEPTH {
            return Err(FilesystemError::TooManySteps { limit: MAX_DEPTH });
        }
        let first = todo.len();
        visit(format, meter, &place.node, &mut |item| {
            waiting = waiting.saturating_add(1);
            if waiting > MAX_NODES {
                return Err(FilesystemError::TooManyEntries { limit: MAX_NODES });
            }
            let separator: &[u8] = if place.path.is_empty() { b"" } else { b"/" };
            let path = [&place.path, separator, item.name].concat();
            let node = format.node(meter, item.inode)?;
            // A directory has one name; with more there could be circles.
            if F::kind(&node) == EntryKind::Directory && !directories.insert(item.inode) {
                return Err(FilesystemError::corrupt("directory with several names", item.inode));
            }
            todo.push(Place { path, node, depth: place.depth.saturating_add(1) });
            Ok(())
        })?;
        // The last is taken first.
        if let Some(added) = todo.get_mut(first..) {
            added.reverse();
        }
    }
    Ok(found)
}

struct Place<N> {
    path: Vec<u8>,
    node: N,
    depth: usize,
}

fn describe<F: Format>(format: &F, meter: &Meter<'_>, place: &Place<F::Node>) -> Result<Node, FilesystemError> {
    let kind = F::kind(&place.node);
    let Attributes { mode, uid, gid } = format.attributes(meter, &place.node)?;
    let target = match kind {
        EntryKind::Symlink => Some(read(format, meter, &place.node, MAX_TARGET)?),
        _ => None,
    };
    let size = if kind == EntryKind::File { F::size(&place.node) } else { 0 };
    Ok(Node { path: place.path.clone(), kind, mode, uid, gid, size, target })
}
