//! `sextant status --plot`

use super::output::{print, warn};
use crate::bundle;
use crate::plot::{self, Neighbours, Timeline};
use anyhow::{Context, Error, Result};
use sextant::agent::status::Origin;
use sextant::report::Report;

/// Number of problems that are printed: one of each program that is asked, and some more.
const PROBLEMS: usize = 8;

/// Prints the timeline of a report.
pub(super) fn run(report: &Report, origin: &Origin) -> Result<()> {
    let neighbours = neighbours(origin);
    // A bundle from elsewhere can claim any number.
    for problem in neighbours.problems.iter().take(PROBLEMS) {
        warn(format_args!("units are missing in the timeline: {problem}"));
    }
    let timeline = Timeline::of(report, &neighbours);
    let timeline =
        timeline.context("the report has no times: the sextant-agent that wrote it is older than this option")?;
    print(&timeline.svg())
}

/// Units of the boot that the report is about. A report that is a file by itself, or in a tree, has none.
fn neighbours(origin: &Origin) -> Neighbours {
    match origin {
        Origin::File(file) => bundle::neighbours(file).unwrap_or_else(|error| {
            let error = Error::new(error).context(format!("reading {}", file.display()));
            warn(format_args!("units are missing in the timeline: {error:#}"));
            Neighbours::default()
        }),
        Origin::Boot(..) if origin.is_this_boot() => plot::ask(),
        Origin::Boot(..) => Neighbours::default(),
    }
}
