//! What the TPM has measured is what is predicted: by the agent, and by the tool from what is on the partition.

use crate::disk;
use crate::initrd::TOOL;
use crate::variables::hex;
use crate::witness::Findings;
use openssl::sha::sha256;
use serde_json::Value;
use sextant::measure::SEPARATOR;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// `places` are the directories in the initrd of which there is an event, in their order.
pub(super) fn as_predicted(findings: &Findings, places: &[&str]) {
    measured(findings, places, str::to_owned);
}

/// The same where systemd-pcrosseparator.service is in the initrd.
pub(super) fn as_predicted_and_separated(findings: &Findings, places: &[&str]) {
    measured(findings, places, |pcr| {
        let extended = [hex_bytes(pcr), sha256(SEPARATOR).to_vec()].concat();
        hex(&sha256(&extended))
    });
}

/// `end` makes what the TPM has of what was predicted.
fn measured(findings: &Findings, places: &[&str], end: fn(&str) -> String) {
    by_the_agent(findings, places, end);
    let desk = findings.directory.with_file_name("measured");
    disk::read_esp(&findings.directory.with_file_name("esp.img"), &desk.join("esp")).unwrap();
    let tpm = desk.join("tpm/pcr-sha256");
    fs::create_dir_all(&tpm).unwrap();
    for (pcr, file) in [("13", "pcr13"), ("12", "pcr12")] {
        fs::write(tpm.join(pcr), findings.text(file)).unwrap();
    }
    fs::copy(findings.directory.join("events"), desk.join("log")).unwrap();
    by_the_tool(&desk, places);
    if !places.is_empty() {
        a_difference_is_found(&desk);
    }
}

/// The agent's report: the TPM has the value that follows from the files in the initrd.
fn by_the_agent(findings: &Findings, places: &[&str], end: fn(&str) -> String) {
    let report = findings.report().unwrap();
    let measurement = &report["measurement"];
    assert_eq!(measurement["state"], "as-predicted", "{measurement:#}");
    assert_eq!(measurement["detail"], Value::Null, "{measurement:#}");
    let tpm = findings.text("pcr13").trim().to_lowercase();
    assert_eq!(measurement["tpm"]["sha256"], tpm.as_str());
    for field in ["predicted", "logged"] {
        assert_eq!(end(measurement[field]["sha256"].as_str().unwrap()), tpm, "{field}");
    }
    let events = measurement["events"].as_array().unwrap();
    let found: Vec<_> =
        events.iter().map(|event| event["directory"].as_str().unwrap().trim_start_matches('/')).collect();
    assert_eq!(found, places);
    assert!(events.iter().all(|event| event["predicted"] == event["logged"]), "{measurement:#}");
    let shown = findings.text("agent-status");
    assert!(shown.contains("  Measured: as predicted\n"), "{shown}");
    let metrics = findings.text("metrics");
    assert!(metrics.contains("sextant_measurement_info{state=\"as-predicted\"} 1\n"), "{metrics}");
}

fn measure(desk: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(TOOL);
    command.args(["measure", "--esp", "esp", "--entry", "active", "--check", "--tpm", "tpm", "--event-log", "log"]);
    command.args(more).current_dir(desk).output().unwrap()
}

/// The tool's account: partition, event log and TPM agree, event by event.
fn by_the_tool(desk: &Path, places: &[&str]) {
    let output = measure(desk, &["--json"]);
    assert!(output.status.success(), "{output:?}");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let log = &document["entries"][0]["event_log"];
    let events = log["events"].as_array().unwrap();
    let found: Vec<_> = events.iter().map(|event| event["directory"].as_str().unwrap()).collect();
    assert_eq!(found, places);
    assert!(events.iter().all(|event| event["state"] == "as-predicted"), "{log:#}");
    let replayed = log["replayed"].as_array().unwrap();
    assert!(replayed.len() == 2 && replayed.iter().all(|pcr| pcr["agrees_with_tpm"] == true), "{log:#}");
}

/// A file of each kind is disabled after the boot.
fn a_difference_is_found(desk: &Path) {
    let beside = desk.join("esp/EFI/kairos/active.efi.extra.d");
    for (file, directory) in [("by-kek.sysext.raw", "sysext"), ("conf.confext.raw", "confext")] {
        let (enabled, disabled) = (beside.join(file), beside.join(format!("{file}.disabled")));
        fs::rename(&enabled, &disabled).unwrap();
        let output = measure(desk, &["--json"]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        let difference = &document["entries"][0]["difference"];
        assert_eq!(*difference, format!("{file}, which is disabled now, was measured too"), "{directory}");
        fs::rename(&disabled, &enabled).unwrap();
    }
}

/// The bytes of digits.
fn hex_bytes(digits: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(byte).collect()
}
