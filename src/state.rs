//! What one run of the agent leaves for the next: small, and read by nothing else.
//!
//! `merge` and `confirm` decide by this file. The report is for people and programs; it may be long, and it may be lost
//! without any extension being lost with it.

use crate::durable;
use crate::root::Root;
use anyhow::{Context, Result, bail};
use ddi::Class;
use ddi::text::{Message, Text};
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;

/// Where the state of this boot lies.
pub const PATH: &str = "/run/sextant/state.json";
const DIRECTORY: &str = "/run/sextant";
const FILE: &str = "state.json";
/// Largest state that is read, in bytes.
const MAX_LEN: u64 = 1 << 20;
/// Version of its form.
const VERSION: u32 = 1;

/// What was staged in this boot, and how far the agent got.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    version: u32,
    /// SHA-256 fingerprints of the trust anchors.
    #[serde(default)]
    pub anchors: Vec<Text>,
    /// Everything that was staged.
    pub staged: Vec<StagedExtension>,
    /// Images of the host's own, as they were judged before the last merge.
    #[serde(default)]
    pub host: Vec<HostImage>,
    /// Why `stage` could not do its job; `null` where it could.
    pub error: Option<Message>,
    /// Whether `merge` handed over what was staged.
    pub requested: bool,
}

/// An extension that was staged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedExtension {
    /// What it extends.
    pub class: Class,
    /// Its name.
    pub name: Text,
    /// The file in which it was found.
    pub file: Text,
    /// Its signed root hash.
    pub root_hash: Option<Text>,
    /// Subject and source of its signer.
    pub signer: Option<Message>,
    /// Where `adopt` found it; `null` where it came from beside the UKI.
    #[serde(default)]
    pub source: Option<Source>,
    /// Why it was taken back; `null` where it is still staged.
    pub withdrawn: Option<Message>,
    /// Whether that was for the sake of its owner, who removed the file that it was adopted from.
    #[serde(default)]
    pub is_removed: bool,
}

/// An image in a directory of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostImage {
    /// What it extends.
    pub class: Class,
    /// Its name.
    pub name: Text,
    /// Its path.
    pub path: Text,
    /// Its signed root hash.
    pub root_hash: Option<Text>,
    /// What was decided.
    pub judgement: Judgement,
}

/// What was decided about an image in a directory of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judgement {
    /// It was verified.
    Good,
    /// systemd passes over it, and merges the others. The text says why.
    PassedOver(Message),
    /// systemd may refuse all extensions for its sake. The text says why.
    Bad(Message),
}

/// The file of an extension that lies outside of what this boot left in RAM, as others know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Its path.
    pub path: Text,
    /// Which file it was, and when it had been changed.
    pub stamp: Text,
}

impl StagedExtension {
    /// Whether it is the extension `name` of `class`.
    #[must_use]
    pub fn is(&self, class: Class, name: &str) -> bool {
        self.class == class && self.name == *name
    }

    /// Whether `file` is its name in the staging directory of `class`.
    #[must_use]
    pub fn is_staged_as(&self, class: Class, file: &OsStr) -> bool {
        self.class == class && *file == *format!("{}.raw", self.name)
    }
}

impl State {
    /// Nothing is staged yet, and the run may still fail: `error` says how.
    #[must_use]
    pub fn new(error: &str) -> Self {
        Self {
            version: VERSION,
            anchors: Vec::new(),
            staged: Vec::new(),
            host: Vec::new(),
            error: Some(error.into()),
            requested: false,
        }
    }

    /// Reads the state of this boot; `None` where there is none.
    ///
    /// # Errors
    /// Where it can't be read, or is of another version.
    pub fn read(root: &Root) -> Result<Option<Self>> {
        let context = || format!("reading {PATH}");
        let Some(text) = root.read(PATH, MAX_LEN).with_context(context)? else { return Ok(None) };
        let state: Self = serde_json::from_slice(&text).with_context(context)?;
        if state.version != VERSION {
            bail!("reading {PATH}: version {} where {VERSION} is expected", state.version);
        }
        Ok(Some(state))
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// Where it can't be written.
    pub fn write(&self, root: &Root) -> Result<()> {
        let text = serde_json::to_vec(self).with_context(|| format!("encoding {PATH}"))?;
        let directory = root.make_directory(DIRECTORY).with_context(|| format!("making {DIRECTORY}"))?;
        durable::write(&directory.join(FILE), &text, 0o644).with_context(|| format!("writing {PATH}"))
    }

    /// Whether the extension `name` of `class` is still staged.
    #[must_use]
    pub fn is_left(&self, class: Class, name: &str) -> bool {
        self.left().any(|extension| extension.is(class, name))
    }

    /// Everything that was staged, each extension as it was staged last: one that was withdrawn may have been staged again.
    pub fn latest(&self) -> impl Iterator<Item = &StagedExtension> {
        self.staged.iter().enumerate().filter_map(|(index, extension)| {
            let mut later = self.staged.iter().skip(index.saturating_add(1));
            let is_again = |other: &StagedExtension| other.is(extension.class, extension.name.as_str());
            (!later.any(is_again)).then_some(extension)
        })
    }

    /// What is still staged.
    pub fn left(&self) -> impl Iterator<Item = &StagedExtension> {
        self.staged.iter().filter(|extension| extension.withdrawn.is_none())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_was_staged_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        assert!(State::read(&root).unwrap().is_none());
        let mut state = State::new("stopped");
        state.staged.push(StagedExtension {
            class: Class::Sysext,
            name: "a".into(),
            file: "a.sysext.raw".into(),
            root_hash: None,
            signer: None,
            source: None,
            withdrawn: None,
            is_removed: false,
        });
        state.write(&root).unwrap();
        let mut read = State::read(&root).unwrap().unwrap();
        assert_eq!((read.staged.clone(), read.error.clone()), (state.staged.clone(), state.error));
        assert_eq!(read.left().count(), 1);
        read.staged[0].withdrawn = Some("it is gone".into());
        assert_eq!(read.left().count(), 0);
        read.staged.push(state.staged[0].clone());
        assert_eq!(read.latest().collect::<Vec<_>>(), [&state.staged[0]], "it was staged again");
    }

    #[test]
    fn a_broken_state_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        std::fs::create_dir_all(dir.path().join("run/sextant")).unwrap();
        for text in ["", "{}", r#"{"version": 2, "staged": [], "error": null, "requested": false}"#] {
            std::fs::write(dir.path().join("run/sextant/state.json"), text).unwrap();
            assert!(State::read(&root).is_err(), "{text}");
        }
    }
}
