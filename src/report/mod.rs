//! Telling what was decided: the report, the journal, a table for people.

mod log;
mod schema;
pub mod table;

pub use self::log::{Event, install as install_logger};
pub(crate) use schema::usec;
pub use schema::{Anchor, FirmwareState, IgnoredCertificate, Image, Merge, Report, SCHEMA_VERSION, Signer, Verdict};

use crate::durable;
use crate::root::Root;
use anyhow::{Context, Result};

/// Where the report of this boot lies.
pub const PATH: &str = "/run/sextant/report.json";

/// Writes the report, whole or not at all.
///
/// # Errors
/// Where it can't be written.
pub fn write(root: &Root, report: &Report) -> Result<()> {
    let path = root.join(PATH);
    let mut text = serde_json::to_vec_pretty(report).context("encoding the report")?;
    text.push(b'\n');
    if let Some(directory) = path.parent() {
        durable::create_directory(directory).with_context(|| format!("making the directory of {PATH}"))?;
    }
    durable::write(&path, &text, 0o644).with_context(|| format!("writing {PATH}"))
}
