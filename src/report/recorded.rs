//! A report that an earlier run wrote, as later ones read and complete it.

use super::{Merge, PATH, SCHEMA_VERSION};
use crate::image::Class;
use crate::root::Root;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

/// Largest report that is read, in bytes.
const MAX_LEN: u64 = 64 << 20;

/// What was decided earlier in this boot. Members that aren't needed are kept as they are.
#[derive(Debug, Clone)]
pub struct Recorded {
    value: Value,
    images: Vec<RecordedImage>,
    /// Why the agent could not do its job.
    pub error: Option<String>,
    /// Whether a merge was asked for already.
    pub requested: bool,
}

#[derive(Debug, Clone, Deserialize)]
struct RecordedImage {
    name: Option<String>,
    class: Class,
    verdict: String,
}

#[derive(Deserialize)]
struct Members {
    version: u32,
    images: Vec<RecordedImage>,
    error: Option<String>,
    merge: Option<RecordedMerge>,
}

#[derive(Deserialize)]
struct RecordedMerge {
    requested: bool,
}

impl Recorded {
    /// Reads the report of this boot; `None` where there is none.
    ///
    /// # Errors
    /// Where it can't be read, or isn't a report of this version.
    pub fn read(root: &Root) -> Result<Option<Self>> {
        let context = || format!("reading {PATH}");
        let Some(text) = root.read(PATH, MAX_LEN).with_context(context)? else { return Ok(None) };
        Self::parse(&text).map(Some).with_context(context)
    }

    fn parse(text: &[u8]) -> Result<Self> {
        let value: Value = serde_json::from_slice(text)?;
        let members = Members::deserialize(&value)?;
        if members.version != SCHEMA_VERSION {
            bail!("version {} where {SCHEMA_VERSION} is expected", members.version);
        }
        let requested = members.merge.is_some_and(|merge| merge.requested);
        Ok(Self { value, images: members.images, error: members.error, requested })
    }

    /// What was staged.
    pub fn staged(&self) -> impl Iterator<Item = (Class, &str)> {
        let staged = self.images.iter().filter(|image| image.verdict == "staged");
        staged.filter_map(|image| image.name.as_deref().map(|name| (image.class, name)))
    }

    /// Writes the report with what is known about the merge by now.
    ///
    /// # Errors
    /// Where it can't be written.
    pub fn complete(&mut self, root: &Root, merge: &Merge) -> Result<()> {
        if let Some(members) = self.value.as_object_mut() {
            members.insert("merge".to_owned(), serde_json::to_value(merge).context("encoding the report")?);
        }
        super::write_value(root, &self.value)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn members_that_are_not_known_survive() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        assert!(Recorded::read(&root).unwrap().is_none());
        let text = br#"{"version": 1, "later": [1.5], "error": null, "merge": null, "images": [
            {"name": "a", "class": "sysext", "verdict": "staged", "size": 3},
            {"name": "b", "class": "confext", "verdict": "staged"},
            {"name": null, "class": "sysext", "verdict": "rejected"}]}"#;
        std::fs::create_dir_all(dir.path().join("run/sextant")).unwrap();
        std::fs::write(dir.path().join("run/sextant/report.json"), text).unwrap();
        let mut recorded = Recorded::read(&root).unwrap().unwrap();
        assert_eq!(recorded.staged().collect::<Vec<_>>(), [(Class::Sysext, "a"), (Class::Confext, "b")]);
        assert!(!recorded.requested);
        let merge = Merge { requested: true, missing: vec!["a".to_owned()], ..Merge::default() };
        recorded.complete(&root, &merge).unwrap();
        let written = std::fs::read_to_string(dir.path().join("run/sextant/report.json")).unwrap();
        let value: Value = serde_json::from_str(&written).unwrap();
        assert_eq!(value["later"][0], 1.5);
        assert_eq!(value["images"][0]["size"], 3);
        assert_eq!(value["merge"]["missing"][0], "a");
        assert!(Recorded::read(&root).unwrap().unwrap().requested);
    }

    #[test]
    fn what_is_no_report_is_an_error() {
        for text in ["", "[]", "{\"version\": 2, \"images\": []}", "{\"version\": 1}"] {
            assert!(Recorded::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
