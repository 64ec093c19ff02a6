//! What a machine goes without because a file was rejected or isn't merged.

use super::read::Fate;
use super::schema::Report;
use ddi::text::Text;
use ddi::{Class, ExtensionName, compare_versions};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// An extension that isn't part of the system, though a file of it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// What it extends.
    pub class: Class,
    /// Its name, with the version.
    pub name: Text,
    /// What became of it.
    pub fate: Fate,
    /// The name of the newest older version that is there.
    pub instead: Option<Text>,
    /// Whether it isn't known yet what is merged.
    pub is_early: bool,
}

/// A name and a version of an extension; the version is empty where there is none.
pub(super) fn parts(name: &Text) -> Option<(String, String)> {
    let valid = ExtensionName::new(name.as_str()).ok()?;
    let base = valid.base()?;
    let version = valid.as_str().get(base.len()..).unwrap_or_default();
    Some((base.to_owned(), version.trim_start_matches(['_', '+']).to_owned()))
}

impl Report {
    /// Extensions of which the newest version that was found isn't part of the system. Files without a valid name aren't among
    /// them.
    #[must_use]
    pub fn losses(&self) -> Vec<Loss> {
        let is_early = !self.merge.as_ref().is_some_and(|merge| merge.confirmed);
        let there = self.newest();
        let (mut losses, mut told) = (Vec::new(), BTreeSet::new());
        for image in &self.images {
            let fate = self.fate(image);
            let (Fate::Rejected | Fate::Missing | Fate::Withdrawn, Some(name)) = (fate, &image.name) else { continue };
            let Some((base, _)) = parts(name) else { continue };
            let instead = there.get(&(image.class, base)).copied();
            // Another file of this name, or a newer version, is there: nothing is lost.
            if instead.is_some_and(|instead| compare_versions(instead.as_str(), name.as_str()).is_ge()) {
                continue;
            }
            if told.insert((image.class, name)) {
                losses.push(Loss { class: image.class, name: name.clone(), fate, instead: instead.cloned(), is_early });
            }
        }
        losses
    }

    /// The newest version of each extension that is there, by its name without version.
    fn newest(&self) -> BTreeMap<(Class, String), &Text> {
        let staged = self.images.iter().filter(|image| matches!(self.fate(image), Fate::Merged | Fate::Staged));
        let staged = staged.filter_map(|image| Some((image.class, image.name.as_ref()?)));
        let merge = self.merge.iter().flat_map(|merge| &merge.extensions).map(|row| (row.class, &row.name));
        let mut newest: BTreeMap<(Class, String), &Text> = BTreeMap::new();
        for (class, name) in staged.chain(merge) {
            let Some((base, _)) = parts(name) else { continue };
            let known = newest.entry((class, base)).or_insert(name);
            if compare_versions(name.as_str(), known.as_str()).is_gt() {
                *known = name;
            }
        }
        newest
    }
}

/// `k3s 1.31 rejected, 1.30 runs instead`
impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |name: &Text| match parts(name) {
            Some((base, version)) if !version.is_empty() => (base, version),
            _ => (name.to_string(), String::new()),
        };
        let (base, version) = shown(&self.name);
        f.write_str(&base)?;
        if !version.is_empty() {
            write!(f, " {version}")?;
        }
        if self.class == Class::Confext {
            f.write_str(" (confext)")?;
        }
        f.write_str(match self.fate {
            Fate::Missing => " not merged",
            Fate::Withdrawn => " withdrawn",
            _ => " rejected",
        })?;
        let runs = if self.is_early { "is staged" } else { "runs" };
        match self.instead.as_ref().map(shown) {
            Some((base, version)) if version.is_empty() => write!(f, ", {base} without version {runs} instead"),
            Some((_, version)) => write!(f, ", {version} {runs} instead"),
            None if version.is_empty() => f.write_str(", nothing replaces it"),
            None => write!(f, ", no other version {runs}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value, json};

    fn report(images: &[(&str, &str)], merged: &[&str], others: &[&str], confirmed: bool) -> Report {
        let image = |(name, verdict): &(&str, &str)| {
            json!({
                "file": format!("{name}.sysext.raw"), "name": name, "class": "sysext", "verdict": verdict, "warnings": [],
                "verify_usec": 1, "stage_usec": 1,
            })
        };
        let extension = |name: &&str| json!({"class": "sysext", "name": name, "origin": "host"});
        let value = json!({
            "version": 1, "trust": [], "ignored_certificates": [],
            "images": images.iter().map(image).collect::<Vec<Value>>(),
            "merge": {
                "requested": true, "confirmed": confirmed, "merged": merged, "missing": [],
                "extensions": others.iter().map(extension).collect::<Vec<Value>>(),
            },
        });
        serde_json::from_value(value).unwrap()
    }

    fn told(report: &Report) -> Vec<String> {
        report.losses().iter().map(Loss::to_string).collect()
    }

    #[test]
    fn the_newest_older_version_that_runs_is_named() {
        let images = [
            ("k3s_1.31", "rejected"),
            ("k3s_1.9", "staged"),
            ("k3s_1.30", "staged"),
            ("k3s_1.10", "rejected"),
            ("tools", "rejected"),
            ("net_2", "withdrawn"),
            ("app_2.0", "rejected"),
            ("app_2.0", "rejected"),
            ("lib_3", "staged"),
        ];
        let seen = report(&images, &["k3s_1.9", "k3s_1.30"], &["app"], true);
        let expected = [
            "k3s 1.31 rejected, 1.30 runs instead",
            "tools rejected, nothing replaces it",
            "net 2 withdrawn, no other version runs",
            "app 2.0 rejected, app without version runs instead",
            "lib 3 not merged, no other version runs",
        ];
        assert_eq!(told(&seen), expected);
        let seen = report(&images[..3], &[], &[], false);
        assert_eq!(told(&seen), ["k3s 1.31 rejected, 1.30 is staged instead"]);
    }

    #[test]
    fn nothing_is_lost_where_the_name_or_a_newer_version_runs() {
        let images = [("a_1", "rejected"), ("a_2", "staged"), ("b", "rejected"), ("b", "staged"), ("..", "rejected")];
        assert_eq!(told(&report(&images, &["a_2", "b"], &[], true)), [""; 0]);
    }
}
