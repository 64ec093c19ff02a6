//! A disk to which something is done, and what its log says.

use super::actions::{Action, Files, Images};
use super::log::{self, Event};
use super::states::{self, Case};
use super::verdict::{self, Tally};
use crate::toolbox::{Tree, succeed};
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// What is different in its file system.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// What the guest calls it.
    pub name: &'static str,
    /// Of FAT.
    pub bits: u8,
    /// Sectors in a cluster.
    pub cluster: u8,
    /// Files beside the extensions. Each moves what is written by one of the sixteen slots that a sector of a directory
    /// has, and a name takes several.
    pub others: usize,
}

/// The disk.
pub struct Victim {
    kind: Kind,
    actions: Vec<Action>,
    original: PathBuf,
    pub disk: PathBuf,
    pub log: PathBuf,
}

impl Victim {
    /// Makes it: a small ESP in use, and behind it room for the script's marks.
    ///
    /// # Errors
    /// What the tools said.
    pub fn make(kind: Kind, images: &Images, directory: &Path) -> Result<Self, String> {
        let path = |end| directory.join(format!("{}.{end}", kind.name));
        let tree = path("tree");
        let victim = Self {
            kind,
            actions: images.actions(kind.others),
            original: path("original"),
            disk: path("img"),
            log: path("log"),
        };
        let files = &victim.actions[0].before;
        write(files, &tree);
        let script = r#"
            set -euo pipefail
            # FAT32 has at least so many clusters, FAT16 at most.
            size=$(($3 == 32 ? 40 : 31))
            truncate --size=${size}M "$2"
            mkfs.vfat -F "$3" -s "$4" -n ESP "$2" >/dev/null
            mcopy -Q -s -i "$2" "$1"/* ::
            truncate --size=$((size + 1))M "$2"
        "#;
        let mut command = Tree::Trixie.command("bash");
        command.args(["-c", script, "victim"]).arg(&tree).arg(&victim.original);
        succeed(command.args([kind.bits.to_string(), kind.cluster.to_string()]))?;
        fs::remove_dir_all(&tree).unwrap();
        // This also shows that the reader understands what the tools write.
        verdict::finished(files, &fs::read(&victim.original).unwrap())?;
        fs::copy(&victim.original, &victim.disk).unwrap();
        File::create(&victim.log).unwrap();
        Ok(victim)
    }

    /// Names of the script's steps on it.
    pub fn steps(&self) -> impl Iterator<Item = String> {
        self.actions.iter().map(|action| format!("{}-{}", self.kind.name, action.name))
    }

    /// Looks at all states that its log tells of. Returns what is wrong.
    ///
    /// # Errors
    /// If the log can't be read.
    pub fn judge(&self) -> Result<Vec<String>, String> {
        let events = log::read(&self.log)?;
        let mut disk = fs::read(&self.original).unwrap();
        let size = disk.len();
        let mut parts = events.split_inclusive(|event| log::mark(event, size) == Some("next"));
        let mut wrong = Vec::new();
        for action in &self.actions {
            let part = parts.next().ok_or_else(|| format!("{action} isn't in the log", action = action.name))?;
            let result = self.judge_action(action, part, &mut disk)?;
            wrong.extend(result.into_iter().map(|error| format!("{:?}, {}: {error}", self.kind, action.name)));
        }
        Ok(wrong)
    }

    fn judge_action(&self, action: &Action, events: &[Event], disk: &mut [u8]) -> Result<Vec<String>, String> {
        let size = disk.len();
        let ended = events.iter().position(|event| log::mark(event, size) == Some("ended"));
        let ended = ended.ok_or_else(|| format!("{}: the log has no mark of its end", action.name))?;
        // Nothing of what comes behind the last flush needs to have reached the disk.
        let sure = events[..ended].iter().rposition(|event| matches!(event, Event::Flush));
        let mut durable = Err("nothing was flushed".to_owned());

        let (mut tally, mut half) = (Tally::default(), false);
        let mut copies = Vec::new();
        let mut copy = |name: &str, disk: &[u8]| {
            let path = self.disk.with_extension(format!("{}.{name}", action.name));
            write_sparse(&path, disk);
            if !copies.contains(&path) {
                copies.push(path);
            }
        };
        states::each(disk, events, |cut, disk| {
            let odd = tally.odd();
            verdict::look(&mut tally, action, cut, disk);
            if tally.odd() && !odd {
                copy("odd", disk);
            }
            if cut.case == Case::InOrder && cut.event >= ended / 2 && !std::mem::replace(&mut half, true) {
                copy("half", disk);
            }
            if cut.case == Case::Flushed && Some(cut.event) == sure {
                durable = verdict::finished(&action.after, disk);
            }
        });
        let writes = events.iter().filter(|event| matches!(event, Event::Write { .. })).count();
        let flushes = events.len() - writes;
        eprintln!(
            "{}-{}: {writes} writes, {flushes} flushes, ended at event {ended}, {tally}",
            self.kind.name, action.name
        );
        eprintln!("  fsck.vfat: {}", fsck(&copies)?);

        let mut wrong = Vec::new();
        if tally.violations > 0 {
            let told = tally.told.join("\n  ");
            wrong.push(format!("{} of {} states may not be:\n  {told}", tally.violations, tally.states));
        }
        if tally.mixed == 0 && !action.order.is_empty() {
            wrong.push("no state has a part of the set, so that its order wasn't looked at".to_owned());
        }
        wrong.extend(verdict::finished(&action.after, disk).err().map(|error| format!("at the end: {error}")));
        wrong.extend(durable.err().map(|error| format!("what it reported as done isn't on the disk: {error}")));
        Ok(wrong)
    }
}

fn write(files: &Files, tree: &Path) {
    for (path, content) in files {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, &**content).unwrap();
    }
}

/// Writes what isn't zero.
fn write_sparse(path: &Path, bytes: &[u8]) {
    const BLOCK: usize = 64 << 10;
    let mut file = File::create(path).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    for (number, block) in bytes.chunks(BLOCK).enumerate() {
        if block.iter().any(|byte| *byte != 0) {
            file.seek(SeekFrom::Start((number * BLOCK) as u64)).unwrap();
            file.write_all(block).unwrap();
        }
    }
}

/// What `fsck.vfat` says of each, in a word or two, besides that it wasn't unmounted.
fn fsck(images: &[PathBuf]) -> Result<String, String> {
    let script = r#"
        for image; do
            said=$(fsck.vfat -n "$image" 2>&1 || true)
            kinds=$(grep -o -i -E 'share clusters|long file name|unused clusters|free cluster|bad file|contains|past|truncat' <<<"$said" | sort -u | paste -s -d, || true)
            printf '%s: %s; ' "${image##*.}" "${kinds:-clean}"
        done
    "#;
    succeed(Tree::Trixie.command("bash").args(["-c", script, "fsck"]).args(images))
}
