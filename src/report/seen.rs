//! A report as a person asks about it later: typed, and lenient about what a later version adds.

use super::SCHEMA_VERSION;
use crate::image::Class;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;
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
    /// Where it was found.
    pub directory: Option<String>,
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

    /// Notes what isn't merged any more: `merged` are the names of `class` that are now. Returns those that were.
    pub fn update(&mut self, class: Class, merged: &BTreeSet<String>) -> Vec<String> {
        let of_class = |name: &String| {
            self.images
                .iter()
                .any(|image| image.class == class && image.verdict == "staged" && image.name.as_ref() == Some(name))
        };
        let Some(merge) = self.merge.as_mut().filter(|merge| merge.confirmed) else { return Vec::new() };
        let (gone, kept) =
            std::mem::take(&mut merge.merged).into_iter().partition(|name| of_class(name) && !merged.contains(name));
        merge.merged = kept;
        merge.missing.extend_from_slice(&gone);
        gone
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
            // A sysext and a confext may have one name, of which the lists don't say which it is.
            Some(merge) if is_in(&merge.merged) && !is_in(&merge.missing) => Fate::Merged,
            Some(_) => Fate::Missing,
            None => Fate::Staged,
        }
    }

    /// Whether everything that was found is part of the system, and nothing else.
    #[must_use]
    pub fn is_well(&self) -> bool {
        let is_well = |merge: &SeenMerge| merge.confirmed && merge.unexpected.is_empty() && merge.missing.is_empty();
        let merge = self.merge.as_ref().is_some_and(is_well);
        self.error.is_none() && merge && self.images.iter().all(|image| self.fate(image) == Fate::Merged)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    /// A sysext and a confext of one name, and another sysext.
    fn seen(merged: &[&str], missing: &[&str]) -> Seen {
        let image = |name: &str, class: &str| {
            json!({
                "file": format!("{name}.{class}.raw"), "name": name, "class": class, "verdict": "staged", "warnings": [],
                "verify_usec": 1, "stage_usec": 1,
            })
        };
        let images = [image("both", "sysext"), image("both", "confext"), image("one", "sysext")];
        let merge =
            json!({"requested": true, "confirmed": true, "merged": merged, "missing": missing, "unexpected": []});
        let report = json!({"version": 1, "trust": [], "ignored_certificates": [], "images": images, "merge": merge});
        serde_json::from_value(report).unwrap()
    }

    #[test]
    fn nothing_is_well_while_something_of_a_name_is_missing() {
        assert!(seen(&["both", "both", "one"], &[]).is_well());
        let half = seen(&["both", "one"], &["both"]);
        assert!(!half.is_well());
        assert_eq!(half.images.iter().map(|image| half.fate(image)).filter(|fate| *fate == Fate::Missing).count(), 2);
        assert!(!seen(&["both", "one"], &["stranger"]).is_well());
    }

    #[test]
    fn what_is_not_merged_any_more_is_missing() {
        let mut seen = seen(&["both", "both", "one"], &[]);
        let now = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<String>>();
        assert_eq!(seen.update(Class::Sysext, &now(&["one", "both", "other"])), Vec::<String>::new());
        assert!(seen.is_well());
        assert_eq!(seen.update(Class::Sysext, &now(&["both"])), ["one"]);
        assert!(!seen.is_well());
        assert_eq!(seen.fate(&seen.images[2]), Fate::Missing);
    }
}
