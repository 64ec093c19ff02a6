//! What systemd made of it.

use super::host::{MAX_NAMES, has_extension, host_directories, image_name, is_extension};
use crate::policy::Hierarchies;
use crate::root::Root;
use anyhow::{Context, Result};
use ddi::Class;
use ddi::text::Text;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

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
    let mut names = BTreeSet::new();
    for hierarchy in hierarchies(class, mountinfo) {
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

/// What systemd noted of an extension that it merged (systemd 262, `src/sysext/sysext.c`, `write_origin_file`; earlier ones note
/// nothing).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Its file or directory.
    pub path: Text,
    /// The root hash of an image.
    pub root_hash: Option<Text>,
}

/// That file: JSON, of which other members don't matter here.
#[derive(Deserialize)]
struct OriginFile {
    #[serde(default)]
    extensions: BTreeMap<Text, OriginEntry>,
}

#[derive(Deserialize)]
struct OriginEntry {
    path: Text,
    #[serde(rename = "verityHash")]
    verity_hash: Option<Text>,
}

/// What systemd noted of the extensions of `class`, by name. What can't be read or understood is left out: it is evidence beside
/// that of the kernel.
#[must_use]
pub fn notes(root: &Root, class: Class, mountinfo: &str) -> BTreeMap<Text, Note> {
    let read = |hierarchy: String| {
        let path = format!("{hierarchy}/{}", class.origin_file());
        serde_json::from_slice::<OriginFile>(&root.read(&path, MAX_LIST).ok()??).ok()
    };
    let entries = hierarchies(class, mountinfo).into_iter().filter_map(read).flat_map(|file| file.extensions);
    entries.map(|(name, it)| (name, Note { path: it.path, root_hash: it.verity_hash })).collect()
}

/// The hierarchies in which `class` can be merged: the usual ones, and those in which `mountinfo` shows overlays.
fn hierarchies(class: Class, mountinfo: &str) -> BTreeSet<String> {
    Hierarchies::default().paths(class).map(str::to_owned).chain(overlaid(mountinfo, class)).collect()
}

/// Where systemd looks for extensions before it looks where they are staged: of two of one name the first counts
/// (systemd 257, `src/shared/discover-image.c`, `image_search_path`).
fn searched_first(class: Class) -> Option<&'static str> {
    match class {
        Class::Sysext => Some("/etc/extensions"),
        Class::Confext => None,
    }
}

/// An extension that systemd finds before a staged one of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hidden {
    /// Its path.
    pub path: String,
    /// Whether it is a directory.
    pub is_directory: bool,
    /// Whether it is a directory with nothing in it, by which an administrator masks an extension (systemd-sysext(8)).
    pub is_mask: bool,
}

/// Extensions of `class` that hide staged ones, by name. A link to `/dev/null` hides nothing: systemd passes over what is neither
/// a file, a directory nor a block device (systemd 254 to 262, `src/shared/discover-image.c`, `image_discover`).
///
/// # Errors
/// Where the directory is there and can't be listed.
pub fn hiding(root: &Root, class: Class) -> Result<BTreeMap<Text, Hidden>> {
    let Some(directory) = searched_first(class) else { return Ok(BTreeMap::new()) };
    let found = root.list(directory).with_context(|| format!("listing {directory}"))?.unwrap_or_default();
    let entry = |file: &OsString| {
        let file = file.to_str()?;
        let path = format!("{directory}/{file}");
        let metadata = root.metadata(&path).ok().filter(|metadata| is_extension(file, metadata))?;
        let is_directory = metadata.is_dir();
        // One with versions in it, of which there is none, is passed over.
        let is_mask = is_directory && !has_extension(file, "v") && is_empty(root, &path);
        Some((Text::new(image_name(class, file)), Hidden { path, is_directory, is_mask }))
    };
    Ok(found.iter().filter_map(entry).collect())
}

/// Whether there is nothing in a directory.
#[must_use]
pub fn is_empty(root: &Root, directory: &str) -> bool {
    root.list_some(directory, 1).is_ok_and(|found| found.is_none_or(|found| found.is_empty()))
}

/// Directories of the host that systemd takes for extensions of `class`, by name.
#[must_use]
pub fn plain_directories(root: &Root, class: Class) -> BTreeMap<Text, String> {
    let listed = |directory: &'static str| {
        let names = root.list_some(directory, MAX_NAMES).ok().flatten().unwrap_or_default();
        names.into_iter().filter_map(move |name| Some((directory, name.into_string().ok()?)))
    };
    let mut found = BTreeMap::new();
    for (directory, file) in host_directories(class).iter().copied().flat_map(listed) {
        let path = format!("{directory}/{file}");
        if root.metadata(&path).is_ok_and(|metadata| metadata.is_dir()) {
            found.entry(Text::new(image_name(class, &file))).or_insert(path);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

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
    fn names_come_from_every_hierarchy() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        assert!(merged(&root, Class::Sysext, "").unwrap().is_empty());
        for (hierarchy, names) in [("usr", "a\nb\n"), ("opt", "b\nother\n")] {
            fs::create_dir_all(dir.path().join(hierarchy).join(".systemd-sysext")).unwrap();
            fs::write(dir.path().join(hierarchy).join(".systemd-sysext/extensions"), names).unwrap();
        }
        assert!(merged(&root, Class::Sysext, "").unwrap().iter().eq(["a", "b", "other"]));
        assert!(merged(&root, Class::Confext, "").unwrap().is_empty());
    }

    /// As systemd 262 wrote it, one image and one directory.
    #[test]
    fn root_hashes_come_from_what_systemd_noted() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        assert_eq!(notes(&root, Class::Sysext, ""), BTreeMap::new());
        fs::create_dir_all(dir.path().join("usr/.systemd-sysext")).unwrap();
        let text = r#"{"mutable":{"mode":"no"},"extensions":{
            "app":{"path":"/run/extensions/app.raw","verityHash":"a3af"},
            "dir":{"path":"/var/lib/extensions/dir","onMountId":2147484000,"inode":12,"crtime":0,"mtime":3}}}"#;
        let write = |text: &str| fs::write(dir.path().join("usr/.systemd-sysext/origin"), text).unwrap();
        write(text);
        let found = notes(&root, Class::Sysext, "");
        let note = |path: &str, hash: Option<&str>| Note { path: path.into(), root_hash: hash.map(Into::into) };
        assert_eq!(found[&Text::new("app")], note("/run/extensions/app.raw", Some("a3af")));
        assert_eq!(found[&Text::new("dir")], note("/var/lib/extensions/dir", None));
        for junk in ["", "null", "[]", r#"{"extensions":{"app":{}}}"#, r#"{"extensions":[1]}"#] {
            write(junk);
            assert_eq!(notes(&root, Class::Sysext, ""), BTreeMap::new(), "{junk}");
        }
    }

    #[test]
    fn what_is_found_before_a_staged_one_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        assert_eq!(hiding(&root, Class::Sysext).unwrap(), BTreeMap::new());
        let place = dir.path().join("etc/extensions");
        for name in ["a/usr", "b.raw", "c.sysext.raw", "d.v", "e.raw.v"] {
            fs::create_dir_all(place.join(name)).unwrap();
        }
        fs::write(place.join("f.raw"), "").unwrap();
        // None of these is an extension to systemd.
        symlink("/dev/null", place.join("g.raw")).unwrap();
        symlink("/nowhere", place.join("h")).unwrap();
        fs::write(place.join("i"), "").unwrap();
        let hidden = hiding(&root, Class::Sysext).unwrap();
        assert!(hidden.keys().map(Text::as_str).eq(["a", "b", "c", "d", "e", "f"]), "{hidden:?}");
        let masks = hidden.iter().filter(|(_, hidden)| hidden.is_mask).map(|(name, _)| name.as_str());
        assert!(masks.eq(["b", "c"]), "{hidden:?}");
        assert!(hidden[&Text::new("a")].is_directory && !hidden[&Text::new("f")].is_directory);
        // systemd looks there after /run/confexts, or not at all.
        assert_eq!(hiding(&root, Class::Confext).unwrap(), BTreeMap::new());
        let directories = plain_directories(&root, Class::Sysext);
        assert_eq!(directories[&Text::new("a")], "/etc/extensions/a");
        assert!(!directories.contains_key(&Text::new("f")));
    }
}
