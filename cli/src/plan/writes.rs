//! Compares the steps of stages with the merged extensions.

use super::Extension;
use super::layers::{ReadOnly, absolute, is_within, joined};
use super::stages::{StageFile, Step};
use ddi::Class;
use ddi::filesystem::EntryKind;
use ddi::text::{Message, Text};
use serde::Serialize;
use std::collections::BTreeMap;

/// Stages that run in the initrd, before the merge. Each has a `.before` and an `.after` too
/// (<https://kairos.io/docs/architecture/cloud-init/>, "Boot stages").
const BEFORE: [&str; 2] = ["rootfs", "initramfs"];

/// Directories of programs that are run by name.
const PROGRAM_DIRECTORIES: [&str; 4] = ["usr/bin/", "usr/sbin/", "usr/local/bin/", "usr/local/sbin/"];
/// Directories of units.
const UNIT_DIRECTORIES: [&str; 4] =
    ["usr/lib/systemd/system/", "usr/local/lib/systemd/system/", "etc/systemd/system/", "lib/systemd/system/"];

/// Formats a sentence about a step.
macro_rules! message {
    ($($arguments:tt)*) => {
        Message::new(format_args!($($arguments)*))
    };
}

/// Kind of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// Writes to a directory that is read-only by then.
    ReadOnly,
    /// Writes a file that an extension hides later.
    Hidden,
    /// Uses a program or unit before the merge.
    TooEarly,
    /// Writes to a directory before extensions are merged into it. The file stays visible, but can't be changed after the merge.
    Beneath,
}

impl Trouble {
    /// The word for it, for people.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::Hidden => "hidden",
            Self::TooEarly => "too early",
            Self::Beneath => "beneath",
        }
    }
}

/// A step that fails, or has no visible effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Kind
    pub trouble: Trouble,
    /// The file
    pub file: Text,
    /// The stage
    pub stage: Text,
    /// Number of the step in that stage of the file, from 1
    pub step: usize,
    /// Its name
    pub name: Option<Text>,
    /// Path, program or unit of the finding
    pub what: Text,
    /// Sentence that explains the finding
    pub detail: Message,
}

/// Files of the extensions, by path.
struct Brought<'a> {
    /// Extension whose file is visible at a path, directories not included.
    paths: BTreeMap<String, &'a str>,
    programs: BTreeMap<String, &'a str>,
    units: BTreeMap<String, &'a str>,
}

impl<'a> Brought<'a> {
    fn by(ordered: &[&'a Extension]) -> Self {
        let mut brought = Self { paths: BTreeMap::new(), programs: BTreeMap::new(), units: BTreeMap::new() };
        // Later extensions override earlier ones.
        for extension in ordered {
            for node in extension.nodes.iter().filter(|node| node.kind != EntryKind::Directory) {
                let text = String::from_utf8_lossy(&node.path);
                let name = |directories: &[&str]| {
                    let mut rest = directories.iter().filter_map(|directory| text.strip_prefix(directory));
                    rest.find(|name| !name.contains('/')).map(str::to_owned)
                };
                let owner = extension.name.as_str();
                if extension.class == Class::Sysext
                    && let Some(program) = name(&PROGRAM_DIRECTORIES)
                {
                    brought.programs.insert(program, owner);
                }
                if let Some(unit) = name(&UNIT_DIRECTORIES) {
                    brought.units.insert(unit, owner);
                }
                brought.paths.insert(absolute(&node.path), owner);
            }
        }
        brought
    }

    fn unit(&self, name: &str) -> Option<(String, &'a str)> {
        let full = if name.contains('.') { name.to_owned() } else { format!("{name}.service") };
        // An instance belongs to its template.
        let template =
            full.split_once('@').and_then(|(stem, rest)| Some(format!("{stem}@.{}", rest.rsplit_once('.')?.1)));
        let found = self.units.get(&full).or_else(|| self.units.get(&template?));
        found.map(|owner| (full, *owner))
    }
}

/// Whether a stage runs in the initrd, before the merge.
pub(super) fn is_before_merge(stage: &str) -> bool {
    BEFORE.contains(&stage.split('.').next().unwrap_or_default())
}

/// Returns the findings about all steps.
pub(super) fn findings(ordered: &[&Extension], read_only: &[ReadOnly], files: &[StageFile]) -> Vec<Finding> {
    let brought = Brought::by(ordered);
    let mut found = Vec::new();
    for file in files {
        for step in &file.steps {
            let is_before = is_before_merge(&step.stage);
            let told = if is_before { before(step, read_only, &brought) } else { after(step, read_only) };
            found.extend(told.into_iter().map(|(trouble, what, detail)| Finding {
                trouble,
                file: file.file.clone(),
                stage: Text::new(&step.stage),
                step: step.number,
                name: step.name.as_ref().map(Text::new),
                what: Text::new(what),
                detail,
            }));
        }
    }
    found
}

type Told = Vec<(Trouble, String, Message)>;

fn merged<'r>(path: &str, read_only: &'r [ReadOnly]) -> Option<&'r ReadOnly> {
    read_only.iter().find(|directory| is_within(path, &directory.path))
}

/// Returns the findings about a step after the merge.
fn after(step: &Step, read_only: &[ReadOnly]) -> Told {
    let mut told = Told::new();
    for (path, key) in &step.writes {
        if let Some(directory) = merged(path, read_only) {
            let by = joined(&directory.by);
            let detail = message!(
                "{key}: {path} is written after the merge, when {} is read-only (extended by {by}), unless another file system \
                is mounted there",
                directory.path
            );
            told.push((Trouble::ReadOnly, path.clone(), detail));
        }
    }
    told
}

/// Returns the findings about a step before the merge.
fn before(step: &Step, read_only: &[ReadOnly], brought: &Brought<'_>) -> Told {
    let mut told = Told::new();
    for (path, key) in &step.writes {
        // A file of an extension in place of a directory hides all files below.
        let above = brought.paths.iter().find(|(owned, _)| is_within(path, owned));
        if let Some((owned, owner)) = above {
            let detail = message!("{key}: {path} is written before the merge; {owned} of {owner} hides it afterwards");
            told.push((Trouble::Hidden, path.clone(), detail));
        } else if let Some(directory) = merged(path, read_only) {
            let detail = message!(
                "{key}: {path} is written before the merge; it stays visible, but {} is read-only afterwards",
                directory.path
            );
            told.push((Trouble::Beneath, path.clone(), detail));
        }
    }
    for program in &step.programs {
        let owner = match program.strip_prefix('/') {
            Some(_) => brought.paths.get(program),
            None => brought.programs.get(program),
        };
        if let Some(owner) = owner {
            let detail = message!("{program} comes with {owner}, which is merged after this step");
            told.push((Trouble::TooEarly, program.clone(), detail));
        }
    }
    for unit in &step.units {
        if let Some((unit, owner)) = brought.unit(unit) {
            let detail = message!("{unit} comes with {owner}, which is merged after this step");
            told.push((Trouble::TooEarly, unit, detail));
        }
    }
    told
}
