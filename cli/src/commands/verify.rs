//! `sextant verify`

use super::machine::Machine;
use super::output_options::OutputOptions;
use super::table::{Layout, Table, painted, plain};
use super::trust_options::RootedTrustOptions;
use anyhow::{Context, Result};
use clap::Args;
use ddi::Architecture;
use sextant::report::{IgnoredCertificate, Image, Report, evidence, table};
use std::path::PathBuf;
use std::process::ExitCode;

/// Check images against this machine's boot policy
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sextant verify k3s.sysext.raw
        check against the firmware of this machine
  sextant verify --certificate db.crt k3s.sysext.raw tailscale.sysext.raw
        check against one trust anchor
  sextant verify -v --root /tmp/tree k3s.sysext.raw
        check against the firmware variables and sealed certificates
        of a tree, and show the evidence
  sextant verify --efivars ./variables --json *.raw \\
      | jq '.images[] | {file, verdict, reason}'
        check against the firmware variables of another machine, in a script

Exit status: 0 all images accepted; 1 an image is rejected, or an error occurred; 2 usage.")]
pub(super) struct Arguments {
    /// Images to verify, named NAME.sysext.raw or NAME.confext.raw
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Apply `secure_boot`, `trust`, `deny` and `limits.image_size` of the configuration FILE (format: sextant.yaml(5)); can be
    /// repeated, and later files apply over earlier ones [default: built-in values]
    #[arg(long, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// Architecture of the machine, as systemd names it [default: that of this machine]
    #[arg(long, value_name = "ARCH", value_parser = Architecture::parse)]
    arch: Option<Architecture>,
    /// Show the evidence behind each verdict: root hash, certificate of the signer, what was verified, time of each phase
    #[arg(short, long, conflicts_with = "quiet")]
    verbose: bool,
    #[command(flatten)]
    trust: RootedTrustOptions,
    #[command(flatten)]
    output: OutputOptions,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let architecture = arguments.arch.or_else(Architecture::native);
    let architecture = architecture.context("no partition types are defined for this architecture: use --arch")?;
    let machine = Machine::read(&arguments.trust, &arguments.config, architecture)?;
    let mut report = Report::default();
    report.firmware = machine.trust.firmware.as_ref().map(Into::into);
    report.set_trust(&machine.trust.store, false);
    report.images = arguments.images.iter().map(|path| machine.verify(path)).collect();
    let layout = arguments.output.layout();
    let text = || {
        let mut text = images(&report.images, layout, arguments.verbose);
        if layout.legend {
            text = format!("{text}{}\n", table::summary(&report.images));
        }
        Ok(text)
    };
    arguments.output.show(|| Ok(&report), text)?;
    if !arguments.output.is_json() {
        let is_certificate = |ignored: &&IgnoredCertificate| ignored.source != "dbx";
        let ignored = report.ignored_certificates.iter().filter(is_certificate).count();
        if ignored > 0 {
            super::warn(format_args!("ignored {ignored} certificates (see `sextant trust` with the same options)"));
        }
    }
    let all_good = report.images.iter().all(Image::is_good);
    Ok(if all_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One row for each image, with detail and warnings below it, and the evidence if `verbose`.
pub(super) fn images(images: &[Image], layout: Layout, verbose: bool) -> String {
    let mut table = Table::new(["FILE", "VERDICT", "SIGNER OR REASON"], 0);
    for image in images {
        let colour = match image.is_good() {
            true if image.warnings.is_empty() => "32",
            true => "33",
            false => "31",
        };
        let last = match (&image.reason, image.trusted_signer()) {
            (Some(reason), _) => plain(reason),
            (None, Some(signer)) => plain(signer),
            (None, None) => plain(""),
        };
        table.row([plain(&image.file), painted(colour, &image.verdict), last]);
        if let Some(detail) = &image.detail {
            table.below(painted("2", detail));
        }
        for warning in &image.warnings {
            table.below(painted("2", format!("warning: {warning}")));
        }
        if verbose {
            for line in evidence(image) {
                table.below(painted("2", line));
            }
        }
    }
    table.render(layout)
}
