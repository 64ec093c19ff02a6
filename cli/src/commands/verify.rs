//! `sextant verify`

use super::machine::Machine;
use super::trust_options::TrustOptions;
use anyhow::{Context, Result};
use clap::Args;
use ddi::Architecture;
use sextant::report::{IgnoredCertificate, Image, Report, table};
use std::path::PathBuf;
use std::process::ExitCode;

/// Say what a boot would say about images
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sextant verify k3s.sysext.raw
        against the firmware of this machine
  sextant verify --certificate db.crt k3s.sysext.raw tailscale.sysext.raw
        against one certificate
  sextant verify --efivars ./variables --json *.raw | jq '.images[] | {file, verdict, reason}'
        against variables copied from another machine, for a program

Exit status: 0 all were accepted; 1 one was rejected, or the work could not be done; 2 usage.")]
pub(super) struct Arguments {
    /// Images to verify, named NAME.sysext.raw or NAME.confext.raw
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Apply `secure_boot`, `trust`, `deny` and `limits.image_size` of the configuration in FILE, which is in the
    /// form of the initrd's /etc/sextant.yaml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Architecture of the machine, as systemd names it [default: this one's]
    #[arg(long, value_name = "ARCH", value_parser = Architecture::parse)]
    arch: Option<Architecture>,
    /// Print a report for programs (see docs/report.md)
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    trust: TrustOptions,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let architecture = arguments.arch.or_else(Architecture::native);
    let architecture = architecture.context("no partition types are defined for this architecture: use --arch")?;
    let machine = Machine::read(&arguments.trust, arguments.config.as_deref(), architecture)?;
    let mut report = Report::default();
    report.firmware = machine.trust.firmware.as_ref().map(Into::into);
    report.set_trust(&machine.trust.store, false);
    report.images = arguments.images.iter().map(|path| machine.verify(path)).collect();
    if arguments.json {
        super::output::json(&report)?;
    } else {
        super::print(&table::images(&report.images, super::style()))?;
        super::print(&format!("{}\n", table::summary(&report.images)))?;
        let is_certificate = |ignored: &&IgnoredCertificate| ignored.source != "dbx";
        let ignored = report.ignored_certificates.iter().filter(is_certificate).count();
        if ignored > 0 {
            super::warn(format_args!(
                "ignored {ignored} of the certificates; `sextant trust` with the same options tells why"
            ));
        }
    }
    let all_good = report.images.iter().all(Image::is_good);
    Ok(if all_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
