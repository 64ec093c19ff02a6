//! Search for overlayfs markers that would hide files of the host after a merge.
//!
//! Opaque and redirected directories have an extended attribute. A whiteout is a character device with the number 0:0
//! (the kernel's `Documentation/filesystems/overlayfs.rst`, "whiteouts and opaque directories", "`redirect_dir`").
//! systemd merges as root and without the option `userxattr`, so only `trusted.` attributes count. An image has such
//! markers if it was made from an upper directory or from an archive of one.

use super::format::Format;
use super::mask::Mask;
use super::meter::Meter;
use super::{EntryKind, Filesystem, FilesystemError, Inner};
use std::collections::HashSet;

/// Maximum number of searched directories.
const MAX_DIRECTORIES: usize = 1 << 18;

/// Maximum depth of directories.
const MAX_DEPTH: usize = 256;

/// Limit on the work of a search, in bytes read and decompressed: at most times one block of metadata for each
/// directory.
const WORK: u64 = 4 << 30;

impl Filesystem<'_> {
    /// Returns the first `limit` paths, without a leading slash, that would hide files of the host, in the order in
    /// which they are found. Only the directories `tops` of the root are searched.
    ///
    /// # Errors
    /// [`FilesystemError::TooManyEntries`] for more than 262144 directories, [`FilesystemError::TooManySteps`] for
    /// directories more than 256 levels deep, and errors of reading.
    pub fn masks(&self, tops: &[&str], limit: usize) -> Result<Vec<(Vec<u8>, Mask)>, FilesystemError> {
        let meter = Meter::new(self.source, &self.cache, WORK);
        with_format!(self, format => masks(format, &meter, tops, limit))
    }
}

fn masks<F: Format>(
    format: &F,
    meter: &Meter<'_>,
    tops: &[&str],
    limit: usize,
) -> Result<Vec<(Vec<u8>, Mask)>, FilesystemError> {
    let mut found = Vec::new();
    let mut seen = HashSet::from([format.root()]);
    let mut todo: Vec<(Vec<u8>, u64, usize)> = vec![(Vec::new(), format.root(), 0)];
    while let Some((path, inode, depth)) = todo.pop() {
        if found.len() >= limit {
            break;
        }
        let directory = format.node(meter, inode)?;
        if F::kind(&directory) != EntryKind::Directory {
            continue;
        }
        if depth > MAX_DEPTH {
            return Err(FilesystemError::TooManySteps { limit: MAX_DEPTH });
        }
        if let Some(mask) = format.mask(meter, &directory)?.filter(|_| !path.is_empty()) {
            found.push((path.clone(), mask));
        }
        super::path::visit(format, meter, &directory, &mut |item| {
            if path.is_empty() && !tops.iter().any(|top| top.as_bytes() == item.name) {
                return Ok(());
            }
            let kind = match item.kind {
                Some(kind) => kind,
                None => F::kind(&format.node(meter, item.inode)?),
            };
            let full = || if path.is_empty() { item.name.to_vec() } else { [&path, item.name].join(&b'/') };
            match kind {
                // A directory with several names would permit loops.
                EntryKind::Directory if seen.insert(item.inode) => {
                    if seen.len() > MAX_DIRECTORIES {
                        return Err(FilesystemError::TooManyEntries { limit: MAX_DIRECTORIES });
                    }
                    todo.push((full(), item.inode, depth.saturating_add(1)));
                }
                EntryKind::CharacterDevice if F::device(&format.node(meter, item.inode)?) == Some(0) => {
                    found.push((full(), Mask::Whiteout));
                }
                _ => {}
            }
            Ok(())
        })?;
    }
    found.truncate(limit);
    Ok(found)
}
