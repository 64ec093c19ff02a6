//! The directories of an extension that systemd merges into those of the host.

use super::LookupError;
use ddi::filesystem::{EntryKind, Tree};
use ddi::text::Text;

/// Maximum number of components of a path, as `chase` counts them (systemd 257, `src/basic/chase.h`, `CHASE_MAX`; 128
/// in 262).
const MAX_STEPS: usize = 32;

/// Names that systemd makes at the top of each merged hierarchy (systemd 257 and 262, `src/sysext/sysext.c`,
/// `image_class_info`).
const RESERVED: [&str; 2] = [".systemd-sysext", ".systemd-confext"];

/// Refuses an extension in which a hierarchy, or a directory above one, is not a directory. systemd gives up the whole
/// merge for any other file type, and the target of a link would need space in the mount options (systemd 257,
/// `src/sysext/sysext.c`, `determine_used_extensions`).
///
/// # Errors
/// [`LookupError::NotADirectory`], [`LookupError::Reserved`], or [`LookupError::Filesystem`].
pub fn refuse_odd_hierarchies<'p>(
    filesystem: &dyn Tree,
    hierarchies: impl Iterator<Item = &'p str>,
) -> Result<(), LookupError> {
    for hierarchy in hierarchies {
        let mut above = String::new();
        for name in hierarchy.split('/').filter(|name| !name.is_empty()) {
            let path = format!("{above}/{name}");
            match filesystem.entry_nofollow(&above, name).map_err(LookupError::reading(&path))? {
                Some(EntryKind::Directory) => above = path,
                Some(found) => return Err(LookupError::NotADirectory { path, found }),
                None => break,
            }
        }
        refuse_reserved(filesystem, hierarchy)?;
    }
    Ok(())
}

/// Refuses an extension that systemd cannot merge on a host with these hierarchies. Less strict than
/// [`refuse_odd_hierarchies`]: a link to a directory is accepted, as in systemd, if its target has at most `longest`
/// bytes or at most the length of the hierarchy. (An extension for a system on which `/usr/sbin` is a link to `bin` has
/// that link, too.)
///
/// # Errors
/// [`LookupError::NotADirectory`], [`LookupError::LongDetour`], [`LookupError::Reserved`], or
/// [`LookupError::Filesystem`].
pub fn refuse_possible_hierarchies<'p>(
    filesystem: &dyn Tree,
    hierarchies: impl Iterator<Item = &'p str>,
    longest: usize,
) -> Result<(), LookupError> {
    for hierarchy in hierarchies {
        let Some(resolved) = resolve(filesystem, hierarchy)? else { continue };
        let limit = longest.max(hierarchy.len());
        if resolved.len() > limit {
            return Err(LookupError::LongDetour { path: Text::new(hierarchy), found: resolved.len(), limit });
        }
        refuse_reserved(filesystem, &resolved)?;
    }
    Ok(())
}

/// Refuses systemd's own directories in a hierarchy. systemd's files override those of the extension there, but the
/// extension's other files stay visible. After an immutable merge systemd reads the extension's `work_dir` and, when it
/// unmerges, deletes the directory named in it with all its content (systemd 257 and 262, `src/sysext/sysext.c`,
/// `determine_top_lower_dirs`, `write_work_dir_file`, `unmerge_hierarchy`).
fn refuse_reserved(filesystem: &dyn Tree, hierarchy: &str) -> Result<(), LookupError> {
    for name in RESERVED {
        let path = format!("{hierarchy}/{name}");
        if filesystem.entry_nofollow(hierarchy, name).map_err(LookupError::reading(&path))?.is_some() {
            return Err(LookupError::Reserved { path: Text::new(path) });
        }
    }
    Ok(())
}

/// Returns the directory to which `path` leads, with links followed as in systemd's `chase` with `CHASE_PREFIX_ROOT`
/// (`src/basic/chase.c`). Returns `None` if it does not exist.
fn resolve(filesystem: &dyn Tree, path: &str) -> Result<Option<String>, LookupError> {
    let reading = || LookupError::reading(path);
    let mut trail: Vec<String> = Vec::new();
    // In reverse order: the next component is the last element.
    let mut todo: Vec<String> = components(path).collect();
    for _ in 0..MAX_STEPS {
        let Some(name) = todo.pop() else { return Ok(Some(joined(&trail))) };
        if name == ".." {
            trail.pop();
            continue;
        }
        let above = joined(&trail);
        match filesystem.entry_nofollow(&above, &name).map_err(reading())? {
            None => return Ok(None),
            Some(EntryKind::Directory) => trail.push(name),
            Some(EntryKind::Symlink) => {
                let target = filesystem.link_target(&above, &name).map_err(reading())?.unwrap_or_default();
                // A hierarchy with such a path cannot be configured.
                let Ok(target) = std::str::from_utf8(&target) else {
                    return Err(LookupError::NotADirectory {
                        path: format!("{above}/{name}"),
                        found: EntryKind::Symlink,
                    });
                };
                if target.starts_with('/') {
                    trail.clear();
                }
                todo.extend(components(target));
            }
            Some(found) => return Err(LookupError::NotADirectory { path: format!("{above}/{name}"), found }),
        }
    }
    // In most cases a loop of links.
    if todo.is_empty() {
        return Ok(Some(joined(&trail)));
    }
    Err(LookupError::NotADirectory { path: path.to_owned(), found: EntryKind::Symlink })
}

fn components(path: &str) -> impl Iterator<Item = String> {
    path.rsplit('/').filter(|name| !matches!(*name, "" | ".")).map(str::to_owned)
}

fn joined(trail: &[String]) -> String {
    trail.iter().fold(String::new(), |path, name| path + "/" + name)
}
