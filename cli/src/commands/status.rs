//! `sextant status`

use super::output_options::OutputOptions;
use crate::bundle;
use anyhow::{Context, Result};
use clap::Args;
use sextant::agent::status;
use sextant::esp;
use sextant::report::{PATH, Surroundings, metrics};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Show the extensions of this boot, and why files were rejected
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sextant status
        show verdicts, merge state and trust anchors of this boot
  sextant status --json | jq '.images[] | select(.verdict == \"rejected\")'
        print the rows of rejected files (see docs/report.md)
  sextant status --prometheus
        print metrics for the textfile collector of Prometheus' node exporter
  sextant status --report machine.tar
        show the report in a bundle of another machine
  sextant status --plot > boot.svg
        draw a timeline of the boot, to be looked at in a browser

Exit status: 0 all extensions are merged, or left out by an administrator; 1 there is no report, or the agent could not \
do its work; 2 usage; 3 a file was rejected; 4 a staged or required extension is not merged, or an extension is merged \
and was not staged. Of several, 1 comes before 4, and 4 before 3.")]
pub(super) struct Arguments {
    /// Show the report FILE, or the report in the bundle FILE
    #[arg(long, value_name = "FILE", default_value = PATH)]
    report: PathBuf,
    /// Output a timeline of the boot as SVG: runs of the agent, phases of each image, and the units around them
    #[arg(long, conflicts_with_all = ["json", "short_json", "prometheus"])]
    plot: bool,
    /// Output metrics for the textfile collector of Prometheus
    #[arg(long, conflicts_with_all = ["json", "short_json"])]
    prometheus: bool,
    #[command(flatten)]
    output: OutputOptions,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let path = &arguments.report;
    let mut report = bundle::report(path).with_context(|| status::reading(path))?;
    let is_current = path == Path::new(PATH);
    if is_current {
        for name in status::update(&mut report) {
            super::warn(status::gone(&name));
        }
    }
    if arguments.plot {
        super::plot::run(&report, path)?;
    } else if arguments.prometheus {
        let surroundings = if is_current { status::surroundings(esp::find) } else { Surroundings::default() };
        super::output::print(&metrics(&report, surroundings))?;
    } else {
        let style = super::style();
        arguments.output.show(|| Ok(&report), || Ok(sextant::report::status::text(&report, style)))?;
    }
    Ok(ExitCode::from(report.health().exit_status()))
}
