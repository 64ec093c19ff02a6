//! A report that an earlier run wrote, as later ones complete it and `sextant` shows it.

use super::PATH;
use super::bounds::MAX_LEN;
use super::schema::{Image, Merge, NotMerged, Verdict};
use super::schema::{Report, SCHEMA_VERSION};
use crate::root::Root;
use ddi::Class;
use ddi::text::Text;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use thiserror::Error;

/// Largest report that is read, in bytes: more than is ever written.
const MAX_READ: u64 = 2 * MAX_LEN as u64;

/// Most rows in each list of a report that is read: more than any that was written has. Lists are compared with each other.
const MAX_ROWS: usize = 4096;

/// Why there is no report to show.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReportError {
    /// It can't be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It isn't JSON, or something is missing.
    #[error("{cause}")]
    Json {
        /// What the parser said.
        cause: ddi::text::Message,
    },
    /// It is of another version.
    #[error("the report has version {found}; this sextant reads version {SCHEMA_VERSION}")]
    Version {
        /// What it says.
        found: u32,
    },
    /// It is larger than any that was written by sextant.
    #[error("it has more than {MAX_READ} bytes")]
    TooLarge,
    /// One of its lists is longer than any that was written by sextant.
    #[error("a list in it has {found} rows; the limit is {MAX_ROWS}")]
    TooManyRows {
        /// Rows of the longest list.
        found: usize,
    },
}

impl ReportError {
    fn reading(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::FileTooLarge { Self::TooLarge } else { Self::Io(error) }
    }
}

impl Report {
    /// Reads the report of this boot; `None` where there is none.
    ///
    /// # Errors
    /// [`ReportError`]
    pub fn read(root: &Root) -> Result<Option<Self>, ReportError> {
        root.read(PATH, MAX_READ).map_err(ReportError::reading)?.map(|text| Self::parse(&text)).transpose()
    }

    /// Reads the report at `path`.
    ///
    /// # Errors
    /// [`ReportError`]
    pub fn read_file(path: &Path) -> Result<Self, ReportError> {
        Self::parse(&crate::durable::read(path, MAX_READ).map_err(ReportError::reading)?)
    }

    /// Reads a report from its text.
    ///
    /// # Errors
    /// [`ReportError`]
    pub fn parse(text: &[u8]) -> Result<Self, ReportError> {
        if u64::try_from(text.len()).is_ok_and(|len| len > MAX_READ) {
            return Err(ReportError::TooLarge);
        }
        let json = |error| ReportError::Json { cause: ddi::text::Message::new(error) };
        // Another version may have other members.
        let Version { version: found } = serde_json::from_slice(text).map_err(json)?;
        if found != SCHEMA_VERSION {
            return Err(ReportError::Version { found });
        }
        let report: Self = serde_json::from_slice(text).map_err(json)?;
        match report.longest_list() {
            found if found > MAX_ROWS => Err(ReportError::TooManyRows { found }),
            _ => Ok(report),
        }
    }

    fn longest_list(&self) -> usize {
        let lists = [self.trust.len(), self.ignored_certificates.len(), self.images.len()];
        let omitted = self.omitted.iter().map(|omitted| omitted.by_reason.len());
        let of_merge = |it: &Merge| {
            [it.merged.len(), it.missing.len(), it.unexpected.len(), it.extensions.len(), it.not_merged.len()]
        };
        lists.into_iter().chain(omitted).chain(self.merge.iter().flat_map(of_merge)).max().unwrap_or_default()
    }
}

/// The one member that every version has.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// What became of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is part of the system.
    Merged,
    /// It was staged, and is not part of the system.
    Missing,
    /// It was staged, and is not part of the system, as an administrator had in mind.
    LeftOut,
    /// It was staged, and nothing has been compared since.
    Staged,
    /// It was staged, and taken back at the end of the initrd.
    Withdrawn,
    /// It was rejected.
    Rejected,
    /// It was only examined, not staged (`sextant verify`).
    Accepted,
    /// A verdict that this version does not know.
    Unknown,
}

impl Fate {
    /// Every value.
    pub const ALL: [Self; 8] = [
        Self::Merged,
        Self::Missing,
        Self::LeftOut,
        Self::Staged,
        Self::Withdrawn,
        Self::Rejected,
        Self::Accepted,
        Self::Unknown,
    ];

    /// The word for it in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Merged => "merged",
            Self::Missing => "missing",
            Self::LeftOut => "left-out",
            Self::Staged => "staged",
            Self::Withdrawn => "withdrawn",
            Self::Rejected => "rejected",
            Self::Accepted => "accepted",
            Self::Unknown => "unknown",
        }
    }
}

impl Report {
    /// Notes what isn't merged any more: `merged` are the names of `class` that are now. Returns those that were.
    pub fn update(&mut self, class: Class, merged: &BTreeSet<Text>) -> Vec<Text> {
        let of_class = |name: &Text| {
            self.images.iter().any(|image| {
                image.class == class && image.verdict == Verdict::Staged && image.name.as_ref() == Some(name)
            })
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
    pub fn fate(&self, image: &Image) -> Fate {
        match image.verdict.known() {
            Some(Verdict::Staged) => {}
            Some(Verdict::Accepted) => return Fate::Accepted,
            Some(Verdict::Rejected) => return Fate::Rejected,
            Some(Verdict::Withdrawn) if self.not_merged(image).is_some_and(|it| it.meant) => return Fate::LeftOut,
            Some(Verdict::Withdrawn) => return Fate::Withdrawn,
            None => return Fate::Unknown,
        }
        let merge = self.merge.as_ref().filter(|merge| merge.confirmed);
        let is_in = |names: &[Text]| image.name.as_ref().is_some_and(|name| names.contains(name));
        match merge {
            // A sysext and a confext may have one name, of which the lists don't say which it is.
            Some(merge) if is_in(&merge.merged) && !is_in(&merge.missing) => Fate::Merged,
            Some(_) if self.not_merged(image).is_some_and(|it| it.meant) => Fate::LeftOut,
            Some(_) => Fate::Missing,
            None => Fate::Staged,
        }
    }

    /// What was found of a staged image that isn't merged.
    #[must_use]
    pub fn not_merged(&self, image: &Image) -> Option<&NotMerged> {
        let rows = self.merge.iter().flat_map(|merge| &merge.not_merged);
        rows.into_iter().find(|row| row.staged && image.is(row.class, row.name.as_str()))
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
