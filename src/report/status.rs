//! What `status` of both programs shows: a report as a table for people.

use super::table::{Style, WIDTH, wrap};
use super::{Fate, Image, MeasurementState, Report, evidence, milliseconds};
use ddi::text::{Message, Text};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Columns of labels.
const INDENT: usize = 12;
/// Most lines about extensions that are lost.
const LOSSES: usize = 20;

struct Lines {
    out: String,
    style: Style,
}

impl Lines {
    /// A line with a label, continued below it where it is too long.
    fn fact(&mut self, label: &str, text: &str) {
        let label = self.style.paint("1", &format!("{label:>10}"));
        for (index, line) in wrap(text, WIDTH - INDENT).into_iter().enumerate() {
            let _ = if index == 0 {
                writeln!(self.out, "{label}: {line}")
            } else {
                writeln!(self.out, "{:INDENT$}{line}", "")
            };
        }
    }

    fn below(&mut self, indent: usize, text: &str) {
        for line in wrap(text, WIDTH.saturating_sub(indent)) {
            let _ = writeln!(self.out, "{:indent$}{line}", "");
        }
    }
}

/// What became of each file, and of the boot as a whole; `verbose` with the evidence behind each verdict.
#[must_use]
pub fn text(seen: &Report, style: Style, verbose: bool) -> String {
    let mut lines = Lines { out: String::new(), style };
    let firmware = seen.firmware.as_ref();
    let entry = firmware.and_then(|firmware| firmware.entry.as_ref()).map_or("unknown", Text::as_str);
    let secure_boot = firmware.map_or("unknown", |firmware| firmware.secure_boot.as_str());
    lines.fact("Boot", &format!("entry {entry}, Secure Boot {secure_boot}"));
    if let Some(error) = &seen.error {
        lines.fact("Error", &style.paint("31", error));
    }
    lines.fact("Extensions", &summary(seen));
    images(&mut lines, seen, verbose);
    omitted(&mut lines, seen);
    losses(&mut lines, seen);
    if let Some(merge) = &seen.merge
        && !merge.unexpected.is_empty()
    {
        let names = merge.unexpected.iter().map(Text::as_str).collect::<Vec<_>>().join(", ");
        lines.fact("Unexpected", &style.paint("31", &format!("{names}: merged, but neither staged nor verified")));
    }
    if let Some(merge) = &seen.merge
        && !merge.required_missing.is_empty()
    {
        let names = merge.required_missing.iter().map(Text::as_str).collect::<Vec<_>>().join(", ");
        lines.fact("Required", &style.paint("31", &format!("{names}: NOT merged, so this boot is not good")));
    }
    measured(&mut lines, seen);
    trust(&mut lines, seen);
    let sum = |time: fn(&Image) -> u64| milliseconds(seen.images.iter().map(time).sum());
    if !seen.images.is_empty() {
        let (verify, stage) = (sum(|image| image.verify_usec), sum(|image| image.stage_usec));
        lines.fact("Time", &format!("verification {verify}, staging {stage}"));
    }
    if !seen.is_well() {
        lines.fact("More", "journalctl -b -t sextant-agent -u systemd-sysext -u systemd-confext");
    }
    lines.out
}

/// Whether the TPM has the value that the files give.
fn measured(lines: &mut Lines, seen: &Report) {
    let Some(measurement) = &seen.measurement else { return };
    let Some(state) = measurement.state.known() else { return };
    let (word, colour) = match state {
        MeasurementState::Pending => return,
        MeasurementState::AsPredicted => ("as predicted", "32"),
        MeasurementState::Differs => ("differs", "31"),
        MeasurementState::NotPredicted => ("not predicted", "33"),
        MeasurementState::NoTpm => ("no TPM", "33"),
    };
    let details = [&measurement.prediction_error, &measurement.detail].into_iter().flatten();
    let details: Vec<&str> = details.map(Message::as_str).collect();
    let details = if details.is_empty() { String::new() } else { format!(": {}", details.join("; ")) };
    lines.fact("Measured", &format!("{}{details}", lines.style.paint(colour, word)));
}

fn summary(seen: &Report) -> String {
    let count = |fate: Fate| seen.images.iter().filter(|image| seen.fate(image) == fate).map(|_| 1_u64).sum::<u64>();
    let omitted = seen.omitted.as_ref().map_or(0, |omitted| omitted.total);
    let mut parts = vec![format!("{} found", seen.found())];
    let fates = [
        (Fate::Merged, "merged"),
        (Fate::Staged, "staged, merge not confirmed yet"),
        (Fate::Missing, "staged and NOT merged"),
        (Fate::LeftOut, "left out by an administrator"),
        (Fate::Withdrawn, "staged and withdrawn"),
        (Fate::Rejected, "rejected"),
        (Fate::Accepted, "accepted"),
        (Fate::Unknown, "with an unknown verdict"),
    ];
    parts.extend(
        fates
            .iter()
            .map(|(fate, word)| (count(*fate).saturating_add(if *fate == Fate::Rejected { omitted } else { 0 }), word))
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}")),
    );
    if seen.merge.as_ref().is_none_or(|merge| !merge.requested) {
        parts.push("merge not requested".to_owned());
    }
    parts.join(", ")
}

fn images(lines: &mut Lines, seen: &Report, verbose: bool) {
    let shown = |image: &Image| image.name.clone().unwrap_or_else(|| image.file.clone());
    let width = seen.images.iter().map(|image| shown(image).as_str().chars().count()).max().unwrap_or(0).clamp(4, 40);
    let withdrawn = seen.images.iter().any(|image| seen.fate(image) == Fate::Withdrawn);
    let verdicts = if withdrawn { "withdrawn" } else { "rejected" }.len();
    for image in &seen.images {
        let fate = seen.fate(image);
        let (word, colour) = match fate {
            Fate::Merged => ("merged", "32"),
            Fate::Staged => ("staged", "33"),
            Fate::Missing => ("missing", "31"),
            Fate::LeftOut => ("left out", "33"),
            Fate::Withdrawn => ("withdrawn", "31"),
            Fate::Rejected => ("rejected", "31"),
            Fate::Accepted => ("accepted", "32"),
            Fate::Unknown => (image.verdict.as_str(), "33"),
        };
        let signer = || image.trusted_signer().map(Message::new);
        let last = image.reason.as_ref().map(Message::new).or_else(signer).unwrap_or_default();
        let (name, word) = (shown(image), lines.style.paint(colour, &format!("{word:<verdicts$}")));
        let _ = writeln!(lines.out, "  {name:<width$}  {word}  {last}");
        // A row about what was withdrawn has the cause as its detail.
        let cause = || seen.not_merged(image).map(|row| &row.cause);
        if let Some(detail) = image.detail.as_ref().or_else(cause) {
            lines.below(6, detail.as_str());
        }
        if let Some(coverage) = image.coverage.as_ref().filter(|coverage| coverage.is_partial()) {
            lines.below(6, &coverage.to_string());
        }
        for warning in &image.warnings {
            lines.below(6, &format!("warning: {warning}"));
        }
        if let Some(path) = &image.esp_path {
            lines.below(6, &format!("ESP: {path}"));
        }
        if verbose {
            for line in evidence(image) {
                lines.below(6, line.as_str());
            }
        }
    }
}

/// What the machine goes without.
fn losses(lines: &mut Lines, seen: &Report) {
    let losses = seen.losses();
    for (number, loss) in losses.iter().take(LOSSES).enumerate() {
        let loss = lines.style.paint("31", &Message::new(loss));
        if number == 0 {
            lines.fact("Lost", &loss);
        } else {
            lines.below(INDENT, &loss);
        }
    }
    if let Some(more) = losses.len().checked_sub(LOSSES).filter(|more| *more > 0) {
        lines.below(INDENT, &format!("and {more} more"));
    }
}

/// What has no row.
fn omitted(lines: &mut Lines, seen: &Report) {
    if let Some(omitted) = seen.omitted.as_ref().filter(|omitted| omitted.total > 0) {
        lines.below(2, &format!("and {omitted}"));
    }
}

fn trust(lines: &mut Lines, seen: &Report) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for anchor in &seen.trust {
        *counts.entry(anchor.source.as_str()).or_default() += 1;
    }
    let counts: Vec<String> = counts.iter().map(|(source, count)| format!("{count} from {source}")).collect();
    let all = if counts.is_empty() { "no trust anchors".to_owned() } else { counts.join(", ") };
    lines.fact("Trust", &all);
    for anchor in &seen.trust {
        let short: String = anchor.sha256.as_str().chars().take(8).collect();
        lines.below(INDENT, &format!("{:<6}  {short}  {}", anchor.source, anchor.subject));
    }
    for ignored in &seen.ignored_certificates {
        lines.below(INDENT, &format!("{:<6}  ignored: {}", ignored.source, ignored.reason));
    }
    if let Some(omitted) = &seen.omitted {
        for (count, what) in [(omitted.trust, "trust anchors"), (omitted.ignored_certificates, "ignored certificates")]
        {
            if count > 0 {
                lines.below(INDENT, &format!("and {count} more {what}"));
            }
        }
    }
}
