//! Whether a state of the disk is one that a power cut may leave.

use super::actions::{Action, Change, Files};
use super::fat::{Fat, Found, Reader};
use super::states::{Case, Cut};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

/// So many violations are told.
const TOLD: usize = 8;

/// What was seen in all states of one action.
#[derive(Default)]
pub struct Tally {
    pub states: usize,
    /// States that may not be, and why.
    pub violations: usize,
    pub told: Vec<String>,
    /// States with an extension under its short name alone, its long one not being there. Where that is behind the end of
    /// the directory, Linux makes the file system read-only when it comes upon it, until `fsck.vfat` has been there.
    pub short: usize,
    /// States in which an extension shares clusters with another file: by their events; how many with all in order and
    /// how many otherwise.
    pub shared: BTreeMap<usize, (usize, usize)>,
    /// States with a directory that can't be read to its end, for its clusters aren't all linked.
    pub directories: usize,
    /// States in which a set is neither the old one nor the new one. Only a prefix of its changes may be done.
    pub mixed: usize,
    /// Kinds of violations that were told.
    kinds: BTreeSet<String>,
}

impl Tally {
    /// Whether there was anything to be told of.
    pub fn odd(&self) -> bool {
        self.violations + self.short + self.shared.len() + self.directories > 0
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (in_order, otherwise) = self.shared.values().fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
        write!(f, "{} states; an extension shares clusters with another file ", self.states)?;
        write!(f, "in {in_order} in order and {otherwise} others, at events {:?}; ", self.shared.keys())?;
        write!(f, "has a short name only in {}; a directory breaks off in {}", self.short, self.directories)?;
        write!(f, "; a set is mixed in {}", self.mixed)
    }
}

/// Looks at one state.
pub fn look(tally: &mut Tally, action: &Action, cut: Cut, disk: &[u8]) {
    tally.states += 1;
    let in_order = matches!(cut.case, Case::InOrder | Case::Flushed);
    let wrong = match Fat::open(disk) {
        Err(error) => vec![error],
        Ok(fat) => {
            let files = fat.files(Reader::Lenient);
            if shares(&files) {
                let counts = tally.shared.entry(cut.event).or_default();
                if in_order { counts.0 += 1 } else { counts.1 += 1 }
            }
            if files.iter().any(|file| is_extension(&file.path) && !file.is_long) {
                tally.short += 1;
            }
            let mut wrong = [wrong(&fat, &files, action), wrong(&fat, &fat.files(Reader::Strict), action)].concat();
            wrong.dedup();
            let done: Vec<bool> = action.order.iter().map(|change| is_done(&fat, &files, change)).collect();
            if done.contains(&true) && done.contains(&false) {
                tally.mixed += 1;
            }
            if !done.is_sorted_by(|earlier, later| earlier >= later) {
                wrong.push(format!("the changes of the set are not done in their order: {done:?}"));
            }
            let directory = files.iter().find(|file| file.is_directory && file.damage.is_some());
            if let Some(Found { path, damage: Some(damage), .. }) = directory {
                tally.directories += 1;
                // The file system's driver decides in which order a directory's new cluster and the link to it are written,
                // and flushes nothing in between. After a flush both are there.
                if cut.case == Case::Flushed {
                    wrong.push(format!("{path}: {damage}"));
                }
            }
            wrong
        }
    };
    if !wrong.is_empty() {
        tally.violations += 1;
        let text = wrong.join("; ");
        // Each kind of violation once.
        if tally.told.len() < TOLD && tally.kinds.insert(text.clone()) {
            tally.told.push(format!("{cut}: {text}"));
        }
    }
}

/// Whether a change of a set has come about. A rename may leave two names for a while: then it has.
fn is_done(fat: &Fat<'_>, files: &[Found], change: &Change) -> bool {
    match change {
        Change::Comes(path, content) => files.iter().any(|file| file.path == *path && fat.holds(file, content)),
        Change::Goes(path) => files.iter().all(|file| file.path != *path),
    }
}

/// What isn't right in any state.
fn wrong(fat: &Fat<'_>, files: &[Found], Action { before, after, .. }: &Action) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut there: BTreeSet<&str> = BTreeSet::new();
    for file in files.iter().filter(|file| !file.is_directory) {
        let expected: Vec<&Arc<Vec<u8>>> =
            [before, after].into_iter().filter_map(|files| files.get(&file.path)).collect();
        if !expected.is_empty() {
            there.insert(&file.path);
        } else if !is_extension(&file.path) {
            continue;
        }
        // Without its long name an extension may be any of them, but has to be one.
        let anything = before.values().chain(after.values());
        let allowed: Vec<_> = if expected.is_empty() { anything.collect() } else { expected };
        if !allowed.iter().any(|content| fat.holds(file, content)) {
            let damage = file.damage.as_deref().unwrap_or("other content");
            wrong.push(format!("{} ({} bytes): {damage}", file.path, file.size));
        }
    }
    for (path, content) in before {
        // It may have been moved.
        let now = after.get(path).map(|_| path).or_else(|| {
            after.iter().find(|(to, it)| Arc::ptr_eq(it, content) && !before.contains_key(*to)).map(|(to, _)| to)
        });
        if now.is_some_and(|now| !there.contains(path.as_str()) && !there.contains(now.as_str())) {
            wrong.push(format!("{path} is gone"));
        }
    }
    wrong
}

/// Whether all is as it has to be at the end: the files after the action, each whole, and nothing else.
pub fn finished(after: &Files, disk: &[u8]) -> Result<(), String> {
    [Reader::Strict, Reader::Lenient].into_iter().try_for_each(|reader| finished_for(reader, after, disk))
}

fn finished_for(reader: Reader, after: &Files, disk: &[u8]) -> Result<(), String> {
    let fat = Fat::open(disk)?;
    let files = fat.files(reader);
    let found: Vec<_> = files.iter().filter(|file| !file.is_directory).map(|file| file.path.as_str()).collect();
    let missing: Vec<_> = after.keys().filter(|path| !found.contains(&path.as_str())).collect();
    let other: Vec<_> = found.iter().filter(|path| !after.contains_key(**path)).collect();
    let broken: Vec<_> = files
        .iter()
        .filter(|file| after.get(&file.path).is_some_and(|content| !fat.holds(file, content)))
        .map(|file| (&file.path, file.size, &file.damage))
        .collect();
    if missing.is_empty() && other.is_empty() && broken.is_empty() && !shares(&files) {
        return Ok(());
    }
    Err(format!("missing {missing:?}, besides {other:?}, not whole {broken:?}, shared clusters: {}", shares(&files)))
}

/// Whether systemd-stub hands it over.
fn is_extension(path: &str) -> bool {
    path.to_ascii_lowercase().ends_with(".raw")
}

/// Whether an extension shares clusters with another file. Who deletes that other one then frees those of the extension.
fn shares(files: &[Found]) -> bool {
    let mut owners: HashMap<u32, &str> = HashMap::new();
    files.iter().flat_map(|file| file.clusters.iter().map(move |cluster| (*cluster, &*file.path))).any(
        |(cluster, path)| {
            let other = owners.insert(cluster, path);
            other.is_some_and(|other| other != path && (is_extension(path) || is_extension(other)))
        },
    )
}
