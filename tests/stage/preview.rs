//! `sextant-agent adopt --dry-run`: the same verdicts, and nothing changed.

use super::adopt::{corrupt, enable, link};
use super::{confext, report, run, vendor};
use ddi::PartitionKind;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use support::ddi::{good, good_image, with_tree};
use support::keys;
use support::machine::{Machine, Outcome};
use support::trees::Tree;

/// Everything below a directory: what it is, its size, and when it was changed.
fn listing(directory: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let metadata = path.symlink_metadata().unwrap();
        let (inode, size) = (metadata.ino(), metadata.size());
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        found.insert(path.clone(), format!("{inode} {size} {changed:?} {:?}", metadata.file_type()));
        if metadata.is_dir() {
            found.extend(listing(&path));
        }
    }
    found
}

/// A dry run, which leaves everything as it is.
fn preview(machine: &Machine) -> Value {
    let before = listing(machine.root());
    let output = machine.agent("adopt").arg("--dry-run").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(listing(machine.root()), before, "something was changed");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// File, reason and, for a good one, its root hash.
fn rows(images: &Value) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut rows: Vec<_> = images
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (text(&row["file"]), text(&row["reason"]), text(&row["root_hash"])))
        .collect();
    rows.sort();
    rows
}

fn offered(preview: &Value) -> Vec<&str> {
    preview["offered"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect()
}

#[test]
fn a_dry_run_gives_the_verdicts_and_changes_nothing() {
    let config = "limits:\n  images: 5\nsources:\n- directory: /data\n";
    let machine = Machine::trusting(&[vendor()]).config(config).sysext("esp.sysext.raw", &good_image("esp", vendor()));
    machine.stage();
    assert_eq!(run(&machine, "merge").status, Some(0));
    assert_eq!(offered(&preview(&machine)), ["esp"]);
    let machine = machine
        .file("data/source.sysext.raw", &good_image("source", vendor()))
        .file("data/bad-source.sysext.raw", &corrupt(&good_image("bad-source", vendor())))
        .file("run/extensions/file.sysext.raw", &good_image("file", vendor()))
        .file("var/lib/extensions/mine.raw", &good_image("mine", vendor()))
        .file("var/lib/confexts/settings.confext.raw", &confext("settings"));
    enable(&machine, "disk.sysext.raw", &good_image("disk", vendor()));
    enable(&machine, "evil.sysext.raw", &good_image("evil", keys::rsa("Mallory")));
    enable(&machine, "twin.sysext.raw", &good_image("twin", vendor()));
    enable(&machine, "many.sysext.raw", &good_image("many", vendor()));
    link(&machine, "twin.raw", "/var/lib/kairos/extensions/twin.sysext.raw");
    link(&machine, "nowhere.raw", "/var/lib/nowhere.raw");
    fs::create_dir_all(machine.path("run/extensions/tree/usr")).unwrap();
    fs::create_dir_all(machine.path("var/lib/extensions/directory/usr")).unwrap();
    let seen = preview(&machine);
    let before = rows(&report(&machine)["images"]);
    let outcome = run(&machine, "adopt");
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    let after: Vec<_> = rows(&outcome.report["images"]).into_iter().filter(|row| !before.contains(row)).collect();
    assert_eq!(rows(&seen["images"]), after, "what adopt has to say is what the dry run said");
    assert!(after.iter().any(|row| row.1 == "too-many"), "{after:?}");
    let mut expected = machine.staged_names();
    expected.extend(["directory", "mine", "settings"].map(str::to_owned));
    expected.sort();
    let mut found = offered(&seen);
    found.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(seen["blocking"], serde_json::json!([]));
    // Once more there is nothing new.
    let again = preview(&machine);
    assert_eq!((offered(&again), &again["withdrawn"]), (offered(&seen), &serde_json::json!([])));
}

#[test]
fn a_dry_run_tells_what_would_be_taken_back() {
    let machine = Machine::trusting(&[vendor()]).sysext("esp.sysext.raw", &good_image("esp", vendor()));
    machine.stage();
    for name in ["gone", "newer", "worse"] {
        enable(&machine, &format!("{name}.sysext.raw"), &good_image(name, vendor()));
    }
    assert_eq!(run(&machine, "adopt").status, Some(0));
    let store = machine.path("var/lib/kairos/extensions");
    fs::remove_file(store.join("gone.sysext.raw")).unwrap();
    let newer = with_tree("newer", &Tree::sysext("newer").file("usr/bin/newer", b"newer"), vendor());
    fs::write(store.join("newer.sysext.raw"), newer.render().bytes).unwrap();
    fs::write(store.join("worse.sysext.raw"), b"junk").unwrap();
    fs::remove_file(machine.path("run/extensions/esp.raw")).unwrap();
    let seen = preview(&machine);
    let taken: Vec<_> = seen["withdrawn"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(taken, ["esp", "gone", "newer", "worse"]);
    assert_eq!(seen["withdrawn"][0]["cause"], "it is gone");
    assert_eq!(offered(&seen), ["newer"]);
    assert_eq!(seen["offered"][0]["root_hash"], newer.root_hash.to_string());
    let reasons: Vec<_> = rows(&seen["images"]).into_iter().map(|(file, reason, _)| (file, reason)).collect();
    let row = |file: &str, reason: &str| (file.to_owned(), reason.to_owned());
    assert_eq!(reasons, [row("newer.sysext.raw", ""), row("worse.sysext.raw", "bad-gpt")]);
    assert_eq!(run(&machine, "adopt").status, Some(0));
    assert_eq!(machine.staged_names(), ["newer"]);
}

#[test]
fn a_dry_run_names_what_keeps_systemd_from_merging_anything() {
    let place = |machine: Machine| {
        let unsigned = good("old", vendor()).remove(PartitionKind::RootVeritySig).render().bytes;
        let machine = machine.file("var/lib/extensions/old.raw", &unsigned);
        let machine = machine.sysext("esp.sysext.raw", &good_image("esp", vendor()));
        machine.stage();
        machine
    };
    let machine = place(Machine::trusting(&[vendor()]));
    let seen = preview(&machine);
    assert_eq!(seen["blocking"], serde_json::json!(["/var/lib/extensions/old.raw"]));
    assert_eq!(seen["images"][0]["reason"], "no-signature");
    let machine = place(Machine::trusting(&[vendor()]).config("merge:\n  quarantine: true\n"));
    let seen = preview(&machine);
    assert_eq!(seen["blocking"], serde_json::json!([]));
    assert!(seen["images"][0]["warnings"][0].as_str().unwrap().contains("it would be renamed"), "{seen:#}");
    // An administrator masks a staged one like this (systemd-sysext(8)).
    fs::create_dir_all(machine.path("etc/extensions/esp")).unwrap();
    assert_eq!(offered(&preview(&machine)), Vec::<&str>::new());
}

#[test]
fn a_dry_run_needs_a_boot_in_which_something_was_decided() {
    let machine = Machine::trusting(&[vendor()]);
    enable(&machine, "app.sysext.raw", &good_image("app", vendor()));
    let before = listing(machine.root());
    let output = machine.agent("adopt").arg("--dry-run").output().unwrap();
    let outcome = Outcome {
        status: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        report: Value::Null,
    };
    assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(1), ""));
    assert!(outcome.stderr.contains("nothing was verified in this boot"), "{}", outcome.stderr);
    assert_eq!(listing(machine.root()), before);
}
