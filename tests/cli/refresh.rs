//! `sextant refresh` on a tree. What systemd would do is done by a program of that name: there is no other way to see it fail. The real
//! one is refreshed in `qemu/kairos` (`kairos-run-time`).

use crate::{Said, vendor};
use ddi::PartitionKind;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use support::ddi::{Blueprint, good, good_image, with_tree};
use support::keys;
use support::machine::{Machine, SYSTEMCTL};
use support::trees::Tree;

/// A machine that has booted with one extension.
fn booted() -> Machine {
    let machine = Machine::trusting(&[vendor()]).sysext("app.sysext.raw", &good_image("app", vendor()));
    let machine = machine.file("bin/systemctl", SYSTEMCTL.as_bytes());
    fs::set_permissions(machine.path("bin/systemctl"), fs::Permissions::from_mode(0o755)).unwrap();
    machine.stage();
    assert!(machine.agent("merge").status().unwrap().success());
    assert_eq!(refresh(&machine, &[]).status, Some(0));
    fs::remove_file(machine.path("calls")).unwrap();
    machine
}

fn refresh(machine: &Machine, arguments: &[&str]) -> Said {
    let path = std::env::var("PATH").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tool-under-test"));
    command.args(["refresh", "--root"]).arg(machine.root()).args(arguments).env("TREE", machine.root());
    command.env("PATH", format!("{}:{path}", machine.path("bin").display()));
    Said::from(command.stdin(Stdio::null()).output().unwrap())
}

/// Name or file, change and reason of each row.
fn rows(said: &Said) -> Vec<String> {
    let json = said.json();
    let rows = json["extensions"].as_array().unwrap().iter();
    rows.map(|row| {
        let name = row["name"].as_str().or(row["file"].as_str()).unwrap();
        format!("{name} {} {}", row["change"].as_str().unwrap(), row["reason"].as_str().unwrap_or("-"))
    })
    .collect()
}

fn unsigned(name: &str) -> Vec<u8> {
    good(name, vendor()).remove(PartitionKind::RootVeritySig).render().bytes
}

fn newer(name: &str) -> Blueprint {
    with_tree(name, &Tree::sysext(name).file("usr/share/newer", b"newer"), vendor())
}

#[test]
fn what_changes_is_told_before_and_after_in_the_same_words() {
    let machine = booted()
        .file("run/extensions/new.sysext.raw", &good_image("new", vendor()))
        .file("run/extensions/evil.sysext.raw", &good_image("evil", keys::rsa("Mallory")));
    let expected = ["app unchanged -", "new added -", "evil refused unknown-signer"];
    let dry = refresh(&machine, &["--dry-run", "--json"]);
    assert_eq!((dry.status, rows(&dry)), (Some(1), expected.map(str::to_owned).to_vec()), "{dry:?}");
    assert_eq!((&dry.json()["dry_run"], &dry.json()["refreshed"]), (&true.into(), &serde_json::json!([])));
    assert!(!machine.path("calls").exists(), "systemd was asked for something");
    let text = refresh(&machine, &["--dry-run"]);
    for part in [
        "EXTENSION  CLASS   CHANGE     SIGNER OR REASON\n",
        "app        sysext  unchanged  CN=Vendor (db)\n",
        "evil       sysext  refused    unknown-signer\n    /run/extensions/evil.sysext.raw\n",
        "    remedy: The detail names the signer by subject, serial number and SHA-256\n    fingerprint ",
        "\ndry run, nothing was changed: 1 added, 1 unchanged, 1 refused\n",
    ] {
        assert!(text.stdout.contains(part), "{part}{}", text.stdout);
    }
    assert!(text.stdout.lines().all(|line| line.chars().count() <= 80), "{}", text.stdout);
    let real = refresh(&machine, &["--json"]);
    assert_eq!((real.status, rows(&real)), (Some(1), expected.map(str::to_owned).to_vec()), "{real:?}");
    assert_eq!(real.json()["refreshed"], serde_json::json!(["sysext"]));
    let calls = fs::read_to_string(machine.path("calls")).unwrap();
    assert_eq!(calls, "reload-or-restart systemd-sysext.service\nrestart sextant-confirm.service\n");
    // The bad one is out of the way.
    let again = refresh(&machine, &["--json"]);
    assert_eq!((again.status, rows(&again)), (Some(0), vec!["app unchanged -".into(), "new unchanged -".into()]));
}

#[test]
fn another_build_replaces_and_a_missing_file_removes() {
    let machine = booted()
        .config("")
        .file("data/app2.raw", &good_image("app2", vendor()))
        .file("data/gone.raw", &good_image("gone", vendor()));
    for name in ["app2", "gone"] {
        let link = machine.path("run/extensions").join(format!("{name}.sysext.raw"));
        std::os::unix::fs::symlink(format!("/data/{name}.raw"), link).unwrap();
    }
    assert_eq!(refresh(&machine, &[]).status, Some(0));
    let newer = newer("app2");
    let machine = machine.file("data/app2.raw", &newer.render().bytes);
    fs::remove_file(machine.path("data/gone.raw")).unwrap();
    let expected = ["app unchanged -", "app2 replaced -", "gone removed -"];
    for arguments in [&["--dry-run", "--json"][..], &["--json"]] {
        let said = refresh(&machine, arguments);
        assert_eq!((said.status, rows(&said)), (Some(0), expected.map(str::to_owned).to_vec()), "{said:?}");
        let row = &said.json()["extensions"][1];
        assert_eq!((&row["root_hash"], &row["file"]), (&newer.root_hash.to_string().into(), &"/data/app2.raw".into()));
        let cause = said.json()["extensions"][2]["detail"].as_str().unwrap().to_owned();
        assert!(cause.contains("was removed"), "{cause}");
    }
}

#[test]
fn a_refresh_that_would_fail_is_not_begun() {
    let machine = booted()
        .file("var/lib/extensions/old.raw", &unsigned("old"))
        .file("run/extensions/new.sysext.raw", &good_image("new", vendor()));
    for arguments in [&["--json"][..], &["--dry-run", "--json"]] {
        let said = refresh(&machine, arguments);
        let expected = ["app unchanged -", "new missing -", "old refused no-signature"];
        assert_eq!((said.status, rows(&said)), (Some(1), expected.map(str::to_owned).to_vec()), "{said:?}");
        assert!(said.stderr.contains("because of /var/lib/extensions/old.raw; still merged: app"), "{said:?}");
        assert_eq!(said.json()["error"].as_str().map(|error| format!("sextant: {error}\n")), Some(said.stderr.clone()));
        let warning = said.json()["extensions"][2]["warnings"][0].as_str().unwrap().to_owned();
        assert!(warning.contains("remove it from /var/lib/extensions"), "{warning}");
    }
    assert!(!machine.path("calls").exists(), "nothing was begun");
    assert!(machine.path("run/extensions/new.sysext.raw").exists(), "nothing was moved");
    // systemd has taken it before, so it will again, by whatever certificate.
    let machine = machine.file("usr/.systemd-sysext/extensions", b"app\nold\n");
    assert!(refresh(&machine, &["--dry-run"]).stderr.is_empty());
}

#[test]
fn where_systemd_fails_it_is_told_what_is_merged_still() {
    let machine = booted()
        .file("refuse", b"")
        .file("data/app2.raw", &good_image("app2", vendor()))
        .file("run/extensions/new.sysext.raw", &good_image("new", vendor()));
    let said = refresh(&machine, &["--json"]);
    assert_eq!(
        (said.status, rows(&said)),
        (Some(1), vec!["app unchanged -".into(), "new missing -".into()]),
        "{said:?}"
    );
    for part in [
        "refreshing systemd-sysext.service: systemctl reload-or-restart: Job for systemd-sysext.service failed.",
        "journalctl -b -u systemd-sysext.service",
        "; still merged: app\n",
    ] {
        assert!(said.stderr.contains(part), "{part}: {}", said.stderr);
    }
    assert!(!fs::read_to_string(machine.path("calls")).unwrap().contains("confirm"), "there is nothing to compare");
    fs::remove_file(machine.path("refuse")).unwrap();
    let said = refresh(&machine, &["--json"]);
    assert_eq!((said.status, rows(&said)), (Some(0), vec!["app unchanged -".into(), "new added -".into()]), "{said:?}");
}

#[test]
fn without_a_boot_that_sextant_decided_there_is_nothing_to_refresh() {
    let machine = Machine::trusting(&[vendor()]);
    for arguments in [&[][..], &["--dry-run"]] {
        refresh(&machine, arguments).complains(1, &["sextant-agent did not run in this boot", "state.json"]);
    }
    machine.stage();
    refresh(&machine, &[]).complains(1, &["merging is not permitted in this boot", "/run/sextant/merge"]);
    assert!(machine.agent("merge").status().unwrap().success());
    let agent = machine.path("run/sextant/sextant-agent");
    let program = |text: &str| {
        fs::remove_file(&agent).unwrap();
        fs::write(&agent, text).unwrap();
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).unwrap();
    };
    for (text, words) in [
        ("#!/bin/sh\necho unexpected argument >&2; exit 2\n", ["has another version", "unexpected argument"]),
        ("#!/bin/sh\necho '{}'\n", ["has another version", "missing field"]),
        ("#!/bin/sh\necho 'sextant-agent: no luck' >&2; exit 1\n", ["/run/sextant/sextant-agent: no luck", ""]),
    ] {
        program(text);
        refresh(&machine, &[]).complains(1, &words);
    }
    fs::remove_file(&agent).unwrap();
    refresh(&machine, &[]).complains(1, &["starting ", "run/sextant/sextant-agent"]);
}
