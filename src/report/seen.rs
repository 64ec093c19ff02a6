//! A report as a person asks about it later: typed, and lenient about what a later version adds.

use super::SCHEMA_VERSION;
use crate::image::Class;
use serde::Deserialize;
use serde_json::Value;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use thiserror::Error;

/// Largest report that is read, in bytes.
const MAX_LEN: u64 = 64 << 20;

/// Why there is no report to show.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SeenError {
    /// It can't be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It isn't JSON, or something is missing.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// It is of another version.
    #[error("version {found} where {SCHEMA_VERSION} is expected")]
    Version {
        /// What it says.
        found: u32,
    },
}

/// What was decided in this boot (docs/report.md).
#[derive(Debug, Deserialize)]
pub struct Seen {
    version: u32,
    /// What the firmware said.
    pub firmware: Option<SeenFirmware>,
    /// The trust anchors.
    pub trust: Vec<SeenCertificate>,
    /// What was offered in vain.
    pub ignored_certificates: Vec<SeenIgnored>,
    /// One for each file.
    pub images: Vec<SeenImage>,
    /// What systemd made of it.
    pub merge: Option<SeenMerge>,
    /// Why the agent could not do its job.
    pub error: Option<String>,
}

/// What the firmware said.
#[derive(Debug, Deserialize)]
pub struct SeenFirmware {
    /// State of Secure Boot.
    pub secure_boot: String,
    /// The boot entry.
    pub entry: Option<String>,
}

/// A certificate.
#[derive(Debug, Deserialize)]
pub struct SeenCertificate {
    /// Where it came from.
    pub source: String,
    /// Its subject.
    pub subject: String,
    /// SHA-256 of its DER encoding.
    pub sha256: String,
}

/// A certificate that doesn't count.
#[derive(Debug, Deserialize)]
pub struct SeenIgnored {
    /// Where it was found.
    pub source: String,
    /// Why.
    pub reason: String,
}

/// What was decided about a file.
#[derive(Debug, Deserialize)]
pub struct SeenImage {
    /// Its name.
    pub file: String,
    /// The extension's.
    pub name: Option<String>,
    /// Kind of extension.
    pub class: Class,
    /// `staged` or `rejected`
    pub verdict: String,
    /// The token.
    pub reason: Option<String>,
    /// The sentence.
    pub detail: Option<String>,
    /// What changes nothing.
    pub warnings: Vec<String>,
    /// The signed root hash.
    pub root_hash: Option<String>,
    /// Who signed it.
    pub signer: Option<SeenCertificate>,
    /// Size in bytes.
    pub size: Option<u64>,
    /// Microseconds.
    pub verify_usec: u64,
    /// Microseconds.
    pub stage_usec: u64,
}

/// What systemd made of it.
#[derive(Debug, Deserialize)]
pub struct SeenMerge {
    /// Whether the gate was opened.
    pub requested: bool,
    /// Whether somebody has looked.
    #[serde(default)]
    pub confirmed: bool,
    /// Staged and merged.
    pub merged: Vec<String>,
    /// Staged and not merged.
    pub missing: Vec<String>,
    /// Merged and not staged.
    #[serde(default)]
    pub unexpected: Vec<String>,
}

/// What became of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is part of the system.
    Merged,
    /// It was staged, and is not part of the system.
    Missing,
    /// It was staged, and nobody has looked since.
    Staged,
    /// It was rejected.
    Rejected,
}

impl Seen {
    /// Reads the report at `path`, and also gives it as it is.
    ///
    /// # Errors
    /// [`SeenError`]
    pub fn read(path: &Path) -> Result<(Self, Value), SeenError> {
        let mut text = Vec::new();
        File::open(path)?.take(MAX_LEN).read_to_end(&mut text)?;
        let value: Value = serde_json::from_slice(&text)?;
        let seen = Self::deserialize(&value)?;
        if seen.version == SCHEMA_VERSION { Ok((seen, value)) } else { Err(SeenError::Version { found: seen.version }) }
    }

    /// What became of one of its images.
    #[must_use]
    pub fn fate(&self, image: &SeenImage) -> Fate {
        if image.verdict != "staged" {
            return Fate::Rejected;
        }
        let merge = self.merge.as_ref().filter(|merge| merge.confirmed);
        let is_in = |names: &[String]| image.name.as_ref().is_some_and(|name| names.contains(name));
        match merge {
            Some(merge) if is_in(&merge.merged) => Fate::Merged,
            Some(_) => Fate::Missing,
            None => Fate::Staged,
        }
    }

    /// Whether everything that was found is part of the system, and nothing else.
    #[must_use]
    pub fn is_well(&self) -> bool {
        let merge = self.merge.as_ref().is_some_and(|merge| merge.confirmed && merge.unexpected.is_empty());
        self.error.is_none() && merge && self.images.iter().all(|image| self.fate(image) == Fate::Merged)
    }
}
