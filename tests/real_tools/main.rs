//! Sextant against the real tools, both ways: what `systemd-repart` writes gets the right verdict, what sextant
//! writes is good to all others, and what libblkid or systemd could misunderstand is not accepted.
//!
//! All of it needs what `tests/toolbox/prepare` makes.
#![allow(clippy::unwrap_used)]

mod polyglots;
mod repart;
#[path = "../support/mod.rs"]
mod support;
mod verdicts;
mod written;

use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::process::Command;

/// Runs `sextant verify --json`; exit status and rows by file name.
fn verify<I: AsRef<OsStr>>(arguments: impl IntoIterator<Item = I>) -> (Option<i32>, BTreeMap<String, Value>) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_sextant")).args(["verify", "--json"]).args(arguments).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {stderr}"));
    let rows = report["images"].as_array().unwrap().iter().map(|row| {
        let file = row["file"].as_str().unwrap();
        (file.rsplit('/').next().unwrap().to_owned(), row.clone())
    });
    (output.status.code(), rows.collect())
}

/// The token of a row; empty where the file is good.
fn reason(row: &Value) -> &str {
    row["reason"].as_str().unwrap_or_default()
}
