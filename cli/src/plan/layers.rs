//! Computes the result of the overlay that systemd mounts (systemd 257, `src/sysext/sysext.c`; the kernel's
//! `Documentation/filesystems/overlayfs.rst`).

use super::Extension;
use ddi::Class;
use ddi::compare_versions;
use ddi::filesystem::EntryKind;
use ddi::text::Text;
use serde::Serialize;
use sextant::policy::Hierarchies;
use std::collections::BTreeMap;

/// Returns whether `path` is `directory` or below it.
pub(super) fn is_within(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns whether a file of that path is in a merged hierarchy.
fn is_merged(hierarchies: &Hierarchies, class: Class, path: &str) -> bool {
    hierarchies.paths(class).any(|hierarchy| is_within(path, hierarchy))
}

/// A directory that becomes read-only when extensions are merged into it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReadOnly {
    /// The directory
    pub path: String,
    /// Extensions that are merged into it
    pub by: Vec<Text>,
}

/// A path of several extensions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Conflict {
    /// The path
    pub path: Text,
    /// Extension whose file is visible
    pub winner: Text,
    /// Extensions whose files are hidden, uppermost first
    pub hidden: Vec<Text>,
}

/// Sorts extensions by the order in which systemd merges them: `strverscmp_improved` of the names, the last one uppermost
/// (`merge_command` of systemd 257; UAPI.10). Configuration extensions are merged separately, and come last here.
#[must_use]
pub fn merge_order(extensions: &[Extension]) -> Vec<&Extension> {
    let mut ordered: Vec<&Extension> = extensions.iter().collect();
    ordered.sort_by(|a, b| a.class.cmp(&b.class).then_with(|| compare_versions(&a.name, &b.name)));
    ordered
}

/// Returns a path as it is on the host. It has to become a [`Text`] before it is shown.
pub(super) fn absolute(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path))
}

/// Returns the hierarchies that are not empty in at least one extension: systemd merges no others (`determine_used_extensions`).
pub(super) fn read_only(ordered: &[&Extension], hierarchies: &Hierarchies) -> Vec<ReadOnly> {
    let mut found = Vec::new();
    for class in Class::ALL {
        for hierarchy in hierarchies.paths(class) {
            let prefix = format!("{}/", hierarchy.trim_start_matches('/'));
            let has = |extension: &&&Extension| {
                extension.class == class && extension.nodes.iter().any(|node| node.path.starts_with(prefix.as_bytes()))
            };
            let by: Vec<Text> = ordered.iter().filter(has).map(|extension| Text::new(&extension.name)).collect();
            if !by.is_empty() {
                found.push(ReadOnly { path: hierarchy.to_owned(), by });
            }
        }
    }
    found
}

/// Counts the files of an extension inside and outside of the hierarchies.
pub(super) fn split(extension: &Extension, hierarchies: &Hierarchies) -> (usize, usize) {
    let files = extension.nodes.iter().filter(|node| node.kind != EntryKind::Directory);
    let (inside, outside): (Vec<_>, Vec<_>) =
        files.partition(|node| is_merged(hierarchies, extension.class, &absolute(&node.path)));
    (inside.len(), outside.len())
}

/// A path of the merge at which an extension has something, and whose is seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    /// The path
    pub path: Text,
    /// What is merged there
    pub class: Class,
    /// Whether a directory is seen there. That of others is seen too then, except of those in `hidden`.
    pub is_directory: bool,
    /// Whose is seen
    pub winner: Text,
    /// Whose are not, uppermost first
    pub hidden: Vec<Text>,
}

/// Finds paths of several extensions of which one hides the others. Directories of the same path are merged; any other file hides
/// the files of extensions before it.
pub(super) fn conflicts(ordered: &[&Extension], hierarchies: &Hierarchies) -> Vec<Conflict> {
    let mut found = Vec::new();
    each_path(ordered, hierarchies, &mut |owned| {
        let Owned { path, winner, hidden, .. } = owned;
        if !hidden.is_empty() {
            found.push(Conflict { path, winner, hidden });
        }
    });
    found
}

/// Who wins each path at which an extension has something other than a directory, or hides something.
#[must_use]
pub fn paths(ordered: &[&Extension], hierarchies: &Hierarchies) -> Vec<Owned> {
    let mut found = Vec::new();
    each_path(ordered, hierarchies, &mut |owned| {
        if !owned.is_directory || !owned.hidden.is_empty() {
            found.push(owned);
        }
    });
    found
}

/// Goes through all paths that are seen, by class, then by name. Directories of the same path become one; anything else
/// hides all that lies below it in the order.
fn each_path(ordered: &[&Extension], hierarchies: &Hierarchies, visit: &mut dyn FnMut(Owned)) {
    for class in Class::ALL {
        let members: Vec<&Extension> = ordered.iter().copied().filter(|extension| extension.class == class).collect();
        // The extensions that have a path, the uppermost first.
        let mut paths: BTreeMap<Vec<&[u8]>, Vec<(usize, EntryKind)>> = BTreeMap::new();
        for (number, extension) in members.iter().enumerate().rev() {
            for node in &extension.nodes {
                if is_merged(hierarchies, class, &absolute(&node.path)) {
                    paths.entry(node.path.split(|byte| *byte == b'/').collect()).or_default().push((number, node.kind));
                }
            }
        }
        // For each extension the last hidden path, below which nothing of it is visible. Paths below it follow in sequence.
        let mut cut: Vec<Option<Vec<&[u8]>>> = vec![None; members.len()];
        for (path, owners) in paths {
            let is_cut =
                |number: usize| cut.get(number).and_then(Option::as_ref).is_some_and(|at| path.starts_with(at));
            let seen: Vec<(usize, EntryKind)> = owners.into_iter().filter(|(number, _)| !is_cut(*number)).collect();
            let Some(((winner, first), below)) = seen.split_first() else { continue };
            // Directories are merged until another kind of file.
            let joined = match first {
                EntryKind::Directory => below.iter().take_while(|(_, kind)| *kind == EntryKind::Directory).count(),
                _ => 0,
            };
            let hidden: Vec<usize> = below.iter().skip(joined).map(|(number, _)| *number).collect();
            for number in &hidden {
                if let Some(cut) = cut.get_mut(*number) {
                    *cut = Some(path.clone());
                }
            }
            let name =
                |number: usize| members.get(number).map(|extension| Text::new(&extension.name)).unwrap_or_default();
            visit(Owned {
                path: Text::from_bytes(&[b"/".as_slice(), &path.join(&b'/')].concat()),
                class,
                is_directory: *first == EntryKind::Directory,
                winner: name(*winner),
                hidden: hidden.into_iter().map(name).collect(),
            });
        }
    }
}

/// Joins names with commas.
pub(super) fn joined(names: &[Text]) -> String {
    names.iter().map(Text::as_str).collect::<Vec<_>>().join(", ")
}
