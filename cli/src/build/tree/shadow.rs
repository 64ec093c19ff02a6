//! Finds directories and links of an extension that hide directories or links of common distributions.
//!
//! A directory of an extension hides a link of the host, and with it all files behind the link. A link or file of an extension
//! hides a directory of the host. The usual case is an extension with `usr/sbin` on a host on which that is a link to `bin`
//! (file-hierarchy(7); systemd marks other hosts as "unmerged-bin"). `sextant plan --host` compares with a real host.

use super::{FileTree, NodeId};
use ddi::Class;
use ddi::filesystem::EntryKind;
use std::fmt;

/// Distributions: `ID` of the os-release and name.
type Hosts = [(&'static str, &'static str)];

/// A path that is a link on some distributions and a directory on others.
struct Usual {
    path: &'static str,
    /// Distributions on which it is a link.
    links: &'static Hosts,
    target: &'static str,
    /// Distributions on which it is a directory.
    directories: &'static Hosts,
}

const FEDORA: (&str, &str) = ("fedora", "Fedora 42 and later");
const OLDER_FEDORA: (&str, &str) = ("fedora", "Fedora up to 41");
const ARCH: (&str, &str) = ("arch", "Arch Linux");
const DEBIAN: (&str, &str) = ("debian", "Debian");
const UBUNTU: (&str, &str) = ("ubuntu", "Ubuntu");
const TUMBLEWEED: (&str, &str) = ("opensuse-tumbleweed", "openSUSE");
const LEAP: (&str, &str) = ("opensuse-leap", "openSUSE");
const RHEL: (&str, &str) = ("rhel", "RHEL");

/// Paths at which distributions differ. Sources:
/// <https://fedoraproject.org/wiki/Changes/Unify_bin_and_sbin>; the package `filesystem` of Arch Linux; Debian's `base-files` and `libc6`,
/// whose dynamic linker is in `usr/lib64`; `ca-certificates` of each.
const DIFFERENT: [Usual; 4] = [
    Usual {
        path: "usr/sbin",
        links: &[FEDORA, ARCH],
        target: "bin",
        directories: &[DEBIAN, UBUNTU, TUMBLEWEED, LEAP, OLDER_FEDORA, RHEL],
    },
    Usual {
        path: "usr/local/sbin",
        links: &[FEDORA],
        target: "bin",
        directories: &[DEBIAN, UBUNTU, TUMBLEWEED, LEAP, OLDER_FEDORA, RHEL, ARCH],
    },
    Usual {
        path: "usr/lib64",
        links: &[ARCH],
        target: "lib",
        directories: &[DEBIAN, UBUNTU, TUMBLEWEED, LEAP, FEDORA, RHEL],
    },
    Usual {
        path: "etc/ssl/certs",
        links: &[FEDORA, RHEL, TUMBLEWEED, LEAP],
        target: "certificates elsewhere",
        directories: &[DEBIAN, UBUNTU, ARCH],
    },
];

/// Paths that are a directory on every host that has them (file-hierarchy(7), and directories of systemd's packages).
const DIRECTORIES: [&str; 28] = [
    "usr/bin",
    "usr/include",
    "usr/lib",
    "usr/lib32",
    "usr/libexec",
    "usr/libx32",
    "usr/local",
    "usr/local/bin",
    "usr/local/lib",
    "usr/share",
    "usr/src",
    "usr/lib/binfmt.d",
    "usr/lib/environment.d",
    "usr/lib/extension-release.d",
    "usr/lib/firmware",
    "usr/lib/modprobe.d",
    "usr/lib/modules",
    "usr/lib/modules-load.d",
    "usr/lib/sysctl.d",
    "usr/lib/systemd",
    "usr/lib/systemd/system",
    "usr/lib/sysusers.d",
    "usr/lib/tmpfiles.d",
    "usr/lib/udev",
    "etc/ssl",
    "etc/systemd",
    "etc/systemd/system",
    "etc/alternatives",
];

/// A directory or link of an extension that hides a link or directory of common distributions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shadow {
    path: &'static str,
    found: EntryKind,
    /// What hosts have there, beginning with the hosts, such as `on Debian it is a directory`.
    host: String,
    advice: &'static str,
}

impl fmt::Display for Shadow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, found, host, advice } = self;
        write!(f, "/{path} is {found}; {host}, which the merge would hide with everything in it{advice}")
    }
}

/// Finds paths of `tree` that hide a link or directory of the distribution with this `ID`, or of any distribution for `_any` and
/// unknown ones. [`select`](super::select()) must have been applied to the tree.
#[must_use]
pub fn shadows(tree: &FileTree, class: Class, id: &str) -> Vec<Shadow> {
    let mut found = Vec::new();
    for usual in &DIFFERENT {
        let Some(kind) = kind_at(tree, class, usual.path) else { continue };
        let is_known = usual.links.iter().chain(usual.directories).any(|(known, _)| *known == id);
        let (hosts, what) = match kind {
            EntryKind::Directory => (usual.links, format!("a link to {}", usual.target)),
            _ => (usual.directories, "a directory".to_owned()),
        };
        let mut names: Vec<_> =
            hosts.iter().filter(|(known, _)| !is_known || *known == id).map(|(_, name)| *name).collect();
        names.dedup();
        if !names.is_empty() {
            let host = format!("on {} it is {what}", listed(&names));
            let advice = match (usual.path, kind) {
                ("usr/sbin", _) => "; put programs into usr/bin, where all hosts find them",
                (_, EntryKind::Directory) => "",
                _ => "; put files into a directory of this name",
            };
            found.push(Shadow { path: usual.path, found: kind, host, advice });
        }
    }
    for path in DIRECTORIES {
        if let Some(kind) = kind_at(tree, class, path).filter(|kind| *kind != EntryKind::Directory) {
            let advice = "; put files into a directory of this name";
            found.push(Shadow { path, found: kind, host: "on all hosts it is a directory".to_owned(), advice });
        }
    }
    found
}

/// Returns the kind of the file at a path in a hierarchy of the class. Links are not followed.
fn kind_at(tree: &FileTree, class: Class, path: &str) -> Option<EntryKind> {
    let top = path.split('/').next()?;
    class.hierarchies().iter().any(|hierarchy| hierarchy.trim_start_matches('/') == top).then_some(())?;
    let mut id: NodeId = tree.root();
    for name in path.split('/') {
        id = tree.entry(id, name.as_bytes())?;
    }
    Some(tree.node(id)?.kind.entry_kind())
}

/// Joins names as in `a, b and c`.
fn listed(names: &[&str]) -> String {
    match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::path::Steps;
    use super::super::{Content, Kind, Metadata};
    use super::*;

    fn tree(directories: &[&str], links: &[(&str, &str)]) -> FileTree {
        let mut tree = FileTree::default();
        for path in directories {
            let parts: Vec<&[u8]> = path.split('/').map(str::as_bytes).collect();
            tree.make_directory(&parts, &mut Steps::all()).unwrap();
        }
        for (path, target) in links {
            let (parent, name) = path.rsplit_once('/').unwrap();
            let parents: Vec<&[u8]> = parent.split('/').map(str::as_bytes).collect();
            let parent = tree.make_directory(&parents, &mut Steps::all()).unwrap();
            let kind = match *target {
                "" => Kind::File(Content::bytes(b"x")),
                target => Kind::Symlink(target.as_bytes().to_vec()),
            };
            let id = tree.add(Metadata::implied_directory(), kind).unwrap();
            tree.link(parent, name.as_bytes(), id).unwrap();
        }
        tree
    }

    fn said(tree: &FileTree, class: Class, id: &str) -> Vec<String> {
        shadows(tree, class, id).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_differs_between_hosts_is_told_for_the_host_that_is_meant() {
        let rows: [(&str, &str, usize, &str); 9] = [
            ("_any", "usr/sbin", 1, "on Fedora 42 and later and Arch Linux it is a link to bin,"),
            ("kairos", "usr/sbin", 1, "Fedora 42 and later"),
            ("arch", "usr/sbin", 1, "on Arch Linux it is a link to bin,"),
            ("fedora", "usr/sbin", 1, "on Fedora 42 and later it is"),
            ("debian", "usr/sbin", 0, ""),
            ("debian", "usr/lib64", 0, ""),
            ("arch", "usr/lib64", 1, "on Arch Linux it is a link to lib"),
            ("_any", "usr/lib64", 1, "Arch Linux"),
            ("_any", "usr/local/sbin", 1, "Fedora 42 and later"),
        ];
        for (id, path, count, words) in rows {
            let found = said(&tree(&[path], &[]), Class::Sysext, id);
            assert_eq!(found.len(), count, "{id} {path}: {found:?}");
            assert!(found.iter().all(|it| it.contains(words)), "{id} {path}: {found:?}");
        }
        let found = said(&tree(&[], &[("usr/sbin", "bin")]), Class::Sysext, "_any");
        let expected = "/usr/sbin is a symbolic link; on Debian, Ubuntu, openSUSE, Fedora up to 41 and RHEL it is a directory, which \
                        the merge would hide with everything in it; put programs into usr/bin, where all hosts find them";
        assert_eq!(found, [expected]);
        assert_eq!(said(&tree(&[], &[("usr/sbin", "bin")]), Class::Sysext, "arch"), [""; 0]);
    }

    #[test]
    fn a_link_or_file_in_place_of_a_directory_is_told() {
        for (path, target) in
            [("usr/bin", "../opt/bin"), ("usr/lib", "lib64"), ("usr/share", ""), ("usr/lib/systemd/system", "/x")]
        {
            let found = said(&tree(&[], &[(path, target)]), Class::Sysext, "debian");
            assert_eq!(found.len(), 1, "{path}: {found:?}");
            assert!(
                found[0].starts_with(&format!("/{path} is ")) && found[0].contains("; on all hosts it is a directory"),
                "{found:?}"
            );
            assert_eq!(said(&tree(&[path], &[]), Class::Sysext, "debian"), [""; 0], "{path}");
        }
        let certs = tree(&["etc/ssl/certs", "usr/sbin"], &[]);
        assert_eq!(said(&certs, Class::Confext, "rhel").len(), 1);
        assert_eq!(said(&certs, Class::Confext, "debian"), [""; 0]);
        assert_eq!(said(&tree(&["usr/bin", "usr/lib/x", "opt/sbin"], &[]), Class::Sysext, "_any"), [""; 0]);
    }
}
