//! `sextant status --plot`

use super::output::{print, warn};
use crate::plot::{BOOT_PROPERTIES, Boot, MILESTONES, Timeline, UNIT_PROPERTIES, Unit};
use anyhow::{Context, Result, bail};
use sextant::merge;
use sextant::report::Report;
use std::process::{Command, Stdio};

/// How long systemctl waits for an answer of systemd (systemd 257, `docs/ENVIRONMENT.md`).
const PATIENCE: (&str, &str) = ("SYSTEMD_BUS_TIMEOUT", "10s");

/// Prints the timeline of a report. Units are those of this boot, so a report from elsewhere is drawn without them.
pub(super) fn run(report: &Report, is_this_boot: bool) -> Result<()> {
    let (units, boot) = if is_this_boot { ask() } else { Default::default() };
    let timeline = Timeline::of(report, &units, boot);
    let timeline =
        timeline.context("the report has no times: the sextant-agent that wrote it is older than this option")?;
    print(&timeline.svg())
}

/// Asks systemd. What it doesn't tell isn't drawn.
fn ask() -> (Vec<Unit>, Boot) {
    let units = [merge::UNITS.as_slice(), &MILESTONES].concat();
    let shown = show(UNIT_PROPERTIES, &units).and_then(|units| Ok((units, show(BOOT_PROPERTIES, &[])?)));
    match shown {
        Ok((units, boot)) => (Unit::parse_all(&units), Boot::parse(&boot)),
        Err(error) => {
            warn(format_args!("units are not drawn: {error:#}"));
            Default::default()
        }
    }
}

fn show(properties: &str, units: &[&str]) -> Result<String> {
    let mut command = Command::new("systemctl");
    command.arg("show").arg(format!("--property={properties}")).args(units).env(PATIENCE.0, PATIENCE.1);
    let output = command.stdin(Stdio::null()).output().context("starting systemctl")?;
    if !output.status.success() {
        bail!("systemctl show: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
