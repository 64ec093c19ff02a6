//! Telling what was decided: the report, the journal, a table for people.

mod log;
mod recorded;
mod schema;
#[cfg(feature = "cli")]
pub mod seen;
pub mod table;

pub(crate) use self::log::tell_terminal;
pub use self::log::{Event, install as install_logger};
pub use recorded::Recorded;
pub(crate) use schema::usec;
pub use schema::{Anchor, FirmwareState, IgnoredCertificate, Image, Merge, Report, SCHEMA_VERSION, Signer, Verdict};

use crate::durable;
use crate::root::Root;
use anyhow::{Context, Result};
use serde::Serialize;

/// Where the report of this boot lies.
pub const PATH: &str = "/run/sextant/report.json";
const DIRECTORY: &str = "/run/sextant";
const FILE: &str = "report.json";

/// Writes the report, whole or not at all.
///
/// # Errors
/// Where it can't be written.
pub fn write(root: &Root, report: &Report) -> Result<()> {
    write_value(root, report)
}

fn write_value(root: &Root, report: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(report).context("encoding the report")?;
    text.push(b'\n');
    let directory = root.make_directory(DIRECTORY).with_context(|| format!("making {DIRECTORY}"))?;
    durable::write(&directory.join(FILE), &text, 0o644).with_context(|| format!("writing {PATH}"))
}
