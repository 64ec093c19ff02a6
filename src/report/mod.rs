//! Telling what was decided: the report, the journal, tables for people, metrics for monitoring.

mod adoption;
mod bounds;
mod evidence;
mod health;
mod location;
mod log;
mod loss;
mod measurement;
mod metrics;
mod read;
mod schema;
mod signer;
pub mod status;
pub mod table;
mod times;
mod word;

pub(crate) use self::log::tell_terminal;
pub use self::log::{Event, Withdrawn, install as install_logger};
pub use adoption::{Adoption, Offered, TakenBack};
pub use bounds::{CERTIFICATE_ROWS, MAX_LEN, MERGE_NAMES, MERGE_ROWS, REJECTED_ROWS};
pub use evidence::{date, evidence};
pub use health::Health;
pub use loss::Loss;
pub use measurement::{EVENT_ROWS, MeasuredEvent, Measurement, MeasurementState, PcrValues};
pub use metrics::{METRICS, Surroundings, metrics, write_metrics};
pub use read::Fate;
pub use read::ReportError;
pub use schema::usec;
pub use schema::{
    Anchor, Coverage, FirmwareState, IgnoredCertificate, Image, Merge, MergedExtension, NotMerged, Omitted, Report,
    SCHEMA_VERSION, Verdict,
};
pub use signer::{Signer, SignerSource};
pub use times::{PhaseTime, Run, Verb};
pub use word::{Vocabulary, Word};

use crate::durable;
use crate::root::Root;
use anyhow::{Context, Result};

/// Where the report of this boot lies.
pub const PATH: &str = "/run/sextant/report.json";
/// A number with a noun: `1 extension`, `2 extensions`.
pub(crate) fn count(number: impl TryInto<u64>, noun: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// A time as people read it: `12.3 ms`.
fn milliseconds(usec: u64) -> String {
    format!("{}.{} ms", usec / 1000, usec % 1000 / 100)
}

const DIRECTORY: &str = "/run/sextant";
const FILE: &str = "report.json";

/// Writes the report, whole or not at all. It has at most [`MAX_LEN`] bytes.
///
/// # Errors
/// Where it can't be written.
pub fn write(root: &Root, report: &Report) -> Result<()> {
    let text = report.encode().context("encoding the report")?;
    let directory = root.make_directory(DIRECTORY).with_context(|| format!("making {DIRECTORY}"))?;
    durable::write(&directory.join(FILE), &text, 0o644).with_context(|| format!("writing {PATH}"))
}
