//! One file with all that tells what a boot came to, to be read elsewhere.
//!
//! It is a tar archive without compression, with a file for each part in the directory `sextant-bundle`. A part that can't be had
//! doesn't keep the others out: `manifest.json` names it.

mod collect;
mod read;
mod versions;

pub use collect::collect;
pub use read::{BundleError, neighbours, report};

use ddi::text::Message;
use serde::Serialize;
use std::io;
use std::time::SystemTime;

/// The directory of all parts in the archive.
const DIRECTORY: &str = "sextant-bundle";
/// What the archive holds, and what it doesn't.
const MANIFEST: &str = "manifest.json";
/// The report of the boot.
const REPORT: &str = "report.json";
/// When systemd started units in it.
const NEIGHBOURS: &str = "units.json";

/// One part, as it is written.
#[derive(Debug)]
pub struct Part {
    name: &'static str,
    content: Vec<u8>,
    is_truncated: bool,
}

/// A part that the bundle has to do without.
#[derive(Debug, Serialize)]
pub struct Missing {
    /// Its name.
    pub name: &'static str,
    /// Why.
    pub cause: Message,
}

/// All parts that could be had.
#[derive(Debug, Default)]
pub struct Bundle {
    parts: Vec<Part>,
    missing: Vec<Missing>,
}

#[derive(Serialize)]
struct Manifest<'b> {
    version: u32,
    sextant: &'static str,
    /// Seconds since 1970 (UTC).
    created: u64,
    parts: Vec<Row>,
    missing: &'b [Missing],
}

#[derive(Serialize)]
struct Row {
    name: &'static str,
    size: usize,
    truncated: bool,
}

impl Bundle {
    /// What couldn't be had.
    #[must_use]
    pub fn missing(&self) -> &[Missing] {
        &self.missing
    }

    /// How many parts there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Whether nothing could be had.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Adds a part, or the cause why there is none.
    fn add(&mut self, name: &'static str, part: anyhow::Result<(Vec<u8>, bool)>) {
        match part {
            Ok((content, is_truncated)) => self.parts.push(Part { name, content, is_truncated }),
            Err(error) => self.missing.push(Missing { name, cause: Message::new(format_args!("{error:#}")) }),
        }
    }

    /// The archive.
    ///
    /// # Errors
    /// Where the manifest can't be encoded.
    pub fn encode(&self, now: SystemTime) -> io::Result<Vec<u8>> {
        let created = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
        let rows = self.parts.iter().map(|part| Row {
            name: part.name,
            size: part.content.len(),
            truncated: part.is_truncated,
        });
        let manifest = Manifest {
            version: 1,
            sextant: env!("CARGO_PKG_VERSION"),
            created,
            parts: rows.collect(),
            missing: &self.missing,
        };
        let mut text = serde_json::to_vec_pretty(&manifest)?;
        text.push(b'\n');
        let mut archive = tar::Builder::new(Vec::new());
        let parts = self.parts.iter().map(|part| (part.name, part.content.as_slice()));
        for (name, content) in std::iter::once((MANIFEST, text.as_slice())).chain(parts) {
            let mut header = tar::Header::new_ustar();
            header.set_size(u64::try_from(content.len()).unwrap_or(u64::MAX));
            header.set_mode(0o600);
            header.set_mtime(created);
            archive.append_data(&mut header, format!("{DIRECTORY}/{name}"), content)?;
        }
        archive.into_inner()
    }
}
