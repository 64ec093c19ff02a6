//! Path resolution, for any format.
//!
//! Symbolic links are followed as in systemd's `chase` with `CHASE_PREFIX_ROOT` (`src/basic/chase.c`): an absolute
//! target begins at the root of the image, and `..` cannot leave the root.

use super::format::{Format, Visitor};
use super::meter::Meter;
use super::{DirEntry, EntryKind, FilesystemError};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// Maximum number of components of a path with the targets of all followed links. This is systemd's `CHASE_MAX`
/// (`src/basic/chase.h`): `chase` counts steps, not links, so a longer path is an error there, too.
const MAX_STEPS: usize = 32;

/// Maximum length of the target of a symbolic link in bytes (the kernel's `PATH_MAX` without its NUL).
pub(super) const MAX_TARGET: u64 = 4095;

/// Maximum length of a name in bytes (the kernel's `NAME_MAX`).
const MAX_NAME: usize = 255;

/// Returns the node at `path` after following symbolic links, `None` if it does not exist.
pub(super) fn resolve<F: Format>(
    format: &F,
    meter: &Meter<'_>,
    path: &[u8],
) -> Result<Option<F::Node>, FilesystemError> {
    let root = format.node(meter, format.root())?;
    let mut trail: Vec<F::Node> = Vec::new();
    // In reverse order: the next component is the last element.
    let mut todo = components(path);
    let mut steps = 0_usize;
    while let Some(component) = todo.pop() {
        steps = steps.saturating_add(1);
        if steps > MAX_STEPS {
            return Err(FilesystemError::TooManySteps { limit: MAX_STEPS });
        }
        if component == b".." {
            trail.pop();
            continue;
        }
        let Some(node) = find(format, meter, trail.last().unwrap_or(&root), &component)? else { return Ok(None) };
        if F::kind(&node) != EntryKind::Symlink {
            // All components but the last must be directories. This is checked here, because `..` does not check it.
            if !todo.is_empty() && F::kind(&node) != EntryKind::Directory {
                return Err(FilesystemError::NotADirectory { found: F::kind(&node) });
            }
            trail.push(node);
            continue;
        }
        let target = read(format, meter, &node, MAX_TARGET)?;
        if target.is_empty() || target.contains(&0) {
            return Err(FilesystemError::corrupt("target of a symbolic link", 0));
        }
        if target.first() == Some(&b'/') {
            trail.clear();
        }
        todo.extend(components(&target));
    }
    Ok(Some(trail.pop().unwrap_or(root)))
}

/// Returns the entry `name` of a directory, without following it.
pub(super) fn find<F: Format>(
    format: &F,
    meter: &Meter<'_>,
    directory: &F::Node,
    name: &[u8],
) -> Result<Option<F::Node>, FilesystemError> {
    let mut found = None;
    visit(format, meter, directory, &mut |item| {
        if item.name == name {
            found = Some(item.inode);
        }
        Ok(())
    })?;
    found.map(|inode| format.node(meter, inode)).transpose()
}

/// Returns up to `limit` entries of a directory, without `.` and `..`.
pub(super) fn list<F: Format>(
    format: &F,
    meter: &Meter<'_>,
    directory: &F::Node,
    limit: usize,
) -> Result<Vec<DirEntry>, FilesystemError> {
    let mut entries = Vec::new();
    visit(format, meter, directory, &mut |item| {
        if entries.len() >= limit {
            return Err(FilesystemError::TooManyEntries { limit });
        }
        let kind = match item.kind {
            Some(kind) => kind,
            None => F::kind(&format.node(meter, item.inode)?),
        };
        entries.push(DirEntry { name: OsString::from_vec(item.name.to_vec()), kind });
        Ok(())
    })?;
    Ok(entries)
}

/// Reads the whole content of a file, or the target of a symbolic link.
pub(super) fn read<F: Format>(
    format: &F,
    meter: &Meter<'_>,
    node: &F::Node,
    limit: u64,
) -> Result<Vec<u8>, FilesystemError> {
    let size = F::size(node);
    let too_large = || FilesystemError::TooLarge { size, limit };
    if size > limit {
        return Err(too_large());
    }
    format.content(meter, node, usize::try_from(size).map_err(|_| too_large())?)
}

/// Visits the entries of a directory except `.` and `..`, and checks that they have valid names in ascending order. The
/// kernel uses a binary search or stops at the first greater name, so in an unordered directory it might miss an entry
/// that is found here.
pub(super) fn visit<F: Format>(
    format: &F,
    meter: &Meter<'_>,
    directory: &F::Node,
    visitor: &mut Visitor<'_>,
) -> Result<(), FilesystemError> {
    if F::kind(directory) != EntryKind::Directory {
        return Err(FilesystemError::NotADirectory { found: F::kind(directory) });
    }
    let mut last: Vec<u8> = Vec::new();
    format.visit(meter, directory, &mut |item| {
        let name = item.name;
        let valid = !name.is_empty() && name.len() <= MAX_NAME && !name.contains(&b'/') && !name.contains(&0);
        if !valid || name <= last.as_slice() {
            return Err(FilesystemError::corrupt("name in a directory", item.inode));
        }
        last.clear();
        last.extend_from_slice(name);
        if name == b"." || name == b".." { Ok(()) } else { visitor(item) }
    })
}

/// Splits a path into components in reverse order, without empty ones and `.`.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    let mut parts: Vec<Vec<u8>> = parts.map(<[u8]>::to_vec).collect();
    parts.reverse();
    parts
}
