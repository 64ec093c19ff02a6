//! `sextant measure`. That the values are those of a TPM is shown by boots (`qemu/kairos/`).

use crate::{Desk, Said};
use serde_json::Value;
use std::fs;
use support::uki::with_stub;

const BESIDE: &str = "esp/EFI/kairos/active.efi.extra.d";

fn desk(version: &str) -> Desk {
    Desk::new().file("esp/EFI/kairos/active.efi", &with_stub(version))
}

fn measure(desk: &Desk, more: &[&str]) -> Value {
    let said = desk.run(&[&["measure", "--esp", "esp", "--entry", "active", "--json"], more].concat());
    assert_eq!((said.status, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    let document: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(document["entries"].as_array().unwrap().len(), 1);
    document["entries"][0].clone()
}

fn files(row: &Value) -> Vec<(String, Vec<String>)> {
    let names = |event: &Value| {
        let names = event["files"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned());
        (event["directory"].as_str().unwrap().to_owned(), names.collect())
    };
    row["events"].as_array().unwrap().iter().map(names).collect()
}

#[test]
fn without_extensions_nothing_is_measured() {
    let row = measure(&desk("257.13"), &[]);
    assert_eq!(row["pcr13"]["sha256"], "0".repeat(64));
    assert_eq!(row["pcr13"]["sha384"], "0".repeat(96));
    assert_eq!((row["stub"].as_str(), files(&row)), (Some("257.13"), vec![]));
}

#[test]
fn what_the_stub_takes_is_measured_in_its_order() {
    let desk = desk("257.13");
    let beside = [
        "b.sysext.raw",
        "B.raw",
        "a.SYSEXT.RAW",
        "c.ConfExt.Raw",
        "d.raw.disabled",
        ".hidden.sysext.raw",
        "ü.sysext.raw",
        "readme.txt",
    ];
    let desk = beside.iter().fold(desk, |desk, name| desk.file(format!("{BESIDE}/{name}"), name.as_bytes()));
    fs::create_dir(desk.path().join(BESIDE).join("directory.raw")).unwrap();
    // A stub of 257 doesn't know it.
    let desk = desk.file("esp/loader/extensions/global.sysext.raw", b"global");
    let row = measure(&desk, &[]);
    let sysext =
        (".extra/sysext".to_owned(), vec!["B.raw".to_owned(), "a.SYSEXT.RAW".to_owned(), "b.sysext.raw".to_owned()]);
    let confext = (".extra/confext".to_owned(), vec!["c.ConfExt.Raw".to_owned()]);
    assert_eq!(files(&row), [sysext, confext]);
    assert_eq!((&row["events"][0]["pcr"], &row["events"][1]["pcr"]), (&13.into(), &12.into()));
}

#[test]
fn extensions_of_all_entries_come_after_those_beside_the_uki() {
    let fill = |version: &str| {
        let desk = desk(version).file("esp/loader/extensions/global.sysext.raw", b"global");
        desk.file(format!("{BESIDE}/own.sysext.raw"), b"own")
    };
    let (old, new) = (measure(&fill("257.13"), &[]), measure(&fill("262-1"), &[]));
    assert_eq!(files(&old).len(), 1);
    let directories: Vec<_> = files(&new).into_iter().map(|(directory, _)| directory).collect();
    assert_eq!(directories, [".extra/sysext", ".extra/global_sysext"]);
    assert_ne!(old["pcr13"], new["pcr13"]);
    assert_eq!(old["events"][0], new["events"][0]);
}

#[test]
fn an_update_can_be_predicted_before_it_is_made() {
    let before = desk("257.13").file(format!("{BESIDE}/k3s_1.sysext.raw"), b"one").file("k3s_2.sysext.raw", b"two");
    let after = desk("257.13").file(format!("{BESIDE}/k3s_2.sysext.raw"), b"two");
    let predicted = measure(&before, &["--add", "k3s_2.sysext.raw", "--remove", "k3s_1.sysext.raw"]);
    assert_eq!(predicted["pcr13"], measure(&after, &[])["pcr13"]);
    // The same name, in another case, is the same file on FAT.
    let replaced = before.file("K3S_1.sysext.raw", b"three");
    assert_eq!(files(&measure(&replaced, &["--add", "K3S_1.sysext.raw"]))[0].1, ["K3S_1.sysext.raw"]);
    let said = replaced.run(&["measure", "--esp", "esp", "--entry", "active", "--remove", "other.raw"]);
    assert_eq!(said.status, Some(1));
    assert!(said.stderr.contains("no file other.raw in /EFI/kairos/active.efi.extra.d"), "{}", said.stderr);
    // Files alone give the same value as a partition.
    let said = replaced.run(&["measure", "--json", "k3s_2.sysext.raw"]);
    let document: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(document["entries"][0]["pcr13"], measure(&after, &[])["pcr13"]);
}

#[test]
fn the_tpm_is_compared_bank_by_bank() {
    let desk = desk("257.13").file(format!("{BESIDE}/k3s.sysext.raw"), b"k3s");
    let row = measure(&desk, &[]);
    let value = row["pcr13"]["sha256"].as_str().unwrap().to_uppercase();
    let check = |desk: &Desk| -> Said {
        desk.run(&["measure", "--esp", "esp", "--entry", "active", "--check", "--tpm", "tpm"])
    };
    let equal = desk.file("tpm/pcr-sha256/13", format!("{value}\n").as_bytes());
    let said = check(&equal);
    assert_eq!((said.status, said.stderr.as_str()), (Some(0), ""));
    assert!(said.stdout.contains("  TPM, sha256: as predicted\n"), "{}", said.stdout);
    assert!(said.stdout.lines().all(|line| line.chars().count() <= 80), "{}", said.stdout);
    let other = equal.file("tpm/pcr-sha256/13", "0".repeat(64).as_bytes());
    let said = check(&other);
    assert_eq!(said.status, Some(1));
    assert!(said.stdout.contains("  TPM, sha256: differs\n"), "{}", said.stdout);
    let said = check(&other.file("tpm/pcr-sha256/13", b"\x1b[2J"));
    assert_eq!(said.status, Some(1));
    assert!(said.stderr.ends_with("tpm/pcr-sha256/13 is not a PCR value\n"), "{}", said.stderr);
}

#[test]
fn the_file_that_makes_the_difference_is_named() {
    // Each is a set as it was when the machine booted.
    let one = || desk("262.1").file(format!("{BESIDE}/a.sysext.raw"), b"a");
    let value = |desk: &Desk| measure(desk, &[])["pcr13"]["sha256"].as_str().unwrap().to_owned();
    let zero = "0".repeat(64);
    let both = value(&one().file(format!("{BESIDE}/b.sysext.raw"), b"b"));
    let (only_a, content) = (value(&one()), value(&desk("262.1").file(format!("{BESIDE}/a.sysext.raw"), b"other")));
    let old = value(&desk("262.1").file(format!("{BESIDE}/k3s_1.sysext.raw"), b"1"));

    let is_now = |desk: Desk, measured: &str, expected: &str| {
        let desk = desk.file("tpm/pcr-sha256/13", measured.as_bytes());
        let said = desk.run(&["measure", "--esp", "esp", "--entry", "active", "--check", "--tpm", "tpm"]);
        assert_eq!(said.status, Some(1), "{expected}");
        assert!(said.stdout.contains(expected), "{expected}: {}", said.stdout);
    };
    let with_b = || one().file(format!("{BESIDE}/b.sysext.raw"), b"b");
    is_now(with_b(), &only_a, "When this machine booted, b.sysext.raw was not measured.");
    is_now(with_b(), &zero, "When this machine booted, no extension was measured at all.");
    let disabled = || one().file(format!("{BESIDE}/b.sysext.raw.disabled"), b"b");
    is_now(disabled(), &both, "booted, b.sysext.raw, which is disabled now, was measured too.");
    let updated = desk("262.1").file(format!("{BESIDE}/k3s_1.sysext.raw.disabled"), b"1");
    let updated = updated.file(format!("{BESIDE}/k3s_2.sysext.raw"), b"2");
    is_now(updated, &old, "k3s_1.sysext.raw, which is disabled now, was measured, and k3s_2.sysext.raw was not.");
    let global = || one().file("esp/loader/extensions/g.sysext.raw", b"g");
    let global_too = global().file("esp/loader/extensions/h.sysext.raw", b"h");
    is_now(global(), &only_a, "/loader/extensions were not measured.");
    is_now(global_too, &value(&global()), "booted, h.sysext.raw was not measured.");
    is_now(one(), &content, "Not one file alone makes the difference: several do, or the content of one.");
    is_now(with_b(), &old, "Not one file alone makes the difference: several do, or the content of one.");
}

#[test]
fn a_partition_that_cannot_be_judged_has_no_value() {
    let unknown = Desk::new().file("esp/EFI/kairos/active.efi", b"MZ").file("esp/loader/extensions/x.sysext.raw", b"x");
    let said = unknown.run(&["measure", "--esp", "esp", "--entry", "active"]);
    assert_eq!((said.status, said.stdout.as_str()), (Some(1), ""));
    assert!(
        said.stderr.contains("unknown version of systemd-stub: it may or may not read /loader/extensions"),
        "{}",
        said.stderr
    );
    let fifo = desk("257.13").file("f/x", b"");
    let path = fifo.path().join("f/fifo.sysext.raw");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let said = fifo.run(&["measure", "f/fifo.sysext.raw"]);
    assert_eq!(said.status, Some(1));
    assert!(said.stderr.contains("is not a regular file"), "{}", said.stderr);
}
