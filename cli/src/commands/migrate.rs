//! `sextant migrate`

use super::advice::advised;
use super::install::commit;
use super::installation::{Job, Outcome, Request};
use super::machine::Machine;
use super::original::Original;
use super::put_options::PutOptions;
use super::store_options::{self, StoreOptions};
use super::table::{Layout, Table, painted, plain};
use crate::esp::{Item, change};
use crate::store::{Held, Kairos, Kind, Slot, Store, Stray, state_of};
use anyhow::{Context, Result, bail};
use clap::Args;
use ddi::text::{Message, Text};
use serde::Serialize;
use serde_json::json;
use sextant::policy::Policy;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

/// Move extensions from the EFI system partition into Kairos' store
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sextant migrate --dry-run
        show what would be moved, and what would stay
  sextant migrate
        move the extensions of active, passive and recovery, before immucore
        moves them unverified
  sextant migrate --entry active --json \\
      | jq -r '.files[] | select(.action == \"left\") | .detail'
        print why files stay

Each image is verified as in `sextant install`. It is copied under a temporary name, read back and verified again, \
renamed, and enabled for the boot states that had it enabled. Files on the EFI system partition are deleted only after \
all copies are on the disk. After a failure or a power loss a file may be in both places: repeat the command. An image \
that a boot would reject stays, and so does a file whose name has other contents in the store.

Configuration extensions and disabled extensions that immucore moved to /var/lib/kairos/extensions, where it does not \
load them, are moved to their places. Their entry is \"-\".

Exit status: 0 all extensions are in the store; 1 files stay, or an error occurred; 2 usage.")]
pub(super) struct Arguments {
    /// Move only the extensions of the boot entry NAME; repeatable
    #[arg(long, value_name = "NAME")]
    entry: Vec<String>,
    #[command(flatten)]
    store: StoreOptions,
    /// Move images that a boot would reject
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    put: PutOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    /// It goes into the store.
    Migrated,
    /// It stays.
    Left,
}

/// Where a file is.
enum Origin {
    /// Beside a UKI.
    Esp(Slot, Held),
    /// In Kairos' store, where immucore put it and nothing takes it.
    Store(Stray),
}

/// A file that should be elsewhere.
struct File {
    origin: Origin,
    /// The states that get it.
    states: Vec<Slot>,
    original: Option<Original>,
    /// Why it stays.
    detail: Option<Message>,
    /// Of deleting it on the partition; `None` in a dry run, and for what stays.
    outcome: Option<Outcome>,
}

impl File {
    const fn new(origin: Origin, states: Vec<Slot>) -> Self {
        Self { origin, states, original: None, detail: None, outcome: None }
    }

    const fn action(&self) -> Action {
        if self.detail.is_none() { Action::Migrated } else { Action::Left }
    }

    const fn item(&self) -> &Item {
        match &self.origin {
            Origin::Esp(_, held) => &held.item,
            Origin::Store(stray) => &stray.item,
        }
    }

    /// Name of the file as it is now.
    fn now(&self) -> &str {
        match &self.origin {
            Origin::Esp(_, held) => &held.now,
            Origin::Store(stray) => &stray.now,
        }
    }

    fn path(&self) -> Option<&Path> {
        match &self.origin {
            Origin::Esp(_, held) => held.path(),
            Origin::Store(stray) => Some(&stray.path),
        }
    }

    /// The boot entry beside whose UKI it is.
    fn entry(&self) -> Option<&str> {
        match &self.origin {
            Origin::Esp(slot, _) => Some(&slot.name),
            Origin::Store(_) => None,
        }
    }

    fn shown_entry(&self) -> Text {
        self.entry().map_or_else(|| "-".into(), Text::new)
    }

    fn leave(&mut self, why: impl std::fmt::Display) {
        self.original = None;
        self.detail = Some(Message::new(why));
    }

    fn json(&self) -> serde_json::Value {
        let item = self.item();
        let mut value = json!({
            "entry": self.entry(), "file": item.file, "class": item.class, "enabled": item.enabled, "size": item.size,
            "action": self.action(), "detail": self.detail,
            "states": self.states.iter().map(|state| &state.name).collect::<Vec<_>>(),
        });
        if let (Some(outcome), Some(value)) = (self.outcome, value.as_object_mut()) {
            value.insert("outcome".to_owned(), json!(outcome));
        }
        value
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    if matches!(arguments.store.named(), Some(Kind::Esp | Kind::Global)) {
        return Err(super::usage("--store: only Kairos' store can be migrated to"));
    }
    if arguments.store.named().is_none() && !arguments.store.running()?.is_some_and(|running| running.has_store) {
        bail!(
            "this machine has no store in /var/lib/kairos (Kairos 3.4 or later): there is \
             nothing to migrate to (--store kairos overrides this)"
        );
    }
    let source = Store::beside(arguments.store.open_esp()?);
    let target = arguments.store.open_kairos()?;
    let policy = arguments.store.policy(&arguments.put.config)?;
    let slots = match arguments.entry.as_slice() {
        [] => store_options::all_slots(&source)?,
        names => store_options::slots(&source, names)?,
    };
    let _alone =
        if arguments.put.dry_run { None } else { Some((store_options::lock(&source)?, store_options::lock(&target)?)) };
    let states = target.slots().with_context(|| store_options::listing(&target))?.found;
    let (mut files, mut unreadable) = find(&source, &states, slots, &policy);
    if arguments.entry.is_empty() {
        match target.as_kairos().map_or_else(|| Ok(Vec::new()), Kairos::strays) {
            Ok(strays) => files.extend(strays.into_iter().map(stray)),
            Err(error) => {
                let path = target.path().display();
                unreadable.push(Message::new(format_args!("{path}: searching for misplaced extensions: {error}")));
            }
        }
    }
    let machine = if files.iter().any(|file| file.detail.is_none()) {
        arguments.put.machine(policy, arguments.force)?
    } else {
        None
    };
    for file in &mut files {
        verify(file, machine.as_ref(), arguments.force);
    }
    leave_others_of_the_name(&mut files, &target, &states);
    let done = migrate(arguments.put.dry_run, [&source, &target], &states, machine.as_ref(), &mut files);
    let document = || {
        Ok(json!({
            "version": 1, "store": target.kind(), "path": target.path(), "esp": source.esp(),
            "dry_run": arguments.put.dry_run, "files": files.iter().map(File::json).collect::<Vec<_>>(),
            "unreadable": unreadable,
        }))
    };
    let output = &arguments.put.output;
    let text = || text(arguments.put.dry_run, [&source, &target], &files, &unreadable, output.layout());
    output.show(document, text)?;
    done?;
    let is_whole = unreadable.is_empty() && files.iter().all(|file| file.action() == Action::Migrated);
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What lies beside the UKIs, and directories that can't be listed.
fn find(source: &Store, states: &[Slot], slots: Vec<Slot>, policy: &Policy) -> (Vec<File>, Vec<Message>) {
    let (mut files, mut unreadable, mut seen) = (Vec::new(), Vec::new(), Vec::<String>::new());
    for slot in slots {
        if seen.iter().any(|other| other.eq_ignore_ascii_case(&slot.directory)) {
            continue;
        }
        seen.push(slot.directory.clone());
        let set = match source.set(&slot) {
            Ok(set) => set,
            Err(error) => {
                unreadable.push(Message::new(format_args!("{}: {error}", slot.directory)));
                continue;
            }
        };
        // The name of the UKI decides: that of the entry may be another one with the same UKI.
        let state = slot.boots().and_then(|boots| state_of(boots.stub.as_deref()?));
        let state = states.iter().find(|it| Some(it.name.as_str()) == state);
        for held in &set.items {
            let states = state.cloned().into_iter().collect();
            let mut file = File::new(Origin::Esp(slot.clone(), held.clone()), states);
            let admitted = slot.boots().map_or(Ok(()), |boots| policy.admit_entry(boots));
            match (state, admitted) {
                (None, _) => file.leave("Kairos has no boot state for this UKI"),
                (Some(_), Err(refusal)) => file.leave(refusal),
                (Some(_), Ok(())) => {}
            }
            if !Kairos::takes(&held.item.file) {
                file.leave("file name does not end in .raw (lower case), as Kairos requires");
            }
            match set.check_twins(&held.item.file) {
                Ok(Ok(())) => {}
                Ok(Err(twin)) => file.leave(twin),
                Err(error) => file.leave(format_args!("comparing it with files of similar names: {error}")),
            }
            files.push(file);
        }
    }
    (files, unreadable)
}

/// What immucore put where nothing takes it.
fn stray(stray: Stray) -> File {
    let states = stray.states.clone();
    let mut file = File::new(Origin::Store(stray), states);
    if !Kairos::takes(&file.item().file) {
        file.leave("file name does not end in .raw (lower case), as Kairos requires");
    }
    file
}

/// Opens a file that is to go, and leaves what a boot would refuse.
fn verify(file: &mut File, machine: Option<&Machine>, force: bool) {
    let Some(path) = file.path().map(Path::to_owned).filter(|_| file.detail.is_none()) else { return };
    let name = file.item().file.clone();
    let mut judged = machine.map(|machine| machine.judge_as(&path, name.as_ref()));
    let verified = judged.as_mut().and_then(|(_, evidence)| evidence.take());
    let original = match (verified, judged) {
        (Some(image), _) => Ok(Original::verified_as(&path, &name, image)),
        (None, Some((image, _))) if !force => {
            let reason = image.reason.as_ref().map_or_else(|| "rejected".into(), Text::new);
            let detail = image.detail.unwrap_or_default();
            return file.leave(format_args!("a boot would reject it: {reason}: {detail}"));
        }
        (None, _) => Original::unverified_as(&path, &name),
    };
    match original {
        Ok(original) => file.original = Some(original),
        Err(error) => file.leave(format_args!("opening it: {error:#}")),
    }
}

/// Leaves files of which the store, or another entry, has another content under the same name: the store has one file
/// of a name for all states.
fn leave_others_of_the_name(files: &mut [File], target: &Store, all: &[Slot]) {
    for index in 0..files.len() {
        let (before, rest) = files.split_at_mut(index);
        let Some(file) = rest.first_mut() else { continue };
        let Some(original) = &file.original else { continue };
        let is_it = |item: &Item| item.file == original.file() && item.class == original.class();
        let same = |other: &Original| change::same_content(original.source(), other.source());
        let among_these = before.iter().filter(|other| is_it(other.item())).find_map(|other| {
            let (content, entry) = (other.original.as_ref()?, other.shown_entry());
            match same(content) {
                Ok(true) if other.entry() != file.entry() => None,
                Ok(true) => Some(format!("{} has the same contents", other.now())),
                Ok(false) => Some(format!("{entry} has a different file of this name")),
                Err(error) => Some(format!("comparing it with that of {entry}: {error}")),
            }
        });
        let in_store = || {
            let set = match target.set(file.states.first().or(all.first())?) {
                Ok(set) => set,
                Err(error) => return Some(format!("reading the store: {error}")),
            };
            if let Some(line) = set.unreadable.first() {
                return Some(format!("reading the store: {line}"));
            }
            let held = set.items.iter().find(|held| is_it(&held.item))?;
            if !held.is_stored {
                return Some("the store has another kind of file of this name (see `sextant list`)".to_owned());
            }
            match change::open(held.path()?).and_then(|source| change::same_content(original.source(), &source)) {
                Ok(true) => None,
                Ok(false) => Some("the store has a different file of this name".to_owned()),
                Err(error) => Some(format!("comparing it with that of the store: {error}")),
            }
        };
        if let Some(why) = among_these.or_else(in_store) {
            file.leave(why);
        }
    }
}

/// Puts everything into the store, and only then deletes it on the partition.
fn migrate(
    dry_run: bool,
    [source, target]: [&Store; 2],
    all: &[Slot],
    machine: Option<&Machine>,
    files: &mut [File],
) -> Result<()> {
    let mut requests: Vec<Request<'_>> = Vec::new();
    for file in &*files {
        let Some(original) = file.original.as_ref() else { continue };
        // What no state has is put into the store, in the name of any.
        let (states, enable) = match file.states.as_slice() {
            [] => (all.get(..1).unwrap_or_default(), false),
            states => (states, file.item().enabled),
        };
        for slot in states {
            // Two UKIs of one state may have the same file.
            let is_it = |other: &&mut Request<'_>| other.slot == *slot && other.original.file() == original.file();
            match requests.iter_mut().find(is_it) {
                Some(other) => other.enable |= enable,
                None => requests.push(Request { slot: slot.clone(), original, enable }),
            }
        }
    }
    if requests.is_empty() {
        return Ok(());
    }
    let mut job = Job::plan(target, requests)?;
    job.admit(target)?;
    if dry_run {
        return Ok(());
    }
    let put = job.prepare(target, machine).and_then(|prepared| commit(target, &mut job, prepared));
    put.context("nothing deleted")?;
    for file in files.iter_mut().filter(|file| file.original.is_some()) {
        file.outcome = Some(Outcome::NotDone);
    }
    let deleted = files.iter_mut().filter(|file| file.original.is_some()).try_for_each(|file| {
        let shown = format!("deleting {} of {}", file.now(), file.shown_entry());
        file.original.as_ref().map_or(Ok(()), Original::check).with_context(|| shown.clone())?;
        let result = match &file.origin {
            Origin::Esp(slot, held) => source.remove(slot, &held.item).map(|_| ()),
            Origin::Store(stray) => target.as_kairos().map_or(Ok(()), |kairos| kairos.remove_stray(stray)),
        };
        file.outcome = Some(Outcome::of(&result));
        result.map_err(advised).context(shown)
    });
    let deleted = deleted.context("all files were copied, but not all originals were deleted");
    deleted.and(source.sync().with_context(|| format!("syncing {}", source.path().display())))
}

fn text(
    dry_run: bool,
    [source, target]: [&Store; 2],
    files: &[File],
    unreadable: &[Message],
    layout: Layout,
) -> Result<String> {
    let style = layout.style;
    let mut table = Table::new(["ENTRY", "FILE", "ACTION", "SIZE"], 1);
    for file in files {
        let (what, colour) = match (file.action(), file.outcome, dry_run) {
            (Action::Left, ..) => ("left", "33"),
            (_, Some(Outcome::Failed), _) => ("failed", "31"),
            (_, Some(Outcome::Done), _) | (_, None, true) => ("migrated", "32"),
            (_, Some(Outcome::NotDone) | None, _) => ("not done", "31"),
        };
        let size = plain(super::size(file.item().size));
        table.row([plain(file.shown_entry()), plain(Text::new(file.now())), painted(colour, what), size]);
        if let Some(detail) = &file.detail {
            table.below(plain(detail));
        }
    }
    let mut out = table.render(layout);
    for directory in unreadable {
        writeln!(out, "{}", style.paint("31", &format!("not listed: {directory}")))?;
    }
    let count = |done: &dyn Fn(&File) -> bool| files.iter().filter(|file| done(file)).count();
    let what = if dry_run {
        format!("dry run: {} of {} files would be migrated", count(&|file| file.original.is_some()), files.len())
    } else if files.is_empty() {
        "nothing to migrate".to_owned()
    } else {
        let done = count(&|file| file.outcome == Some(Outcome::Done));
        format!("{done} of {} files migrated, effective from the next boot", files.len())
    };
    if layout.legend {
        writeln!(out, "{} to {}: {what}", store_options::shown(source), store_options::shown(target))?;
    }
    Ok(out)
}
