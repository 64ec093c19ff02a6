//! From paths to nodes, for any format.
//!
//! Symbolic links are followed as systemd's `chase` follows them with `CHASE_PREFIX_ROOT`
//! (`src/basic/chase.c`): absolute ones begin at the root of the image, `..` stops there.

use super::format::{Format, Visitor};
use super::meter::Meter;
use super::{DirEntry, EntryKind, FilesystemError};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// Components that one path may take, those of followed links included. That is systemd's `CHASE_MAX`
/// (`src/basic/chase.h`); `chase` counts steps, not links, so a longer path makes it fail as well.
const MAX_STEPS: usize = 32;

/// Longest target of a symbolic link in bytes (the kernel's `PATH_MAX` with its NUL).
pub(super) const MAX_TARGET: u64 = 4095;

/// Longest name in bytes (the kernel's `NAME_MAX`).
const MAX_NAME: usize = 255;

/// The node at `path`, symbolic links followed; `None` if there is none.
pub(super) fn resolve<F: Format>(
    format: &F,
    meter: &Meter<'_>,
    path: &[u8],
) -> Result<Option<F::Node>, FilesystemError> {
    let root = format.node(meter, format.root())?;
    let mut trail: Vec<F::Node> = Vec::new();
    // The next component is the last element.
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
            // Only a directory can be gone through; looked at here, because `..` doesn't look.
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

/// The entry `name` of a directory, not followed.
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

/// The entries of a directory, up to `limit`, without `.` and `..`.
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

/// The whole content of a file or symbolic link.
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

/// Shows the entries of a directory other than `.` and `..`, and insists that they have valid names in
/// ascending order: the kernel looks names up by halving or stops at the first greater one, so in a
/// directory without order it might not find what is found here.
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

/// The components of a path in reverse, without empty ones and `.`.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    let mut parts: Vec<Vec<u8>> = parts.map(<[u8]>::to_vec).collect();
    parts.reverse();
    parts
}
