//! The units of this boot of this machine.

use super::journal::{self, FIELDS, MESSAGES};
use super::units::{BOOT_PROPERTIES, Boot, MILESTONES, UNIT_PROPERTIES, Unit};
use crate::capture::capture;
use anyhow::{Context, Result, bail};
use ddi::text::Message;
use serde::{Deserialize, Serialize};
use sextant::merge;
use std::fs;
use std::process::Command;
use std::time::Duration;

/// How long a program may take.
const TIME: Duration = Duration::from_secs(30);
/// Most bytes that systemctl prints.
const MAX_SHOWN: u64 = 1 << 20;
/// Most bytes of the journal, from the begin of the boot on: some thousand entries.
const MAX_JOURNAL: u64 = 4 << 20;
/// The identifier of this boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What systemd did around the runs of the agent.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbours {
    /// When systemd came to which part of the boot
    pub boot: Boot,
    /// Starts of units, in the order in which they began
    pub units: Vec<Unit>,
    /// Why some are missing
    pub problems: Vec<Message>,
}

/// Asks systemd, which has the last start of each unit it knows, and the journal, which has earlier ones too: systemd forgets the
/// units of an initrd when it switches the root.
#[must_use]
pub fn ask() -> Neighbours {
    let names = [merge::UNITS.as_slice(), &MILESTONES].concat();
    let mut problems = Vec::new();
    let shown = show(UNIT_PROPERTIES, &names).and_then(|units| Ok((units, show(BOOT_PROPERTIES, &[])?)));
    let (shown, boot) = match shown {
        Ok((units, boot)) => (Unit::parse_all(&units), Boot::parse(&boot)),
        Err(error) => {
            problems.push(Message::new(format_args!("{error:#}")));
            Default::default()
        }
    };
    let told = match tell(&names) {
        Ok((units, is_complete)) => {
            if !is_complete {
                let limit = MAX_JOURNAL >> 20;
                problems.push(Message::new(format_args!("the entries of PID 1 in the journal exceed {limit} MiB")));
            }
            units
        }
        Err(error) => {
            problems.push(Message::new(format_args!("{error:#}")));
            Vec::new()
        }
    };
    Neighbours { boot, units: Unit::complete(shown, told, boot), problems }
}

fn show(properties: &str, units: &[&str]) -> Result<String> {
    let mut command = Command::new("systemctl");
    let (variable, patience) = merge::SYSTEMCTL_PATIENCE;
    command.arg("show").arg(format!("--property={properties}")).args(units).env(variable, patience);
    let (output, _) = capture(&mut command, MAX_SHOWN, TIME, &[0])?;
    Ok(String::from_utf8_lossy(&output).into_owned())
}

/// Asks the journal, and returns whether these are all entries. Matches of one field are alternatives, those of different fields
/// have to hold together, and `+` begins anew (journalctl(1)).
fn tell(names: &[&str]) -> Result<(Vec<Unit>, bool)> {
    let boot = fs::read_to_string(BOOT_ID).with_context(|| format!("reading {BOOT_ID}"))?.replace('-', "");
    let mut command = Command::new("journalctl");
    command.args(["--boot", "--quiet", "--no-pager", "--output=json"]).arg(format!("--output-fields={FIELDS}"));
    command.arg("_PID=1").args(MESSAGES.map(|(id, _)| format!("MESSAGE_ID={id}")));
    command.args(names.iter().map(|name| format!("UNIT={name}")));
    command.args(["+", "_TRANSPORT=kernel", "SYSLOG_IDENTIFIER=systemd", "SYSLOG_PID=1"]);
    let (lines, is_truncated) = capture(&mut command, MAX_JOURNAL, TIME, &[0])?;
    if lines.is_empty() {
        bail!("journalctl prints no message of PID 1 in this boot");
    }
    Ok((journal::parse(&lines, names, boot.trim()), !is_truncated))
}
