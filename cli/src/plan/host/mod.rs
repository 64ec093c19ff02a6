//! Finds files of the host that extensions hide.
//!
//! The merge is an overlay whose lowest layer is the host (the kernel's `Documentation/filesystems/overlayfs.rst`). A directory of
//! an extension and one of the host are merged. In all other cases the extension hides the host's file: a directory hides a link,
//! and so everything behind the link; a file hides a whole directory.

use super::Extension;
use crate::system::{Archive, Entry, InitrdError, System, join, read_initrd, resolve, resolve_from};
use ddi::Class;
use ddi::filesystem::EntryKind;
use ddi::io::ReadAt;
use ddi::text::Text;
use serde::Serialize;
use sextant::policy::Hierarchies;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use thiserror::Error;

/// Maximum number of rows of each list. The rest is counted.
const MAX_ROWS: usize = 1000;
/// Number of names to show in a row.
const NAMES_SHOWN: usize = 5;
/// Maximum number of names to count below one path.
const MAX_COUNT: usize = 100_000;
/// Maximum depth of directories to count.
const MAX_DEPTH: usize = 128;

/// Why a file holds no root of a host.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RootError {
    /// It can't be read.
    #[error(transparent)]
    Initrd(#[from] InitrdError),
    /// An initrd that mounts the root from elsewhere.
    #[error(
        "initrd has no usr/lib/os-release, or has etc/initrd-release: it mounts the root of the host from elsewhere; \
         name a directory with that root"
    )]
    NotRoot,
}

/// Reads the root of a host that a UKI or an initrd holds, as on machines of Kairos.
///
/// # Errors
/// [`RootError`], also for an initrd that isn't the root of a host.
pub fn read_root(source: &dyn ReadAt) -> Result<Archive, RootError> {
    let archive = read_initrd(source)?;
    // By the first file systemd tells an initrd from a host (`src/basic/initrd-util.c`).
    let has = |path: &[u8]| Ok::<_, InitrdError>(archive.entry(path)?.is_some());
    if has(b"etc/initrd-release")? || !has(b"usr/lib/os-release")? {
        return Err(RootError::NotRoot);
    }
    Ok(archive)
}

/// Files of a host that extensions hide.
#[derive(Debug, Default, Serialize)]
pub struct Comparison {
    /// Name of the host's root
    pub root: Text,
    /// Paths of the host whose files disappear
    pub hidden: Vec<Hidden>,
    /// Files and links of the host that an extension replaces
    pub replaced: Vec<Replaced>,
    /// Further rows of `hidden` and `replaced`
    pub omitted: usize,
}

/// A path of the host whose files disappear.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Hidden {
    /// The path
    pub path: Text,
    /// Kind of the host's file
    pub host: Shape,
    /// Target of the host's link
    pub target: Option<Text>,
    /// Kind of the extension's file
    pub extension: Shape,
    /// The extensions
    pub by: Vec<Text>,
    /// Number of names that can't be reached by this path any more; 0 for a file, at most 100000
    pub count: usize,
    /// Some of them
    pub names: Vec<Text>,
}

/// A file or link of the host that an extension replaces.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Replaced {
    /// The path
    pub path: Text,
    /// The extensions
    pub by: Vec<Text>,
}

/// Kinds of files that an overlay tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// A directory
    Directory,
    /// A symbolic link
    Link,
    /// Any other file
    File,
}

impl Shape {
    const fn of(kind: EntryKind) -> Self {
        match kind {
            EntryKind::Directory => Self::Directory,
            EntryKind::Symlink => Self::Link,
            _ => Self::File,
        }
    }
}

/// Path and kind of a file that meets one of the host.
type Meeting = (Vec<u8>, Shape);

/// Compares extensions, in merge order, with a host. `root` names the host.
///
/// # Errors
/// I/O errors of reading the host.
pub fn compare(
    ordered: &[&Extension],
    hierarchies: &Hierarchies,
    host: &dyn System,
    root: Text,
) -> io::Result<Comparison> {
    let mut comparison = Comparison { root, ..Comparison::default() };
    for class in Class::ALL {
        for hierarchy in hierarchies.paths(class) {
            // systemd resolves the hierarchy on the host, and merges at its target.
            let Some(place) = resolve(host, hierarchy.as_bytes())? else { continue };
            let members: Vec<&Extension> = ordered.iter().copied().filter(|it| it.class == class).collect();
            compare_hierarchy(&members, hierarchy, &place, host, &mut comparison)?;
        }
    }
    Ok(comparison)
}

fn compare_hierarchy(
    members: &[&Extension],
    hierarchy: &str,
    place: &[u8],
    host: &dyn System,
    comparison: &mut Comparison,
) -> io::Result<()> {
    let top = hierarchy.trim_matches('/').as_bytes();
    let mut hidden: BTreeMap<Meeting, (Entry, Vec<Text>)> = BTreeMap::new();
    let mut replaced: BTreeMap<Vec<u8>, Vec<Text>> = BTreeMap::new();
    for member in members {
        let by = Text::new(&member.name);
        // Directories come before their entries: below this path there are no files of the host.
        let mut done: Option<&[u8]> = None;
        for node in &member.nodes {
            let Some(rest) = below(&node.path, top) else { continue };
            if rest.is_empty() || done.is_some_and(|done| below(&node.path, done).is_some()) {
                continue;
            }
            let path = join(place, rest);
            let Some(entry) = host.entry(&path)? else {
                done = Some(&node.path);
                continue;
            };
            let (there, here) = (Shape::of(entry.kind), Shape::of(node.kind));
            if there == Shape::Directory && here == Shape::Directory && !entry.is_mount_point {
                continue;
            }
            done = Some(&node.path);
            if entry.is_mount_point || (here == Shape::Link && node.target.as_ref() == Some(&entry.target)) {
                continue;
            }
            if there == Shape::Directory || here == Shape::Directory {
                hidden.entry((node.path.clone(), here)).or_insert_with(|| (entry, Vec::new())).1.push(by.clone());
            } else {
                replaced.entry(node.path.clone()).or_default().push(by.clone());
            }
        }
    }
    let ours = names_below(members, &hidden.keys().map(|(path, _)| path.as_slice()).collect());
    for ((path, here), (entry, by)) in hidden {
        if comparison.hidden.len() >= MAX_ROWS {
            comparison.omitted = comparison.omitted.saturating_add(1);
            continue;
        }
        let rest = below(&path, top).unwrap_or_default();
        let gone = gone(host, &join(place, rest), &entry, ours.get(path.as_slice()))?;
        comparison.hidden.push(Hidden {
            path: shown(&path),
            host: Shape::of(entry.kind),
            target: (entry.kind == EntryKind::Symlink).then(|| Text::from_bytes(&entry.target)),
            extension: here,
            by,
            count: gone.count,
            names: gone.names.iter().map(|name| Text::from_bytes(name)).collect(),
        });
    }
    for (path, by) in replaced {
        if comparison.replaced.len() >= MAX_ROWS {
            comparison.omitted = comparison.omitted.saturating_add(1);
        } else {
            comparison.replaced.push(Replaced { path: shown(&path), by });
        }
    }
    Ok(())
}

/// Returns the names that extensions have directly below each of `paths`. These can still be reached.
fn names_below<'n>(members: &[&'n Extension], paths: &BTreeSet<&[u8]>) -> HashMap<&'n [u8], BTreeSet<&'n [u8]>> {
    let mut found: HashMap<&[u8], BTreeSet<&[u8]>> = HashMap::new();
    for node in members.iter().flat_map(|member| &member.nodes) {
        let Some(slash) = node.path.iter().rposition(|byte| *byte == b'/') else { continue };
        let (parent, name) = node.path.split_at(slash);
        if paths.contains(parent) {
            found.entry(parent).or_default().insert(name.get(1..).unwrap_or_default());
        }
    }
    found
}

/// Names of the host that become unreachable.
#[derive(Default)]
struct Gone {
    count: usize,
    names: Vec<Vec<u8>>,
}

impl Gone {
    fn add(&mut self, name: Vec<u8>) {
        self.count = self.count.saturating_add(1);
        if self.names.len() < NAMES_SHOWN {
            self.names.push(name);
        }
    }
}

/// Counts what is gone of a directory, with all that is below it, or of the directory behind a link, where `ours` are the
/// names that extensions have in its place.
fn gone(host: &dyn System, path: &[u8], entry: &Entry, ours: Option<&BTreeSet<&[u8]>>) -> io::Result<Gone> {
    let mut gone = Gone::default();
    let behind = match entry.kind {
        EntryKind::Directory => Some(path.to_vec()),
        EntryKind::Symlink => {
            let above = path.iter().rposition(|byte| *byte == b'/').and_then(|slash| path.get(..slash));
            resolve_from(host, above.unwrap_or_default(), &entry.target)?
        }
        _ => None,
    };
    let Some(behind) = behind else { return Ok(gone) };
    let mut todo = vec![(behind, Vec::new(), 0_usize)];
    while let Some((directory, prefix, depth)) = todo.pop() {
        let mut names = host.list(&directory)?;
        names.sort_by(|one, other| one.0.cmp(&other.0));
        let mut below = Vec::new();
        for (name, kind) in names {
            if gone.count >= MAX_COUNT {
                return Ok(gone);
            }
            if depth == 0 && ours.is_some_and(|ours| ours.contains(name.as_slice())) {
                continue;
            }
            let relative = join(&prefix, &name);
            if kind == EntryKind::Directory && depth < MAX_DEPTH {
                below.push((join(&directory, &name), relative.clone(), depth.saturating_add(1)));
            }
            // With a directory, all its entries become unreachable.
            if kind != EntryKind::Directory {
                gone.add(relative);
            }
        }
        todo.extend(below.into_iter().rev());
    }
    Ok(gone)
}

/// What of `path` is below `top`, by whole names; empty for `top` itself.
fn below<'p>(path: &'p [u8], top: &[u8]) -> Option<&'p [u8]> {
    match path.strip_prefix(top)? {
        [] => Some(&[]),
        [b'/', rest @ ..] => Some(rest),
        _ => None,
    }
}

fn shown(path: &[u8]) -> Text {
    Text::from_bytes(&[b"/", path].concat())
}

/// Returns the first hierarchy into which extensions are merged at present. There, hidden files can't be compared (systemd 257,
/// `src/sysext/sysext.c`, `is_our_mount_point`).
///
/// # Errors
/// Where the host can't be read.
pub fn is_merged(hierarchies: &Hierarchies, host: &dyn System) -> io::Result<Option<String>> {
    for class in Class::ALL {
        let marker = match class {
            Class::Sysext => ".systemd-sysext",
            Class::Confext => ".systemd-confext",
        };
        for hierarchy in hierarchies.paths(class) {
            if let Some(place) = resolve(host, hierarchy.as_bytes())?
                && host.entry(&join(&place, marker.as_bytes()))?.is_some()
            {
                return Ok(Some(hierarchy.to_owned()));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
