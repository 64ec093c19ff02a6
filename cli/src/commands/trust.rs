//! `sextant trust`

use super::output_options::OutputOptions;
use super::table::{Layout, Table, painted, plain};
use super::trust_options::RootedTrustOptions;
use anyhow::Result;
use clap::Args;
use ddi::text::Text;
use sextant::report::{Report, date};
use sextant::trust::{Source, TrustStore};
use std::fmt::Write;
use std::process::ExitCode;

/// List trust anchors, and certificates that are revoked or ignored
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sextant trust
        list the trust anchors of this machine
  sextant trust -v --root /tmp/tree
        list those of a tree with complete fingerprints and expiry
  sextant trust --efivars ./variables
        list those in the firmware variables of another machine
  sextant trust --verity-dir /etc/verity.d --json
        list certificates as systemd reads them, in a script

Exit status: 0 listed; 1 an error occurred; 2 usage.")]
pub(super) struct Arguments {
    /// Show complete fingerprints, and when each trust anchor expires
    #[arg(short, long, conflicts_with = "quiet")]
    verbose: bool,
    #[command(flatten)]
    trust: RootedTrustOptions,
    #[command(flatten)]
    output: OutputOptions,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let trust = arguments.trust.read(&Source::CONFIGURABLE)?;
    let mut report = Report::default();
    report.firmware = trust.firmware.as_ref().map(Into::into);
    report.set_trust(&trust.store, true);
    let document = || {
        Ok(serde_json::json!({
            "version": report.version,
            "firmware": report.firmware,
            "trust": report.trust,
            "ignored_certificates": report.ignored_certificates,
            "revoked": trust.store.revoked().iter().map(|revoked| serde_json::json!({
                "subject": revoked.certificate.subject(),
                "sha256": revoked.certificate.fingerprint().to_string(),
                "by": revoked.by,
            })).collect::<Vec<_>>(),
            "dbx_faults": trust.store.dbx_faults().len(),
        }))
    };
    arguments
        .output
        .show(document, || Ok(text(&report, &trust.store, arguments.output.layout(), arguments.verbose)?))?;
    Ok(ExitCode::SUCCESS)
}

fn text(report: &Report, store: &TrustStore, layout: Layout, verbose: bool) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    if let Some(firmware) = report.firmware.as_ref().filter(|_| layout.legend) {
        let entry = firmware.entry.as_ref().map_or("unknown", Text::as_str);
        writeln!(out, "Secure Boot: {}, boot entry: {entry}\n", firmware.secure_boot)?;
    }
    let mut table = Table::new(["SOURCE", "SHA-256", "SUBJECT"], 2);
    for anchor in &report.trust {
        table.row([plain(&anchor.source), plain(short(anchor.sha256.as_str())), painted("32", &anchor.subject)]);
        if verbose {
            let expiry = anchor.not_after.and_then(date).map(|date| format!("expires {date}, ")).unwrap_or_default();
            table.below(painted("2", format!("{expiry}SHA-256 {}", anchor.sha256)));
        }
    }
    for revoked in store.revoked() {
        let sha256 = revoked.certificate.fingerprint().to_string();
        let subject = format!("{} (revoked: {})", revoked.certificate.subject(), revoked.by);
        table.row([plain("dbx"), plain(short(&sha256)), painted("31", subject)]);
        if verbose {
            table.below(painted("2", format!("SHA-256 {sha256}")));
        }
    }
    out.push_str(&table.render(layout));
    if !report.ignored_certificates.is_empty() {
        writeln!(out, "\nIgnored:")?;
        let mut table = Table::new(["SOURCE", "SHA-256", "REASON"], 2);
        for ignored in &report.ignored_certificates {
            let sha256 = ignored.sha256.as_ref().map_or("", |sha256| short(sha256.as_str()));
            table.row([plain(&ignored.source), plain(sha256), plain(&ignored.reason)]);
            if let Some(sha256) = ignored.sha256.as_ref().filter(|_| verbose) {
                table.below(painted("2", format!("SHA-256 {sha256}")));
            }
        }
        out.push_str(&table.render(layout));
    }
    if !store.dbx_faults().is_empty() {
        let consequence =
            "parts of dbx cannot be read: a boot rejects all images (dbx-unreadable) unless trust.dbx is lenient";
        writeln!(out, "\n{}", layout.style.paint("31", consequence))?;
    }
    if layout.legend {
        let (trusted, revoked) = (report.trust.len(), store.revoked().len());
        writeln!(out, "\n{trusted} trusted, {revoked} revoked, {} ignored", report.ignored_certificates.len())?;
    }
    Ok(out)
}

/// Enough of a fingerprint to tell certificates apart.
fn short(sha256: &str) -> &str {
    sha256.get(..10).unwrap_or(sha256)
}
