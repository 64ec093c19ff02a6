//! Formats an inspection as text, in 80 columns if the values allow it.

use super::{Inspection, PartitionRow};
use ddi::text::{Message, Text};
use sextant::report::{Image, Verdict, table::Style};
use std::fmt::{Display, Write};

/// Table of two columns, with right-aligned labels.
struct Facts {
    out: String,
    style: Style,
}

impl Facts {
    fn line(&mut self, label: &str, text: impl Display) {
        let _ = writeln!(self.out, "{}: {text}", self.style.paint("1", &format!("{label:>12}")));
    }

    fn more(&mut self, text: impl Display) {
        let _ = writeln!(self.out, "{:14}{text}", "");
    }
}

/// Formats an inspection. `file` and `what` (such as "k3s, a sysext") name the image, `verdict` is that of a boot or the reason why
/// it is unknown, `size` formats a number of bytes.
#[must_use]
pub fn text(
    found: &Inspection,
    file: &Text,
    what: &Text,
    verdict: Result<&Image, &Message>,
    size: &dyn Fn(u64) -> String,
    style: Style,
) -> String {
    let mut facts = Facts { out: String::new(), style };
    facts.line("File", file);
    facts.line("Size", format_args!("{} ({} bytes)", size(found.size), found.size));
    facts.line("Extension", what);
    if let Some(architecture) = found.architecture {
        facts.line("Architecture", architecture);
    }
    if let Some(filesystem) = &found.filesystem {
        facts.line("File system", format_args!("{}, {}", filesystem.kind, size(filesystem.size)));
    }
    verity(&mut facts, found, size);
    signature(&mut facts, found, verdict.ok());
    match verdict {
        Err(cause) => facts.line("Verdict", format_args!("unknown: {cause}")),
        Ok(image) => {
            let word = if image.verdict == Verdict::Rejected {
                style.paint("31", "rejected")
            } else {
                style.paint("32", "accepted")
            };
            let reason = image.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            facts.line("Verdict", format_args!("{word}{reason}"));
            if let Some(detail) = &image.detail {
                facts.more(detail);
            }
            for warning in &image.warnings {
                facts.more(format_args!("warning: {warning}"));
            }
        }
    }
    for problem in &found.problems {
        facts.line("Problem", style.paint("31", problem));
    }
    partitions(&mut facts.out, found, size);
    if let Some(release) = &found.release {
        let _ = writeln!(facts.out, "\n/{}", release.path);
        for (key, value) in &release.fields {
            let _ = writeln!(facts.out, "  {key}={value}");
        }
    }
    facts.out
}

fn verity(facts: &mut Facts, found: &Inspection, size: &dyn Fn(u64) -> String) {
    let Some(verity) = &found.verity else { return };
    facts.line("Root hash", &verity.root_hash);
    let state = if verity.intact { "intact" } else { "NOT intact" };
    let state = facts.style.paint(if verity.intact { "32" } else { "31" }, state);
    let shape = format!("{}, {} × {} bytes", verity.algorithm, verity.data_blocks, verity.data_block_size);
    facts.line("Hash tree", format_args!("{shape}, {}, {state}", size(verity.size)));
    facts.line("Salt", if verity.salt.is_empty() { "none" } else { &verity.salt });
}

fn signature(facts: &mut Facts, found: &Inspection, verdict: Option<&Image>) {
    let Some(signature) = &found.signature else {
        if !found.partitions.is_empty() {
            facts.line("Signature", "none");
        }
        return;
    };
    for signer in &signature.signers {
        facts.line("Signer", format_args!("{} ({})", signer.issuer, signer.algorithm));
        facts.more(format_args!("certificate with serial number {}", signer.serial));
    }
    if let Some(problem) = &signature.problem {
        facts.line("Signature", problem);
    }
    match verdict.and_then(|image| image.trusted_signer()) {
        Some(signer) => {
            facts.more(format_args!("trusted by {}, with the fingerprint", signer.source));
            facts.more(&signer.sha256);
        }
        None => {
            if let Some(fingerprint) = &signature.certificate_fingerprint {
                facts.more("claimed fingerprint");
                facts.more(fingerprint);
            }
        }
    }
    if found.verity.as_ref().is_some_and(|verity| verity.root_hash != signature.root_hash) {
        facts.line("Signed for", "another root hash:");
        facts.more(&signature.root_hash);
    }
}

fn partitions(out: &mut String, found: &Inspection, size: &dyn Fn(u64) -> String) {
    if found.partitions.is_empty() {
        return;
    }
    let kind = |row: &PartitionRow| row.kind.clone();
    let rows: Vec<[String; 5]> = found
        .partitions
        .iter()
        .map(|row| [row.number.to_string(), kind(row), row.offset.to_string(), size(row.size), row.uuid.clone()])
        .collect();
    let titles = ["NO", "PARTITION", "OFFSET", "SIZE", "UUID"].map(str::to_owned);
    let width = |column: usize| {
        let cells = rows.iter().chain([&titles]).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let [number, name, offset, len] = [width(0), width(1), width(2), width(3)];
    out.push('\n');
    for row in [&titles].into_iter().chain(&rows) {
        let [a, b, c, d, e] = row;
        let _ = writeln!(out, "{a:>number$} {b:<name$} {c:>offset$} {d:>len$} {e}");
    }
    let is_usual = |row: &&PartitionRow| row.flags.iter().all(|flag| flag == "read-only");
    for row in found.partitions.iter().filter(|row| !is_usual(row)) {
        let _ = writeln!(out, "partition {} has the flags: {}", row.number, row.flags.join(", "));
    }
}
