//! `sextant trust`

use super::trust_options::TrustOptions;
use anyhow::Result;
use clap::Args;
use ddi::text::Text;
use sextant::report::{Report, table};
use sextant::trust::Source;
use std::fmt::Write;
use std::process::ExitCode;

/// List trust anchors, and certificates that are revoked or ignored
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sextant trust
        list the trust anchors of this machine
  sextant trust --efivars ./variables
        list those in the firmware variables of another machine
  sextant trust --verity-dir /etc/verity.d --json
        list certificates as systemd reads them, in a script

Exit status: 0 listed; 1 an error occurred; 2 usage.")]
pub(super) struct Arguments {
    /// Output JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    trust: TrustOptions,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let trust = arguments.trust.read(&Source::CONFIGURABLE)?;
    let mut report = Report::default();
    report.firmware = trust.firmware.as_ref().map(Into::into);
    report.set_trust(&trust.store, true);
    if arguments.json {
        let value = serde_json::json!({
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
        });
        super::output::json(&value)?;
    } else {
        super::print(&text(&report, &trust.store, super::style())?)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn text(report: &Report, store: &sextant::trust::TrustStore, style: table::Style) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    if let Some(firmware) = &report.firmware {
        let entry = firmware.entry.as_ref().map_or("unknown", Text::as_str);
        writeln!(out, "Secure Boot: {}, boot entry: {entry}\n", firmware.secure_boot)?;
    }
    writeln!(out, "{:<8}{:<12}SUBJECT", "SOURCE", "SHA-256")?;
    for anchor in &report.trust {
        writeln!(
            out,
            "{:<8}{:<12}{}",
            anchor.source,
            short(anchor.sha256.as_str()),
            style.paint("32", &anchor.subject)
        )?;
    }
    for revoked in store.revoked() {
        let sha256 = revoked.certificate.fingerprint().to_string();
        let subject = style.paint("31", revoked.certificate.subject());
        writeln!(out, "{:<8}{:<12}{subject} (revoked: {})", "dbx", short(&sha256), revoked.by)?;
    }
    if !report.ignored_certificates.is_empty() {
        writeln!(out, "\nIgnored:")?;
        for ignored in &report.ignored_certificates {
            let sha256 = ignored.sha256.as_ref().map_or("", |sha256| short(sha256.as_str()));
            writeln!(out, "{:<8}{sha256:<12}{}", ignored.source, ignored.reason)?;
        }
    }
    if !store.dbx_faults().is_empty() {
        let consequence =
            "parts of dbx cannot be read: a boot rejects all images (dbx-unreadable) unless trust.dbx is lenient";
        writeln!(out, "\n{}", style.paint("31", consequence))?;
    }
    let trusted = report.trust.len();
    writeln!(
        out,
        "\n{trusted} trusted, {} revoked, {} ignored",
        store.revoked().len(),
        report.ignored_certificates.len()
    )?;
    Ok(out)
}

/// Enough of a fingerprint to tell certificates apart.
fn short(sha256: &str) -> &str {
    sha256.get(..10).unwrap_or(sha256)
}
