//! What confirming finds merged, and what it says of the rest.

use super::{good_machine, pretend_merged, run, vendor};
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use support::ddi::good_image;
use support::keys;
use support::machine::Machine;

/// A machine that staged one extension and opened the gate.
fn machine_with_k3s() -> Machine {
    let machine = Machine::trusting(&[vendor()]).sysext("k3s.sysext.raw", &good_image("k3s", vendor()));
    machine.stage();
    run(&machine, "merge");
    machine
}

#[test]
fn confirming_completes_the_report_and_names_every_difference() {
    let machine = good_machine().sysext("more.sysext.raw", &good_image("more", vendor()));
    machine.stage();
    run(&machine, "merge");
    pretend_merged(&machine, "usr", ".systemd-sysext/extensions", "k3s\nstranger\n");
    pretend_merged(&machine, "etc", ".systemd-confext/confexts", "net\n");
    let outcome = run(&machine, "confirm");
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    let row = |class: &str, name: &str, origin: &str| json!({"class": class, "name": name, "origin": origin, "root_hash": null, "file": null});
    let missing = json!({"class": "sysext", "name": "more", "file": "/run/extensions/more.raw", "staged": true,
        "cause": "see the journal of systemd-sysext.service", "meant": false});
    assert_eq!(
        outcome.report["merge"],
        json!({"requested": true, "confirmed": true, "merged": ["k3s", "net"], "missing": ["more"],
            "unexpected": ["stranger"], "not_merged": [missing], "required_missing": [], "extensions": [row("sysext", "k3s", "staged"),
            row("sysext", "stranger", "other"), row("confext", "net", "staged")]})
    );
    assert!(outcome.stderr.contains("more (sysext) was staged and is not merged"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("stranger (sysext) is merged and was not staged"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("2 of 3 staged extensions merged: k3s, net"), "{}", outcome.stderr);
    pretend_merged(&machine, "usr", ".systemd-sysext/extensions", "k3s\nmore\n");
    let outcome = run(&machine, "confirm");
    assert_eq!(outcome.report["merge"]["missing"], json!([]));
    assert!(!outcome.stderr.contains("not"), "{}", outcome.stderr);
}

/// What a kernel shows of an image that systemd has merged: a loop device, and a verity device over it. In a tree its name has to
/// say the root hash.
fn pretend_attached(machine: &Machine, number: u8, file: &str, root_hash: &str) {
    let write = |path: String, text: &str| {
        let path = machine.path(Path::new("sys/block").join(path));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
    };
    write(format!("loop{number}/loop/backing_file"), file);
    write(format!("dm-{number}/dm/name"), &format!("{root_hash}-verity"));
    write(format!("dm-{number}/dm/uuid"), &format!("CRYPT-VERITY-0123-{root_hash}-verity"));
    write(format!("dm-{number}/slaves/loop{number}p1/dev"), "259:0");
}

#[test]
fn what_is_merged_is_known_by_its_root_hash() {
    let machine = Machine::trusting(&[vendor()]).sysext("k3s.sysext.raw", &good_image("k3s", vendor()));
    let staged = machine.stage();
    let root_hash = staged.row("k3s.sysext.raw")["root_hash"].as_str().unwrap().to_owned();
    run(&machine, "merge");
    pretend_merged(&machine, "usr", ".systemd-sysext/extensions", "k3s\n");
    pretend_attached(&machine, 0, "/", &root_hash);
    let outcome = run(&machine, "confirm");
    let merge = &outcome.report["merge"];
    assert_eq!((&merge["merged"], &merge["missing"]), (&json!(["k3s"]), &json!([])), "{}", outcome.stderr);
    assert_eq!(merge["extensions"][0]["root_hash"], json!(root_hash));

    // Under this name, and with every other sign of it, but other bytes.
    fs::remove_dir_all(machine.path("sys/block/dm-0")).unwrap();
    let other = "5b3c1f0de6a9f8f5a0c1d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7";
    pretend_attached(&machine, 0, "/", other);
    let outcome = run(&machine, "confirm");
    let merge = &outcome.report["merge"];
    assert_eq!((&merge["merged"], &merge["missing"]), (&json!([]), &json!(["k3s"])), "{merge}");
    assert_eq!(merge["extensions"][0]["origin"], "other", "{merge}");
    for said in [
        format!("k3s (sysext) is merged and was not staged, root hash {other}"),
        format!(
            "k3s (sysext) was staged and is not merged: another image, root hash {other}, was merged under its name"
        ),
        "0 of 1 staged extensions merged".to_owned(),
    ] {
        assert!(outcome.stderr.contains(&said), "{said}: {}", outcome.stderr);
    }

    // systemd notes it as well, from 262 on.
    let note = |path: &str, root_hash: &str| {
        json!({"extensions": {"k3s": {"path": path, "verityHash": root_hash}}}).to_string()
    };
    pretend_attached(&machine, 1, "/", &root_hash);
    pretend_merged(&machine, "usr", ".systemd-sysext/origin", &note("/etc/extensions/k3s.raw", other));
    let outcome = run(&machine, "confirm");
    assert_eq!(outcome.report["merge"]["missing"], json!(["k3s"]), "{}", outcome.stderr);
    let said = format!("/etc/extensions/k3s.raw, root hash {other}, was merged under its name");
    assert!(outcome.stderr.contains(&said), "{}", outcome.stderr);
    pretend_merged(&machine, "usr", ".systemd-sysext/origin", &note("/run/extensions/k3s.raw", &root_hash));
    let outcome = run(&machine, "confirm");
    assert_eq!(outcome.report["merge"]["merged"], json!(["k3s"]), "{}", outcome.stderr);
    assert_eq!(outcome.report["merge"]["extensions"][0]["file"], "/run/extensions/k3s.raw");
}

/// What `confirm` says of "k3s", which isn't merged: the cause, and whether that is a fault.
fn cause(machine: &Machine) -> (String, bool) {
    let outcome = run(machine, "confirm");
    assert_eq!(outcome.report["merge"]["missing"], json!(["k3s"]), "{}", outcome.stderr);
    let row = &outcome.report["merge"]["not_merged"][0];
    let (cause, meant) = (row["cause"].as_str().unwrap(), row["meant"].as_bool().unwrap());
    assert!(
        outcome.stderr.contains(&format!("k3s (sysext) was staged and is not merged: {cause}")),
        "{}",
        outcome.stderr
    );
    (cause.to_owned(), !meant)
}

#[test]
fn what_an_administrator_turned_off_is_no_fault() {
    let machine = machine_with_k3s();
    assert_eq!(cause(&machine), ("see the journal of systemd-sysext.service".to_owned(), true));

    // By an empty directory; a link to /dev/null is none to systemd.
    fs::create_dir_all(machine.path("etc/extensions/k3s")).unwrap();
    let masked = "it is masked by /etc/extensions/k3s, an empty directory";
    assert_eq!(cause(&machine), (masked.to_owned(), false));
    fs::remove_dir(machine.path("etc/extensions/k3s")).unwrap();
    symlink("/dev/null", machine.path("etc/extensions/k3s.raw")).unwrap();
    assert_eq!(cause(&machine), ("see the journal of systemd-sysext.service".to_owned(), true));
    pretend_merged(&machine, "usr", ".systemd-sysext/extensions", "k3s\n");
    let outcome = run(&machine, "confirm");
    assert_eq!(outcome.report["merge"]["merged"], json!(["k3s"]), "{}", outcome.stderr);
    fs::remove_file(machine.path("usr/.systemd-sysext/extensions")).unwrap();

    // By the kernel's command line, where systemd knows that.
    let machine = machine.file("proc/cmdline", b"quiet systemd.sysext=0\n");
    assert_eq!(cause(&machine), ("see the journal of systemd-sysext.service".to_owned(), true));
    let unit = b"[Unit]\nConditionKernelCommandLine=!systemd.sysext=0\n";
    let machine = machine.file("usr/lib/systemd/system/systemd-sysext.service", unit);
    let word = "systemd.sysext=0 on the kernel command line disables merging";
    assert_eq!(cause(&machine), (word.to_owned(), false));

    // By a mask of the unit.
    fs::create_dir_all(machine.path("etc/systemd/system")).unwrap();
    symlink("/dev/null", machine.path("etc/systemd/system/systemd-sysext.service")).unwrap();
    let mask = "its unit is masked by /etc/systemd/system/systemd-sysext.service";
    assert_eq!(cause(&machine), (mask.to_owned(), false));
    fs::remove_file(machine.path("etc/systemd/system/systemd-sysext.service")).unwrap();

    // The gate is the agent's.
    let machine = machine.file("proc/cmdline", b"quiet\n");
    fs::remove_file(machine.path("run/sextant/merge")).unwrap();
    let closed = "/run/sextant/merge does not exist, so nothing is merged";
    assert_eq!(cause(&machine), (closed.to_owned(), true));
}

#[test]
fn a_systemd_that_knows_no_image_policy_is_named() {
    let machine = machine_with_k3s();
    let machine = machine.file("usr/lib/systemd/libsystemd-shared-254.so", b"");
    assert_eq!(cause(&machine), ("see the journal of systemd-sysext.service".to_owned(), true));
    fs::remove_file(machine.path("usr/lib/systemd/libsystemd-shared-254.so")).unwrap();
    let machine = machine.file("usr/lib/systemd/libsystemd-shared-252.so", b"");
    let old = "systemd 252 has no image policies, so it fails and merges nothing: 254 or newer is needed";
    assert_eq!(cause(&machine), (old.to_owned(), true));
}

#[test]
fn a_staged_file_that_is_gone_is_named() {
    let machine = machine_with_k3s();
    fs::remove_file(machine.path("run/extensions/k3s.raw")).unwrap();
    assert_eq!(
        cause(&machine),
        ("/run/extensions/k3s.raw does not exist any more, as after a soft reboot".to_owned(), true)
    );
}

#[test]
fn what_is_there_and_not_merged_is_named_and_so_is_the_image_for_whose_sake() {
    let foreign = keys::rsa("Unknown");
    let machine = Machine::trusting(&[vendor()])
        .sysext("k3s.sysext.raw", &good_image("k3s", vendor()))
        .file("var/lib/extensions/bad.raw", &good_image("bad", foreign))
        .file("var/lib/extensions/mine.raw", &good_image("mine", vendor()));
    machine.stage();
    run(&machine, "adopt");
    run(&machine, "merge");
    let outcome = run(&machine, "confirm");
    let rows = outcome.report["merge"]["not_merged"].as_array().unwrap();
    let told: Vec<_> =
        rows.iter().map(|row| (row["file"].as_str().unwrap(), row["staged"].as_bool().unwrap())).collect();
    let expected = [
        ("/run/extensions/k3s.raw", true),
        ("/var/lib/extensions/bad.raw", false),
        ("/var/lib/extensions/mine.raw", false),
    ];
    assert_eq!(told, expected, "{}", outcome.stderr);
    let refused = "systemd refused all extensions because of /var/lib/extensions/bad.raw";
    assert_eq!((&rows[0]["cause"], &rows[2]["cause"]), (&json!(refused), &json!(refused)));
    for said in [
        "systemd merged no extension (sysext) because of /var/lib/extensions/bad.raw: signer ",
        "(unknown-signer). Remove it, ",
        "mine (sysext) in /var/lib/extensions/mine.raw is not merged: systemd refused all",
    ] {
        assert!(outcome.stderr.contains(said), "{said}: {}", outcome.stderr);
    }
    // This file comes after the merge, so it has no verdict.
    let machine = machine.file("run/extensions/late.raw", b"junk");
    let outcome = run(&machine, "confirm");
    let rows = outcome.report["merge"]["not_merged"].as_array().unwrap();
    assert!(rows.iter().any(|row| row["file"] == "/run/extensions/late.raw"), "{rows:?}");

    // Where the others are merged, nothing was refused.
    pretend_merged(&machine, "usr", ".systemd-sysext/extensions", "k3s\nmine\n");
    let outcome = run(&machine, "confirm");
    assert!(!outcome.stderr.contains("because of"), "{}", outcome.stderr);
    assert_eq!(outcome.report["merge"]["extensions"][1]["origin"], "host", "{}", outcome.stderr);
}

#[test]
fn directories_that_are_merged_are_told_as_what_they_are() {
    let machine = good_machine();
    machine.stage();
    run(&machine, "merge");
    let machine =
        machine.file("var/lib/extensions/plain/usr/share/x", b"x").file("etc/extensions/k3s/usr/share/y", b"y");
    pretend_merged(&machine, "usr", ".systemd-sysext/extensions", "k3s\nplain\n");
    pretend_merged(&machine, "etc", ".systemd-confext/confexts", "net\n");
    let outcome = run(&machine, "confirm");
    for said in [
        "plain (sysext) is merged from the directory /var/lib/extensions/plain, which no signature covers",
        // In the place of a staged one it is no matter of taste.
        "k3s (sysext) is merged and was not staged, from /etc/extensions/k3s",
        "the directory /etc/extensions/k3s was merged under its name, which systemd prefers",
    ] {
        assert!(outcome.stderr.contains(said), "{said}: {}", outcome.stderr);
    }
    assert_eq!(outcome.report["merge"]["unexpected"], json!(["k3s", "plain"]));
    // One that systemd passes over is told, too.
    pretend_merged(&machine, "usr", ".systemd-sysext/extensions", "k3s\n");
    let outcome = run(&machine, "confirm");
    let said = "plain (sysext) in /var/lib/extensions/plain is not merged: systemd skips a directory";
    assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
}

#[test]
fn confirming_without_a_state_is_a_failure() {
    let outcome = run(&Machine::new(), "confirm");
    assert_eq!(outcome.status, Some(1));
    assert!(outcome.stderr.contains("/run/sextant/state.json does not exist"), "{}", outcome.stderr);
}
