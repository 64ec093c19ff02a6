#![allow(clippy::unwrap_used)]
use super::*;
use crate::kernel::{Devices, FileIdentity, Target};
use crate::root::Root;
use std::fs;
use std::path::Path;

const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const C: &str = "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc";

/// A machine by what its kernel shows: files behind loop devices, and root hashes of the verity devices over them.
struct Kernel(Vec<(&'static str, Option<&'static str>)>);

impl Kernel {
    fn number(name: &str) -> Option<usize> {
        name.strip_prefix("loop")?.strip_suffix("p1-verity")?.parse().ok()
    }

    fn attached(&self) -> Attached {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: String, text: &str| {
            let path: &Path = &dir.path().join("sys/block").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{text}\n")).unwrap();
        };
        for (number, (file, root_hash)) in self.0.iter().enumerate() {
            write(format!("loop{number}/loop/backing_file"), file);
            if root_hash.is_some() {
                write(format!("dm-{number}/dm/name"), &format!("loop{number}p1-verity"));
                write(format!("dm-{number}/slaves/loop{number}p1/dev"), "259:0");
            }
        }
        Attached::read(&Root::open(dir.path()).unwrap(), self)
    }
}

impl Devices for Kernel {
    fn has_tables(&self) -> bool {
        true
    }

    fn table(&self, name: &str) -> Option<Vec<Target>> {
        let (_, root_hash) = self.0.get(Self::number(name)?)?;
        let parameters = format!("1 259:0 259:1 4096 4096 33 0 sha256 {} -", (*root_hash)?);
        Some(vec![Target { kind: "verity".to_owned(), parameters }])
    }

    fn backing(&self, _: &str) -> Option<FileIdentity> {
        None
    }
}

/// Two staged extensions, `a` and `b`, and an image `c` of the host's.
struct Scene {
    attached: Attached,
    notes: BTreeMap<Text, Note>,
    hidden: BTreeMap<Text, Hidden>,
    directories: BTreeMap<Text, String>,
}

impl Scene {
    fn new(attached: Attached) -> Self {
        Self { attached, notes: BTreeMap::new(), hidden: BTreeMap::new(), directories: BTreeMap::new() }
    }

    fn of(devices: &[(&'static str, Option<&'static str>)]) -> Self {
        Self::new(Kernel(devices.to_vec()).attached())
    }

    fn one(&self, name: &str) -> (Origin, Option<String>, Option<String>) {
        let [a, b, c] = ["a", "b", "c"].map(Text::new);
        let hashes = [A, B, C].map(Text::new);
        let [of_a, of_b, of_c] = &hashes;
        let known = |name, root_hash| Known { name, root_hash: Some(root_hash) };
        let evidence = Evidence {
            class: Class::Sysext,
            staged: vec![known(&a, of_a), known(&b, of_b)],
            host: vec![known(&c, of_c)],
            elsewhere: Vec::new(),
            attached: &self.attached,
            notes: &self.notes,
            hidden: &self.hidden,
            directories: &self.directories,
        };
        let found = evidence.identify(&BTreeSet::from([Text::new(name)])).remove(0);
        (found.origin, found.root_hash.map(|it| it.to_string()), found.file.map(|it| it.to_string()))
    }
}

fn told(origin: Origin, root_hash: Option<&str>, file: Option<&str>) -> (Origin, Option<String>, Option<String>) {
    (origin, root_hash.map(str::to_owned), file.map(str::to_owned))
}

#[test]
fn staged_is_what_has_the_root_hash_whatever_its_file_is_called() {
    let scene = Scene::of(&[("/", Some(A)), ("/var/lib/extensions/c.raw", Some(C)), ("/elsewhere/x.raw", Some(B))]);
    assert_eq!(scene.one("a"), told(Origin::Staged, Some(A), None));
    assert_eq!(scene.one("b"), told(Origin::Staged, Some(B), Some("/elsewhere/x.raw")));
    assert_eq!(scene.one("c"), told(Origin::Host, Some(C), Some("/var/lib/extensions/c.raw")));
}

#[test]
fn a_name_without_the_root_hash_is_a_stranger() {
    const OTHER: &str = "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd";
    // Its own device goes on, opened by another program: the one with the name of another file is the one that was merged.
    let scene = Scene::of(&[("/", Some(A)), ("/usr/local/a.sysext.raw", Some(OTHER))]);
    assert_eq!(scene.one("a"), told(Origin::Other, Some(OTHER), Some("/usr/local/a.sysext.raw")));
    // A file that was mounted over the staged one has no name.
    let scene = Scene::of(&[("/", Some(OTHER))]);
    assert_eq!(scene.one("a"), told(Origin::Other, Some(OTHER), None));
    // Two of them can't be told apart, and one without verity has no root hash.
    let scene = Scene::of(&[("/", Some(OTHER)), ("/", Some(OTHER))]);
    assert_eq!(scene.one("a"), told(Origin::Other, None, None));
    let scene = Scene::of(&[("/etc/extensions/a.raw", None)]);
    assert_eq!(scene.one("a"), told(Origin::Other, None, Some("/etc/extensions/a.raw")));
    let scene = Scene::of(&[]);
    assert_eq!(scene.one("a"), told(Origin::Other, None, None));
    // What other services have mounted is none of an extension's.
    let scene = Scene::of(&[("/", Some(A)), ("/srv/service.raw", Some(OTHER))]);
    assert_eq!(scene.one("a"), told(Origin::Staged, Some(A), None));
}

#[test]
fn what_systemd_noted_says_which_it_is() {
    let note = |path: &str, root_hash: Option<&str>| Note { path: path.into(), root_hash: root_hash.map(Text::new) };
    let mut scene = Scene::of(&[("/", Some(A)), ("/", Some(B))]);
    scene.notes.insert("a".into(), note("/run/extensions/a.raw", Some(A)));
    assert_eq!(scene.one("a"), told(Origin::Staged, Some(A), Some("/run/extensions/a.raw")));
    // The root hash of another staged one.
    scene.notes.insert("a".into(), note("/etc/extensions/a.raw", Some(B)));
    assert_eq!(scene.one("a"), told(Origin::Other, Some(B), Some("/etc/extensions/a.raw")));
    // What the kernel doesn't have can't have been merged.
    scene.notes.insert("c".into(), note("/var/lib/extensions/c.raw", Some(C)));
    assert_eq!(scene.one("c").0, Origin::Other);
    scene.notes.insert("a".into(), note("/etc/extensions/a.raw", None));
    assert_eq!(scene.one("a").0, Origin::Other);
    scene.notes.insert("d".into(), note("/var/lib/extensions/d", None));
    scene.directories.insert("d".into(), "/var/lib/extensions/d".to_owned());
    assert_eq!(scene.one("d"), told(Origin::Directory, None, Some("/var/lib/extensions/d")));
}

#[test]
fn directories_are_told_apart_and_hide_what_is_staged() {
    let mut scene = Scene::of(&[("/", Some(A))]);
    scene.directories.insert("d".into(), "/var/lib/extensions/d".to_owned());
    assert_eq!(scene.one("d"), told(Origin::Directory, None, Some("/var/lib/extensions/d")));
    let path = "/etc/extensions/a".to_owned();
    scene.hidden.insert("a".into(), Hidden { path, is_directory: true, is_mask: false });
    assert_eq!(scene.one("a"), told(Origin::Directory, None, Some("/etc/extensions/a")));
    let path = "/etc/extensions/a.raw".to_owned();
    scene.hidden.insert("a".into(), Hidden { path, is_directory: false, is_mask: false });
    assert_eq!(scene.one("a").0, Origin::Other);
}

/// In a tree, or without the privilege to ask.
#[test]
fn where_root_hashes_cannot_be_told_names_have_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open(dir.path()).unwrap();
    let scene = || Scene::new(Attached::read(&root, &crate::kernel::NoDevices));
    assert_eq!(scene().one("a"), told(Origin::Staged, None, None));
    assert_eq!(scene().one("c"), told(Origin::Host, None, None));
    assert_eq!(scene().one("x"), told(Origin::Other, None, None));
    let path = dir.path().join("sys/block/loop0/loop");
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join("backing_file"), "/elsewhere/a.raw\n").unwrap();
    assert_eq!(scene().one("a"), told(Origin::Other, None, Some("/elsewhere/a.raw")));
    // A file of the host's own is where it should be.
    fs::write(path.join("backing_file"), "/var/lib/extensions/c.raw\n").unwrap();
    assert_eq!(scene().one("c"), told(Origin::Host, None, None));
}
