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

/// A desk with a `journalctl` that does this.
fn with_journal(script: &str) -> Desk {
    with_program(Desk::new(), "journalctl", script)
}

fn with_program(desk: Desk, name: &str, script: &str) -> Desk {
    let file = format!("bin/{name}");
    let desk = desk.file(&file, format!("#!/bin/sh\n{script}\n").as_bytes());
    fs::set_permissions(desk.path().join(file), Permissions::from_mode(0o755)).unwrap();
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
        ["journal.json", "list.json", "report.json", "sextant.yaml", "trust.json", "units.json", "versions.json"]
            .map(str::to_owned);
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

/// What systemd shows of a unit that it knows; it refuses anything else.
const SYSTEMCTL: &str = r#"
case "$*" in
*--property=Id,*systemd-udevd.service*)
  echo Id=systemd-udevd.service
  echo InactiveExitTimestampMonotonic=4000000
  echo ActiveEnterTimestampMonotonic=4200000 ;;
*--property=InitRDTimestampMonotonic,*)
  echo InitRDTimestampMonotonic=1000000
  echo UserspaceTimestampMonotonic=3000000 ;;
*) exit 1 ;;
esac"#;

/// What PID 1 says of that unit in the initrd and on the host, and another process of it.
const JOURNALCTL: &str = r#"
case " $* " in *" _PID=1 "*" UNIT=systemd-udevd.service "*) ;; *) exit 0 ;; esac
boot=$(tr -d - </proc/sys/kernel/random/boot_id)
said() {
  printf '{"__MONOTONIC_TIMESTAMP":"%s","_BOOT_ID":"%s","_TRANSPORT":"journal","_PID":"%s",' "$1" "$boot" "$2"
  printf '"MESSAGE_ID":"39f53479d3a045ac8e11786248231fbf","MESSAGE":"Started x.","UNIT":"systemd-udevd.service"}\n'
}
said 1700000 1; said 1800000 2; said 4200500 1"#;

const WITH_TIMES: &[u8] = br#"{"version": 1, "trust": [], "ignored_certificates": [], "images": [], "error": null,
    "runs": [{"command": "stage", "begin_usec": 2000000, "end_usec": 2100000}]}"#;

#[test]
fn the_timeline_of_another_machine_has_the_units_of_its_bundle() {
    let desk = with_program(with_journal(JOURNALCTL), "systemctl", SYSTEMCTL);
    assert_eq!(bundle(&desk, &["collected.tar"]).status, Some(0));
    let units = member(&desk, "collected.tar", "units.json");
    let desk = desk.file("sextant-bundle/report.json", WITH_TIMES).file("sextant-bundle/units.json", units.as_bytes());
    archive(&desk, "machine.tar", &["sextant-bundle"]);
    let plot = |desk: &Desk, file: &str| desk.run(&["status", "--plot", "--report", file]);
    let said = plot(&desk, "machine.tar");
    assert_eq!((said.status, said.stderr.as_str()), (Some(4), ""), "{said:?}");
    let titles = |text: &str| {
        let rows = text.lines().flat_map(|line| line.split("<title>systemd-udevd.service").skip(1));
        rows.filter_map(|row| row.split("</title>").next().map(str::to_owned)).collect::<Vec<_>>()
    };
    let rows: Vec<String> = titles(&said.stdout).into_iter().filter(|title| !title.contains(" is ")).collect();
    assert_eq!(rows, [" (initrd): at 1.70 s", ": 200 ms, at 4.00 s"], "{said:?}");

    // A list that cannot be read leaves the picture without it, and a report by itself never had one.
    let desk = desk.file("sextant-bundle/units.json", b"{\"units\": [\x1b");
    archive(&desk, "odd.tar", &["sextant-bundle"]);
    let said = plot(&desk, "odd.tar");
    assert_eq!((said.status, titles(&said.stdout).len()), (Some(4), 0), "{said:?}");
    assert!(said.stderr.contains("units are missing in the timeline: "), "{said:?}");
    assert!(said.stderr.contains("parsing sextant-bundle/units.json: "), "{said:?}");
    let said = plot(&desk, "sextant-bundle/report.json");
    assert_eq!((said.status, said.stderr.as_str(), titles(&said.stdout).len()), (Some(4), "", 0), "{said:?}");
}
