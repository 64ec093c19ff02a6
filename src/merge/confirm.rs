//! What systemd made of it.

use super::notes;
use crate::image::Class;
use crate::root::Root;
use anyhow::{Context, Result};
use std::collections::BTreeSet;

/// Largest list of extensions that is read, in bytes.
const MAX_LIST: u64 = 1 << 20;

/// Names of the extensions of `class` that are merged, as systemd noted it in the hierarchies that it overlaid.
///
/// # Errors
/// Where a note is there and can't be read.
pub fn merged(root: &Root, class: Class) -> Result<BTreeSet<String>> {
    let (hierarchies, file) = notes(class);
    let mut names = BTreeSet::new();
    for hierarchy in hierarchies {
        let path = format!("{hierarchy}/{file}");
        let list = root.read(&path, MAX_LIST).with_context(|| format!("reading {path}"))?;
        let text = String::from_utf8_lossy(&list.unwrap_or_default()).into_owned();
        names.extend(text.lines().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned));
    }
    Ok(names)
}

/// What was wanted against what is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Staged and merged.
    pub merged: Vec<String>,
    /// Staged, and not merged.
    pub missing: Vec<String>,
    /// Merged, though it wasn't staged.
    pub unexpected: Vec<String>,
}

/// Compares names of one class.
#[must_use]
pub fn compare<'n>(staged: impl Iterator<Item = &'n str>, merged: &BTreeSet<String>) -> Comparison {
    let staged: BTreeSet<&str> = staged.collect();
    let (found, missing): (Vec<&str>, Vec<&str>) = staged.iter().copied().partition(|name| merged.contains(*name));
    let unexpected = merged.iter().filter(|name| !staged.contains(name.as_str())).cloned().collect();
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    Comparison { merged: owned(found), missing: owned(missing), unexpected }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    #[test]
    fn names_come_from_every_hierarchy_and_differences_go_both_ways() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        assert!(merged(&root, Class::Sysext).unwrap().is_empty());
        for (hierarchy, names) in [("usr", "a\nb\n"), ("opt", "b\nother\n")] {
            fs::create_dir_all(dir.path().join(hierarchy).join(".systemd-sysext")).unwrap();
            fs::write(dir.path().join(hierarchy).join(".systemd-sysext/extensions"), names).unwrap();
        }
        let found = merged(&root, Class::Sysext).unwrap();
        let comparison = compare(["a", "b", "c"].into_iter(), &found);
        assert_eq!(comparison.merged, ["a", "b"]);
        assert_eq!(comparison.missing, ["c"]);
        assert_eq!(comparison.unexpected, ["other"]);
        assert!(merged(&root, Class::Confext).unwrap().is_empty());
    }
}
