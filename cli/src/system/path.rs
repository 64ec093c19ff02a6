//! Paths inside of a root, links resolved as `chroot(2)` would.

use super::System;
use ddi::filesystem::EntryKind;
use std::io;

/// Links that are followed on one way (the kernel's `MAXSYMLINKS`).
const MAX_LINKS: usize = 40;
/// Components that one way takes, those of links included.
const MAX_STEPS: usize = 4096;

/// Returns the directory to which `path` leads inside the root, without links; `None` if there is none.
///
/// # Errors
/// Where the system can't be read.
pub fn resolve(system: &dyn System, path: &[u8]) -> io::Result<Option<Vec<u8>>> {
    resolve_from(system, b"", path)
}

/// The same of a path that begins in the directory `start`, unless it begins with a slash.
///
/// # Errors
/// Where the system can't be read.
pub fn resolve_from(system: &dyn System, start: &[u8], path: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut trail: Vec<Vec<u8>> = if path.starts_with(b"/") { Vec::new() } else { components(start) };
    // The next component is the last element.
    let mut todo: Vec<Vec<u8>> = components(path);
    todo.reverse();
    let mut links = 0_usize;
    for _ in 0..MAX_STEPS {
        let Some(name) = todo.pop() else { return Ok(Some(trail.join(&b'/'))) };
        if name == b".." {
            trail.pop();
            continue;
        }
        let full = join(&trail.join(&b'/'), &name);
        match system.entry(&full)? {
            Some(entry) if entry.kind == EntryKind::Directory => trail.push(name),
            Some(entry) if entry.kind == EntryKind::Symlink && links < MAX_LINKS => {
                links = links.saturating_add(1);
                if entry.target.starts_with(b"/") {
                    trail.clear();
                }
                todo.extend(components(&entry.target).into_iter().rev());
            }
            _ => return Ok(None),
        }
    }
    Ok(None)
}

/// Returns where the file lies to which `path` leads inside the root, the last name followed too; `None` if there is nothing.
///
/// # Errors
/// Where the system can't be read.
pub fn find(system: &dyn System, path: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut path = path.to_vec();
    let mut start = Vec::new();
    for _ in 0..MAX_LINKS {
        let mut names = components(&path);
        let Some(name) = names.pop() else { return Ok(None) };
        let absolute = if path.starts_with(b"/") { b"/".as_slice() } else { b"" };
        let above = [absolute, &names.join(&b'/')].concat();
        let Some(directory) = resolve_from(system, &start, &above)? else { return Ok(None) };
        let full = join(&directory, &name);
        match system.entry(&full)? {
            None => return Ok(None),
            Some(entry) if entry.kind == EntryKind::Symlink => {
                path = entry.target;
                start = directory;
            }
            Some(_) => return Ok(Some(full)),
        }
    }
    Ok(None)
}

/// Names of a path, without empty ones and `.`.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".").map(<[u8]>::to_vec).collect()
}

/// Joins two paths, each of which may be empty.
#[must_use]
pub fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    match (directory, name) {
        ([], name) => name.to_vec(),
        (directory, []) => directory.to_vec(),
        _ => [directory, name].join(&b'/'),
    }
}
