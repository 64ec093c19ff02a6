//! `sextant bundle`

use crate::bundle::collect;
use anyhow::{Context, Result, bail};
use clap::Args;
use ddi::text::Text;
use sextant::durable;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

/// Collect what support needs to know about this boot in one file
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sextant bundle machine.tar
        write report, journal, trust anchors, list, configuration and versions
  sextant status --report machine.tar
        show the report in it, on any machine
  sextant status --report machine.tar --plot > boot.svg
        draw the timeline of that boot
  tar --extract --file machine.tar
        extract it to the directory sextant-bundle

The file is a tar archive with these members in sextant-bundle/:
  manifest.json   members, and parts that could not be collected
  report.json     the report of this boot
  journal.json    entries of the agent and of the units that stage and merge
  units.json      starts of these units and of those around them in the boot
  trust.json      output of `sextant trust --json`
  list.json       output of `sextant list --json`
  sextant.yaml    the sealed configuration of this boot, drop-ins included
  versions.json   versions of sextant, kernel, systemd and system

Private keys, the names of the host and its users, and the kernel command line (but for words about extensions) are not \
part of it. Only its owner can read the file.

Exit status: 0 written, even if parts are missing; 1 not written; 2 usage.")]
pub(super) struct Arguments {
    /// File to write
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Replace FILE if it exists
    #[arg(long)]
    force: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let file = &arguments.file;
    if !arguments.force && file.symlink_metadata().is_ok() {
        bail!("writing {}: it exists; use --force to replace it", file.display());
    }
    let bundle = collect()?;
    for missing in bundle.missing() {
        super::warn(format_args!("the bundle has no {}: {}", missing.name, missing.cause));
    }
    let writing = || format!("writing {}", file.display());
    let archive = bundle.encode(SystemTime::now()).with_context(writing)?;
    durable::write(file, &archive, 0o600).with_context(writing)?;
    let (size, parts) = (super::size(u64::try_from(archive.len()).unwrap_or(u64::MAX)), bundle.len());
    let total = parts.saturating_add(bundle.missing().len());
    super::output::print(&format!("{}: {parts} of {total} parts, {size}\n", Text::from_os(file.as_os_str())))?;
    Ok(ExitCode::SUCCESS)
}
