//! `sextant verify`

use super::trust_options::TrustOptions;
use crate::firmware::SecureBoot;
use crate::image::{Architecture, Candidate, Class, extension_name};
use crate::policy::{self, Policy};
use crate::reason::{Reason, Refusal};
use crate::report::{Image, Report, Verdict, table, usec};
use crate::stage::InPlaceCustody;
use crate::verify::{Findings, InProcess, Verifier, guard};
use crate::verity::default_threads;
use anyhow::{Context, Result};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Instant, SystemTime};

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
    let policy = arguments.config.as_deref().map_or_else(|| Ok(Policy::default()), policy::load_file)?;
    let architecture = arguments.arch.or_else(Architecture::native);
    let architecture = architecture.context("no partition types are defined for this architecture: use --arch")?;
    let trust = arguments.trust.read(&policy.sources)?;
    // A set of variables without the state of Secure Boot is a set of certificates, not a machine that is off.
    let gate = trust
        .firmware
        .as_ref()
        .filter(|firmware| firmware.secure_boot != SecureBoot::Unavailable)
        .and_then(|firmware| policy.admit_secure_boot(firmware.secure_boot).err());
    let verifier = Verifier {
        policy: &policy,
        trust: &trust.store,
        architecture,
        host: None,
        activation: &InProcess,
        threads: default_threads(),
        now: SystemTime::now(),
    };
    let mut report = Report { firmware: trust.firmware.as_ref().map(Into::into), ..Report::default() };
    report.set_trust(&trust.store, false);
    report.images = arguments.images.iter().map(|path| verify(path, gate.as_ref(), &verifier)).collect();
    if arguments.json {
        super::print(&format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    } else {
        super::print(&table::images(&report.images, super::style()))?;
        super::print(&format!("{}\n", table::summary(&report.images)))?;
        let ignored = report.ignored_certificates.len();
        if ignored > 0 {
            eprintln!(
                "sextant: ignored {ignored} of the certificates; `sextant trust` with the same options tells why"
            );
        }
    }
    let all_good = report.images.iter().all(Image::is_good);
    Ok(if all_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn verify(path: &Path, gate: Option<&Refusal>, verifier: &Verifier<'_>) -> Image {
    let file = path.file_name().unwrap_or(path.as_os_str());
    let class = match extension_name(file, Class::Confext) {
        Ok(_) => Class::Confext,
        Err(_) => Class::Sysext,
    };
    let mut image = Image::new(path.as_os_str(), class);
    image.size = path.metadata().ok().map(|metadata| metadata.len());
    image.name = extension_name(file, class).ok().map(|name| name.to_string());
    let started = Instant::now();
    let mut findings = Findings::default();
    let result = guard(|| {
        let candidate = Candidate::open(path, class)?;
        if let Some(refusal) = gate {
            return Err(refusal.clone());
        }
        if candidate.size() > verifier.policy.limits.image_size {
            let limit = verifier.policy.limits.image_size;
            let detail = format_args!("{} bytes, where one file is limited to {limit}", candidate.size());
            return Err(Refusal::new(Reason::TooLarge, detail));
        }
        verifier.verify(candidate, false, &InPlaceCustody, &mut findings)
    });
    image.verify_usec = usec(started.elapsed());
    image.set_findings(findings);
    image.set_verdict(result.as_ref().map(|_| Verdict::Accepted));
    image
}
