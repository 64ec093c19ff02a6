//! The state that one run of the agent leaves for the next. Only the agent reads it.
//!
//! `merge` and `confirm` decide by this small file, not by the report. The report is for people and other programs; it
//! may be long, and its loss affects no extension.

use crate::durable;
use crate::root::Root;
use anyhow::{Context, Result, bail};
use ddi::Class;
use ddi::text::{Message, Text};
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;

/// Path of the state of this boot.
pub const PATH: &str = "/run/sextant/state.json";
const DIRECTORY: &str = "/run/sextant";
const FILE: &str = "state.json";
/// Maximum size in bytes of a state that is read.
const MAX_LEN: u64 = 1 << 20;
/// Version of the format.
const VERSION: u32 = 1;

/// The staged extensions of this boot and the progress of the agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    version: u32,
    /// SHA-256 fingerprints of the trust anchors.
    #[serde(default)]
    pub anchors: Vec<Text>,
    /// All extensions that were staged.
    pub staged: Vec<StagedExtension>,
    /// Images of the host itself, as judged before the last merge.
    #[serde(default)]
    pub host: Vec<HostImage>,
    /// Error that prevented `stage` from working, `None` if it succeeded.
    pub error: Option<Message>,
    /// Whether `merge` requested the merge of the staged extensions.
    pub requested: bool,
}

/// A staged extension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedExtension {
    /// Its class.
    pub class: Class,
    /// Its name.
    pub name: Text,
    /// Name of the file in which it was found.
    pub file: Text,
    /// Its signed root hash.
    pub root_hash: Option<Text>,
    /// Subject and source of its signer.
    pub signer: Option<Message>,
    /// The file that `adopt` staged, `None` if the extension comes from beside the UKI.
    #[serde(default)]
    pub source: Option<Source>,
    /// Cause of its withdrawal, `None` if it is still staged.
    pub withdrawn: Option<Message>,
    /// Whether the cause is that its owner removed the file from which it was adopted.
    #[serde(default)]
    pub is_removed: bool,
}

/// An image in a directory of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostImage {
    /// Its class.
    pub class: Class,
    /// Its name.
    pub name: Text,
    /// Its path.
    pub path: Text,
    /// Its signed root hash.
    pub root_hash: Option<Text>,
    /// The decision about it.
    pub judgement: Judgement,
}

/// The decision about an image in a directory of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judgement {
    /// The image was verified.
    Good,
    /// systemd skips the image and merges the others. The text is the cause.
    PassedOver(Message),
    /// systemd may refuse to merge any extension because of the image. The text is the cause.
    Bad(Message),
    /// The configuration excludes it, of which systemd knows nothing. The text says why.
    Excluded(Message),
}

/// A file of an extension outside of those that this boot loaded into RAM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Its path.
    pub path: Text,
    /// Its stamp (see [`Stamp`](crate::stamp::Stamp)).
    pub stamp: Text,
}

impl StagedExtension {
    /// Returns whether this is the extension `name` of `class`.
    #[must_use]
    pub fn is(&self, class: Class, name: &str) -> bool {
        self.class == class && self.name == *name
    }

    /// Returns whether `file` is the name of this extension in the staging directory of `class`.
    #[must_use]
    pub fn is_staged_as(&self, class: Class, file: &OsStr) -> bool {
        self.class == class && *file == *format!("{}.raw", self.name)
    }
}

impl State {
    /// Makes a state with nothing staged. `error` is the error that is recorded until the run succeeds.
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

    /// Reads the state of this boot. Returns `None` if there is none.
    ///
    /// # Errors
    /// If the file cannot be read or parsed, or has another version.
    pub fn read(root: &Root) -> Result<Option<Self>> {
        let context = || format!("reading {PATH}");
        let Some(text) = root.read(PATH, MAX_LEN).with_context(context)? else { return Ok(None) };
        let state: Self = serde_json::from_slice(&text).with_context(context)?;
        if state.version != VERSION {
            bail!("reading {PATH}: version {} where {VERSION} is expected", state.version);
        }
        Ok(Some(state))
    }

    /// Writes the state atomically.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, root: &Root) -> Result<()> {
        let text = serde_json::to_vec(self).with_context(|| format!("encoding {PATH}"))?;
        let directory = root.make_directory(DIRECTORY).with_context(|| format!("making {DIRECTORY}"))?;
        durable::write(&directory.join(FILE), &text, 0o644).with_context(|| format!("writing {PATH}"))
    }

    /// Returns whether the extension `name` of `class` is still staged.
    #[must_use]
    pub fn is_left(&self, class: Class, name: &str) -> bool {
        self.left().any(|extension| extension.is(class, name))
    }

    /// Iterates over the latest record of each extension. An extension that was withdrawn may have been staged again.
    pub fn latest(&self) -> impl Iterator<Item = &StagedExtension> {
        self.staged.iter().enumerate().filter_map(|(index, extension)| {
            let mut later = self.staged.iter().skip(index.saturating_add(1));
            let is_again = |other: &StagedExtension| other.is(extension.class, extension.name.as_str());
            (!later.any(is_again)).then_some(extension)
        })
    }

    /// Iterates over the extensions that are still staged.
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
