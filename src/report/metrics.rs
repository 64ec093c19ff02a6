//! A report in the text format of Prometheus, for the textfile collector of its node exporter.
//!
//! The format is version 0.0.4 (Prometheus, "Exposition formats"). Names follow "Metric and label naming": base units, and
//! times instead of what is left until then, because the file is written once in each boot.

use super::bounds::MERGE_ROWS;
use super::loss::parts;
use super::read::Fate;
use super::schema::{Merge, Report};
use super::{Health, Word};
use crate::durable;
use crate::esp::Space;
use crate::firmware::SecureBoot;
use crate::reason::Reason;
use crate::root::Root;
use anyhow::{Context, Result};
use ddi::Class;
use ddi::text::Text;
use std::collections::BTreeMap;
use std::fmt::{Display, Write};

/// Where the metrics of this boot lie, if the configuration asks for them.
pub const METRICS: &str = "/run/sextant/metrics/sextant.prom";
const DIRECTORY: &str = "/run/sextant/metrics";
const FILE: &str = "sextant.prom";
/// Most certificates of each kind: those that expire first.
const CERTIFICATES: usize = 64;
/// The reason of files whose token this version doesn't know.
const OTHER: &str = "other";

/// What isn't in the report.
#[derive(Debug, Clone, Copy, Default)]
pub struct Surroundings {
    /// Room on the EFI system partition; `None` where it isn't known.
    pub esp: Option<Space>,
}

/// Writes the metrics of this boot, whole or not at all.
///
/// # Errors
/// Where the file can't be written.
pub fn write_metrics(root: &Root, report: &Report, surroundings: Surroundings) -> Result<()> {
    let context = || format!("writing {METRICS}");
    let directory = root.make_directory(DIRECTORY).with_context(context)?;
    durable::write(&directory.join(FILE), metrics(report, surroundings).as_bytes(), 0o644).with_context(context)
}

/// The metrics: ASCII but for names and subjects, and bounded in number.
#[must_use]
pub fn metrics(report: &Report, surroundings: Surroundings) -> String {
    let mut out = Families(String::new());
    about_boot(&mut out, report);
    about_images(&mut out, report);
    about_extensions(&mut out, report);
    if let Some(measurement) = &report.measurement {
        out.gauge("measurement_info", "Whether PCR 13 of the TPM is as predicted.");
        out.sample("measurement_info", &[("state", measurement.state.as_str())], 1);
    }
    about_certificates(&mut out, report);
    let seconds = |usec: u64| format!("{}.{:06}", usec / 1_000_000, usec % 1_000_000);
    if let Some(duration) = report.duration_usec {
        out.gauge("stage_duration_seconds", "Time from the start of sextant-agent stage to its end.");
        out.sample("stage_duration_seconds", &[], seconds(duration));
    }
    let verify = report.images.iter().fold(0_u64, |sum, image| sum.saturating_add(image.verify_usec));
    out.gauge(
        "verify_duration_seconds",
        "Time spent on verifying all images, files that are read at once counted twice.",
    );
    out.sample("verify_duration_seconds", &[], seconds(verify));
    if let Some(space) = surroundings.esp {
        out.gauge("esp_free_bytes", "Free space on the EFI system partition.");
        out.sample("esp_free_bytes", &[], space.free);
        out.gauge("esp_size_bytes", "Size of the file system on the EFI system partition.");
        out.sample("esp_size_bytes", &[], space.size);
    }
    out.0
}

struct Families(String);

impl Families {
    /// Begins a family: all of its samples follow.
    fn gauge(&mut self, name: &str, help: &str) {
        let _ = write!(self.0, "# HELP sextant_{name} {help}\n# TYPE sextant_{name} gauge\n");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.0, "sextant_{name}");
        for (number, (label, value)) in labels.iter().enumerate() {
            let _ = write!(self.0, "{}{label}=\"{}\"", if number == 0 { "{" } else { "," }, escaped(value));
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }
}

/// The value of a label, in which three characters are escaped.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn about_boot(out: &mut Families, report: &Report) {
    out.gauge("build_info", "Version of the program that wrote these metrics.");
    out.sample("build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    if let Some(version) = &report.agent_version {
        out.gauge("agent_info", "Version of the agent that staged the extensions of this boot.");
        out.sample("agent_info", &[("version", version.as_str())], 1);
    }
    let firmware = report.firmware.as_ref();
    let secure_boot = firmware.and_then(|firmware| firmware.secure_boot.known()).map_or("unknown", SecureBoot::as_str);
    let entry = firmware.and_then(|firmware| firmware.entry.as_ref()).map_or("", Text::as_str);
    out.gauge("boot_info", "State of Secure Boot, and the boot entry.");
    out.sample("boot_info", &[("secure_boot", secure_boot), ("entry", entry)], 1);
    out.gauge("health", "What this boot came to, as the exit status of sextant status: 1 for the state that applies.");
    let came_to = report.health();
    for health in Health::ALL {
        out.sample("health", &[("state", health.as_str())], u8::from(came_to == health));
    }
}

fn about_images(out: &mut Families, report: &Report) {
    let mut states: BTreeMap<&str, u64> = Fate::ALL.iter().map(|fate| (fate.as_str(), 0)).collect();
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    let mut add = |state: &'static str, reason: Option<&'static str>, number: u64| {
        let count = states.entry(state).or_default();
        *count = count.saturating_add(number);
        if let Some(reason) = reason {
            let count = reasons.entry(reason).or_default();
            *count = count.saturating_add(number);
        }
    };
    let rejected = Fate::Rejected.as_str();
    for image in &report.images {
        let fate = report.fate(image);
        let reason = || image.reason.as_ref().and_then(Word::known).map_or(OTHER, Reason::token);
        add(fate.as_str(), (fate == Fate::Rejected).then(reason), 1);
    }
    for (token, number) in report.omitted.iter().flat_map(|omitted| &omitted.by_reason) {
        let known = Reason::ALL.iter().find(|reason| *token == reason.token());
        add(rejected, Some(known.map_or(OTHER, |reason| reason.token())), *number);
    }
    out.gauge("images", "Files that were found, by what became of them.");
    for (state, number) in states {
        out.sample("images", &[("state", state)], number);
    }
    if !reasons.is_empty() {
        out.gauge("images_rejected", "Rejected files, by reason token. Tokens without a file are left out.");
        for (reason, number) in reasons {
            out.sample("images_rejected", &[("reason", reason)], number);
        }
    }
}

fn about_extensions(out: &mut Families, report: &Report) {
    let merge = report.merge.as_ref();
    let count = |list: fn(&Merge) -> usize| merge.map_or(0, list);
    out.gauge("merge_confirmed", "Whether sextant-agent confirm has compared what is merged with what was staged.");
    out.sample("merge_confirmed", &[], u8::from(merge.is_some_and(|merge| merge.confirmed)));
    out.gauge("extensions_merged", "Extensions that were staged and are merged.");
    out.sample("extensions_merged", &[], count(|merge| merge.merged.len()));
    out.gauge(
        "extensions_missing",
        "Extensions that were staged and are not merged, those left out on purpose included.",
    );
    out.sample("extensions_missing", &[], count(|merge| merge.missing.len()));
    out.gauge("extensions_unexpected", "Extensions that are merged and were neither staged nor verified on the host.");
    out.sample("extensions_unexpected", &[], count(|merge| merge.unexpected.len()));
    out.gauge("extensions_lost", "Extensions that this boot goes without, or has in an older version only.");
    out.sample("extensions_lost", &[], report.losses().len());
    // One sample for each extension, whatever the lists say.
    let mut extensions: BTreeMap<(Class, &Text), &str> = BTreeMap::new();
    for image in &report.images {
        let fate = report.fate(image);
        if let (false, Some(name)) = (fate == Fate::Rejected, &image.name) {
            extensions.insert((image.class, name), fate.as_str());
        }
    }
    for row in merge.iter().flat_map(|merge| &merge.extensions) {
        extensions.insert((row.class, &row.name), Fate::Merged.as_str());
    }
    if !extensions.is_empty() {
        out.gauge("extension_info", "An extension that was staged or is merged, its version, and what became of it.");
    }
    for ((class, name), state) in extensions.into_iter().take(MERGE_ROWS) {
        let version = parts(name).map(|(_, version)| version).unwrap_or_default();
        let labels =
            [("class", class.as_str()), ("name", name.as_str()), ("version", version.as_str()), ("state", state)];
        out.sample("extension_info", &labels, 1);
    }
}

fn about_certificates(out: &mut Families, report: &Report) {
    out.gauge("anchors", "Trust anchors of this boot.");
    out.sample("anchors", &[], report.anchors());
    let anchors = report.trust.iter().map(|it| (it.source.as_str(), &it.sha256, &it.subject, it.not_after));
    expiry(out, "anchor", "Unix time at which a trust anchor expires.", anchors);
    let good = report.images.iter().filter(|image| image.is_good());
    let signers = good.filter_map(|image| image.trusted_signer());
    let signers = signers.map(|it| (it.source.as_str(), &it.sha256, &it.subject, it.not_after));
    expiry(out, "signer", "Unix time at which the certificate of a signer of staged images expires.", signers);
}

/// When certificates expire: those that expire first, each once.
fn expiry<'r>(
    out: &mut Families,
    kind: &str,
    help: &str,
    certificates: impl Iterator<Item = (&'r str, &'r Text, &'r Text, Option<i64>)>,
) {
    let mut known: BTreeMap<(&str, &Text), (i64, &Text)> = BTreeMap::new();
    for (source, sha256, subject, not_after) in certificates {
        if let Some(not_after) = not_after {
            known.insert((source, sha256), (not_after, subject));
        }
    }
    let mut known: Vec<_> = known.into_iter().collect();
    known.sort_by_key(|(_, (not_after, _))| *not_after);
    let name = format!("{kind}_expiry_timestamp_seconds");
    if !known.is_empty() {
        out.gauge(&name, help);
    }
    for ((source, sha256), (not_after, subject)) in known.into_iter().take(CERTIFICATES) {
        let labels = [("source", source), ("sha256", sha256.as_str()), ("subject", subject.as_str())];
        out.sample(&name, &labels, not_after);
    }
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
