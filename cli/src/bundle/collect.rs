//! The parts of a bundle.

use super::{Bundle, NEIGHBOURS, REPORT, versions};
use crate::capture::capture;
use crate::plot;
use anyhow::{Context, Result, bail};
use sextant::merge::UNITS;
use sextant::policy::MAX_KEPT;
use sextant::report::{MAX_LEN, PATH};
use sextant::root::Root;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Most bytes of the journal.
const MAX_JOURNAL: u64 = 8 << 20;
/// Most entries of the journal, the newest.
const MAX_ENTRIES: u32 = 20_000;
/// Most bytes that a command of ours prints.
const MAX_OUTPUT: u64 = 8 << 20;
/// How long a program may take.
const TIME: Duration = Duration::from_secs(30);
/// The configuration of this boot, as the agent kept it.
const CONFIGURATION: &str = "/run/sextant/sextant.yaml";

/// Fields of these entries. Others, such as command lines and the host's name, stay out.
const FIELDS: &str = "MESSAGE,MESSAGE_ID,PRIORITY,SYSLOG_IDENTIFIER,_SYSTEMD_UNIT,UNIT,_TRANSPORT,JOB_RESULT,EXIT_STATUS,\
                      SEXTANT_IMAGE,SEXTANT_EXTENSION,SEXTANT_VERDICT,SEXTANT_REASON,SEXTANT_ROOT_HASH,SEXTANT_SIGNER";

/// Collects what this machine has.
///
/// # Errors
/// Where its root directory can't be opened. What else is missing is named in the bundle.
pub fn collect() -> Result<Bundle> {
    let root = Root::open(Path::new("/")).context("opening /")?;
    let mut bundle = Bundle::default();
    bundle.add(REPORT, file(&root, PATH, 2 * MAX_LEN as u64));
    bundle.add("journal.json", journal());
    bundle.add(NEIGHBOURS, neighbours());
    bundle.add("trust.json", own(&["trust", "--json"]));
    bundle.add("list.json", own(&["list", "--json"]));
    bundle.add("sextant.yaml", file(&root, CONFIGURATION, MAX_KEPT));
    bundle.add("versions.json", versions::json(&root).map(|text| (text, false)));
    Ok(bundle)
}

fn file(root: &Root, path: &str, limit: u64) -> Result<(Vec<u8>, bool)> {
    let content = root.read(path, limit).with_context(|| format!("reading {path}"))?;
    Ok((content.with_context(|| format!("{path} does not exist"))?, false))
}

/// What another command of this program prints. It is a process of its own, so that nothing that goes wrong in it keeps the other
/// parts out.
fn own(arguments: &[&str]) -> Result<(Vec<u8>, bool)> {
    let program = std::env::current_exe().context("finding this program")?;
    capture(Command::new(program).args(arguments), MAX_OUTPUT, TIME, &[0])
}

/// What the timeline shows besides the report.
fn neighbours() -> Result<(Vec<u8>, bool)> {
    let found = plot::ask();
    if let (true, Some(problem)) = (found.units.is_empty(), found.problems.first()) {
        bail!("{problem}");
    }
    let mut text = serde_json::to_vec_pretty(&found).context("encoding the units")?;
    text.push(b'\n');
    Ok((text, false))
}

/// The journal of this boot as lines of JSON (journalctl(1)). Matches of one field are alternatives, and `+` stands between those of
/// different fields.
fn journal() -> Result<(Vec<u8>, bool)> {
    let mut command = Command::new("journalctl");
    command.args(["--boot", "--quiet", "--no-pager", "--output=json"]);
    command.args([format!("--lines={MAX_ENTRIES}"), format!("--output-fields={FIELDS}")]);
    command.args(UNITS.map(|unit| format!("_SYSTEMD_UNIT={unit}")));
    // What PID 1 says of a unit.
    command.arg("+").args(UNITS.map(|unit| format!("UNIT={unit}")));
    command.args(["+", "SYSLOG_IDENTIFIER=sextant-agent"]);
    let (mut lines, is_truncated) = capture(&mut command, MAX_JOURNAL, TIME, &[0])?;
    if is_truncated {
        let end = lines.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end.saturating_add(1));
        lines.truncate(end);
    }
    Ok((lines, is_truncated))
}
