//! What systemd made of it.

use super::host::image_name;
use crate::image::Class;
use crate::policy::Hierarchies;
use crate::root::Root;
use crate::text::Text;
use anyhow::{Context, Result};
use std::collections::BTreeSet;

/// The mounts that this process sees.
pub const MOUNTS: &str = "/proc/self/mountinfo";
/// Largest list of extensions that is read, in bytes.
const MAX_LIST: u64 = 1 << 20;

/// Names of the extensions of `class` that are merged, as systemd noted it in the hierarchies that it overlaid: the usual
/// ones, and those that it was told to take (`SYSTEMD_SYSEXT_HIERARCHIES`), as far as `mountinfo` shows overlays there.
///
/// # Errors
/// Where a note is there and can't be read.
pub fn merged(root: &Root, class: Class, mountinfo: &str) -> Result<BTreeSet<Text>> {
    let file = class.merged_list();
    let mut hierarchies: BTreeSet<String> = Hierarchies::default().paths(class).map(str::to_owned).collect();
    hierarchies.extend(overlaid(mountinfo, class));
    let mut names = BTreeSet::new();
    for hierarchy in hierarchies {
        let path = format!("{hierarchy}/{file}");
        let list = root.read(&path, MAX_LIST).with_context(|| format!("reading {path}"))?;
        let text = String::from_utf8_lossy(&list.unwrap_or_default()).into_owned();
        names.extend(text.lines().map(str::trim).filter(|name| !name.is_empty()).map(Text::new));
    }
    Ok(names)
}

/// Mount points of the overlays that systemd made for `class`: their source is its name
/// (`proc_pid_mountinfo(5)`; systemd 257, `src/sysext/sysext.c`, `mount_overlayfs`).
fn overlaid(mountinfo: &str, class: Class) -> impl Iterator<Item = String> {
    mountinfo.lines().filter_map(move |line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut filesystem = filesystem.split(' ');
        let is_ours = filesystem.next() == Some("overlay") && filesystem.next() == Some(class.as_str());
        // A path with a space is escaped, and no hierarchy has one.
        mount.split(' ').nth(4).filter(|_| is_ours).map(str::to_owned)
    })
}

/// Where systemd looks for extensions before it looks where they are staged: of two of one name the first counts
/// (systemd 257, `src/shared/discover-image.c`, `image_search_path`).
fn searched_first(class: Class) -> Option<&'static str> {
    match class {
        Class::Sysext => Some("/etc/extensions"),
        Class::Confext => None,
    }
}

/// Names of extensions of `class` that hide staged ones of the same name.
///
/// # Errors
/// Where the directory is there and can't be listed.
pub fn hiding(root: &Root, class: Class) -> Result<BTreeSet<Text>> {
    let Some(directory) = searched_first(class) else { return Ok(BTreeSet::new()) };
    let found = root.list(directory).with_context(|| format!("listing {directory}"))?.unwrap_or_default();
    Ok(found.iter().filter_map(|name| name.to_str()).map(|name| Text::new(image_name(class, name))).collect())
}

/// What was wanted against what is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Staged and merged.
    pub merged: Vec<Text>,
    /// Staged, and not merged.
    pub missing: Vec<Text>,
    /// Merged, though it wasn't staged.
    pub unexpected: Vec<Text>,
}

/// Compares names of one class. What is merged under the name of one that is in `hiding` isn't what was staged.
#[must_use]
pub fn compare<'n>(
    staged: impl Iterator<Item = &'n Text>,
    merged: &BTreeSet<Text>,
    hiding: &BTreeSet<Text>,
) -> Comparison {
    let staged: BTreeSet<&Text> = staged.collect();
    let is_ours = |name: &Text| staged.contains(name) && !hiding.contains(name);
    let (found, missing): (Vec<&Text>, Vec<&Text>) =
        staged.iter().copied().partition(|name| merged.contains(*name) && is_ours(name));
    let unexpected = merged.iter().filter(|name| !is_ours(name)).cloned().collect();
    let owned = |names: Vec<&Text>| names.into_iter().cloned().collect();
    Comparison { merged: owned(found), missing: owned(missing), unexpected }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    fn texts<const N: usize>(names: [&str; N]) -> [Text; N] {
        names.map(Text::new)
    }

    #[test]
    fn hierarchies_are_found_by_what_is_mounted_there() {
        let mounts = "\
70 29 254:16 / / rw,relatime shared:1 - ext4 /dev/vdb rw
83 70 0:43 / /usr ro,nodev,relatime shared:41 - overlay sysext ro,lowerdir=/run/systemd/sysext/meta/usr
84 70 0:44 / /usr/bin ro shared:42 master:1 - overlay sysext ro
85 70 0:45 / /etc ro - overlay confext ro
86 70 0:46 / /mnt ro - tmpfs sysext ro
87 70 0:47 / /srv ro - overlay overlay ro
junk";
        assert_eq!(overlaid(mounts, Class::Sysext).collect::<Vec<_>>(), ["/usr", "/usr/bin"]);
        assert_eq!(overlaid(mounts, Class::Confext).collect::<Vec<_>>(), ["/etc"]);
    }

    #[test]
    fn names_come_from_every_hierarchy_and_differences_go_both_ways() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        assert!(merged(&root, Class::Sysext, "").unwrap().is_empty());
        for (hierarchy, names) in [("usr", "a\nb\n"), ("opt", "b\nother\n")] {
            fs::create_dir_all(dir.path().join(hierarchy).join(".systemd-sysext")).unwrap();
            fs::write(dir.path().join(hierarchy).join(".systemd-sysext/extensions"), names).unwrap();
        }
        let found = merged(&root, Class::Sysext, "").unwrap();
        let comparison = compare(texts(["a", "b", "c"]).iter(), &found, &BTreeSet::new());
        assert_eq!(comparison.merged, ["a", "b"]);
        assert_eq!(comparison.missing, ["c"]);
        assert_eq!(comparison.unexpected, ["other"]);
        assert!(merged(&root, Class::Confext, "").unwrap().is_empty());
    }

    #[test]
    fn what_is_found_before_a_staged_one_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        assert_eq!(hiding(&root, Class::Sysext).unwrap(), BTreeSet::new());
        for name in ["a", "b.raw", "c.sysext.raw", "d.v", "e.raw.v"] {
            fs::create_dir_all(dir.path().join("etc/extensions").join(name)).unwrap();
        }
        let hidden = hiding(&root, Class::Sysext).unwrap();
        assert!(hidden.iter().map(Text::as_str).eq(["a", "b", "c", "d", "e"]), "{hidden:?}");
        let found: BTreeSet<Text> = texts(["a", "ours"]).into();
        let comparison = compare(texts(["a", "ours"]).iter(), &found, &hidden);
        assert_eq!(comparison.merged, ["ours"]);
        assert_eq!((comparison.missing, comparison.unexpected), (vec!["a".into()], vec!["a".into()]));
        // systemd looks there after /run/confexts, or not at all.
        assert_eq!(hiding(&root, Class::Confext).unwrap(), BTreeSet::new());
    }
}
