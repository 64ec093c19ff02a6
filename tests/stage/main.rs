//! What the agent does with a machine as a whole.
#![allow(clippy::unwrap_used)]

mod adopt;
mod configuration;
mod confirm;
mod images;
mod measurement;
mod merge;
mod preview;
mod required;
mod room;
mod run;
mod trust;
mod worker;

use serde_json::Value;
use std::fs;
use std::path::Path;
use support::ddi::{Blueprint, good_image};
use support::keys::{self, Authority};
use support::machine::{Machine, Outcome};
use support::trees::Tree;

fn vendor() -> &'static Authority {
    keys::rsa("Vendor")
}

fn confext(name: &str) -> Vec<u8> {
    Blueprint::new(name, &Tree::confext(name).squashfs(), vendor()).render().bytes
}

/// Runs a verb without touching the report of the one before it.
fn run(machine: &Machine, verb: &str) -> Outcome {
    let output = machine.agent(verb).output().unwrap();
    Outcome {
        status: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        report: report(machine),
    }
}

fn report(machine: &Machine) -> Value {
    fs::read(machine.path("run/sextant/report.json"))
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default()
}

fn gate(machine: &Machine) -> bool {
    machine.path("run/sextant/merge").exists()
}

fn good_machine() -> Machine {
    Machine::trusting(&[vendor()])
        .sysext("k3s.sysext.raw", &good_image("k3s", vendor()))
        .sysext("junk.sysext.raw", b"junk")
        .confext("net.confext.raw", &confext("net"))
}

/// What systemd leaves in a hierarchy that it overlaid.
fn pretend_merged(machine: &Machine, hierarchy: &str, file: &str, names: &str) {
    let path = machine.path(Path::new(hierarchy).join(file));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, names).unwrap();
}
