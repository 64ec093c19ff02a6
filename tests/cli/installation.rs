//! `sextant install`, `list`, `enable`, `disable`, `remove` on a directory that looks like an EFI system partition.

use crate::{Desk, Said, vendor};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use support::ddi::{good_image, with_tree};
use support::keys;
use support::trees::Tree;

/// Three entries, a good image and one by a stranger.
pub(super) fn desk() -> Desk {
    let entries = ["active", "passive", "recovery"].iter().fold(Desk::new(), |desk, entry| {
        desk.file(format!("esp/EFI/kairos/{entry}.efi"), b"")
            .file(format!("esp/loader/entries/{entry}.conf"), format!("efi /EFI/kairos/{entry}.efi\n").as_bytes())
    });
    entries.image("k3s").file("bad.sysext.raw", &good_image("bad", keys::ec("Stranger")))
}

pub(super) fn extra(entry: &str, file: &str) -> String {
    format!("esp/EFI/kairos/{entry}.efi.extra.d/{file}")
}

pub(super) fn install(desk: &Desk, arguments: &[&str]) -> Said {
    desk.run(&[&["install", "--esp", "esp", "--certificate", "vendor.crt"], arguments].concat())
}

/// All files of the partition, with their identity, so that a file that was written anew is another one.
pub(super) fn files(desk: &Desk) -> BTreeMap<String, (u64, i64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut directories = vec![desk.path().join("esp")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let (path, metadata) = (entry.path(), entry.metadata().unwrap());
            if metadata.is_dir() {
                directories.push(path);
            } else {
                let identity = (metadata.ino(), metadata.ctime_nsec(), fs::read(&path).unwrap());
                found.insert(path.strip_prefix(desk.path()).unwrap().display().to_string(), identity);
            }
        }
    }
    found
}

fn actions(said: &Said) -> Vec<String> {
    let json = said.json();
    let rows = json["files"].as_array().unwrap().iter();
    let word = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    rows.map(|row| format!("{} {} {}", word(row, "entry"), word(row, "file"), word(row, "action"))).collect()
}

#[test]
fn a_good_image_is_installed_for_each_entry_and_only_once() {
    let desk = desk();
    let both = ["k3s.sysext.raw", "--entry", "active", "--entry", "passive", "--json"];
    let dry = install(&desk, &[&both[..], &["--dry-run"]].concat());
    let done = ["active k3s.sysext.raw installed", "passive k3s.sysext.raw installed"];
    assert_eq!((dry.status, actions(&dry)), (Some(0), done.map(str::to_owned).to_vec()), "{dry:?}");
    assert!(!files(&desk).contains_key(&extra("active", "k3s.sysext.raw")), "a dry run writes nothing");

    let said = install(&desk, &both);
    assert_eq!((said.status, actions(&said)), (Some(0), done.map(str::to_owned).to_vec()), "{said:?}");
    let before = files(&desk);
    let image = fs::read(desk.path().join("k3s.sysext.raw")).unwrap();
    for entry in ["active", "passive"] {
        assert_eq!(before[&extra(entry, "k3s.sysext.raw")].2, image);
    }
    let again = install(&desk, &both);
    let unchanged = ["active k3s.sysext.raw unchanged", "passive k3s.sysext.raw unchanged"];
    assert_eq!((again.status, actions(&again)), (Some(0), unchanged.map(str::to_owned).to_vec()));
    assert_eq!(files(&desk), before);
}

#[test]
fn what_a_boot_would_refuse_is_not_installed_unless_forced() {
    let desk = desk();
    let before = files(&desk);
    let said = install(&desk, &["k3s.sysext.raw", "bad.sysext.raw", "--entry", "active"]);
    assert_eq!(said.status, Some(1), "{said:?}");
    assert!(said.stdout.contains("unknown-signer") && said.stderr.contains("would reject 1 of 2"), "{said:?}");
    assert_eq!(files(&desk), before, "not even the good one");
    let said = install(&desk, &["bad.sysext.raw", "--entry", "active", "--force"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(said.stderr.contains("a boot will reject 1 of 1"), "{said:?}");
    assert!(files(&desk).contains_key(&extra("active", "bad.sysext.raw")));
}

#[test]
fn no_force_gets_extensions_into_a_denied_entry_but_the_configuration_does() {
    let desk = desk().file("open.yaml", b"entries:\n  deny: [autoreset]\n");
    for more in [&[][..], &["--force"]] {
        let said = install(&desk, &[&["k3s.sysext.raw", "--entry", "active", "--entry", "recovery"], more].concat());
        said.complains(1, &["recovery", "entry-denied", "entries.deny"]);
    }
    assert!(!files(&desk).contains_key(&extra("active", "k3s.sysext.raw")), "neither is the other entry touched");
    // The name of the UKI denies too, whatever the entry is called.
    let desk = desk.file("esp/loader/entries/work.conf", b"efi /EFI/kairos/recovery.efi\n");
    install(&desk, &["k3s.sysext.raw", "--entry", "work"]).complains(1, &["entry-denied"]);
    let said = install(&desk, &["k3s.sysext.raw", "--entry", "recovery", "--config", "open.yaml"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    install(&desk, &["k3s.sysext.raw", "--entry", "autoreset", "--config", "open.yaml"]).complains(1, &["autoreset"]);
}

#[test]
fn an_entry_that_is_not_there_is_named_with_those_that_are() {
    let desk = desk();
    install(&desk, &["k3s.sysext.raw", "--entry", "activ"]).complains(1, &["\"activ\"", "active, passive, recovery"]);
    let said = desk.run(&["install", "--esp", "efivars", "k3s.sysext.raw", "--entry", "active"]);
    said.complains(1, &["opening the EFI system partition efivars"]);
    fs::create_dir(desk.path().join("empty")).unwrap();
    let said = desk.run(&["list", "--esp", "empty"]);
    said.complains(1, &["no directory EFI"]);
    assert_eq!(install(&desk, &["k3s.sysext.raw"]).status, Some(2));
}

#[test]
fn a_medium_is_installed_from_as_a_whole_and_an_empty_one_is_no_mistake() {
    let desk = desk();
    let desk = desk
        .file("medium/a.sysext.raw", &good_image("a", vendor()))
        .file("medium/b_1.2.sysext.raw", &good_image("b", vendor()))
        .file("medium/rootfs.squashfs", b"")
        .file("empty/notes", b"");
    let said = install(&desk, &["medium", "--entry", "active", "--json"]);
    let expected = ["active a.sysext.raw installed", "active b_1.2.sysext.raw installed"];
    assert_eq!((said.status, actions(&said)), (Some(0), expected.map(str::to_owned).to_vec()), "{said:?}");
    let said = install(&desk, &["empty", "--entry", "active"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(said.stderr.contains("no extensions in empty"), "{said:?}");
}

#[test]
fn names_that_the_stub_never_sees_or_fat_cannot_tell_apart_are_refused() {
    let desk =
        desk().file("mü.sysext.raw", &good_image("mü", vendor())).file("K3s.sysext.raw", &good_image("K3s", vendor()));
    install(&desk, &["mü.sysext.raw", "--entry", "active"]).complains(1, &["'ü'", "systemd-stub"]);
    assert_eq!(install(&desk, &["k3s.sysext.raw", "--entry", "active"]).status, Some(0));
    install(&desk, &["K3s.sysext.raw", "--entry", "active"]).complains(1, &["k3s.sysext.raw", "only in case"]);
    install(&desk, &["k3s.sysext.raw", "K3s.sysext.raw", "--entry", "passive"]).complains(1, &["the same name"]);
}

#[test]
fn without_room_for_all_nothing_is_written_and_what_is_there_stays() {
    let desk = desk();
    let tree = Tree::sysext("large").file("usr/share/large/noise", &support::trees::noise(2 << 20));
    let desk = desk.file("large.sysext.raw", &with_tree("large", &tree, vendor()).render().bytes);
    // A file system of its own, in a mount namespace of its own; 1.1 MiB of k3s fit, the 3.1 MiB of large don't.
    let script = "
        mkdir small && mount -t tmpfs -o size=4m tmpfs small && cp -r esp/EFI esp/loader small/ &&
        \"$0\" install --esp small --certificate vendor.crt k3s.sysext.raw --entry active >first 2>&1 &&
        md5sum $(find small -type f) | sort >before
        \"$0\" install --esp small --certificate vendor.crt k3s.sysext.raw large.sysext.raw --entry active --entry passive >second 2>&1
        echo $? >status
        md5sum $(find small -type f) | sort >after";
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_tool-under-test")]);
    let output = command.current_dir(desk.path()).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let read = |file: &str| fs::read_to_string(desk.path().join(file)).unwrap();
    let second = read("second");
    assert_eq!(read("status"), "1\n", "{} {second}", read("first"));
    assert!(second.contains("nothing installed: ") && second.contains("needed on"), "{second}");
    assert_eq!(read("before"), read("after"));
    assert!(read("after").contains("k3s.sysext.raw"));
}

#[test]
fn what_an_interrupted_run_left_is_cleaned_up_unless_that_could_do_harm() {
    let desk = desk()
        .file(extra("active", ".#k3s.sysext.raw.tmp"), b"half")
        .file(extra("active", ".#other.sysext.raw.tmp"), b"half");
    let said = install(&desk, &["k3s.sysext.raw", "--entry", "active"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    let names: Vec<_> = files(&desk).into_keys().filter(|path| path.contains("extra.d")).collect();
    assert_eq!(names, [extra("active", "k3s.sysext.raw")]);

    // The same content under both names: on FAT that may be the same clusters.
    let image = fs::read(desk.path().join("k3s.sysext.raw")).unwrap();
    let desk = desk.file(extra("active", ".#k3s.sysext.raw.tmp"), &image);
    let said = install(&desk, &["k3s.sysext.raw", "--entry", "active"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(said.stdout.contains("not changed") && said.stdout.contains("fsck.vfat"), "{said:?}");
    let before = files(&desk);
    let remove = desk.run(&["remove", "k3s", "--entry", "active", "--esp", "esp"]);
    remove.complains(1, &["removing k3s for active", "fsck.vfat"]);
    let newer = with_tree("k3s", &Tree::sysext("k3s").file("usr/new", b"new"), vendor());
    let desk = desk.file("k3s.sysext.raw", &newer.render().bytes);
    install(&desk, &["k3s.sysext.raw", "--entry", "active"]).complains(1, &["fsck.vfat"]);
    assert_eq!(files(&desk), before);
}

#[test]
fn another_content_of_the_same_name_replaces_and_a_disabled_one_is_enabled() {
    let desk = desk();
    let run = |arguments: &[&str]| {
        let said = desk.run(&[arguments, &["--esp", "esp", "--json"]].concat());
        assert_eq!(said.status, Some(0), "{said:?}");
        actions(&said)
    };
    let entry = ["--entry", "active"];
    let install_json = || actions(&install(&desk, &["k3s.sysext.raw", "--entry", "active", "--json"]));
    assert_eq!(install_json(), ["active k3s.sysext.raw installed"]);
    assert_eq!(run(&[&["disable", "k3s"][..], &entry].concat()), ["active k3s.sysext.raw disabled"]);
    assert_eq!(run(&[&["disable", "k3s"][..], &entry].concat()), ["active k3s.sysext.raw unchanged"]);
    assert!(files(&desk).contains_key(&extra("active", "k3s.sysext.raw.disabled")));
    assert_eq!(install_json(), ["active k3s.sysext.raw enabled"]);
    run(&[&["disable", "k3s"][..], &entry].concat());
    let newer = with_tree("k3s", &Tree::sysext("k3s").file("usr/new", b"new"), vendor()).render().bytes;
    fs::write(desk.path().join("k3s.sysext.raw"), &newer).unwrap();
    assert_eq!(install_json(), ["active k3s.sysext.raw installed"]);
    let names: Vec<_> = files(&desk).into_keys().filter(|path| path.contains("extra.d")).collect();
    assert_eq!(names, [extra("active", "k3s.sysext.raw")], "the disabled one is gone");
    // That it goes is said before it does, and is no nothing.
    fs::write(desk.path().join(extra("active", "k3s.sysext.raw.disabled")), b"older").unwrap();
    let dry = install(&desk, &["k3s.sysext.raw", "--entry", "active", "--dry-run"]);
    assert!(
        dry.stdout.contains("k3s.sysext.raw.disabled  removed") && dry.stdout.contains("1 of 1 files would change"),
        "{dry:?}"
    );
    let json = install(&desk, &["k3s.sysext.raw", "--entry", "active", "--json"]).json();
    assert_eq!(
        (&json["files"][0]["action"], &json["files"][0]["removes"]),
        (&"unchanged".into(), &"k3s.sysext.raw.disabled".into())
    );
    assert!(!files(&desk).contains_key(&extra("active", "k3s.sysext.raw.disabled")));
    fs::write(desk.path().join("k3s.sysext.raw"), good_image("k3s", vendor())).unwrap();
    assert_eq!(install_json(), ["active k3s.sysext.raw replaced"]);
    assert_eq!(run(&["remove", "k3s.sysext.raw", "--all"]), ["active k3s.sysext.raw removed"]);
    assert!(!files(&desk).keys().any(|path| path.contains("extra.d")));
}

#[test]
fn only_whole_names_count_and_nothing_is_done_by_halves() {
    let desk = desk()
        .file("k3s_1.30.sysext.raw", &good_image("k3s", vendor()))
        .file("k3s_1.31.sysext.raw", &good_image("k3s", vendor()));
    let said = install(&desk, &["k3s_1.30.sysext.raw", "k3s_1.31.sysext.raw", "--entry", "active"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    let before = files(&desk);
    let run = |arguments: &[&str]| desk.run(&[arguments, &["--esp", "esp"]].concat());
    run(&["remove", "k3s", "--entry", "active"]).complains(1, &["no such extension", "k3s_1.30, k3s_1.31"]);
    run(&["remove", "k3s_1.*", "--all"]).complains(1, &["no such extension in any boot entry"]);
    run(&["remove", "k3s_1.30", "k3s_1.29", "--entry", "active"]).complains(1, &["k3s_1.29"]);
    run(&["disable", "k3s_1.30", "--entry", "passive"]).complains(1, &["no such extension"]);
    assert_eq!(run(&["remove", "k3s_1.30"]).status, Some(2), "neither --entry nor --all");
    assert_eq!(files(&desk), before);
    assert_eq!(run(&["remove", "k3s_1.30", "--entry", "active"]).status, Some(0));
    let names: Vec<_> = files(&desk).into_keys().filter(|path| path.contains("extra.d")).collect();
    assert_eq!(names, [extra("active", "k3s_1.31.sysext.raw")]);

    // One name, two kinds.
    let desk = desk.file(extra("active", "k3s_1.31.confext.raw"), b"");
    let said = desk.run(&["remove", "k3s_1.31", "--entry", "active", "--esp", "esp"]);
    said.complains(1, &["k3s_1.31.confext.raw", "k3s_1.31.sysext.raw", "ambiguous"]);
}

#[test]
fn an_extension_is_not_enabled_for_an_entry_that_may_have_none() {
    let desk = desk().file(extra("recovery", "k3s.sysext.raw.disabled"), b"");
    let said = desk.run(&["enable", "k3s", "--entry", "recovery", "--esp", "esp"]);
    said.complains(1, &["enabling k3s for recovery", "entry-denied"]);
    assert_eq!(desk.run(&["remove", "k3s", "--entry", "recovery", "--esp", "esp"]).status, Some(0));
}

#[test]
fn whoever_changes_the_partition_waits_for_whoever_does_already() {
    let desk = desk();
    // What another one has begun, and still has in its hands.
    let other = extra("active", ".#k3s.sysext.raw.tmp");
    let desk = desk.file(&other, b"half of it");
    let held = fs::File::open(desk.path().join("esp")).unwrap();
    held.lock().unwrap();
    let mut command = desk.command(&["install", "--esp", "esp", "--certificate", "vendor.crt", "k3s.sysext.raw"]);
    let mut waiting = command.args(["--entry", "active"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(waiting.stderr.as_mut().unwrap()).read_line(&mut said).unwrap();
    assert!(said.contains("waiting for another sextant"), "{said}");
    assert!(waiting.try_wait().unwrap().is_none(), "it didn't wait");
    assert!(desk.path().join(&other).exists() && !files(&desk).contains_key(&extra("active", "k3s.sysext.raw")));
    drop(held);
    assert!(waiting.wait().unwrap().success());
    let found = files(&desk);
    let image = fs::read(desk.path().join("k3s.sysext.raw")).unwrap();
    assert!(found[&extra("active", "k3s.sysext.raw")].2 == image, "another content");
    assert!(!found.contains_key(&other), "what is left by then is nobody's");
}

#[test]
fn one_uki_with_two_names_is_changed_once() {
    let desk = desk()
        .file("esp/loader/entries/debug.conf", b"efi /EFI/kairos/active.efi\n")
        .file("esp/loader/entries/active+2.conf", b"efi /EFI/kairos/active.efi\n");
    let said =
        install(&desk, &["k3s.sysext.raw", "--entry", "active", "--entry", "debug", "--entry", "passive", "--json"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert_eq!(actions(&said), ["active k3s.sysext.raw installed", "passive k3s.sysext.raw installed"]);
    let said = desk.run(&["remove", "k3s", "k3s.sysext.raw", "--all", "--esp", "esp", "--json"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert_eq!(actions(&said), ["active k3s.sysext.raw removed", "passive k3s.sysext.raw removed"]);
    assert!(!files(&desk).keys().any(|path| path.contains("extra.d")));
}

#[test]
fn what_an_interrupted_run_left_for_another_entry_is_cleaned_up_too() {
    let desk = desk().file(extra("passive", ".#k3s.sysext.raw.tmp"), b"half");
    assert_eq!(install(&desk, &["k3s.sysext.raw", "--entry", "active"]).status, Some(0));
    let names: Vec<_> = files(&desk).into_keys().filter(|path| path.contains("extra.d")).collect();
    assert_eq!(names, [extra("active", "k3s.sysext.raw")]);
}

#[test]
fn what_cannot_be_looked_at_is_said_and_keeps_nothing_else_out() {
    let desk = desk().file("esp/loader/entries/large.conf", &vec![b' '; (64 << 10) + 1]);
    let line = "/loader/entries/large.conf is left out: more than 65536 bytes";
    let said = install(&desk, &["k3s.sysext.raw", "--entry", "active"]);
    assert_eq!((said.status, said.stderr.matches(line).count()), (Some(0), 1), "{said:?}");
    install(&desk, &["k3s.sysext.raw", "--entry", "large"]).complains(1, &[line, "no boot entry \"large\""]);
    let said = desk.run(&["remove", "k3s", "--all", "--esp", "esp"]);
    assert_eq!((said.status, said.stderr.matches(line).count()), (Some(0), 1), "{said:?}");

    for number in 0..4097 {
        fs::create_dir_all(desk.path().join(extra("passive", ""))).unwrap();
        fs::write(desk.path().join(extra("passive", &format!("{number}.txt"))), "").unwrap();
    }
    let cause = "/EFI/kairos/passive.efi.extra.d: 4097 files; the limit is 4096";
    let said = install(&desk, &["k3s.sysext.raw", "--entry", "active"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(said.stdout.contains(&format!("not changed: {cause}")), "{said:?}");
    install(&desk, &["k3s.sysext.raw", "--entry", "passive"]).complains(1, &["passive.efi.extra.d", "4097 files"]);
    let said = desk.run(&["list", "--esp", "esp"]);
    assert_eq!(said.status, Some(1), "{said:?}");
    assert!(
        said.stdout.contains("k3s.sysext.raw") && said.stdout.contains(&format!("not listed: {cause}")),
        "{said:?}"
    );
    let json = desk.run(&["list", "--esp", "esp", "--json"]).json();
    assert_eq!(json["unreadable"], serde_json::json!([cause]));
}

#[test]
fn what_was_disabled_can_be_enabled_whatever_it_is_called() {
    let desk = desk().file(extra("active", "odd.raw"), b"no extension");
    let run = |arguments: &[&str]| desk.run(&[arguments, &["--entry", "active", "--esp", "esp"]].concat());
    assert_eq!(run(&["disable", "odd.raw"]).status, Some(0));
    assert!(run(&["list"]).stdout.contains("odd.raw"), "it is still there");
    assert_eq!(run(&["enable", "odd.raw"]).status, Some(0));
    assert!(files(&desk).contains_key(&extra("active", "odd.raw")));
}

/// systemd-stub looks beside the UKI without its boot counter (systemd/systemd#29636), whatever the counter is by then.
#[test]
fn a_boot_counter_is_no_part_of_the_directory() {
    let desk = Desk::new().image("k3s").file("esp/EFI/Linux/os_1+3.efi", b"").file("esp/EFI/kairos/old.efi", b"");
    let list = |desk: &Desk| desk.run(&["list", "--esp", "esp", "--entry", "os_1", "--json"]).json();
    assert_eq!(install(&desk, &["k3s.sysext.raw", "--entry", "os_1"]).status, Some(0));
    let installed = "esp/EFI/Linux/os_1.efi.extra.d/k3s.sysext.raw";
    assert!(desk.path().join(installed).is_file(), "{:?}", files(&desk).keys());
    let linux = desk.path().join("esp/EFI/Linux");
    let mut name = linux.join("os_1+3.efi");
    for next in ["os_1+2-1.efi", "os_1+0-3.efi", "os_1.efi"] {
        fs::rename(&name, linux.join(next)).unwrap();
        name = linux.join(next);
        assert_eq!(list(&desk)["files"][0]["file"], "k3s.sysext.raw", "{next}");
        assert_eq!(install(&desk, &["k3s.sysext.raw", "--entry", "os_1"]).status, Some(0), "{next}");
    }
    // What was put beside a counter is told.
    fs::create_dir(linux.join("os_1+3.efi.extra.d")).unwrap();
    let said = desk.run(&["list", "--esp", "esp"]);
    let line = "/EFI/Linux/os_1+3.efi.extra.d is left out: systemd-stub reads /EFI/Linux/os_1.efi.extra.d";
    assert!(said.status == Some(0) && said.stderr.contains(line), "{said:?}");
    let said = desk.run(&["remove", "k3s", "--esp", "esp", "--entry", "os_1"]);
    assert_eq!((said.status, desk.path().join(installed).exists()), (Some(0), false), "{said:?}");
}

/// What doesn't belong there is named in one line each, and the rest goes on (issues of the kind of systemd/systemd#27358:
/// directories in `.extra.d` are passed over).
#[test]
fn odd_things_on_the_partition_are_named_and_the_rest_goes_on() {
    let desk = desk().file("esp/EFI/Linux", b"a file").file("esp/EFI/kairos/passive.efi.extra.d", b"a file");
    let desk = desk.file("esp/loader/extensions", b"a file");
    for directory in ["EFI/kairos/work.efi", "EFI/kairos/active.efi.extra.d/k3s.sysext.raw"] {
        fs::create_dir_all(desk.path().join("esp").join(directory)).unwrap();
    }
    let said = desk.run(&["list", "--esp", "esp"]);
    assert_eq!(said.status, Some(1), "{said:?}");
    let lines = [
        "sextant: /EFI/Linux is left out: not a directory",
        "sextant: /EFI/kairos/work.efi is left out: not a regular file",
        "not listed: /EFI/kairos/passive.efi.extra.d: Not a directory",
        "not listed: /loader/extensions: Not a directory",
        "/EFI/kairos/active.efi.extra.d/k3s.sysext.raw is not a regular file: no boot loads it",
    ];
    let all = format!("{}{}", said.stderr, said.stdout);
    for line in lines {
        assert_eq!(all.lines().filter(|found| found.starts_with(line)).count(), 1, "{line}: {said:?}");
    }
    for name in ["k3s", "k3s.sysext.raw"] {
        let said = desk.run(&["remove", name, "--esp", "esp", "--entry", "active"]);
        said.complains(
            1,
            &["removing ", "active.efi.extra.d has of this name is not a regular file, and no boot takes it"],
        );
    }
    let said = desk.run(&["measure", "--esp", "esp", "--entry", "passive"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    for line in ["/EFI/kairos/passive.efi.extra.d", "/loader/extensions"] {
        let line = format!("sextant: {line} is not a directory: no boot takes anything from it");
        assert!(said.stderr.lines().any(|found| found == line), "{line}: {said:?}");
    }
    let said = install(&desk, &["k3s.sysext.raw", "--entry", "active"]);
    assert_eq!(said.status, Some(1), "{said:?}");
    assert!(said.stderr.contains("active.efi.extra.d/k3s.sysext.raw exists and is not a regular file"), "{said:?}");
    fs::remove_dir(desk.path().join("esp").join("EFI/kairos/active.efi.extra.d/k3s.sysext.raw")).unwrap();
    assert_eq!(install(&desk, &["k3s.sysext.raw", "--entry", "active"]).status, Some(0));
    let said = install(&desk, &["k3s.sysext.raw", "--entry", "passive"]);
    assert!(said.status == Some(1) && said.stderr.contains("passive.efi.extra.d: Not a directory"), "{said:?}");
    let said = install(&desk, &["k3s.sysext.raw", "--global"]);
    assert!(said.status == Some(1) && said.stderr.contains("/loader/extensions: Not a directory"), "{said:?}");
    assert_eq!(desk.run(&["remove", "k3s", "--esp", "esp", "--entry", "active"]).status, Some(0));
}

#[test]
fn extensions_for_all_boot_entries_are_known() {
    let desk = desk().image("other");
    assert_eq!(install(&desk, &["k3s.sysext.raw", "--global"]).status, Some(0));
    assert_eq!(install(&desk, &["other.sysext.raw", "--entry", "active"]).status, Some(0));
    let json = desk.run(&["list", "--esp", "esp", "--json"]).json();
    let rows: Vec<_> = json["files"].as_array().unwrap().iter().map(|row| (&row["entry"], &row["file"])).collect();
    let text = Value::from;
    assert_eq!(rows, [(&text("active"), &text("other.sysext.raw")), (&text("all"), &text("k3s.sysext.raw"))]);
    let plan = ["plan", "--certificate", "vendor.crt", "esp/EFI/kairos/active.efi.extra.d"];
    let said = desk.run(&plan);
    assert!(
        said.stderr.contains("systemd-stub 258 and later also loads the extensions in ") && said.status == Some(0),
        "{said:?}"
    );
    // A directory isn't taken, whatever its name is.
    fs::create_dir(desk.path().join("esp/loader/extensions/odd.sysext.raw")).unwrap();
    assert!(desk.run(&plan).stderr.contains("/loader/extensions (1) for all boot entries"));
    fs::remove_dir(desk.path().join("esp/loader/extensions/odd.sysext.raw")).unwrap();
    let said = desk.run(&[&plan[..], &["esp/loader/extensions"]].concat());
    assert!(said.stdout.contains("k3s") && said.stdout.contains("other"), "{said:?}");
    assert_eq!(desk.run(&["remove", "k3s", "--esp", "esp", "--global"]).status, Some(0));
    assert_eq!(desk.run(&["list", "--esp", "esp", "--json"]).json()["files"].as_array().unwrap().len(), 1);
    assert_eq!(desk.run(&plan).stderr, "");
    let said = desk.run(&["list", "--esp", "esp", "--global", "--store", "esp"]);
    assert_eq!(said.status, Some(2), "{said:?}");
}
