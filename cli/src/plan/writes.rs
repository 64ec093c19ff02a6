//! Steps of stages against what is merged.

use super::Extension;
use super::layers::{ReadOnly, absolute, is_within, joined};
use super::stages::{StageFile, Step};
use ddi::Class;
use ddi::filesystem::EntryKind;
use ddi::text::{Message, Text};
use serde::Serialize;
use std::collections::BTreeMap;

/// Stages that run in the initrd, and so before the merge; each has a `.before` and an `.after` besides
/// (<https://kairos.io/docs/architecture/cloud-init/>, "Boot stages").
const BEFORE: [&str; 2] = ["rootfs", "initramfs"];

/// Where programs lie that are run by name.
const PROGRAM_DIRECTORIES: [&str; 4] = ["usr/bin/", "usr/sbin/", "usr/local/bin/", "usr/local/sbin/"];
/// Where units lie.
const UNIT_DIRECTORIES: [&str; 4] =
    ["usr/lib/systemd/system/", "usr/local/lib/systemd/system/", "etc/systemd/system/", "lib/systemd/system/"];

/// A sentence about a step.
macro_rules! message {
    ($($arguments:tt)*) => {
        Message::new(format_args!($($arguments)*))
    };
}

/// What is the matter with a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// It writes where it can't any more.
    ReadOnly,
    /// What it writes is hidden by an extension later.
    Hidden,
    /// It uses something that isn't there yet.
    TooEarly,
    /// It writes where extensions will be merged; what it writes stays to be seen, but can't be changed after the merge.
    Beneath,
}

/// A step that will surprise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What is the matter
    pub trouble: Trouble,
    /// The file
    pub file: Text,
    /// The stage
    pub stage: Text,
    /// Number of the step in that stage of the file, from 1
    pub step: usize,
    /// Its name
    pub name: Option<Text>,
    /// The path, program or unit that it is about
    pub what: Text,
    /// The same as a sentence
    pub detail: Message,
}

/// What extensions bring, by path.
struct Brought<'a> {
    /// Whose file, link or the like is seen at a path.
    paths: BTreeMap<String, &'a str>,
    programs: BTreeMap<String, &'a str>,
    units: BTreeMap<String, &'a str>,
}

impl<'a> Brought<'a> {
    fn by(ordered: &[&'a Extension]) -> Self {
        let mut brought = Self { paths: BTreeMap::new(), programs: BTreeMap::new(), units: BTreeMap::new() };
        // Later ones lie above, and replace what earlier ones put here.
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
        // An instance is of its template.
        let template =
            full.split_once('@').and_then(|(stem, rest)| Some(format!("{stem}@.{}", rest.rsplit_once('.')?.1)));
        let found = self.units.get(&full).or_else(|| self.units.get(&template?));
        found.map(|owner| (full, *owner))
    }
}

/// What comes of each step.
pub(super) fn findings(ordered: &[&Extension], read_only: &[ReadOnly], files: &[StageFile]) -> Vec<Finding> {
    let brought = Brought::by(ordered);
    let mut found = Vec::new();
    for file in files {
        for step in &file.steps {
            let root = step.stage.split('.').next().unwrap_or_default();
            let told = if BEFORE.contains(&root) { before(step, read_only, &brought) } else { after(step, read_only) };
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

/// A step of a stage after the merge.
fn after(step: &Step, read_only: &[ReadOnly]) -> Told {
    let mut told = Told::new();
    for (path, key) in &step.writes {
        if let Some(directory) = merged(path, read_only) {
            let by = joined(&directory.by);
            let detail = message!(
                "{key}: {path} is written after the merge, and {} is read-only then because of {by}, unless another \
                 file system is mounted at the place",
                directory.path
            );
            told.push((Trouble::ReadOnly, path.clone(), detail));
        }
    }
    told
}

/// A step of a stage before the merge.
fn before(step: &Step, read_only: &[ReadOnly], brought: &Brought<'_>) -> Told {
    let mut told = Told::new();
    for (path, key) in &step.writes {
        // What an extension has in place of a directory hides all that is below it.
        let above = brought.paths.iter().find(|(owned, _)| is_within(path, owned));
        if let Some((owned, owner)) = above {
            let detail = message!("{key}: what is written to {path} is hidden by {owned} of {owner} after the merge");
            told.push((Trouble::Hidden, path.clone(), detail));
        } else if let Some(directory) = merged(path, read_only) {
            let detail = message!(
                "{key}: {path} is written before the merge; it stays, and {} is read-only then",
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
