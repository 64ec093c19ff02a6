//! What the agent does with a machine as a whole.
#![allow(clippy::unwrap_used)]

mod adopt;
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
use support::ddi::Blueprint;
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
