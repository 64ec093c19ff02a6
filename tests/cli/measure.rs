//! `sextant measure`. That the values are those of a TPM is shown by boots (`qemu/kairos/`).

use crate::{Desk, Said};
use serde_json::Value;
use std::fs;
use support::event_log::{EventLog, SHA256};
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

/// All of them are system extensions to it, and it has no directory for all entries.
#[test]
fn a_stub_before_256_does_not_tell_the_classes_apart() {
    let fill = |version: &str| {
        let desk = desk(version).file("esp/loader/extensions/global.sysext.raw", b"global");
        let desk = desk.file(format!("{BESIDE}/a.sysext.raw"), b"a").file(format!("{BESIDE}/b.confext.raw"), b"b");
        desk.file(format!("{BESIDE}/c.txt"), b"c")
    };
    for version in ["254.26-1~bpo12+1", "255.4"] {
        let row = measure(&fill(version), &[]);
        let all = vec!["a.sysext.raw".to_owned(), "b.confext.raw".to_owned()];
        assert_eq!(files(&row), [(".extra/sysext".to_owned(), all)], "{version}");
        assert_eq!(row["events"][0]["pcr"], 13);
        let without = measure(&fill(version), &["--remove", "b.confext.raw"]);
        assert_ne!(row["pcr13"], without["pcr13"], "{version}");
    }
    assert_eq!(files(&measure(&fill("256"), &[])).len(), 2);
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
    const NOT_FOUND: &str = "No change of up to three known files makes the difference: more files";
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
        assert!(flat(&said).contains(expected), "{expected}: {}", said.stdout);
    };
    let with_b = || one().file(format!("{BESIDE}/b.sysext.raw"), b"b");
    is_now(with_b(), &only_a, "When the machine booted, b.sysext.raw was not measured.");
    is_now(with_b(), &zero, "When the machine booted, no extension was measured at all.");
    let disabled = || one().file(format!("{BESIDE}/b.sysext.raw.disabled"), b"b");
    is_now(disabled(), &both, "booted, b.sysext.raw, which is disabled now, was measured too.");
    let updated = desk("262.1").file(format!("{BESIDE}/k3s_1.sysext.raw.disabled"), b"1");
    let updated = updated.file(format!("{BESIDE}/k3s_2.sysext.raw"), b"2");
    is_now(updated, &old, "k3s_1.sysext.raw, which is disabled now, was measured, and k3s_2.sysext.raw was not.");
    let global = || one().file("esp/loader/extensions/g.sysext.raw", b"g");
    let global_too = global().file("esp/loader/extensions/h.sysext.raw", b"h");
    is_now(global(), &only_a, "/loader/extensions were not measured.");
    is_now(global_too, &value(&global()), "booted, h.sysext.raw was not measured.");
    is_now(one(), &content, NOT_FOUND);
    is_now(with_b(), &old, NOT_FOUND);
    // Two differences at once.
    let two = || one().file(format!("{BESIDE}/b.sysext.raw"), b"b").file(format!("{BESIDE}/c.sysext.raw"), b"c");
    is_now(two(), &only_a, "b.sysext.raw and c.sysext.raw were not measured.");
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
    let beside = Desk::new().file("esp/EFI/kairos/active.efi", b"MZ").file(format!("{BESIDE}/x.confext.raw"), b"x");
    let said = beside.run(&["measure", "--esp", "esp", "--entry", "active"]);
    let expected = "unknown version of systemd-stub: PCR 13 may or may not cover configuration extensions";
    assert_eq!((said.status, said.stdout.as_str()), (Some(1), ""));
    assert!(said.stderr.contains(expected), "{}", said.stderr);
    // systemd-boot loads and measures this one.
    let entry = |line: &str| {
        let file = format!("title x\nefi /EFI/kairos/active.efi\n{line}\n");
        desk("262.1").file("esp/loader/entries/active.conf", file.as_bytes())
    };
    let said = entry("extra /k3s.sysext.raw").run(&["measure", "--esp", "esp", "--entry", "active"]);
    assert_eq!((said.status, said.stdout.as_str()), (Some(1), ""));
    assert!(said.stderr.contains("the entry has a line \"extra /k3s.sysext.raw\": systemd-boot"), "{}", said.stderr);
    measure(&entry("extra /some.cred"), &[]);
    let fifo = desk("257.13").file("f/x", b"");
    let path = fifo.path().join("f/fifo.sysext.raw");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let said = fifo.run(&["measure", "f/fifo.sysext.raw"]);
    assert_eq!(said.status, Some(1));
    assert!(said.stderr.contains("is not a regular file"), "{}", said.stderr);
}

/// What was said, without breaks of paragraphs.
fn flat(said: &Said) -> String {
    said.stdout.replace("\n  ", " ")
}

/// A log with these events.
fn log(events: &[(u32, &str, &str)]) -> Vec<u8> {
    let bytes = |digits: &str| -> Vec<u8> {
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
    };
    let add =
        |log: EventLog, (pcr, description, digest): &(u32, &str, &str)| log.stub(*pcr, description, &bytes(digest));
    events.iter().fold(EventLog::new(&[SHA256]), add).bytes
}

/// The digest of an event in SHA-256.
fn digest(row: &Value, index: usize) -> String {
    row["events"][index]["sha256"].as_str().unwrap().to_owned()
}

const SYSEXT: &str = "System extension initrd";
const GLOBAL: &str = "Global system extension initrd";
const CONFEXT: &str = "Configuration extension initrd";

#[test]
fn the_event_log_is_compared_with_prediction_and_tpm() {
    let desk = || {
        let desk = desk("262.1").file(format!("{BESIDE}/k3s.sysext.raw"), b"k3s");
        desk.file(format!("{BESIDE}/net.confext.raw"), b"net").file("esp/loader/extensions/all.raw", b"all")
    };
    let row = measure(&desk(), &[]);
    let [sysext, global, confext] = [0, 1, 2].map(|index| digest(&row, index));
    let events =
        [(12, "quiet", confext.as_str()), (13, SYSEXT, &sysext), (13, GLOBAL, &global), (12, CONFEXT, &confext)];
    let check = |desk: &Desk, more: &[&str]| -> Said {
        let arguments = ["measure", "--esp", "esp", "--entry", "active", "--event-log", "log"];
        desk.run(&[&arguments, more].concat())
    };
    let equal = desk().file("log", &log(&events));
    let said = check(&equal, &[]);
    assert_eq!((said.status, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    for directory in ["sysext", "global_sysext", "confext"] {
        let line = format!("  Event log, /.extra/{directory}: as predicted\n");
        assert!(said.stdout.contains(&line), "{}", said.stdout);
    }
    let value = row["pcr13"]["sha256"].as_str().unwrap();
    let with_tpm = equal.file("tpm/pcr-sha256/13", value.as_bytes());
    let tpm = ["--check", "--tpm", "tpm"];
    let said = check(&with_tpm, &tpm);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(said.stdout.contains("  Event log, PCR 13: gives the TPM's value\n"), "{}", said.stdout);
    assert!(said.stdout.lines().all(|line| line.chars().count() <= 80), "{}", said.stdout);
    let said = check(&with_tpm, &["--json", "--check", "--tpm", "tpm"]);
    let document: Value = serde_json::from_str(&said.stdout).unwrap();
    let compared = &document["entries"][0]["event_log"];
    assert_eq!((&compared["file"], &compared["events"][0]["state"]), (&"log".into(), &"as-predicted".into()));
    assert_eq!(compared["replayed"][1]["sha256"], row["pcr13"]["sha256"]);
    assert_eq!(compared["replayed"][1]["agrees_with_tpm"], true);
    assert_eq!(compared["replayed"][0]["agrees_with_tpm"], Value::Null);
    // Something else was measured too, in the log and in the TPM; only in the TPM; into PCR 12 alone.
    let foreign = [&events[..], &[(13, "foreign", &sysext)]].concat();
    let said = check(&desk().file("log", &log(&foreign)), &[]);
    assert_eq!(said.status, Some(1));
    let expected = "Event log: an event \"foreign\" in PCR 13 was measured and is not predicted\n";
    assert!(flat(&said).contains(expected.trim()), "{}", said.stdout);
    let said = check(&with_tpm.file("log", &log(&foreign)), &tpm);
    assert_eq!(said.status, Some(1));
    assert!(flat(&said).contains("PCR 13: does not give the TPM's value. The log is incomplete"), "{}", said.stdout);
    let host = desk().file("log", &log(&events)).file("tpm/pcr-sha256/13", value.as_bytes());
    let said = check(&host.file("tpm/pcr-sha256/12", "1".repeat(64).as_bytes()), &tpm);
    assert_eq!(said.status, Some(0));
    assert!(flat(&said).contains("PCR 12: does not give the TPM's value. The host has"), "{}", said.stdout);
    // Each event is right, and the order is not.
    let swapped = [events[2], events[1], events[3]];
    assert_eq!(check(&desk().file("log", &log(&swapped)), &[]).status, Some(1));
}

#[test]
fn the_event_log_of_a_stub_before_256_tells_the_difference_too() {
    let now = || desk("254.26-1~bpo12+1").file(format!("{BESIDE}/k3s.sysext.raw"), b"k3s");
    let booted = now().file(format!("{BESIDE}/net.confext.raw"), b"net");
    let log = log(&[(13, SYSEXT, &digest(&measure(&booted, &[]), 0))]);
    let now = now().file("log", &log).file("net.confext.raw", b"net");
    let arguments = ["measure", "--esp", "esp", "--entry", "active", "--event-log", "log"];
    let said = now.run(&[&arguments[..], &["--json", "--candidate", "net.confext.raw"]].concat());
    let document: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(document["entries"][0]["difference"], "net.confext.raw (net.confext.raw) was measured too");
}

#[test]
fn the_event_log_tells_in_which_place_the_difference_is() {
    let now = || desk("262.1").file(format!("{BESIDE}/k3s.sysext.raw"), b"k3s");
    let booted = now().file(format!("{BESIDE}/k3s.sysext.raw"), b"old");
    let booted =
        booted.file(format!("{BESIDE}/gone.sysext.raw"), b"gone").file(format!("{BESIDE}/net.confext.raw"), b"1");
    let row = measure(&booted, &[]);
    let log = log(&[(13, SYSEXT, &digest(&row, 0)), (12, CONFEXT, &digest(&row, 1))]);
    let check = |desk: &Desk, more: &[&str]| -> Said {
        desk.run(&[&["measure", "--esp", "esp", "--entry", "active", "--event-log", "log"], more].concat())
    };
    let now = now().file("log", &log).file("store/k3s.sysext.raw", b"old").file("store/gone.sysext.raw", b"gone");
    let now = now.file("store/net.confext.raw", b"2").file("net.confext.raw", b"1").file("store/notes.txt", b"");
    let said = check(&now, &[]);
    assert_eq!(said.status, Some(1));
    for expected in [
        "  Event log: /.extra/sysext was measured with other files\n",
        "  Event log: /.extra/confext was measured and is not predicted\n",
        "  No change of up to three known files makes the difference: more files differ, or the content of one.\n",
    ] {
        assert!(flat(&said).contains(expected.trim()), "{}", said.stdout);
    }
    let said = check(&now, &["--json", "--candidate", "store", "--candidate", "net.confext.raw"]);
    let document: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(
        document["entries"][0]["difference"],
        "gone.sysext.raw (store/gone.sysext.raw) and k3s.sysext.raw (store/k3s.sysext.raw) were measured, and \
         k3s.sysext.raw was not; net.confext.raw (net.confext.raw) was measured too"
    );
    let nothing =
        desk("262.1").file(format!("{BESIDE}/net.confext.raw"), b"2").file("log", &EventLog::new(&[SHA256]).bytes);
    let said = check(&nothing, &[]);
    assert!(flat(&said).contains("When the machine booted, no file of /.extra/confext was measured."), "{said:?}");
}

#[test]
fn an_event_log_that_cannot_be_parsed_is_an_error() {
    let check = |content: &[u8]| {
        let said = desk("257.13").file("log", content).run(&[
            "measure",
            "--esp",
            "esp",
            "--entry",
            "active",
            "--event-log",
            "log",
        ]);
        assert_eq!((said.status, said.stdout.as_str()), (Some(1), ""));
        said.stderr
    };
    assert_eq!(
        check(b"\x1b[2J"),
        "sextant: parsing log: not a crypto-agile event log: no header \"Spec ID Event03\"\n"
    );
    let cut = EventLog::new(&[SHA256]).stub(13, SYSEXT, &[1; 32]).bytes;
    let stderr = check(&cut[..cut.len() - 1]);
    assert!(
        stderr.starts_with("sextant: parsing log: event at byte ") && stderr.ends_with(" is cut short\n"),
        "{stderr}"
    );
    assert!(check(&vec![0; (4 << 20) + 1]).starts_with("sextant: reading log: "));
    let said = desk("257.13").file("log", &cut).run(&["measure", "--esp", "esp", "--event-log", "log"]);
    assert_eq!(said.status, Some(1), "one entry needs no name: {said:?}");
    assert!(said.stdout.contains("/.extra/sysext was measured and is not predicted"), "{said:?}");
}

#[test]
fn a_partition_that_changes_while_it_is_read_has_no_value() {
    // The stub's directory grows by a file while another one, which is a large hole, is hashed.
    let desk = desk("257.13").file(format!("{BESIDE}/a.sysext.raw"), b"");
    let large = desk.path().join(BESIDE).join("a.sysext.raw");
    fs::File::options().write(true).open(&large).unwrap().set_len(1 << 30).unwrap();
    let run = |change: &dyn Fn()| {
        std::thread::scope(|scope| {
            let measured = scope.spawn(|| desk.run(&["measure", "--esp", "esp", "--entry", "active"]));
            // Once the tool has the file open, it has the list.
            while !is_open(&large) {
                assert!(!measured.is_finished(), "it was done before the partition changed: {:?}", measured.join());
                std::thread::yield_now();
            }
            change();
            measured.join().unwrap()
        })
    };
    let said = run(&|| fs::write(desk.path().join(BESIDE).join("b.sysext.raw"), b"b").unwrap());
    assert_eq!((said.status, said.stdout.as_str()), (Some(1), ""), "{said:?}");
    assert!(said.stderr.ends_with("the partition changed while it was read\n"), "{}", said.stderr);
    let said = run(&|| {
        let file = fs::File::options().write(true).open(&large).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"x", 0).unwrap();
    });
    assert_eq!((said.status, said.stdout.as_str()), (Some(1), ""), "{said:?}");
    assert!(said.stderr.ends_with("a.sysext.raw changed while it was read\n"), "{}", said.stderr);
}

/// Whether another process has a file open.
fn is_open(file: &std::path::Path) -> bool {
    let own = std::process::id().to_string();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let others =
        processes.filter(|it| it.file_name().to_str().is_some_and(|name| name != own && name.parse::<u32>().is_ok()));
    let descriptors = others.filter_map(|it| fs::read_dir(it.path().join("fd")).ok()).flat_map(Iterator::flatten);
    descriptors.filter_map(|it| fs::read_link(it.path()).ok()).any(|target| target == file)
}
