//! `sextant install`

use super::esp_options::{self, EspOptions};
use super::images;
use super::installation::{Action, Job, Planned};
use super::machine::Machine;
use super::progress::Progress;
use super::trust_options::TrustOptions;
use crate::esp::{Esp, change};
use crate::image::Architecture;
use crate::policy::Policy;
use crate::reason::printable;
use crate::report::{Image, table};
use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::json;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Put extensions beside the UKIs of boot entries
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sextant install k3s_1.31.sysext.raw --entry active --entry passive
        for the next boot of both entries
  sextant install --dry-run *.sysext.raw --entry active
        what would be done, and whether there is room for it
  sextant install /run/initramfs/live --entry active --entry passive
        all extensions at the root of an installation medium, if there are any

All images are verified first, against the firmware of this machine and the certificates that the initrd of this boot
sealed: nothing is installed that a boot would refuse, and nothing at all unless there is room for everything. A loss of
power leaves the old file or the new one, never a part of either. What is there already, byte for byte, isn't written
again.

Exit status: 0 installed, or there already; 1 refused or failed; 2 usage.")]
pub(super) struct Arguments {
    /// Images, or directories with images
    #[arg(required = true, value_name = "IMAGE|DIR")]
    images: Vec<PathBuf>,
    /// For the boot entry NAME; may be given several times
    #[arg(long, required = true, value_name = "NAME")]
    entry: Vec<String>,
    #[command(flatten)]
    esp: EspOptions,
    /// Install what a boot would refuse too. Boot entries that may not have extensions get none all the same
    #[arg(long)]
    force: bool,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Apply the configuration in FILE, which is in the form of the initrd's /etc/sextant.yaml [default: that of the
    /// running system]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    trust: TrustOptions,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let images = images::find(&arguments.images)?;
    let esp = arguments.esp.open()?;
    let policy = esp_options::policy(arguments.config.as_deref())?;
    let entries = esp_options::entries(&esp, &arguments.entry)?;
    for entry in &entries {
        policy
            .admit_entry(&entry.boot_entry())
            .with_context(|| format!("installing for {} (configuration: entries.deny)", printable(&entry.name)))?;
    }
    if images.is_empty() {
        eprintln!("sextant: there are no extensions in {}", shown(&arguments.images));
    }
    let verified = if images.is_empty() { Vec::new() } else { verify(arguments, &images, policy)? };
    let refused = verified.iter().filter(|image| !image.is_good()).count();
    if refused > 0 && !arguments.force {
        if arguments.json {
            super::print(&document(arguments, &esp, &verified, &[])?)?;
        } else {
            super::print(&table::images(&verified, super::style()))?;
        }
        bail!(
            "installing nothing: a boot would refuse {refused} of {} (--force installs them all the same)",
            verified.len()
        );
    }
    if refused > 0 {
        eprintln!("sextant: installing {refused} of {} though a boot will refuse them (--force)", verified.len());
    }
    let _alone = if arguments.dry_run { None } else { Some(esp_options::lock(&esp)?) };
    let job = Job::plan(&esp, &entries, &images)?;
    job.admit(&esp)?;
    if !arguments.dry_run {
        carry_out(&esp, &job)?;
    }
    if arguments.json {
        super::print(&document(arguments, &esp, &verified, &job.planned)?)?;
    } else {
        super::print(&text(arguments, &esp, &job)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What a boot would say about each.
fn verify(arguments: &Arguments, images: &[PathBuf], policy: Policy) -> Result<Vec<Image>> {
    let architecture = Architecture::native();
    let architecture = architecture.context("no partition types are defined for this architecture")?;
    let machine = match Machine::with_policy(&arguments.trust, policy, architecture) {
        Ok(machine) => machine,
        Err(error) if arguments.force => {
            eprintln!("sextant: {}; nothing is verified (--force)", printable(&format!("{error:#}")));
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    Ok(images.iter().map(|path| machine.verify(path)).collect())
}

/// The error, and what can be done about it.
pub(super) fn advised(error: std::io::Error) -> anyhow::Error {
    let advice = change::advice(&error);
    if advice.is_empty() { error.into() } else { anyhow::anyhow!("{error}{advice}") }
}

/// Writes everything under temporary names, and only then gives the names.
fn carry_out(esp: &Esp, job: &Job) -> Result<()> {
    job.clean_up()?;
    let progress = Progress::begin("writing", Some(job.bytes()));
    let mut written = Vec::new();
    for planned in &job.planned {
        if planned.writes() {
            let place = esp.make_extra(&planned.entry).with_context(|| planned.doing("making the directory of"))?;
            let source = std::fs::File::open(&planned.source).with_context(|| planned.doing("reading"))?;
            let copy = change::Written::copy(&place, &planned.file, &source, &|bytes| progress.advance(bytes));
            written.push((planned, copy.map_err(advised).with_context(|| planned.doing("writing"))?));
        }
    }
    drop(progress);
    for (planned, copy) in written {
        copy.put().map_err(advised).with_context(|| planned.doing("putting in its place"))?;
    }
    for planned in &job.planned {
        planned.follow_up().map_err(advised).with_context(|| planned.doing("enabling"))?;
    }
    change::sync(esp.path()).with_context(|| format!("syncing {}", esp.path().display()))
}

fn shown(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| printable(&path.display().to_string())).collect::<Vec<_>>().join(", ")
}

fn text(arguments: &Arguments, esp: &Esp, job: &Job) -> Result<String> {
    let style = super::style();
    let mut out = String::new();
    let width = |text: &dyn Fn(&Planned) -> usize, least| job.planned.iter().map(text).max().unwrap_or(0).max(least);
    let name = |planned: &Planned| planned.removes.as_ref().map_or(planned.file.len(), String::len);
    let (entries, files) = (width(&|planned| planned.entry.name.chars().count(), 5), width(&name, 4));
    if !job.planned.is_empty() {
        writeln!(out, "{:<entries$}  {:<files$}  {:<11}  SIZE", "ENTRY", "FILE", "WHAT")?;
    }
    for planned in &job.planned {
        let colour = if planned.action == Action::Unchanged { "2" } else { "32" };
        let what = style.paint(colour, &format!("{:<11}", planned.action.word()));
        let (entry, size) = (printable(&planned.entry.name), super::size(planned.size));
        writeln!(out, "{entry:<entries$}  {:<files$}  {what}  {size}", planned.file)?;
        if let Some(removed) = &planned.removes {
            let what = style.paint("33", &format!("{:<11}", "removed"));
            writeln!(out, "{entry:<entries$}  {removed:<files$}  {what}")?;
        }
    }
    for left in &job.left_alone {
        writeln!(out, "{}", style.paint("33", &format!("left alone: {left}")))?;
    }
    let free =
        super::size(esp.space().with_context(|| format!("asking what is free on {}", esp.path().display()))?.free);
    let done = job.planned.iter().filter(|planned| planned.changes()).count();
    let what = match (arguments.dry_run, done) {
        (true, _) => format!("dry run: {done} of {} to be done", job.planned.len()),
        (false, 0) => "nothing to do".to_owned(),
        (false, _) => format!("{done} of {} done, in effect from the next boot on", job.planned.len()),
    };
    writeln!(out, "{}: {what}; {free} free", esp.path().display())?;
    Ok(out)
}

fn document(arguments: &Arguments, esp: &Esp, verified: &[Image], planned: &[Planned]) -> Result<String> {
    let value = json!({
        "version": 1,
        "esp": esp.path(),
        "dry_run": arguments.dry_run,
        "images": verified,
        "files": planned,
    });
    Ok(format!("{}\n", serde_json::to_string_pretty(&value)?))
}
