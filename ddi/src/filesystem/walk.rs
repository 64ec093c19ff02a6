//! A complete listing of a file system, to show or compare it.

use super::format::{Attributes, Format};
use super::meter::Meter;
use super::path::{MAX_TARGET, read, visit};
use super::{EntryKind, Filesystem, FilesystemError, Inner};
use std::collections::HashSet;

/// Maximum number of names in a listing.
const MAX_NODES: usize = 1 << 20;

/// Maximum depth of directories.
const MAX_DEPTH: usize = 256;

/// Limit on the work of a listing, in bytes read and decompressed. If metadata is compressed, one block of it is
/// decompressed for each file, so this is enough for at least a million files.
const WALK_WORK: u64 = 16 << 30;

/// A file, directory or link in a file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its path from the root, without a leading slash.
    pub path: Vec<u8>,
    /// Type of the file.
    pub kind: EntryKind,
    /// Permissions, set-user-ID, set-group-ID and sticky bits.
    pub mode: u16,
    /// User ID of the owner.
    pub uid: u32,
    /// Group ID.
    pub gid: u32,
    /// Length of the content in bytes; 0 if it is not a regular file.
    pub size: u64,
    /// Target of a symbolic link.
    pub target: Option<Vec<u8>>,
}

impl Filesystem<'_> {
    /// Lists everything below the root directory: each directory before its entries, names sorted by their bytes. A
    /// file with several names is listed for each of them.
    ///
    /// # Errors
    /// [`FilesystemError::TooManyEntries`] for more than 1048576 names, [`FilesystemError::TooManySteps`] for
    /// directories more than 256 levels deep, and errors of reading.
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
            // A directory has one name. Several names would permit loops.
            if F::kind(&node) == EntryKind::Directory && !directories.insert(item.inode) {
                return Err(FilesystemError::corrupt("directory with several names", item.inode));
            }
            todo.push(Place { path, node, depth: place.depth.saturating_add(1) });
            Ok(())
        })?;
        // The last element is processed first.
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
