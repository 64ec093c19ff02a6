#![allow(clippy::unwrap_used)]
use super::*;
use crate::kernel::NoDevices;
use std::fs;
use std::path::Path;

const HASH: &str = "a3afdd05e8ccbc06295e5b9537320ae7ca4dfea80fc602de132789b0f6d6c7d2";
const OTHER: &str = "5b3c1f0de6a9f8f5a0c1d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7";

/// A kernel that answers what it was told to.
struct Answers(Vec<(&'static str, &'static str, String)>);

impl Devices for Answers {
    fn has_tables(&self) -> bool {
        true
    }

    fn table(&self, name: &str) -> Option<Vec<Target>> {
        let of_name = self.0.iter().filter(|(device, ..)| *device == name);
        let target = |(_, kind, parameters): &(_, &str, String)| Target {
            kind: (*kind).to_owned(),
            parameters: parameters.clone(),
        };
        Some(of_name.map(target).collect::<Vec<_>>()).filter(|table| !table.is_empty())
    }

    fn backing(&self, device: &str) -> Option<FileIdentity> {
        (device == "loop0").then_some(FileIdentity { device: 24, inode: 7 })
    }
}

fn attribute_file(dir: &Path, path: &str, text: &str) {
    let path = dir.join("sys/block").join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("{text}\n")).unwrap();
}

fn loop_device(dir: &Path, device: &str, file: &str) {
    attribute_file(dir, &format!("{device}/loop/backing_file"), file);
}

fn mapped(dir: &Path, device: &str, name: &str, uuid: &str, slaves: &[&str]) {
    attribute_file(dir, &format!("{device}/dm/name"), name);
    attribute_file(dir, &format!("{device}/dm/uuid"), uuid);
    for slave in slaves {
        attribute_file(dir, &format!("{device}/slaves/{slave}/dev"), "259:0");
    }
}

#[test]
fn what_was_merged_is_told_by_the_file_behind_the_device() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open(dir.path()).unwrap();
    let other =
        |name: &str| Attached::read(&root, &NoDevices).other_file(Class::Sysext, &name.into()).map(str::to_owned);
    assert_eq!(other("app"), None);
    loop_device(dir.path(), "loop0", "/run/extensions/app.raw (deleted)");
    loop_device(dir.path(), "loop5", "/elsewhere/app.raw");
    loop_device(dir.path(), "loop1", "/usr/local/.state/extensions/k3s.sysext.raw");
    loop_device(dir.path(), "loop2", "/var/lib/images/k3s.confext.raw");
    fs::create_dir_all(dir.path().join("sys/block/loop3")).unwrap();
    fs::create_dir_all(dir.path().join("sys/block/vda/loop")).unwrap();
    assert_eq!(other("app"), None);
    assert_eq!(other("k3s").as_deref(), Some("/usr/local/.state/extensions/k3s.sysext.raw"));
    assert_eq!(other("unheard-of"), None);
    // The staged file counts, whatever else is attached under its name.
    loop_device(dir.path(), "loop4", "/run/extensions/k3s.raw");
    assert_eq!(other("k3s"), None);
    assert!(!Attached::read(&root, &NoDevices).knows_root_hashes());
}

#[test]
fn the_root_hash_is_that_of_the_table() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open(dir.path()).unwrap();
    loop_device(dir.path(), "loop0", "/");
    loop_device(dir.path(), "loop12", "/var/lib/extensions/own.raw");
    mapped(dir.path(), "dm-0", "loop0p1-verity", "CRYPT-VERITY-0123-loop0p1-verity", &["loop0p1", "loop0p2"]);
    // A name is no evidence where the table says something else.
    mapped(dir.path(), "dm-1", &format!("{HASH}-verity"), "CRYPT-VERITY-4567-x", &["loop12p1"]);
    mapped(dir.path(), "dm-2", "vg-root", "LVM-abc", &["vda3"]);
    let table = |hash: &str| format!("1 259:0 259:1 4096 4096 33 0 sha256 {hash} 00ff 2 root_hash_sig_key_desc x");
    let kernel = Answers(vec![
        ("loop0p1-verity", "verity", table(&HASH.to_uppercase())),
        (const { "a3afdd05e8ccbc06295e5b9537320ae7ca4dfea80fc602de132789b0f6d6c7d2-verity" }, "verity", table(OTHER)),
        ("vg-root", "linear", "252:3 2048".to_owned()),
    ]);
    let attached = Attached::read(&root, &kernel);
    assert!(attached.knows_root_hashes());
    let found: Vec<_> =
        attached.verity().iter().map(|device| (device.root_hash.as_str(), attached.path(device))).collect();
    assert_eq!(found, [(HASH, Some("/")), (OTHER, Some("/var/lib/extensions/own.raw"))]);
    assert_eq!(attached.identity(&attached.verity()[0]), Some(FileIdentity { device: 24, inode: 7 }));
}

#[test]
fn without_tables_only_a_name_that_is_a_root_hash_says_it() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open(dir.path()).unwrap();
    mapped(dir.path(), "dm-0", &format!("{HASH}-verity"), "CRYPT-VERITY-01-x", &["loop0"]);
    mapped(dir.path(), "dm-1", &format!("{OTHER}-verity"), "LVM-x", &["vda"]);
    let attached = Attached::read(&root, &NoDevices);
    assert!(attached.knows_root_hashes());
    assert_eq!(attached.verity().len(), 1);
    mapped(dir.path(), "dm-2", "loop0p1-verity", "CRYPT-VERITY-02-x", &["loop0p1"]);
    assert!(!Attached::read(&root, &NoDevices).knows_root_hashes(), "one of them isn't known");
}

/// As the kernel of a Kairos machine had it, whose systemd 257 had merged the image.
#[test]
fn the_table_of_a_merged_extension_is_understood() {
    let parameters = "1 259:0 259:1 4096 4096 1 1 sha256 \
        a45dc9c3abbccf3415fc6d95d26c0b434fc196c5c79688177aca8e947b0279f5 \
        a61fd2147c23b99c8605ef75b1c6f0dbc2c813889fa3a8c6e167cc7462696b52 2 root_hash_sig_key_desc \
        cryptsetup:200dd464-6a41-44ac-bd7c-03fee6a65b0b-a45dc9c3abbccf3415fc6d95d26c0b434fc196c5c79688177aca8e947b0279f5\
        -verity";
    let table = [Target { kind: "verity".to_owned(), parameters: parameters.to_owned() }];
    assert_eq!(root_hash(&table).unwrap(), *"a45dc9c3abbccf3415fc6d95d26c0b434fc196c5c79688177aca8e947b0279f5");
}

#[test]
fn tables_of_other_kinds_have_no_root_hash() {
    let target = |kind: &str, parameters: &str| Target { kind: kind.to_owned(), parameters: parameters.to_owned() };
    let good = target("verity", &format!("1 7:1 7:2 4096 4096 33 0 sha256 {HASH} -"));
    assert_eq!(root_hash(std::slice::from_ref(&good)).unwrap(), *HASH);
    for table in [
        vec![],
        vec![good.clone(), good],
        vec![target("linear", &format!("1 7:1 7:2 4096 4096 33 0 sha256 {HASH} -"))],
        vec![target("verity", "")],
        vec![target("verity", "1 7:1 7:2 4096 4096 33 0 sha256 beef -")],
        vec![target("verity", &format!("1 7:1 7:2 4096 4096 33 0 {HASH}"))],
    ] {
        assert_eq!(root_hash(&table), None, "{table:?}");
    }
}

#[test]
fn partitions_belong_to_their_loop_device() {
    for (device, expected) in [
        ("loop0", Some("loop0")),
        ("loop12p3", Some("loop12")),
        ("loop", None),
        ("loop1p", None),
        ("loop-control", None),
        ("vda1", None),
    ] {
        assert_eq!(whole_loop(device), expected, "{device}");
    }
}
