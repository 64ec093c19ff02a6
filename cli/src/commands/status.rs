//! `sextant status`

use super::output_options::OutputOptions;
use crate::bundle;
use anyhow::Result;
use clap::Args;
use sextant::agent::status::{self, Origin};
use sextant::report::metrics;
use std::path::PathBuf;
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
  sextant status --root /tmp/tree
        show what `sextant-agent stage --root /tmp/tree` decided
  sextant status --plot > boot.svg
        draw a timeline of the boot, to be looked at in a browser

The timeline has the last start of each unit from `systemctl show`; starts before that, and units of the initrd, from \
the journal of this boot (docs/operations.md). With --report FILE it has those in the bundle FILE.

Exit status: 0 all extensions are merged, or left out by an administrator; 1 there is no report, or the agent could not \
do its work; 2 usage; 3 a file was rejected; 4 a staged or required extension is not merged, or an extension is merged \
and was not staged. Of several, 1 comes before 4, and 4 before 3.")]
pub(super) struct Arguments {
    /// Show the report FILE, or the report in the bundle FILE [default: /run/sextant/report.json]
    #[arg(long, value_name = "FILE", conflicts_with = "root")]
    report: Option<PathBuf>,
    /// Operate on the tree at DIR [default: /]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Show the evidence behind each verdict: root hash, certificate of the signer, what was verified, time of each phase
    #[arg(short, long, conflicts_with_all = ["quiet", "plot", "prometheus"])]
    verbose: bool,
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
    let origin = Origin::new(arguments.report.as_deref(), arguments.root.as_deref())?;
    let mut report = origin.read(bundle::report)?;
    for name in origin.update(&mut report) {
        super::warn(status::gone(&name));
    }
    if arguments.plot {
        super::plot::run(&report, &origin)?;
    } else if arguments.prometheus {
        super::output::print(&metrics(&report, origin.surroundings()))?;
    } else {
        let text = || Ok(sextant::report::status::text(&report, super::style(), arguments.verbose));
        arguments.output.show(|| Ok(&report), text)?;
    }
    Ok(ExitCode::from(report.health().exit_status()))
}
