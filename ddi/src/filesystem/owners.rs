//! What is in a part of the image: the file whose data it is, or whose inode or directory.
//!
//! For telling people what a damaged block belongs to. The file system is read from a source that doesn't hand out damaged blocks
//! ([`crate::verity::SoundData`]), so that what can't be read because of one is what has its metadata there.

use super::format::Format;
use super::meter::Meter;
use super::path::visit;
use super::{EntryKind, Filesystem, FilesystemError, Inner};
use crate::io::Damaged;
use std::collections::HashSet;
use std::ops::Range;

/// Names that are looked at, at most.
const MAX_NODES: usize = 1 << 16;

/// Bytes of names that wait to be looked at, at most.
const MAX_WAITING: usize = 16 << 20;

/// Work that one search may do, in bytes read and decompressed: 1 second of the slowest processor that the time limit of a
/// worker allows for.
const WORK: u64 = 4 << 20;

/// Owners that are named, at most.
const NAMED: usize = 3;

/// What of a file is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Its content.
    Data,
    /// Its inode, or what tells where its content is.
    Inode,
    /// Its list of names, of a directory.
    Names,
}

/// A file, and what of it lies in the range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its path from the root, without a leading slash.
    pub path: Vec<u8>,
    /// What of it.
    pub part: Part,
}

/// What lies in a range of a file system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owners {
    /// The first three files that have something there.
    pub named: Vec<Owner>,
    /// How many more there are.
    pub more: u64,
    /// Whether everything was looked at that leads to files.
    pub is_complete: bool,
    /// Whether the range is behind the end of the file system.
    pub is_behind: bool,
}

impl Owners {
    fn add(&mut self, path: &[u8], part: Part) {
        if self.named.len() < NAMED {
            self.named.push(Owner { path: path.to_vec(), part });
        } else {
            self.more = self.more.saturating_add(1);
        }
    }

    /// Takes what kept something from being read for an answer, where it is damage in `range`. Returns whether to go on.
    fn learn(&mut self, error: &FilesystemError, range: &Range<u64>, path: &[u8], part: Part) -> bool {
        let damage = match error {
            FilesystemError::Io(error) => Damaged::of(error),
            _ => None,
        };
        match damage.filter(|damage| range.contains(&damage.offset)) {
            Some(_) => self.add(path, part),
            None => self.is_complete = false,
        }
        !matches!(error, FilesystemError::TooMuchWork { .. })
    }
}

impl Filesystem<'_> {
    /// Finds the files that have data or metadata in a range of bytes.
    ///
    /// Looks at 65536 names at most, and does little work: what isn't found by then remains unknown.
    #[must_use]
    pub fn owners(&self, range: &Range<u64>) -> Owners {
        let meter = Meter::new(self.source, &self.cache, WORK);
        with_format!(self, format => owners(format, &meter, range))
    }
}

fn owners<F: Format>(format: &F, meter: &Meter<'_>, range: &Range<u64>) -> Owners {
    let mut found = Owners { is_complete: true, is_behind: range.start >= format.used(), ..Owners::default() };
    let mut seen = HashSet::new();
    let mut todo: Vec<(Vec<u8>, u64)> = vec![(Vec::new(), format.root())];
    let (mut names, mut waiting) = (0_usize, 0_usize);
    while let Some((path, inode)) = todo.pop() {
        waiting = waiting.saturating_sub(path.len());
        let node = match format.node(meter, inode) {
            Ok(node) => node,
            Err(error) if found.learn(&error, range, &path, Part::Inode) => continue,
            Err(_) => break,
        };
        let mut is_inside = false;
        let places = format.places(meter, &node, &mut |place| {
            is_inside |= place.start < range.end && range.start < place.end;
        });
        let is_directory = F::kind(&node) == EntryKind::Directory;
        if let Err(error) = places
            && !found.learn(&error, range, &path, Part::Inode)
        {
            break;
        }
        if is_inside && !is_directory {
            found.add(&path, Part::Data);
        }
        // With several names there could be circles.
        if !is_directory || !seen.insert(inode) {
            continue;
        }
        let first = todo.len();
        let visited = visit(format, meter, &node, &mut |item| {
            names = names.saturating_add(1);
            let separator: &[u8] = if path.is_empty() { b"" } else { b"/" };
            let path = [&path, separator, item.name].concat();
            waiting = waiting.saturating_add(path.len());
            if names > MAX_NODES || waiting > MAX_WAITING {
                return Err(FilesystemError::TooManyEntries { limit: MAX_NODES });
            }
            todo.push((path, item.inode));
            Ok(())
        });
        if let Err(error) = visited
            && !found.learn(&error, range, &path, Part::Names)
        {
            break;
        }
        // The last is taken first.
        if let Some(added) = todo.get_mut(first..) {
            added.reverse();
        }
    }
    found
}
