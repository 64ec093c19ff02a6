//! `sextant list`

use super::output_options::OutputOptions;
use super::store_options::{self, StoreOptions};
use super::table::{Layout, Table, painted, plain};
use crate::esp::{Esp, Item};
use crate::store::{Held, Kind, Leftover, Set, Slot, Store, state_of};
use anyhow::{Context, Result};
use clap::Args;
use ddi::io::FileSource;
use ddi::text::{Message, Text};
use ddi::{Architecture, Ddi};
use ddi::{ExtensionName, compare_versions};
use serde::Serialize;
use sextant::report::{Fate, Image, PATH, Report};
use std::fmt::Write;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// List installed extensions and their state in this boot
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sextant list
        list the extensions of all boot entries
  sextant list --store kairos
        list those in Kairos' store, which `kairos-agent sysext` shares
  sextant list --entry active --json \\
      | jq -r '.files[] | select(.this_boot == \"merged\") | .file'
        print the files that are part of the running system

Extensions are in merge order: a file of an extension overrides those of the extensions above it.

States of THIS BOOT:
  merged        part of the running system
  staged        staged, merge not confirmed yet
  missing       staged and not merged
  left out      not merged, as an administrator configured
  withdrawn     staged and removed again before the merge
  a reason      rejected (see `sextant explain`)
  not yet       added or changed since the boot
  -             extension of a boot entry that is not running

Exit status: 0 listed; 1 the partition or a directory cannot be read; 2 usage.")]
pub(super) struct Arguments {
    /// List only the boot entry NAME; repeatable
    #[arg(long, value_name = "NAME")]
    entry: Vec<String>,
    #[command(flatten)]
    store: StoreOptions,
    /// Report of this boot [default: /run/sextant/report.json]
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    #[command(flatten)]
    output: OutputOptions,
}

/// A line of the table.
#[derive(Debug, Serialize)]
struct Row {
    /// `None` for a file that no slot has.
    entry: Option<Text>,
    #[serde(flatten)]
    item: Item,
    /// What this boot made of it; null for another boot entry.
    this_boot: Option<Text>,
    /// Older versions whose files it hides.
    wins_over: Vec<String>,
}

impl Row {
    fn entry(&self) -> Text {
        self.entry.clone().unwrap_or_else(|| "-".into())
    }

    fn shown(&self) -> Text {
        Text::new(&self.item.file)
    }
}

#[derive(Debug, Serialize)]
struct Listing<'a> {
    version: u32,
    store: Kind,
    path: &'a Path,
    esp: Option<&'a Path>,
    booted: Option<&'a str>,
    files: Vec<Row>,
    /// Merged by this boot, and no longer there.
    gone: Vec<Text>,
    /// What an interrupted change left.
    leftovers: Vec<Text>,
    /// Directories of extensions that can't be listed, and why.
    unreadable: Vec<Message>,
    /// What is odd.
    remarks: Vec<Message>,
    /// Free space on the partition in bytes.
    free: u64,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let store = arguments.store.open(true)?;
    let slots = match arguments.entry.as_slice() {
        [] => store_options::all_slots(&store)?,
        names => store_options::slots(&store, names)?,
    };
    arguments.store.warn_of_moves(&store, &slots)?;
    let report = arguments.report.clone().unwrap_or_else(|| arguments.store.below_root(PATH));
    let seen = match Report::read_file(&report) {
        Ok(seen) => Some(seen),
        Err(error) => {
            super::warn(format_args!(
                "reading the report {}: {error}; the state of this boot is unknown",
                report.display()
            ));
            None
        }
    };
    let booted = seen.as_ref().and_then(|seen| seen.firmware.as_ref()?.entry.as_ref()).map(Text::as_str);
    let noted = arguments.store.running()?.map(|running| running.state);
    let free = store.space().with_context(|| format!("querying free space on {}", store.path().display()))?.free;
    let mut list = Listing {
        version: 1,
        store: store.kind(),
        path: store.path(),
        esp: store.esp(),
        booted,
        files: Vec::new(),
        gone: Vec::new(),
        leftovers: Vec::new(),
        unreadable: Vec::new(),
        remarks: Vec::new(),
        free,
    };
    let (mut unused, mut still_there, mut taken_by) = (Vec::new(), Vec::new(), None);
    for slot in &slots {
        let Some(set) = list.set(&store, slot) else { continue };
        let of_this_boot = seen.as_ref().filter(|_| is_booted(&store, slot, booted, noted));
        let (has, others): (Vec<&Held>, Vec<&Held>) = set.items.iter().partition(|held| held.item.enabled);
        if store.kind() == Kind::Kairos {
            list.files.extend(has.into_iter().map(|held| row(Some(slot), &set, held, store.kind(), of_this_boot)));
            unused.extend(others.into_iter().map(|held| row(None, &set, held, store.kind(), None)));
        } else {
            list.files.extend(set.items.iter().map(|held| row(Some(slot), &set, held, store.kind(), of_this_boot)));
        }
        if let Some(seen) = of_this_boot {
            taken_by = Some(seen);
            let enabled = set.items.iter().filter(|held| held.item.enabled);
            still_there.extend(enabled.map(|held| Text::new(&held.item.file)));
        }
    }
    if store.kind() == Kind::Esp {
        list_global(&mut list, arguments.store.open_esp()?, seen.as_ref().filter(|_| booted.is_some()));
    }
    // In Kairos' store, what another slot has isn't unused.
    for row in unused {
        let is_it = |other: &Row| other.item.file == row.item.file && other.item.class == row.item.class;
        if !list.files.iter().any(is_it) && store.users(&row.item).0.is_empty() {
            list.files.push(row);
        }
    }
    // Several states of Kairos make up a boot.
    if let Some(seen) = taken_by.filter(|_| store.kind() != Kind::Kairos || arguments.entry.is_empty()) {
        list.gone = gone(&still_there, store.kind(), seen);
    }
    arguments.output.show(|| Ok(&list), || text(&list, &store, &slots, arguments.output.layout()))?;
    Ok(if list.unreadable.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Lists what lies in the directory for all boot entries of the same partition.
fn list_global(list: &mut Listing<'_>, esp: Esp, seen: Option<&Report>) {
    let store = Store::global(esp);
    for slot in store.slots().unwrap_or_default().found {
        if let Some(set) = list.set(&store, &slot) {
            list.files.extend(set.items.iter().map(|held| row(Some(&slot), &set, held, Kind::Global, seen)));
        }
    }
}

impl Listing<'_> {
    /// What a slot has, with all that is to be told of it but its extensions.
    fn set(&mut self, store: &Store, slot: &Slot) -> Option<Set> {
        match store.set(slot) {
            Ok(mut set) => {
                let leftover = |it: &Leftover| Text::new(format_args!("{}/{}", it.directory, it.name));
                add_new(&mut self.leftovers, set.leftovers.iter().map(leftover));
                add_new(&mut self.unreadable, std::mem::take(&mut set.unreadable));
                add_new(&mut self.remarks, std::mem::take(&mut set.remarks));
                Some(set)
            }
            Err(error) => {
                self.unreadable.push(Message::new(format_args!("{}: {error}", slot.directory)));
                None
            }
        }
    }
}

/// Adds what isn't there yet.
fn add_new<T: PartialEq>(to: &mut Vec<T>, lines: impl IntoIterator<Item = T>) {
    for line in lines {
        if !to.contains(&line) {
            to.push(line);
        }
    }
}

/// Whether this boot took the extensions of a slot. `noted` is what immucore noted.
fn is_booted(store: &Store, slot: &Slot, booted: Option<&str>, noted: Option<&str>) -> bool {
    match store.kind() {
        Kind::Global => booted.is_some(),
        Kind::Esp => booted.is_some_and(|booted| slot.name.eq_ignore_ascii_case(booted)),
        Kind::Kairos => {
            let state = noted.or_else(|| booted.and_then(state_of));
            state.is_some_and(|state| slot.name == state || slot.boots().is_none())
        }
    }
}

fn row(slot: Option<&Slot>, set: &Set, held: &Held, kind: Kind, seen: Option<&Report>) -> Row {
    Row {
        entry: slot.map(|slot| Text::new(&slot.name)),
        this_boot: seen.map(|seen| this_boot(held, kind, seen)),
        wins_over: if held.item.enabled { wins_over(set, &held.item) } else { Vec::new() },
        item: held.item.clone(),
    }
}

/// Whether it can have come from a store of this kind: what systemd-stub takes from `\loader\extensions` it leaves in
/// other directories than what lay beside the UKI (systemd-stub(7), since systemd 258).
fn is_of_kind(image: &Image, kind: Kind) -> bool {
    let is_global = image.directory.as_ref().is_some_and(|directory| directory.as_str().contains("/global_"));
    is_global == (kind == Kind::Global)
}

/// What this boot made of a file that is there now.
fn this_boot(held: &Held, kind: Kind, seen: &Report) -> Text {
    let item = &held.item;
    let image = seen.images.iter().find(|image| is_of_kind(image, kind) && image.file == Text::new(&item.file));
    let Some(image) = image else {
        return "not yet".into();
    };
    // Another file of the same name has come since.
    let claimed = held.path().and_then(claimed_root_hash);
    if image.size.is_some_and(|size| size != item.size) || (image.root_hash.is_some() && image.root_hash != claimed) {
        return "not yet".into();
    }
    match seen.fate(image) {
        Fate::Merged => "merged".into(),
        Fate::Staged => "staged".into(),
        Fate::Missing => "missing".into(),
        Fate::LeftOut => "left out".into(),
        Fate::Withdrawn => "withdrawn".into(),
        Fate::Accepted | Fate::Unknown => Text::new(image.verdict.as_str()),
        Fate::Rejected => image.reason.as_ref().map_or_else(|| "rejected".into(), Text::new),
    }
}

/// What the signature partition says the root hash is. Nothing is verified.
fn claimed_root_hash(path: &Path) -> Option<Text> {
    let source = FileSource::new(File::open(path).ok()?).ok()?;
    let ddi = Ddi::read(&source, Architecture::native()?).ok()?;
    Some(Text::new(&ddi.claim().root_hash))
}

/// Enabled versions of the same extension that lie below it.
fn wins_over(set: &Set, item: &Item) -> Vec<String> {
    let base = |item: &Item| item.name.as_deref().and_then(base_of);
    let Some(of_item) = base(item) else { return Vec::new() };
    let below = |other: &&Item| {
        other.enabled
            && other.class == item.class
            && base(other).is_some_and(|other| other == of_item)
            && compare_versions(other.name.as_deref().unwrap_or_default(), item.name.as_deref().unwrap_or_default())
                .is_lt()
    };
    set.items.iter().map(|held| &held.item).filter(below).filter_map(|other| other.name.clone()).collect()
}

fn base_of(name: &str) -> Option<String> {
    ExtensionName::new(name).ok()?.base().map(str::to_owned)
}

/// Files that this boot merged from a store of this kind and that are no longer there.
fn gone(still_there: &[Text], kind: Kind, seen: &Report) -> Vec<Text> {
    let is_from = |image: &&Image| {
        let from_esp = image.directory.as_ref().is_none_or(|directory| directory.as_str().starts_with("/.extra"));
        is_of_kind(image, kind) && (kind != Kind::Kairos || !from_esp)
    };
    let merged = seen.images.iter().filter(is_from).filter(|image| seen.fate(image) == Fate::Merged);
    merged.filter(|image| !still_there.contains(&image.file)).map(|image| image.file.clone()).collect()
}

fn text(list: &Listing<'_>, store: &Store, slots: &[Slot], layout: Layout) -> Result<String> {
    let style = layout.style;
    let mut table = Table::new(["ENTRY", "FILE", "STATE", "THIS BOOT", "SIZE", ""], 1);
    for row in &list.files {
        let state = if row.item.enabled { "enabled" } else { "disabled" };
        let fate = row.this_boot.as_ref().map_or("-", Text::as_str);
        let colour = match fate {
            "merged" => "32",
            "-" | "not yet" => "2",
            "staged" => "33",
            _ => "31",
        };
        let over = if row.wins_over.is_empty() {
            plain("")
        } else {
            plain(Text::new(format_args!("overrides {}", row.wins_over.join(", "))))
        };
        let size = plain(super::size(row.item.size));
        table.row([plain(row.entry()), plain(row.shown()), plain(state), painted(colour, fate), size, over]);
    }
    let mut out = table.render(layout);
    for file in &list.gone {
        writeln!(out, "{}", style.paint("33", &format!("{file}: merged by this boot, removed or disabled since")))?;
    }
    for leftover in &list.leftovers {
        writeln!(out, "{}", style.paint("33", &format!("{leftover}: left by an interrupted installation")))?;
    }
    for remark in &list.remarks {
        writeln!(out, "{}", style.paint("33", remark.as_str()))?;
    }
    for directory in &list.unreadable {
        writeln!(out, "{}", style.paint("31", &format!("not listed: {directory}")))?;
    }
    let free = super::size(list.free);
    let of = match (slots, store.kind()) {
        (_, Kind::Global) => "all boot entries".to_owned(),
        ([slot], _) => Text::new(&slot.name).to_string(),
        (slots, Kind::Kairos) => format!("{} boot states", slots.len()),
        (slots, Kind::Esp) => format!("{} boot entries", slots.len()),
    };
    if layout.legend {
        writeln!(out, "{}: {} for {of}; {free} free", store_options::shown(store), files_of(list.files.len()))?;
    }
    Ok(out)
}

fn files_of(count: usize) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}
