//! What of a source can be part of an extension.

use super::path::{Steps, components, display};
use super::{Below, FileTree, Kind, NodeId};
use ddi::Class;
use ddi::filesystem::EntryKind;
use ddi::text::Text;
use std::fmt;

/// Something that is in the source and won't be in the extension.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Omission {
    /// Outside of what such an extension extends.
    Outside {
        /// Name at the top of the source
        name: Text,
        /// Files, directories and links at and below it
        count: usize,
    },
    /// A device, FIFO or socket.
    Special {
        /// Its path
        path: Text,
        /// What it is
        kind: EntryKind,
    },
    /// Something about files below the source, which an extension can't say about those of a host.
    Below {
        /// The path that it is about
        path: Text,
        /// What it says
        what: Below,
    },
    /// An extended attribute that no file system for extensions keeps.
    Attribute {
        /// The file
        path: Text,
        /// Full name of the attribute
        name: Text,
    },
    /// Would change what the host says it is, so no boot would take it.
    OsRelease {
        /// Its path
        path: &'static str,
    },
}

impl fmt::Display for Omission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outside { name, count: 1 } => write!(f, "left out /{name}: it is outside of what is extended"),
            Self::Outside { name, count } => {
                write!(f, "left out /{name} ({count} files and directories): it is outside of what is extended")
            }
            Self::Special { path, kind } => write!(f, "left out /{path}: it is {kind}"),
            Self::Below { path, what } => {
                let what = match what {
                    Below::Whiteout => "the whiteout of",
                    Below::Opaque => "the opaqueness of",
                    Below::Redirect => "the redirection of",
                    Below::Content => "the file without content",
                };
                write!(f, "left out {what} /{path}: it is about files below, and those of a host stay as they are")
            }
            Self::Attribute { path, name } => {
                write!(f, "left out the extended attribute {name} of /{path}: no file system for extensions keeps it")
            }
            Self::OsRelease { path } => {
                write!(f, "left out /{path}: an extension with it is refused, since it would rename the host")
            }
        }
    }
}

/// Takes out of the tree what an extension can't have, and says what that was. At the top only whole names count:
/// `usr-local` isn't below `/usr`.
pub fn select(tree: &mut FileTree, class: Class) -> Vec<Omission> {
    let mut omissions = Vec::new();
    let root = tree.root();
    let top: Vec<(Vec<u8>, NodeId)> = tree.entries(root).map(|(name, id)| (name.to_vec(), id)).collect();
    for (name, id) in top {
        let is_directory = matches!(tree.node(id).map(|node| &node.kind), Some(Kind::Directory(_)));
        if !(is_top(class, &name) && is_directory) {
            tree.unlink(root, &name);
            omissions.push(Omission::Outside { name: display(&name), count: count(tree, id) });
        }
    }
    omit_special(tree, &mut omissions);
    omit_os_release(tree, class, &mut omissions);
    omit_below(tree, class, &mut omissions);
    omit_attributes(tree, &mut omissions);
    omissions
}

/// Whether erofs keeps an attribute with this name (`fs/erofs/xattr.h`, `erofs_xattr_prefix`). Others belong to the file
/// system that the source lies on, such as `btrfs.compression` and `system.nfs4_acl`; `mkfs.erofs` 1.8 drops them and succeeds.
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

/// What was said about files that aren't part of the tree, unless something has come in their place.
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

/// Whether a name at the top is one of what extensions of `class` extend.
fn is_top(class: Class, name: &[u8]) -> bool {
    let mut hierarchies = class.hierarchies().iter().filter_map(|hierarchy| hierarchy.strip_prefix('/'));
    hierarchies.any(|hierarchy| hierarchy.as_bytes() == name)
}

/// Whether a path of an archive lies in what extensions of `class` extend.
pub(super) fn is_extended(class: Class, path: &[u8]) -> bool {
    components(path).is_ok_and(|parts| parts.first().is_some_and(|first| is_top(class, first)))
}

/// How many names there are at and below a node.
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
    // A link on the way leads to where the file would be refused as well.
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
        assert!(texts.contains(&"left out /etc (2 files and directories): it is outside of what is extended".into()));
        assert!(texts.contains(&"left out /us: it is outside of what is extended".into()));
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
            "left out the extended attribute btrfs.compression of /usr/a: no file system for extensions keeps it";
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
