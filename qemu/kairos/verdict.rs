//! What has to hold after boots of Kairos machines, judged from what the witness found.

use super::marks::Mark;
use super::sets::Image;
use crate::verdict::{no_leftovers, policy};
use crate::witness::Findings;
use serde_json::Value;
use sextant::measure::{Event, EventLog, MatchedState, Member, PLACES, compare, pcr_13};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// Where systemd-stub leaves what was on the ESP.
pub const SYSEXT: &str = "/.extra/sysext";
pub const CONFEXT: &str = "/.extra/confext";
/// Where immucore puts its links.
pub const LINKED: &str = "/run/extensions";

/// A row of the report: directory, file, and the reason if it was rejected.
pub type Row<'a> = (&'a str, &'a str, Option<&'a str>);

/// These are merged and nothing else is: by name, by root hash, and from the bytes that were verified. Each comes with the
/// end of the path at which it was verified.
pub fn merged(findings: &Findings, images: &[(&Image, &str)]) {
    let names = |confext: bool| -> Vec<String> {
        let of_class = images.iter().filter(|(image, _)| image.is_confext() == confext);
        of_class.map(|(image, _)| image.name().to_owned()).collect::<BTreeSet<_>>().into_iter().collect()
    };
    assert_eq!(findings.merged("sysext"), names(false), "systemd-sysext status");
    assert_eq!(findings.merged("confext"), names(true), "systemd-confext status");
    let expected: BTreeSet<_> = images.iter().map(|(image, _)| image.root_hash.clone()).collect();
    assert_eq!(root_hashes(findings), expected, "root hashes of the device-mapper table");
    mounted(findings, images);
    if let Some(report) = findings.report() {
        confirmed(&report, images);
    }
}

/// The report says the same: each is what was staged, by its root hash and its file.
fn confirmed(report: &Value, images: &[(&Image, &str)]) {
    let fields = ["class", "name", "origin", "root_hash", "file"];
    let rows = report["merge"]["extensions"].as_array().unwrap_or_else(|| panic!("{}", report["merge"]));
    let found: BTreeSet<_> = rows.iter().map(|row| fields.map(|field| text(row, field).to_owned())).collect();
    let row = |(image, _): &(&Image, &str)| {
        let (class, place) = if image.is_confext() { ("confext", "confexts") } else { ("sysext", "extensions") };
        let file = format!("/run/{place}/{}.raw", image.name());
        [class, image.name(), "staged", &image.root_hash, &file].map(str::to_owned)
    };
    assert_eq!(found, images.iter().map(row).collect(), "merge.extensions");
    // What else is there was left out on purpose.
    let rows = report["merge"]["not_merged"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["meant"] == true), "merge.not_merged: {rows:?}");
}

/// These come from the bytes that were verified, read-only.
pub fn mounted(findings: &Findings, images: &[(&Image, &str)]) {
    for (image, origin) in images {
        let (name, class) = (image.name(), if image.is_confext() { "confexts" } else { "extensions" });
        let path =
            if image.is_confext() { format!("etc/{name}/hello.conf") } else { format!("usr/share/{name}/hello.txt") };
        assert_eq!(findings.text(&format!("merged/{path}")), format!("hello from {name}\n"), "{path}");
        let point = format!("/run/{class}/{name}.raw");
        let found = mount(findings, &point);
        let (root, options) = found.unwrap_or_else(|| panic!("nothing is mounted at {point}"));
        assert!(root.ends_with(origin), "{name} is merged from {root}, not from {origin}");
        assert!(options.split(',').any(|option| option == "ro"), "{name}: {options}");
    }
}

/// TPM and event log hold what is predicted for these files beside the UKI, by the agent too.
pub fn measured(findings: &Findings, images: &[&Image]) {
    let members: Vec<_> =
        images.iter().map(|image| Member { name: &image.file, content: image.bytes.as_ref() }).collect();
    let beside = PLACES.iter().filter(|place| place.global.is_none());
    let events: Vec<_> = beside.filter_map(|place| Event::of(place, &members).unwrap()).collect();
    let predicted = serde_json::to_value(pcr_13(&events).unwrap()).unwrap();
    assert_eq!(findings.text("pcr13").trim().to_lowercase(), predicted["sha256"].as_str().unwrap(), "PCR 13");
    let log = EventLog::parse(&fs::read(findings.directory.join("events")).unwrap()).unwrap();
    let expected: Vec<_> = events.iter().map(Event::expected).collect();
    let compared = compare(&expected, &log);
    assert_eq!(compared.len(), events.len(), "{compared:?}");
    assert!(compared.iter().all(|event| event.state == MatchedState::AsPredicted), "{compared:?}");
    let report = findings.report().unwrap();
    let measurement = &report["measurement"];
    assert_eq!(measurement["state"], "as-predicted", "{measurement:#}");
    for field in ["predicted", "logged", "tpm"] {
        assert_eq!(measurement[field]["sha256"], predicted["sha256"], "{field}: {measurement:#}");
    }
}

/// Some of these are merged, and nothing else is: by root hash and by name.
pub fn only_good(findings: &Findings, images: &[&Image]) {
    let (names, allowed) = (findings.merged("sysext"), |name: &String| images.iter().any(|it| it.name() == name));
    assert!(names.iter().all(allowed), "{names:?}");
    let hashes = root_hashes(findings);
    let allowed = |hash: &String| images.iter().any(|image| image.root_hash == *hash);
    assert!(hashes.iter().all(allowed), "{hashes:?}");
    policy(findings);
}

/// Root hashes of all verity devices.
pub fn root_hashes(findings: &Findings) -> BTreeSet<String> {
    let text = findings.printed("verity");
    // NAME: START LENGTH verity VERSION DATA HASH BLOCK BLOCK BLOCKS START ALGORITHM ROOT-HASH SALT …
    // (kernel Documentation/admin-guide/device-mapper/verity.rst)
    let lines = text.lines().filter(|line| line.contains(" verity "));
    lines.filter_map(|line| line.split_whitespace().nth(12).map(str::to_owned)).collect()
}

/// What is mounted there: its path in its file system, and the options.
pub fn mount(findings: &Findings, point: &str) -> Option<(String, String)> {
    let text = findings.printed("mountinfo");
    // ID PARENT MAJOR:MINOR ROOT POINT OPTIONS … (proc_pid_mountinfo(5))
    let lines = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mounted = lines.rev().find(|fields| fields.get(4) == Some(&point));
    mounted.map(|fields| (fields[3].to_owned(), fields[5].to_owned()))
}

/// The agent's account is this: rows of the report, one line each in the log, and `confirm`'s comparison.
pub fn told(findings: &Findings, rows: &[Row<'_>], merged: &[&str]) {
    let report = findings.report().unwrap_or_else(|| panic!("there is no report"));
    let found: Vec<Row<'_>> = report["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (text(row, "directory"), text(row, "file"), row["reason"].as_str()))
        .collect();
    assert_eq!(sorted(&found), sorted(rows), "rows of the report");

    // journald doesn't run yet: the agent tells the kernel's log, without fields.
    let said = findings.said();
    let lines = said.iter().filter(|entry| entry["_TRANSPORT"] == "kernel");
    let mut ends: BTreeMap<String, i32> = BTreeMap::new();
    for line in lines.map(|entry| text(entry, "MESSAGE")) {
        for file in files(rows) {
            if line.contains(&format!(" {file}")) && (line.ends_with(']')) {
                *ends.entry(format!("{file} {}", &line[line.rfind('[').unwrap()..])).or_default() += 1;
            }
        }
    }
    let mut expected: BTreeMap<String, i32> = BTreeMap::new();
    for (_, file, reason) in rows {
        let end = reason.map_or_else(|| "[staged]".to_owned(), |reason| format!("[rejected: {reason}]"));
        *expected.entry(format!("{file} {end}")).or_default() += 1;
    }
    assert_eq!(ends, expected, "lines of the log: {said:?}");

    let merge = &report["merge"];
    assert_eq!(merge["requested"], true, "{merge}");
    assert_eq!(merge["confirmed"], true, "{merge}");
    let names: BTreeSet<_> = merge["merged"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(names, merged.iter().copied().collect(), "merge.merged");
    for list in ["missing", "unexpected"] {
        assert_eq!(merge[list], Value::Array(Vec::new()), "merge.{list}");
    }
    assert_eq!(findings.printed("failed"), "", "failed units");
    for unit in ["systemd-sysext", "systemd-confext", "sextant-confirm"] {
        assert_eq!(findings.property(&format!("{unit}.service"), "Result"), "success", "{unit}");
        // Where there is nothing to merge, systemd's own condition doesn't hold.
        let class = unit.strip_prefix("systemd-");
        let state = if class.is_some_and(|class| findings.merged(class).is_empty()) { "inactive" } else { "active" };
        assert_eq!(findings.property(&format!("{unit}.service"), "ActiveState"), state, "{unit}");
    }
    policy(findings);
    no_leftovers(findings, merged.len());
    let staged: BTreeSet<_> = findings.lines("staging").into_iter().collect();
    assert_eq!(staged, merged.iter().map(|name| format!("{name}.raw")).collect(), "what systemd looks at");
    no_copies(findings);
}

/// No image is in memory but those that are staged from there.
pub fn no_copies(findings: &Findings) {
    let images = Mark::read(findings, "host").images;
    let needless: Vec<_> = images.keys().filter(|path| !is_staged_from(findings, path)).collect();
    assert!(needless.is_empty(), "images in memory that nothing is staged from: {needless:?}");
}

fn is_staged_from(findings: &Findings, path: &str) -> bool {
    let text = findings.printed("mountinfo");
    let mut mounts = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    mounts.any(|fields| fields[4].starts_with("/run/") && (fields[3] == path || fields[4] == path))
}

/// Files on the disks that hold extensions: these, by path and content, and no others.
pub fn stored(findings: &Findings, images: &[(String, &Image)]) {
    let found: BTreeMap<_, _> = findings
        .lines("stored")
        .into_iter()
        .filter_map(|line| line.split_once("  ").map(|(digest, path)| (path.to_owned(), digest.to_owned())))
        .collect();
    let digest = |image: &Image| crate::variables::hex(&openssl::sha::sha256(&image.bytes));
    let expected = images.iter().map(|(path, image)| (path.clone(), digest(image))).collect();
    assert_eq!(found, expected, "what lies on the disks");
}

/// The links of immucore's store that lie in this directory of it, by name.
pub fn links(findings: &Findings, directory: &str) -> BTreeSet<String> {
    let start = format!("{directory}/");
    let lines = findings.lines("links");
    lines.iter().filter_map(|line| Some(line.strip_prefix(&start)?.split_once(" -> ")?.0.to_owned())).collect()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}"))
}

fn files<'a>(rows: &[Row<'a>]) -> BTreeSet<&'a str> {
    rows.iter().map(|(_, file, _)| *file).collect()
}

fn sorted<'a>(rows: &[Row<'a>]) -> Vec<Row<'a>> {
    let mut rows = rows.to_vec();
    rows.sort_unstable();
    rows
}
