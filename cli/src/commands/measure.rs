//! `sextant measure`

use super::store_options::open_esp;
use crate::esp::{self, Entry, Esp, Extra, Item};
use crate::measure::{Bank, Digests, Event, Member, PLACES, Place, is_taken, pcr_13, stub_version};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use ddi::bytes::hex;
use ddi::io::{FileSource, ReadAt};
use ddi::text::Text;
use nix::fcntl::OFlag;
use serde::Serialize;
use sextant::stamp::Stamp;
use std::fmt::Write;
use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// First version of systemd-stub that reads the directory for all boot entries (systemd-stub(7)).
const GLOBAL_SINCE: u32 = 258;
/// PCRs of the first TPM (kernel Documentation/ABI/stable/sysfs-class-tpm, `pcr-<H>/<N>`).
const TPM: &str = "/sys/class/tpm/tpm0";

/// Predict what the TPM will measure of extensions
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sextant measure --entry active
        PCR 13 after the next boot of this entry, with what lies on the partition now
  sextant measure --entry active --add k3s_1.31.sysext.raw --remove k3s_1.30.sysext.raw
        the same after an update
  sextant measure *.raw --json | jq -r .entries[0].pcr13.sha256
        for a set of files, without a partition
  sextant measure --entry active --check
        whether this boot of it was measured as predicted

PCR 13 holds the system extensions that systemd-stub loads, and nothing else, so its value is known beforehand. PCR 12
holds configuration extensions among other things: of it, the digests of the events are shown. What is measured is
measured before it is verified: rejected files count too. In Kairos' store, nothing is measured.

Exit status: 0 predicted, and equal with --check; 1 no value, or another one; 2 usage.")]
pub(super) struct Arguments {
    /// Files, as if they were all that lies beside a UKI
    #[arg(value_name = "IMAGE", conflicts_with_all = ["esp", "entry"])]
    images: Vec<PathBuf>,
    /// The EFI system partition [default: the mounted one that this machine booted from]
    #[arg(long, value_name = "DIR")]
    esp: Option<PathBuf>,
    /// Only the boot entry NAME; may be given several times
    #[arg(long, value_name = "NAME")]
    entry: Vec<String>,
    /// Count this file in, beside the UKI; it takes the place of one of the same name
    #[arg(long, value_name = "IMAGE")]
    add: Vec<PathBuf>,
    /// Leave out the file of this name, beside the UKI
    #[arg(long, value_name = "FILE")]
    remove: Vec<String>,
    /// Compare with the TPM of this machine; needs one --entry, or files
    #[arg(long)]
    check: bool,
    /// The TPM's directory in sysfs
    #[arg(long, value_name = "DIR", default_value = TPM, requires = "check")]
    tpm: PathBuf,
    /// Output JSON
    #[arg(long)]
    json: bool,
}

/// What is predicted of one boot entry.
#[derive(Serialize)]
struct Row {
    /// `None` for files without an entry.
    entry: Option<Text>,
    uki: Option<Text>,
    /// The version of systemd-stub in the UKI.
    stub: Option<Text>,
    pcr13: Digests,
    events: Vec<Event>,
    /// Whether the TPM has that value.
    #[serde(skip_serializing_if = "Option::is_none")]
    measured: Option<Vec<Measured>>,
}

/// A bank of the TPM.
#[derive(Serialize)]
struct Measured {
    bank: Bank,
    value: String,
    as_predicted: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut rows = if arguments.images.is_empty() { on_partition(arguments)? } else { vec![of_files(arguments)?] };
    let mut equal = true;
    if arguments.check {
        let [row] = rows.as_mut_slice() else {
            return Err(super::usage("which boot entry was booted? Name it with --entry NAME"));
        };
        let measured = read_tpm(&arguments.tpm, &row.pcr13)?;
        equal = measured.iter().all(|bank| bank.as_predicted);
        row.measured = Some(measured);
    }
    if arguments.json {
        super::output::json(&serde_json::json!({ "version": 1, "entries": rows }))?;
    } else {
        super::print(&text(&rows)?)?;
    }
    Ok(if equal { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A file that systemd-stub would find in a directory, opened.
struct Opened {
    name: String,
    source: FileSource,
    stamp: Stamp,
}

impl Opened {
    fn new(name: String, path: &Path) -> Result<Self> {
        let context = || format!("opening {}", path.display());
        // A FIFO would make us wait.
        let mut options = fs::OpenOptions::new();
        let file = options.read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path).with_context(context)?;
        ensure!(file.metadata().with_context(context)?.is_file(), "{} is not a regular file", path.display());
        let stamp = Stamp::of(&file).with_context(context)?;
        Ok(Self { name, source: FileSource::new(file).with_context(context)?, stamp })
    }

    fn of_path(path: &Path) -> Result<Self> {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.with_context(|| format!("{} has no name that systemd-stub would read", path.display()))?;
        Self::new(name.to_owned(), path)
    }
}

fn of_files(arguments: &Arguments) -> Result<Row> {
    let files = arguments.images.iter().chain(&arguments.add).map(|path| Opened::of_path(path));
    let files = files.collect::<Result<Vec<_>>>()?;
    let beside = |place: &&Place| place.global.is_none();
    let events = measure_all(PLACES.iter().filter(beside).map(|place| (place, files.as_slice())))?;
    Ok(Row { entry: None, uki: None, stub: None, pcr13: pcr_13(&events)?, events, measured: None })
}

fn on_partition(arguments: &Arguments) -> Result<Vec<Row>> {
    let esp = open_esp(arguments.esp.as_deref(), None)?;
    let entries = esp.entries().context("reading the boot entries")?;
    for left_out in &entries.left_out {
        super::warn(left_out);
    }
    let wanted: Vec<Entry> = if arguments.entry.is_empty() {
        entries.found.clone()
    } else {
        arguments.entry.iter().map(|name| Ok(entries.named(name)?)).collect::<Result<_>>()?
    };
    ensure!(!wanted.is_empty(), "there is no boot entry with a UKI on {}", esp.path().display());
    let mut rows = Vec::new();
    for entry in wanted {
        let row = of_entry(&esp, &entry, arguments);
        rows.push(row.with_context(|| format!("measuring what lies beside {}", entry.uki))?);
    }
    Ok(rows)
}

fn of_entry(esp: &Esp, entry: &Entry, arguments: &Arguments) -> Result<Row> {
    let stub = File::open(esp.path().join(entry.uki.trim_start_matches('/')))
        .map_err(Into::into)
        .and_then(|file| stub_version(&FileSource::new(file)?));
    let major = |version: &str| version.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u32>().ok();
    let major = stub.as_deref().ok().and_then(major);
    let directory = entry.extra_directory();
    let read = || -> Result<[Extra; 2]> {
        Ok([
            esp.extra(entry).with_context(|| format!("listing {directory}"))?,
            esp.global().with_context(|| format!("listing {}", esp::GLOBAL))?,
        ])
    };
    let before = read()?;
    let [beside, global] = &before;
    let mut beside = open_all(beside)?;
    for name in &arguments.remove {
        let before = beside.len();
        beside.retain(|file| !file.name.eq_ignore_ascii_case(name));
        ensure!(beside.len() < before, "there is no {} in {directory}", Text::new(name));
    }
    for path in &arguments.add {
        let added = Opened::of_path(path)?;
        // FAT knows no case.
        beside.retain(|file| !file.name.eq_ignore_ascii_case(&added.name));
        beside.push(added);
    }
    let global = open_all(global)?;
    if !global.is_empty() && major.is_none() {
        bail!("it is not known whether its systemd-stub reads {}", esp::GLOBAL);
    }
    let takes_global = major.is_some_and(|major| major >= GLOBAL_SINCE);
    let places = PLACES.iter().filter(|place| place.global.is_none() || takes_global);
    let of_place = |place: &Place| if place.global.is_some() { global.as_slice() } else { beside.as_slice() };
    let events = measure_all(places.map(|place| (place, of_place(place))))?;
    let is_same = before.iter().zip(read()?).all(|(before, now)| before.items == now.items);
    ensure!(is_same, "the partition changed while it was read");
    Ok(Row {
        entry: Some(Text::new(&entry.name)),
        uki: Some(Text::new(&entry.uki)),
        stub: stub.ok().map(Text::new),
        pcr13: pcr_13(&events)?,
        events,
        measured: None,
    })
}

/// Opens what systemd-stub takes of a directory.
fn open_all(extra: &Extra) -> Result<Vec<Opened>> {
    let Some(place) = extra.place() else { return Ok(Vec::new()) };
    let is_taken = |item: &&Item| item.enabled && is_taken(&item.file, item.class);
    extra.items.iter().filter(is_taken).map(|item| Opened::new(item.file.clone(), &place.join(&item.file))).collect()
}

fn measure_all<'a>(places: impl Iterator<Item = (&'a Place, &'a [Opened])>) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    for (place, files) in places {
        let member = |file: &'a Opened| Member { name: &file.name, content: &file.source as &dyn ReadAt };
        let members: Vec<Member<'_>> = files.iter().map(member).collect();
        events.extend(Event::of(place, &members)?);
        for file in files {
            let now = Stamp::of(file.source.file()).with_context(|| format!("looking at {} again", file.name))?;
            ensure!(now == file.stamp, "{} changed while it was read", Text::new(&file.name));
        }
    }
    Ok(events)
}

fn read_tpm(directory: &Path, predicted: &Digests) -> Result<Vec<Measured>> {
    let mut measured = Vec::new();
    for bank in Bank::ALL {
        let path = directory.join(format!("pcr-{bank}/13"));
        let value = match fs::read_to_string(&path) {
            Ok(text) => text.trim().to_ascii_lowercase(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
        };
        let wanted = hex(predicted.of(bank));
        ensure!(
            value.len() == wanted.len() && value.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{} is no value of a PCR",
            path.display()
        );
        measured.push(Measured { bank, as_predicted: value == wanted, value });
    }
    ensure!(!measured.is_empty(), "there is no TPM with a bank for SHA-256 or SHA-384 in {}", directory.display());
    Ok(measured)
}

fn text(rows: &[Row]) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    for row in rows {
        if !out.is_empty() {
            out.push('\n');
        }
        if let (Some(entry), Some(uki)) = (&row.entry, &row.uki) {
            let stub = row.stub.as_ref().map_or("an unknown version", Text::as_str);
            writeln!(out, "Entry {entry}: {uki}, systemd-stub {stub}")?;
        }
        writeln!(out, "PCR 13")?;
        for bank in Bank::ALL {
            writeln!(out, "  {bank}  {}", split(&hex(row.pcr13.of(bank))))?;
        }
        for measured in row.measured.iter().flatten() {
            let verdict = if measured.as_predicted { "as predicted" } else { "differs" };
            writeln!(out, "  TPM, {}: {verdict}", measured.bank)?;
            if !measured.as_predicted {
                writeln!(out, "          {}", split(&measured.value))?;
            }
        }
        if row.events.is_empty() {
            writeln!(out, "No extension is measured.")?;
        }
        for event in &row.events {
            let size = super::size(event.size);
            let (count, s) = (event.files.len(), if event.files.len() == 1 { "" } else { "s" });
            writeln!(out, "PCR {}: /{}, {count} file{s}, {size}", event.pcr, event.directory)?;
            for bank in Bank::ALL {
                writeln!(out, "  {bank}  {}", split(&hex(event.digests.of(bank))))?;
            }
            for file in &event.files {
                writeln!(out, "  {file}")?;
            }
        }
    }
    Ok(out)
}

/// Digests longer than a line's 80 columns go on in the next one.
fn split(digits: &str) -> String {
    match digits.split_at_checked(64) {
        Some((first, rest)) if !rest.is_empty() => format!("{first}\n          {rest}"),
        _ => digits.to_owned(),
    }
}
