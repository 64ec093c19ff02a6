//! One word about a whole boot, for monitoring.

use super::read::Fate;
use super::schema::{Merge, Report};
use ddi::text::Text;

/// What a boot came to. Of several, the last that applies in this order: [`Well`](Self::Well), [`Rejected`](Self::Rejected),
/// [`Missing`](Self::Missing), [`Failed`](Self::Failed).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Everything that was found is part of the system, or was left out by an administrator.
    Well,
    /// A file was rejected.
    Rejected,
    /// A staged or required extension is not merged, or not yet known to be, or one is merged that was not staged.
    Missing,
    /// The agent could not do its work.
    Failed,
}

impl Health {
    /// Every value.
    pub const ALL: [Self; 4] = [Self::Well, Self::Rejected, Self::Missing, Self::Failed];

    /// The exit status of `status`: an interface.
    #[must_use]
    pub const fn exit_status(self) -> u8 {
        match self {
            Self::Well => 0,
            Self::Failed => 1,
            Self::Rejected => 3,
            Self::Missing => 4,
        }
    }

    /// The word for it in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Rejected => "rejected",
            Self::Missing => "missing",
            Self::Failed => "failed",
        }
    }
}

impl Report {
    /// What the boot came to.
    #[must_use]
    pub fn health(&self) -> Health {
        if self.error.is_some() {
            return Health::Failed;
        }
        let is_meant = |merge: &Merge, name: &Text| {
            let mut rows = merge.not_merged.iter().filter(|row| row.staged && row.name == *name).peekable();
            rows.peek().is_some() && rows.all(|row| row.meant)
        };
        let is_whole = |merge: &Merge| {
            merge.confirmed
                && merge.unexpected.is_empty()
                && merge.required_missing.is_empty()
                && merge.missing.iter().all(|name| is_meant(merge, name))
        };
        let is_there = |fate: Fate| matches!(fate, Fate::Merged | Fate::LeftOut | Fate::Rejected);
        let mut fates = self.images.iter().map(|image| self.fate(image));
        if !self.merge.as_ref().is_some_and(is_whole) || !fates.all(is_there) {
            return Health::Missing;
        }
        let omitted = self.omitted.as_ref().is_some_and(|omitted| omitted.total > 0);
        if omitted || self.images.iter().any(|image| self.fate(image) == Fate::Rejected) {
            return Health::Rejected;
        }
        Health::Well
    }

    /// Whether everything that was found is part of the system, and nothing else. What an administrator left out may be missing.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.health() == Health::Well
    }
}
