//! Sextant against the real tools, both ways: what `systemd-repart` writes gets the right verdict, what sextant
//! writes is good to all others, and what libblkid or systemd could misunderstand is not accepted.
//!
//! All of it needs what `tests/toolbox/prepare` makes, but for the metrics, which need Prometheus' own checker.
#![allow(clippy::unwrap_used)]

mod metrics;
mod names;
mod odd;
mod policies;
mod polyglots;
mod repart;
mod verdicts;
mod written;

use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::process::{Command, ExitCode};
use support::{cases, harness};

/// Runs `sextant verify --json`; exit status and rows by file name.
fn verify<I: AsRef<OsStr>>(arguments: impl IntoIterator<Item = I>) -> (Option<i32>, BTreeMap<String, Value>) {
    let output = Command::new(env!("CARGO_BIN_EXE_tool-under-test"))
        .args(["verify", "--json"])
        .args(arguments)
        .output()
        .unwrap();
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

fn main() -> ExitCode {
    harness::run(
        "real_tools",
        cases!(
            metrics: promtool_finds_no_fault_with_them;
            names: systemd_orders_the_names_in_the_same_way;
            odd: what_systemd_trips_over_is_refused_and_nothing_else;
            policies: pcrlock_recognizes_a_boot_by_our_variants,
                the_separator_of_the_initrd_comes_after_our_component,
                the_policy_opens_for_recorded_sets_alone, a_tpm_computes_the_same_policy, secrets_open_by_our_signatures;
            polyglots: what_libblkid_would_take_for_something_else_is_refused,
                an_older_libblkid_is_not_misled_by_signed_attributes_in_another_form,
                whatever_is_accepted_is_to_libblkid_and_systemd_the_same_three_partitions;
            repart: our_writer_makes_of_reparts_input_what_repart_made_of_it,
                signatures_with_elliptic_curves_differ_in_nothing_but_the_signature;
            verdicts: the_agent_gives_every_image_its_verdict_and_stages_the_good_ones,
                a_sealed_certificate_is_what_the_vendors_image_lacks,
                sextant_verify_says_the_same_about_these_variables,
                a_certificate_or_a_directory_of_them_stands_in_for_a_firmware;
            written: what_we_write_is_good_to_every_tool;
        ),
    )
}
