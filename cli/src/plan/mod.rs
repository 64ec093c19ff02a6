//! Previews the merge of a set of extensions, and its effect on the steps of a boot.
//!
//! Pure functions of names, trees and steps; [`crate::commands`] reads the images and the files of the stages.

mod commands;
pub mod host;
mod layers;
pub mod page;
mod stages;
mod text;
mod writes;

pub use layers::{Conflict, Owned, ReadOnly, merge_order, paths};
pub use stages::{StageError, StageFile, Step, parse};
pub use text::text;
pub use writes::{Finding, Trouble};

use ddi::Class;
use ddi::filesystem::Node;
use ddi::text::{Message, Text};
use serde::Serialize;
use sextant::policy::Hierarchies;
use sextant::reason::Reason;
use sextant::report::Word;

/// Version of the JSON format.
pub const SCHEMA_VERSION: u32 = 1;

/// An extension with its files.
#[derive(Debug)]
pub struct Extension {
    /// Name, which decides its place in the merge order.
    pub name: String,
    /// Class.
    pub class: Class,
    /// Files, as [`ddi::filesystem::Filesystem::walk`] gives them.
    pub nodes: Vec<Node>,
}

/// Preview of a merge.
#[derive(Debug, Serialize)]
pub struct Plan {
    /// [`SCHEMA_VERSION`]
    pub version: u32,
    /// The extensions in merge order: the last is the uppermost.
    pub order: Vec<Member>,
    /// Images that a boot would reject.
    pub left_out: Vec<LeftOut>,
    /// Directories that become read-only.
    pub read_only: Vec<ReadOnly>,
    /// Paths of several extensions, of which one overrides the others.
    pub conflicts: Vec<Conflict>,
    /// Steps that fail, or have no visible effect.
    pub findings: Vec<Finding>,
    /// Stage files that can't be read.
    pub unreadable: Vec<Unreadable>,
    /// Hidden files of the host; `None` without a host
    pub host: Option<host::Comparison>,
}

/// An extension in the merge order.
#[derive(Debug, Serialize)]
pub struct Member {
    /// Name
    pub name: Text,
    /// What it extends
    pub class: Class,
    /// Number of its files in merged hierarchies, directories not counted.
    pub files: usize,
    /// Number of its files elsewhere, which are never visible.
    pub unseen: usize,
}

/// An image that a boot would reject.
#[derive(Debug, Serialize)]
pub struct LeftOut {
    /// The file
    pub file: Text,
    /// Token of the rule that it breaks; `null` if it can't even be read
    pub reason: Option<Word<Reason>>,
    /// Detail of the reason
    pub detail: Message,
}

/// A stage file that can't be read.
#[derive(Debug, Serialize)]
pub struct Unreadable {
    /// The file
    pub file: Text,
    /// Why
    pub cause: Message,
}

impl Plan {
    /// Previews the merge of `extensions`, in any order, on a machine with these hierarchies and stage files.
    #[must_use]
    pub fn of(extensions: &[Extension], hierarchies: &Hierarchies, files: &[StageFile]) -> Self {
        let ordered = merge_order(extensions);
        let read_only = layers::read_only(&ordered, hierarchies);
        let order = ordered
            .iter()
            .map(|extension| {
                let (inside, outside) = layers::split(extension, hierarchies);
                Member { name: Text::new(&extension.name), class: extension.class, files: inside, unseen: outside }
            })
            .collect();
        Self {
            version: SCHEMA_VERSION,
            order,
            left_out: Vec::new(),
            conflicts: layers::conflicts(&ordered, hierarchies),
            findings: writes::findings(&ordered, &read_only, files),
            read_only,
            unreadable: Vec::new(),
            host: None,
        }
    }

    /// Returns whether the plan has no findings.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        let quiet = |finding: &Finding| finding.trouble == Trouble::Beneath;
        self.left_out.is_empty()
            && self.conflicts.is_empty()
            && self.unreadable.is_empty()
            && self.host.as_ref().is_none_or(|host| host.hidden.is_empty())
            && self.findings.iter().all(quiet)
    }
}

#[cfg(test)]
mod tests;
