//! `sextant bundle`, and the report in one.

use crate::{Desk, Said};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// A tar archive, made by the system's own `tar`, of files in the desk.
fn archive(desk: &Desk, file: &str, members: &[&str]) {
    let mut tar = Command::new("tar");
    let status = tar.current_dir(desk.path()).arg("--create").args(["--file", file]).args(members).status().unwrap();
    assert!(status.success());
}

/// A desk with a `journalctl` that says what it was asked, and one line for good measure.
fn with_journal(script: &str) -> Desk {
    let desk = Desk::new().file("bin/journalctl", format!("#!/bin/sh\n{script}\n").as_bytes());
    fs::set_permissions(desk.path().join("bin/journalctl"), Permissions::from_mode(0o755)).unwrap();
    desk
}

fn bundle(desk: &Desk, arguments: &[&str]) -> Said {
    let path = format!("{}:{}", desk.path().join("bin").display(), std::env::var("PATH").unwrap());
    let mut command = desk.command(&[&["bundle"], arguments].concat());
    Said::from(command.env("PATH", path).output().unwrap())
}

/// A member of a bundle, as `tar` extracts it.
fn member(desk: &Desk, file: &str, name: &str) -> String {
    let name = format!("sextant-bundle/{name}");
    let output = Command::new("tar").current_dir(desk.path()).args(["-xOf", file, &name]).output().unwrap();
    assert!(output.status.success(), "{name}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_bundle_has_what_there_is_and_names_what_there_is_not() {
    let desk = with_journal(r#"for argument; do echo "\"$argument\""; done"#);
    let said = bundle(&desk, &["machine.tar"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    let metadata = fs::metadata(desk.path().join("machine.tar")).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
    let manifest: serde_json::Value = serde_json::from_str(&member(&desk, "machine.tar", "manifest.json")).unwrap();
    let names = |list: &str| -> Vec<String> {
        let rows = manifest[list].as_array().unwrap().iter();
        rows.map(|row| row["name"].as_str().unwrap().to_owned()).collect()
    };
    let mut all = [names("parts"), names("missing")].concat();
    all.sort();
    let expected =
        ["journal.json", "list.json", "report.json", "sextant.yaml", "trust.json", "versions.json"].map(str::to_owned);
    assert_eq!(all, expected);
    for name in names("missing") {
        assert!(said.stderr.contains(&format!("the bundle has no {name}: ")), "{said:?}");
    }
    // Only some fields of only these entries are asked for.
    let asked = member(&desk, "machine.tar", "journal.json");
    for word in
        ["--boot", "--output=json", "_SYSTEMD_UNIT=systemd-sysext.service", "+", "SYSLOG_IDENTIFIER=sextant-agent"]
    {
        assert!(asked.contains(&format!("\"{word}\"\n")), "{word}: {asked}");
    }
    assert!(!asked.contains("_CMDLINE") && !asked.contains("_HOSTNAME"), "{asked}");
    let versions = member(&desk, "machine.tar", "versions.json");
    assert!(versions.contains("\"kernel\"") && versions.contains("\"command_line\""), "{versions}");
}

#[test]
fn a_file_is_replaced_only_by_force_and_a_journal_is_cut_at_a_line() {
    let desk = with_journal("while :; do echo '{\"MESSAGE\":\"all work and no play makes Jack a dull boy\"}'; done");
    let desk = desk.file("machine.tar", b"mine");
    bundle(&desk, &["machine.tar"]).complains(1, &["machine.tar", "--force"]);
    assert_eq!(fs::read(desk.path().join("machine.tar")).unwrap(), b"mine");
    let said = bundle(&desk, &["machine.tar", "--force"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    let journal = member(&desk, "machine.tar", "journal.json");
    assert!(journal.len() <= 8 << 20 && journal.len() > 7 << 20 && journal.ends_with("boy\"}\n"), "{}", journal.len());
    assert!(member(&desk, "machine.tar", "manifest.json").contains("\"truncated\": true"));
    bundle(&desk, &["nowhere/machine.tar"]).complains(1, &["writing nowhere/machine.tar"]);
}

#[test]
fn status_reads_the_report_in_a_bundle() {
    let text = br#"{"version": 1, "trust": [], "ignored_certificates": [], "images": [], "error": "odd"}"#;
    let desk = Desk::new().file("sextant-bundle/report.json", text).file("sextant-bundle/other", b"other");
    archive(&desk, "machine.tar", &["sextant-bundle"]);
    let said = desk.run(&["status", "--report", "machine.tar"]);
    assert_eq!((said.status, said.stderr.as_str()), (Some(1), ""), "{said:?}");
    assert!(said.stdout.contains("Error: odd\n"), "{said:?}");
    archive(&desk, "other.tar", &["sextant-bundle/other"]);
    desk.run(&["status", "--report", "other.tar"]).complains(1, &["without sextant-bundle/report.json"]);
    // Nothing is extracted, wherever it wants to go.
    assert!(!desk.path().join("report.json").exists());
}
