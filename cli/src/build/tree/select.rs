//! Removes files that can't be part of an extension.

use super::path::{Steps, components, display};
use super::{Below, FileTree, Kind, NodeId};
use ddi::Class;
use ddi::filesystem::EntryKind;
use ddi::text::Text;
use std::fmt;

/// A file or attribute of the source that is left out of the extension.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Omission {
    /// Outside the hierarchies of the class.
    Outside {
        /// Name at the top of the source
        name: Text,
        /// Number of files, directories and links, this one included
        count: usize,
        /// Class of the extension
        class: Class,
    },
    /// A hierarchy of the class that is a link or file.
    NotDirectory {
        /// Name at the top of the source
        name: Text,
        /// What it is
        kind: EntryKind,
    },
    /// A device, FIFO or socket.
    Special {
        /// Its path
        path: Text,
        /// What it is
        kind: EntryKind,
    },
    /// A reference to lower layers, which an extension does not have.
    Below {
        /// Path to which it refers
        path: Text,
        /// Kind of the reference
        what: Below,
    },
    /// An extended attribute that neither squashfs nor erofs supports.
    Attribute {
        /// The file
        path: Text,
        /// Full name of the attribute
        name: Text,
    },
    /// An os-release file, which would replace that of the host. Every boot rejects it.
    OsRelease {
        /// Its path
        path: &'static str,
    },
}

impl fmt::Display for Omission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outside { name, count, class } => {
                let more = if *count == 1 { String::new() } else { format!(" ({count} files and directories)") };
                write!(f, "left out /{name}{more}: a {class} extends only {}", class.hierarchies().join(" and "))
            }
            Self::NotDirectory { name, kind } => write!(f, "left out /{name}: it is {kind}, not a directory"),
            Self::Special { path, kind } => write!(f, "left out /{path}: {kind} can't be part of an extension"),
            Self::Below { path, what } => {
                let what = match what {
                    Below::Whiteout => "the whiteout of",
                    Below::Opaque => "the opaque mark of",
                    Below::Redirect => "the redirect mark of",
                    Below::Content => "the file without data",
                };
                write!(f, "left out {what} /{path}: it refers to lower layers, which an extension does not have")
            }
            Self::Attribute { path, name } => {
                write!(f, "left out the extended attribute {name} of /{path}: neither squashfs nor erofs supports it")
            }
            Self::OsRelease { path } => {
                write!(f, "left out /{path}: it would replace that of the host, so every boot rejects it")
            }
        }
    }
}

/// Removes files and attributes that can't be part of an extension, and returns what was removed. `usr-local` is not below
/// `/usr`.
pub fn select(tree: &mut FileTree, class: Class) -> Vec<Omission> {
    let mut omissions = Vec::new();
    let root = tree.root();
    let top: Vec<(Vec<u8>, NodeId)> = tree.entries(root).map(|(name, id)| (name.to_vec(), id)).collect();
    for (name, id) in top {
        let kind = tree.node(id).map_or(EntryKind::Directory, |node| node.kind.entry_kind());
        let shown = display(&name);
        omissions.push(match (is_top(class, &name), kind) {
            (true, EntryKind::Directory) => continue,
            (true, kind) => Omission::NotDirectory { name: shown, kind },
            (false, _) => Omission::Outside { name: shown, count: count(tree, id), class },
        });
        tree.unlink(root, &name);
    }
    omit_special(tree, &mut omissions);
    omit_os_release(tree, class, &mut omissions);
    omit_below(tree, class, &mut omissions);
    omit_attributes(tree, &mut omissions);
    omissions
}

/// Returns whether erofs supports an attribute of this name (`fs/erofs/xattr.h`, `erofs_xattr_prefix`). Others belong to the file
/// system of the source, such as `btrfs.compression` and `system.nfs4_acl`; `mkfs.erofs` 1.8 drops them without an error.
fn is_kept(name: &[u8]) -> bool {
    let namespaces: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];
    matches!(name, b"system.posix_acl_access" | b"system.posix_acl_default")
        || namespaces.iter().any(|namespace| name.strip_prefix(*namespace).is_some_and(|rest| !rest.is_empty()))
}

fn omit_attributes(tree: &mut FileTree, omissions: &mut Vec<Omission>) {
    let root = (Vec::new(), tree.root());
    for (path, id) in std::iter::once(root).chain(tree.walk()) {
        let Some(node) = tree.node_mut(id) else { continue };
        node.metadata.xattrs.retain(|name, _| {
            let kept = is_kept(name);
            if !kept {
                omissions.push(Omission::Attribute { path: display(&path), name: display(name) });
            }
            kept
        });
    }
}

/// Reports references to lower layers, unless a file of the tree has replaced them.
fn omit_below(tree: &mut FileTree, class: Class, omissions: &mut Vec<Omission>) {
    for (path, what) in std::mem::take(&mut tree.below) {
        let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).collect();
        let is_within = parts.first().is_none_or(|first| is_top(class, first));
        let found = tree.find(&parts, &mut Steps::all()).ok().flatten().and_then(|id| tree.node(id));
        let holds = match what {
            Below::Whiteout | Below::Content => found.is_none(),
            Below::Opaque | Below::Redirect => found.is_none_or(|node| matches!(node.kind, Kind::Directory(_))),
        };
        let omission = Omission::Below { path: display(&path), what };
        if is_within && holds && !omissions.contains(&omission) {
            omissions.push(omission);
        }
    }
}

/// Returns whether a name at the top is a hierarchy of `class`.
fn is_top(class: Class, name: &[u8]) -> bool {
    let mut hierarchies = class.hierarchies().iter().filter_map(|hierarchy| hierarchy.strip_prefix('/'));
    hierarchies.any(|hierarchy| hierarchy.as_bytes() == name)
}

/// Returns whether a path of an archive is below a hierarchy of `class`.
pub(super) fn is_extended(class: Class, path: &[u8]) -> bool {
    components(path).is_ok_and(|parts| parts.first().is_some_and(|first| is_top(class, first)))
}

/// Counts the names below a node, itself included.
fn count(tree: &FileTree, id: NodeId) -> usize {
    let mut found = 0_usize;
    let mut todo = vec![id];
    while let Some(id) = todo.pop() {
        found = found.saturating_add(1);
        todo.extend(tree.entries(id).map(|(_, child)| child));
    }
    found
}

fn omit_special(tree: &mut FileTree, omissions: &mut Vec<Omission>) {
    let mut directories = vec![(Vec::new(), tree.root())];
    while let Some((path, directory)) = directories.pop() {
        let entries: Vec<(Vec<u8>, NodeId)> = tree.entries(directory).map(|(name, id)| (name.to_vec(), id)).collect();
        for (name, id) in entries {
            let full = super::path::join(&path, &name);
            match tree.node(id).map(|node| node.kind.entry_kind()) {
                Some(EntryKind::Directory) => directories.push((full, id)),
                Some(EntryKind::File | EntryKind::Symlink) | None => {}
                Some(kind) => {
                    tree.unlink(directory, &name);
                    omissions.push(Omission::Special { path: display(&full), kind });
                }
            }
        }
    }
}

fn omit_os_release(tree: &mut FileTree, class: Class, omissions: &mut Vec<Omission>) {
    let path = class.os_release();
    let parts: Vec<&[u8]> = path.split('/').map(str::as_bytes).collect();
    // Links on the path are followed, as the check of a boot does.
    if let Some((name, directory)) = parts.split_last()
        && let Ok(Some(directory)) = tree.directory(directory, &mut Steps::all())
        && tree.unlink(directory, name).is_some()
    {
        omissions.push(Omission::OsRelease { path });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::build::tree::{Content, Metadata};
    use std::collections::BTreeMap;

    fn tree(paths: &[(&str, Kind)]) -> FileTree {
        let mut tree = FileTree::default();
        for (path, kind) in paths {
            let parts = components(path.as_bytes()).unwrap();
            let (name, parents) = parts.split_last().unwrap();
            let directory = tree.make_directory(parents, &mut Steps::all()).unwrap();
            let id = tree.add(Metadata::implied_directory(), kind.clone()).unwrap();
            tree.link(directory, name, id).unwrap();
        }
        tree
    }

    fn file() -> Kind {
        Kind::File(Content::bytes(b"x"))
    }

    fn paths(tree: &FileTree) -> Vec<String> {
        tree.walk().into_iter().map(|(path, _)| String::from_utf8(path).unwrap()).collect()
    }

    #[test]
    fn only_whole_names_of_hierarchies_stay() {
        let all = [("usr/bin/a", file()), ("usr2/b", file()), ("opt/c", file()), ("etc/d", file()), ("us", file())];
        let mut sysext = tree(&all);
        let omitted = select(&mut sysext, Class::Sysext);
        assert_eq!(paths(&sysext), ["opt", "opt/c", "usr", "usr/bin", "usr/bin/a"]);
        let texts: Vec<_> = omitted.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), 3, "{texts:?}");
        assert!(texts.contains(&"left out /etc (2 files and directories): a sysext extends only /usr and /opt".into()));
        assert!(texts.contains(&"left out /us: a sysext extends only /usr and /opt".into()));
        let mut confext = tree(&all);
        select(&mut confext, Class::Confext);
        assert_eq!(paths(&confext), ["etc", "etc/d"]);
    }

    #[test]
    fn attributes_of_the_sources_file_system_are_left_out_and_told() {
        let mut tree = tree(&[("usr/a", file()), ("etc/b", file())]);
        let names = [
            "btrfs.compression",
            "security.capability",
            "system.nfs4_acl",
            "system.posix_acl_access",
            "system.posix_acl_default",
            "trusted.note",
            "user.",
            "user.note",
        ];
        let ids: Vec<NodeId> = tree.walk().into_iter().map(|(_, id)| id).chain([tree.root()]).collect();
        for id in ids {
            let attributes = names.iter().map(|name| (name.as_bytes().to_vec(), Vec::new()));
            tree.node_mut(id).unwrap().metadata.xattrs = attributes.collect();
        }
        let texts: Vec<_> = select(&mut tree, Class::Sysext).iter().map(ToString::to_string).collect();
        // The root, usr, usr/a, and the line about etc.
        assert_eq!(texts.len(), 3 * 3 + 1, "{texts:#?}");
        let line =
            "left out the extended attribute btrfs.compression of /usr/a: neither squashfs nor erofs supports it";
        assert!(texts.iter().any(|text| text == line), "{texts:#?}");
        for (path, id) in tree.walk() {
            let left = &tree.node(id).unwrap().metadata.xattrs;
            assert_eq!(left.len(), 5, "{}", String::from_utf8_lossy(&path));
        }
    }

    #[test]
    fn a_link_in_place_of_a_hierarchy_is_left_out() {
        let mut tree = tree(&[("usr", Kind::Symlink(b"/etc".to_vec())), ("etc/a", file())]);
        assert_eq!(select(&mut tree, Class::Sysext).len(), 2);
        assert_eq!(paths(&tree), [""; 0]);
    }

    #[test]
    fn devices_and_os_release_are_left_out_and_told() {
        let fifo = Kind::Special(EntryKind::Fifo);
        let link = Kind::Symlink(b"real".to_vec());
        let empty = Kind::Directory(BTreeMap::new());
        let mut tree =
            tree(&[("usr/real", empty), ("usr/lib", link), ("usr/real/os-release", file()), ("usr/share/pipe", fifo)]);
        let omitted = select(&mut tree, Class::Sysext);
        assert_eq!(
            omitted,
            [
                Omission::Special { path: "usr/share/pipe".into(), kind: EntryKind::Fifo },
                Omission::OsRelease { path: "usr/lib/os-release" }
            ]
        );
        assert_eq!(paths(&tree), ["usr", "usr/lib", "usr/real", "usr/share"]);
    }
}
