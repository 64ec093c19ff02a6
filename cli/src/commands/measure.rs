//! `sextant measure`

mod compare;
mod difference;
mod text;

use self::compare::{Compared, Evidence};
use super::measure_policies::{self, PolicyOptions, Predicted};
use super::output_options::OutputOptions;
use super::store_options::open_esp;
use crate::esp::{self, Entry, Esp, Extra, Item};
use crate::measure::{
    Bank, Digests, Event, Member, Place, SYSEXTS, is_taken, pcr_13, places, reads_global, stub_version,
};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use ddi::Class;
use ddi::bytes::strip_suffix_ignore_case;
use ddi::io::{FileSource, ReadAt};
use ddi::text::Text;
use nix::fcntl::OFlag;
use serde::Serialize;
use sextant::measure::{TPM, read_pcr};
use sextant::stamp::Stamp;
use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

/// Most files that are opened to look for a difference.
const MOST_CANDIDATES: usize = 256;

/// Predict the TPM measurements of extensions
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sextant measure --entry active
        predict PCR 13 for the next boot of an entry
  sextant measure --entry active --add k3s_1.31.sysext.raw \\
      --remove k3s_1.30.sysext.raw
        predict it after an update
  sextant measure *.raw --json | jq -r .entries[0].pcr13.sha256
        predict it for a set of files, without a partition
  sextant measure --entry active --check
        compare with the TPM and its event log, and name the files that
        make a difference
  sextant measure --esp esp --entry active --event-log log \\
      --candidate old/
        compare with the event log of another machine, and look for
        differences among older images too
  sextant measure --pcrlock /var/lib/pcrlock.d
        have systemd-pcrlock admit what the next boot of each entry measures
  sextant measure --entry active --sign tpm2-pcr-signature.json \\
      --private-key pcr.key --certificate pcr.crt
        sign the value, for volumes that are bound to that key and PCR 13

systemd-stub measures the system extensions that it loads into PCR 13, and nothing else, so its value can be predicted. \
PCR 12 holds configuration extensions and other data; for it, the digests of the events are shown. Files are measured \
before they are verified: rejected files count too. Extensions in Kairos' store are not measured.

Exit status: 0 predicted, and equal with --check or --event-log; 1 not equal, no value, or an error occurred; 2 usage.")]
pub(super) struct Arguments {
    /// Measure these files, as if they were the extensions of a UKI
    #[arg(value_name = "IMAGE", conflicts_with_all = ["esp", "entry"])]
    images: Vec<PathBuf>,
    /// Mount point of the EFI system partition [default: `$SYSTEMD_ESP_PATH`, else the one that this machine booted from]
    #[arg(long, alias = "esp-path", value_name = "DIR")]
    esp: Option<PathBuf>,
    /// Measure only the boot entry NAME; repeatable
    #[arg(long, value_name = "NAME")]
    entry: Vec<String>,
    /// Add this file beside the UKI, or replace the one of the same name; repeatable
    #[arg(long, value_name = "IMAGE")]
    add: Vec<PathBuf>,
    /// Leave out the file of this name beside the UKI; repeatable
    #[arg(long, value_name = "FILE")]
    remove: Vec<String>,
    /// Compare with the TPM of this machine and its event log; needs one --entry, or files
    #[arg(long)]
    check: bool,
    /// Directory of the TPM in sysfs
    #[arg(long, value_name = "DIR", default_value = TPM)]
    tpm: PathBuf,
    /// Compare with the event log FILE; needs one --entry, or files [default with --check: that of this machine]
    #[arg(long, value_name = "FILE")]
    event_log: Option<PathBuf>,
    /// Consider this file, or the *.raw files of this directory, when looking for a difference; repeatable
    #[arg(long, value_name = "PATH")]
    candidate: Vec<PathBuf>,
    #[command(flatten)]
    policies: PolicyOptions,
    #[command(flatten)]
    output: OutputOptions,
}

/// What is predicted of one boot entry.
#[derive(Serialize)]
struct Row {
    /// `None` for files without an entry.
    entry: Option<Text>,
    /// Name of the entry as it is; empty for files without one.
    #[serde(skip)]
    name: String,
    uki: Option<Text>,
    /// The version of systemd-stub in the UKI.
    stub: Option<Text>,
    pcr13: Digests,
    events: Vec<Event>,
    /// Whether the TPM has that value.
    #[serde(skip_serializing_if = "Option::is_none")]
    measured: Option<Vec<Measured>>,
    /// Where it has another one: the difference between the files that gives it; `None` where none was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    difference: Option<Text>,
    /// Comparison with the event log.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_log: Option<Compared>,
}

/// A prediction, and the files that it is made from.
struct Prediction {
    row: Row,
    /// By place, in the order in which they are measured.
    places: Vec<(&'static Place, Rc<[Opened]>)>,
    /// Files that may have been there when the machine booted.
    candidates: Vec<Opened>,
}

/// A bank of the TPM.
#[derive(Serialize)]
struct Measured {
    bank: Bank,
    value: String,
    as_predicted: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    if let Some(directory) = arguments.policies.booted() {
        let values = read_pcr(&arguments.tpm, SYSEXTS)?;
        ensure!(!values.is_empty(), "no TPM with a SHA-256 or SHA-384 bank in {}", arguments.tpm.display());
        let measured = values.banks().filter_map(|bank| Some((bank, values.of(bank)?.to_vec()))).collect::<Vec<_>>();
        return measure_policies::settle(directory, &measured, &arguments.output);
    }
    let mut predictions =
        if arguments.images.is_empty() { on_partition(arguments)? } else { vec![of_files(arguments)?] };
    let mut equal = true;
    if arguments.check || arguments.event_log.is_some() {
        let [prediction] = predictions.as_mut_slice() else {
            return Err(super::usage("--check and --event-log need the boot entry that was booted: use --entry NAME"));
        };
        equal = compare::run(prediction, &Evidence::read(arguments)?)?;
    }
    let rows: Vec<Row> = predictions.into_iter().map(|prediction| prediction.row).collect();
    let predicted = rows.iter().map(|row| Predicted { entry: &row.name, events: &row.events, value: &row.pcr13 });
    let policies = arguments.policies.apply(&predicted.collect::<Vec<_>>(), arguments.entry.is_empty())?;
    let document = || Ok(policies.add_to(serde_json::json!({ "version": 1, "entries": rows })));
    arguments.output.show(document, || Ok(text::text(&rows)? + &policies.text()))?;
    Ok(if equal { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A file that systemd-stub would find in a directory, opened.
#[derive(Debug)]
pub(super) struct Opened {
    name: String,
    source: FileSource,
    stamp: Stamp,
    /// What a person has to know of a candidate, with a comma before it.
    note: String,
}

impl Opened {
    fn new(name: String, path: &Path) -> Result<Self> {
        let context = || format!("opening {}", path.display());
        // A FIFO would make us wait.
        let mut options = fs::OpenOptions::new();
        let file = options.read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path).with_context(context)?;
        ensure!(file.metadata().with_context(context)?.is_file(), "{} is not a regular file", path.display());
        Self::of_file(name, file).with_context(context)
    }

    /// An open file that the stub would find under a name.
    pub(super) fn of_file(name: String, file: File) -> Result<Self> {
        let stamp = Stamp::of(&file)?;
        Ok(Self { name, source: FileSource::new(file)?, stamp, note: String::new() })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn of_path(path: &Path) -> Result<Self> {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.with_context(|| format!("{}: file name is missing or not UTF-8", path.display()))?;
        Self::new(name.to_owned(), path)
    }
}

fn of_files(arguments: &Arguments) -> Result<Prediction> {
    let files = arguments.images.iter().chain(&arguments.add).map(|path| Opened::of_path(path));
    let files: Rc<[Opened]> = files.collect::<Result<_>>()?;
    let beside = places(None).iter().filter(|place| place.global.is_none());
    let places: Vec<_> = beside.map(|place| (place, Rc::clone(&files))).collect();
    let events = measure_all(&places)?;
    let pcr13 = pcr_13(&events)?;
    let row = Row {
        entry: None,
        name: String::new(),
        uki: None,
        stub: None,
        pcr13,
        events,
        measured: None,
        difference: None,
        event_log: None,
    };
    Ok(Prediction { row, places, candidates: candidates(arguments)? })
}

fn on_partition(arguments: &Arguments) -> Result<Vec<Prediction>> {
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
    ensure!(!wanted.is_empty(), "no boot entry with a UKI on {}", esp.path().display());
    let mut rows = Vec::new();
    for entry in wanted {
        let row = of_entry(&esp, &entry, arguments);
        rows.push(row.with_context(|| format!("measuring the files beside {}", entry.uki))?);
    }
    Ok(rows)
}

fn of_entry(esp: &Esp, entry: &Entry, arguments: &Arguments) -> Result<Prediction> {
    let stub = File::open(esp.path().join(entry.uki.trim_start_matches('/')))
        .map_err(Into::into)
        .and_then(|file| stub_version(&FileSource::new(file)?));
    let takes_global = stub.as_deref().ok().and_then(reads_global);
    let is_extension = |file: &Text| {
        let end = |class: Class| strip_suffix_ignore_case(file.as_str(), class.file_suffix()).is_some();
        Class::ALL.into_iter().any(end)
    };
    let lines = esp.extra_lines(entry).with_context(|| format!("reading the file of entry {}", entry.name))?;
    if let Some(file) = lines.into_iter().find(is_extension) {
        bail!("the entry has a line \"extra {file}\": systemd-boot measures that file itself, which is not predicted");
    }
    let directory = entry.extra_directory();
    let directories = [directory.as_str(), esp::GLOBAL];
    let read = |directory: &str| -> Result<Option<Extra>> {
        esp.taken(directory).with_context(|| format!("listing {}", Text::new(directory)))
    };
    let before = [read(directories[0])?, read(directories[1])?];
    for (directory, _) in directories.iter().zip(&before).filter(|(_, extra)| extra.is_none()) {
        super::warn(format_args!("{directory} is not a directory: no boot takes anything from it"));
    }
    let [extra, global] = &before;
    let open = |extra: &Option<Extra>, is_enabled| {
        extra.as_ref().map_or_else(|| Ok(Vec::new()), |extra| open_all(extra, is_enabled))
    };
    let mut beside = open(extra, true)?;
    let mut candidates = candidates(arguments)?;
    if arguments.check || arguments.event_log.is_some() {
        let disabled = open(extra, false)?.into_iter().chain(open(global, false)?);
        candidates.extend(disabled.map(|file| Opened { note: ", which is disabled now,".to_owned(), ..file }));
    }
    for name in &arguments.remove {
        let before = beside.len();
        beside.retain(|file| !file.name.eq_ignore_ascii_case(name));
        ensure!(beside.len() < before, "no file {} in {directory}", Text::new(name));
    }
    for path in &arguments.add {
        let added = Opened::of_path(path)?;
        // FAT knows no case.
        beside.retain(|file| !file.name.eq_ignore_ascii_case(&added.name));
        beside.push(added);
    }
    let (beside, global): (Rc<[Opened]>, Rc<[Opened]>) = (beside.into(), open(global, true)?.into());
    if !global.is_empty() && takes_global.is_none() {
        bail!("unknown version of systemd-stub: it may or may not read {}", esp::GLOBAL);
    }
    if takes_global.is_none() && beside.iter().any(|file| is_taken(&file.name, Class::Confext)) {
        bail!("unknown version of systemd-stub: PCR 13 may or may not cover configuration extensions");
    }
    let all = places(stub.as_deref().ok());
    let places = all.iter().filter(|place| place.global.is_none() || takes_global == Some(true));
    let of_place = |place: &Place| Rc::clone(if place.global.is_some() { &global } else { &beside });
    let places: Vec<_> = places.map(|place| (place, of_place(place))).collect();
    let events = measure_all(&places)?;
    let items = |extra: &Option<Extra>| extra.as_ref().map(|extra| extra.items.clone());
    let is_same =
        items(&before[0]) == items(&read(directories[0])?) && items(&before[1]) == items(&read(directories[1])?);
    ensure!(is_same, "the partition changed while it was read");
    let row = Row {
        entry: Some(Text::new(&entry.name)),
        name: entry.name.clone(),
        uki: Some(Text::new(&entry.uki)),
        stub: stub.ok().map(Text::new),
        pcr13: pcr_13(&events)?,
        events,
        measured: None,
        difference: None,
        event_log: None,
    };
    Ok(Prediction { row, places, candidates })
}

/// Opens the files that `--candidate` names.
fn candidates(arguments: &Arguments) -> Result<Vec<Opened>> {
    let mut paths = Vec::new();
    for path in &arguments.candidate {
        if !path.is_dir() {
            paths.push(path.clone());
            continue;
        }
        let listing = || format!("listing {}", path.display());
        for item in fs::read_dir(path).with_context(listing)? {
            let item = item.with_context(listing)?;
            let is_image = item.path().extension().is_some_and(|end| end.eq_ignore_ascii_case("raw"));
            if is_image && item.file_type().with_context(listing)?.is_file() {
                paths.push(item.path());
            }
        }
    }
    ensure!(paths.len() <= MOST_CANDIDATES, "{} candidates; the limit is {MOST_CANDIDATES}", paths.len());
    paths.sort();
    let open = |path: &PathBuf| {
        let note = format!(" ({})", Text::from_os(path.as_os_str()));
        Ok(Opened { note, ..Opened::of_path(path)? })
    };
    paths.iter().map(open).collect()
}

/// Opens what systemd-stub takes of a directory, or what it would take if it weren't disabled.
pub(super) fn open_all(extra: &Extra, enabled: bool) -> Result<Vec<Opened>> {
    let Some(place) = extra.place() else { return Ok(Vec::new()) };
    let is_taken = |item: &&Item| item.enabled == enabled && is_taken(&item.file, item.class);
    let open = |item: &Item| Opened::new(item.file.clone(), &place.join(item.file_now()));
    extra.items.iter().filter(is_taken).map(open).collect()
}

fn measure_all(places: &[(&Place, Rc<[Opened]>)]) -> Result<Vec<Event>> {
    measure_chosen(places.iter().map(|(place, files)| (*place, files.iter().collect())))
}

pub(super) fn measure_chosen<'a>(places: impl Iterator<Item = (&'a Place, Vec<&'a Opened>)>) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    for (place, files) in places {
        let member = |file: &&'a Opened| Member { name: &file.name, content: &file.source as &dyn ReadAt };
        let members: Vec<Member<'_>> = files.iter().map(member).collect();
        events.extend(Event::of(place, &members)?);
        for file in files {
            let now = Stamp::of(file.source.file()).with_context(|| format!("examining {} again", file.name))?;
            ensure!(now == file.stamp, "{} changed while it was read", Text::new(&file.name));
        }
    }
    Ok(events)
}
