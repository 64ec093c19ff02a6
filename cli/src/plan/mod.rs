//! What a set of extensions comes to once it is merged, and what that means for the steps of a boot.
//!
//! Pure functions of names, trees and steps; [`crate::commands`] reads the images and the files of the stages.

mod commands;
pub mod host;
mod layers;
mod stages;
mod text;
mod writes;

pub use layers::{Conflict, ReadOnly, merge_order};
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

/// Version of the form in which a plan is printed for programs.
pub const SCHEMA_VERSION: u32 = 1;

/// An extension and what is in it.
#[derive(Debug)]
pub struct Extension {
    /// Its name, by which systemd orders it.
    pub name: String,
    /// What it extends.
    pub class: Class,
    /// Its files, as [`ddi::filesystem::Filesystem::walk`] gives them.
    pub nodes: Vec<Node>,
}

/// What will be.
#[derive(Debug, Serialize)]
pub struct Plan {
    /// [`SCHEMA_VERSION`]
    pub version: u32,
    /// The extensions in the order in which they lie over the host: the last is the uppermost.
    pub order: Vec<Member>,
    /// Images that a boot would not take, and why.
    pub left_out: Vec<LeftOut>,
    /// Directories that become read-only.
    pub read_only: Vec<ReadOnly>,
    /// Paths of which one extension hides those of others.
    pub conflicts: Vec<Conflict>,
    /// Steps that will surprise.
    pub findings: Vec<Finding>,
    /// Files of stages that can't be understood.
    pub unreadable: Vec<Unreadable>,
    /// What is hidden of the host; `None` if none was compared
    pub host: Option<host::Comparison>,
}

/// A place in the order.
#[derive(Debug, Serialize)]
pub struct Member {
    /// Name
    pub name: Text,
    /// What it extends
    pub class: Class,
    /// How many files, links and the like it brings into hierarchies that are merged.
    pub files: usize,
    /// How many of it lie elsewhere, and so are never seen.
    pub unseen: usize,
}

/// An image that a boot would not take.
#[derive(Debug, Serialize)]
pub struct LeftOut {
    /// The file
    pub file: Text,
    /// Token of the rule that it breaks; `null` if it can't even be read
    pub reason: Option<Word<Reason>>,
    /// The same as a sentence
    pub detail: Message,
}

/// A file that can't be understood.
#[derive(Debug, Serialize)]
pub struct Unreadable {
    /// The file
    pub file: Text,
    /// Why
    pub cause: Message,
}

impl Plan {
    /// Works out what comes of `extensions`, in any order, on a machine with these hierarchies and stages.
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

    /// Whether there is nothing in it that somebody ought to look into.
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
