//! `sextant list`

use super::esp_options::{self, EspOptions};
use crate::esp::{Entry, Esp, Extra, Item};
use crate::extension::{ExtensionName, compare_versions};
use crate::image::{Architecture, Ddi};
use crate::io::FileSource;
use crate::report::{Fate, Image, PATH, Report};
use crate::text::{Message, Text};
use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;
use std::fmt::Write;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// List the extensions of boot entries, and what this boot made of them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sextant list
        those of all boot entries
  sextant list --entry active --json | jq -r '.files[] | select(.this_boot == \"merged\") | .file'
        which of them are part of the running system

Each extension is laid over those above it, so that of several versions of one the last counts where they have
files of one path. THIS BOOT: merged; missing (staged, not merged); staged (not compared with the merge yet);
withdrawn (taken back in the initrd); the reason if rejected; \"not yet\" for what has come or changed since. Another boot entry than the running one has \"-\".

Exit status: 0 listed; 1 the partition, or the directory of an entry, can't be read; 2 usage.")]
pub(super) struct Arguments {
    /// Only the boot entry NAME; may be given several times
    #[arg(long, value_name = "NAME")]
    entry: Vec<String>,
    #[command(flatten)]
    esp: EspOptions,
    /// The report of this boot
    #[arg(long, value_name = "FILE", default_value = PATH)]
    report: PathBuf,
    /// Print for programs
    #[arg(long)]
    json: bool,
}

/// A line of the table.
#[derive(Debug, Serialize)]
struct Row {
    entry: Text,
    #[serde(flatten)]
    item: Item,
    /// What this boot made of it; null for another boot entry.
    this_boot: Option<Text>,
    /// Older versions whose files it hides.
    wins_over: Vec<String>,
}

impl Row {
    fn shown(&self) -> Text {
        Text::new(&self.item.file)
    }
}

#[derive(Debug, Serialize)]
struct Listing<'a> {
    version: u32,
    esp: &'a Path,
    booted: Option<&'a str>,
    files: Vec<Row>,
    /// Merged by this boot, and no longer there.
    gone: Vec<Text>,
    /// What an interrupted change left.
    leftovers: Vec<Text>,
    /// Directories of extensions that can't be listed, and why.
    unreadable: Vec<Message>,
    /// Free space on the partition in bytes.
    free: u64,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let esp = arguments.esp.open()?;
    let entries = match arguments.entry.as_slice() {
        [] => esp_options::all_entries(&esp)?.found,
        names => esp_options::entries(&esp, names)?,
    };
    let seen = match Report::read_file(&arguments.report) {
        Ok(seen) => Some(seen),
        Err(error) => {
            super::warn(format_args!(
                "reading the report {}: {error}; what this boot merged isn't known",
                arguments.report.display()
            ));
            None
        }
    };
    let booted = seen.as_ref().and_then(|seen| seen.firmware.as_ref()?.entry.as_ref()).map(Text::as_str);
    let free = esp.space().with_context(|| format!("asking what is free on {}", esp.path().display()))?.free;
    let mut list = Listing {
        version: 1,
        esp: esp.path(),
        booted,
        files: Vec::new(),
        gone: Vec::new(),
        leftovers: Vec::new(),
        unreadable: Vec::new(),
        free,
    };
    for entry in &entries {
        let extra = match esp.extra(entry) {
            Ok(extra) => extra,
            Err(error) => {
                list.unreadable.push(Message::new(format_args!("{}: {error}", entry.extra_directory())));
                continue;
            }
        };
        let of_this_boot = seen.as_ref().filter(|_| is_booted(entry, booted));
        list.files.extend(rows(entry, &extra, of_this_boot));
        list.gone.extend(of_this_boot.map(|seen| gone(&extra, seen)).unwrap_or_default());
        list.leftovers.extend(extra.leftovers.iter().map(|name| Text::new(format_args!("{}/{name}", extra.directory))));
    }
    if arguments.json {
        super::output::json(&list)?;
    } else {
        super::print(&text(&list, &esp, &entries)?)?;
    }
    Ok(if list.unreadable.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn is_booted(entry: &Entry, booted: Option<&str>) -> bool {
    booted.is_some_and(|booted| entry.name.eq_ignore_ascii_case(booted))
}

fn rows(entry: &Entry, extra: &Extra, seen: Option<&Report>) -> Vec<Row> {
    let row = |item: &Item| Row {
        entry: Text::new(&entry.name),
        this_boot: seen.map(|seen| this_boot(extra, item, seen)),
        wins_over: if item.enabled { wins_over(extra, item) } else { Vec::new() },
        item: item.clone(),
    };
    extra.items.iter().map(row).collect()
}

/// Whether it lay beside the UKI: systemd-stub takes others from `\loader\extensions`, for all entries, and leaves them
/// elsewhere (systemd-stub(7), since systemd 258).
fn is_of_entry(image: &Image) -> bool {
    image.directory.as_ref().is_none_or(|directory| !directory.as_str().contains("/global_"))
}

/// What this boot made of a file that is there now.
fn this_boot(extra: &Extra, item: &Item, seen: &Report) -> Text {
    let image = seen.images.iter().find(|image| is_of_entry(image) && image.file == Text::new(&item.file));
    let Some(image) = image else {
        return "not yet".into();
    };
    // Another file of the same name has come since.
    let claimed = extra.place().and_then(|place| claimed_root_hash(&place.join(item.file_now())));
    if image.size.is_some_and(|size| size != item.size) || (image.root_hash.is_some() && image.root_hash != claimed) {
        return "not yet".into();
    }
    match seen.fate(image) {
        Fate::Merged => "merged".into(),
        Fate::Staged => "staged".into(),
        Fate::Missing => "missing".into(),
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
fn wins_over(extra: &Extra, item: &Item) -> Vec<String> {
    let base = |item: &Item| item.name.as_deref().and_then(base_of);
    let Some(of_item) = base(item) else { return Vec::new() };
    let below = |other: &&Item| {
        other.enabled
            && other.class == item.class
            && base(other).is_some_and(|other| other == of_item)
            && compare_versions(other.name.as_deref().unwrap_or_default(), item.name.as_deref().unwrap_or_default())
                .is_lt()
    };
    extra.items.iter().filter(below).filter_map(|other| other.name.clone()).collect()
}

fn base_of(name: &str) -> Option<String> {
    ExtensionName::new(name).ok()?.base().map(str::to_owned)
}

/// Files that this boot merged and that are no longer there.
fn gone(extra: &Extra, seen: &Report) -> Vec<Text> {
    let is_there = |file: &Text| extra.items.iter().any(|item| item.enabled && Text::new(&item.file) == *file);
    let merged = seen.images.iter().filter(|image| is_of_entry(image) && seen.fate(image) == Fate::Merged);
    merged.filter(|image| !is_there(&image.file)).map(|image| image.file.clone()).collect()
}

fn text(list: &Listing<'_>, esp: &Esp, entries: &[Entry]) -> Result<String> {
    let style = super::style();
    let mut out = String::new();
    let width = |cell: &dyn Fn(&Row) -> usize, least| list.files.iter().map(cell).max().unwrap_or(0).max(least);
    let (names, files, fates) = (
        width(&|row| row.entry.as_str().chars().count(), 5),
        width(&|row| row.shown().as_str().chars().count(), 4),
        width(&|row| row.this_boot.as_ref().map_or(1, |fate| fate.as_str().len()), 9),
    );
    if !list.files.is_empty() {
        writeln!(out, "{:<names$}  {:<files$}  {:<8}  {:<fates$}  SIZE", "ENTRY", "FILE", "STATE", "THIS BOOT")?;
    }
    for row in &list.files {
        let state = if row.item.enabled { "enabled" } else { "disabled" };
        let fate = row.this_boot.as_ref().map_or("-", Text::as_str);
        let colour = match fate {
            "merged" => "32",
            "-" | "not yet" => "2",
            "staged" => "33",
            _ => "31",
        };
        let fate = style.paint(colour, &format!("{fate:<fates$}"));
        let size = super::size(row.item.size);
        write!(out, "{:<names$}  {:<files$}  {state:<8}  {fate}  {size}", row.entry, row.shown())?;
        let over = Text::new(row.wins_over.join(", "));
        let over = if over == "" { String::new() } else { format!("  wins over {over}") };
        writeln!(out, "{over}")?;
    }
    for file in &list.gone {
        writeln!(out, "{}", style.paint("33", &format!("{file}: merged by this boot, no longer there or disabled")))?;
    }
    for leftover in &list.leftovers {
        writeln!(out, "{}", style.paint("33", &format!("{leftover}: left by an interrupted installation")))?;
    }
    for directory in &list.unreadable {
        writeln!(out, "{}", style.paint("31", &format!("not listed: {directory}")))?;
    }
    let free = super::size(list.free);
    let of = match entries {
        [entry] => Text::new(&entry.name).to_string(),
        entries => format!("{} boot entries", entries.len()),
    };
    writeln!(out, "{}: {} for {of}; {free} free", esp.path().display(), files_of(list.files.len()))?;
    Ok(out)
}

fn files_of(count: usize) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}
