//! What `sextant install` has to do: found out before anything is done, prepared as a whole, and only then done.

use super::advice::advised;
use super::machine::Machine;
use super::original::Original;
use super::pcrlock::Step;
use super::progress::{Progress, Waiting};
use super::store_options::listing;
use crate::esp::{Item, change};
use crate::store::{Held, Kairos, Kind, Leftover, Link, Set, Slot, Store};
use anyhow::{Context, Result, bail};
use ddi::Class;
use ddi::io::ReadAt;
use ddi::text::{Message, Text};
use serde::{Serialize, Serializer};
use sextant::durable;
use sextant::verify::{Examined, HeldImage};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What FAT has no names for (Microsoft, "FAT File System Specification" 1.03, long names).
const NOT_ON_FAT: &str = "\"*/:<>?\\|";

/// What is done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Action {
    /// It is written; there was none of its name.
    Installed,
    /// It is written in place of one with other content.
    Replaced,
    /// It is there, and was disabled.
    Enabled,
    /// It is there.
    Unchanged,
}

impl Action {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Installed => "installed",
            Self::Replaced => "replaced",
            Self::Enabled => "enabled",
            Self::Unchanged => "unchanged",
        }
    }
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Outcome {
    /// It is as planned.
    Done,
    /// It failed: the file is the old one or the new one.
    Failed,
    /// It was not begun.
    NotDone,
}

impl Outcome {
    pub(super) const fn of<E>(result: &Result<(), E>) -> Self {
        if result.is_ok() { Self::Done } else { Self::Failed }
    }
}

/// What is asked for: an image for a slot.
#[derive(Debug)]
pub(super) struct Request<'o> {
    pub(super) slot: Slot,
    pub(super) original: &'o Original,
    /// Whether the slot takes it. If not, it is only put into the store.
    pub(super) enable: bool,
}

/// One file for one slot.
#[derive(Debug, Serialize)]
pub(super) struct Planned<'o> {
    #[serde(rename = "entry", serialize_with = "name_of")]
    pub(super) slot: Slot,
    pub(super) directory: String,
    pub(super) file: String,
    pub(super) class: Class,
    pub(super) action: Action,
    pub(super) size: u64,
    /// The disabled file of this name that goes away.
    pub(super) removes: Option<String>,
    /// `None` in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) outcome: Option<Outcome>,
    /// Of removing the disabled file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) removal: Option<Outcome>,
    #[serde(skip)]
    original: &'o Original,
    /// What is written, if anything: a slot before this one may have had the same file written into the same place.
    #[serde(skip)]
    writes: bool,
    /// What has to be enabled once the file is there.
    #[serde(skip)]
    enables: Option<Item>,
    #[serde(skip)]
    place: Option<PathBuf>,
}

fn name_of<S: Serializer>(slot: &Slot, serializer: S) -> Result<S::Ok, S::Error> {
    slot.name.serialize(serializer)
}

impl Planned<'_> {
    /// Whether bytes are written.
    pub(super) const fn writes(&self) -> bool {
        self.writes
    }

    /// Whether anything is different afterwards.
    pub(super) fn changes(&self) -> bool {
        self.action != Action::Unchanged || self.removes.is_some()
    }

    /// Whether all of it is as planned.
    pub(super) fn is_done(&self) -> bool {
        self.outcome == Some(Outcome::Done) && self.removal.is_none_or(|removal| removal == Outcome::Done)
    }

    /// A sentence for what is being done to it.
    pub(super) fn doing(&self, what: &str) -> String {
        format!("{what} {} for {}", self.file, Text::new(&self.slot.name))
    }

    /// What the next boot loads of it that it would not have loaded.
    pub(super) fn step(&self) -> Option<Result<Step>> {
        let content = self.original.source().file();
        (self.action != Action::Unchanged).then(|| Step::put(&self.directory, &self.file, content))
    }

    fn place(&self) -> std::io::Result<&Path> {
        self.place.as_deref().ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }

    /// Enables what has to be enabled.
    fn enable(&self, store: &Store) -> std::io::Result<()> {
        self.enables.as_ref().map_or(Ok(()), |item| store.enable(&self.slot, item))
    }

    /// Removes the disabled file of this name.
    fn remove(&self) -> std::io::Result<()> {
        let Some(file) = &self.removes else { return Ok(()) };
        change::remove(self.place()?, file)
    }
}

/// All that has to be done.
#[derive(Debug)]
pub(super) struct Job<'o> {
    pub(super) planned: Vec<Planned<'o>>,
    /// What can't be cleaned up, as sentences.
    pub(super) left_alone: Vec<Message>,
    /// What else a person should know, as sentences.
    pub(super) notes: Vec<Message>,
    /// Temporary files that an interrupted run left, whichever slot it was for, and their sizes.
    leftovers: Vec<(Leftover, u64)>,
    new_directories: u64,
}

impl<'o> Job<'o> {
    /// Compares what is asked for with what is there.
    pub(super) fn plan(store: &Store, requests: Vec<Request<'o>>) -> Result<Self> {
        let mut job = Self {
            planned: Vec::new(),
            left_alone: Vec::new(),
            notes: Vec::new(),
            leftovers: Vec::new(),
            new_directories: 0,
        };
        for (index, request) in requests.iter().enumerate() {
            let image = request.original;
            let twice = |other: &&Request<'_>| {
                other.slot == request.slot && image.file().eq_ignore_ascii_case(other.original.file())
            };
            if let Some(other) = requests.iter().take(index).find(twice) {
                bail!("installing {}: {} has the same name", image.path().display(), other.original.path().display());
            }
        }
        let mut directories: Vec<String> = Vec::new();
        for slot in store.slots().with_context(|| listing(store))?.found {
            // One UKI may have several names.
            if directories.iter().any(|other| other.eq_ignore_ascii_case(&slot.directory)) {
                continue;
            }
            match store.set(&slot) {
                Ok(set) => {
                    job.note_leftovers(&set)?;
                    job.left_alone.extend(set.unreadable);
                }
                // Those that are installed for are looked at below.
                Err(error) => job.left_alone.push(Message::new(format_args!("{}: {error}", slot.directory))),
            }
            directories.push(slot.directory);
        }
        let mut slots: Vec<(Slot, Set)> = Vec::new();
        for request in requests {
            if !slots.iter().any(|(slot, _)| *slot == request.slot) {
                let set = whole_set(store, &request.slot)?;
                // An empty slot may have no directory yet.
                job.new_directories += u64::from(set.items.is_empty());
                slots.push((request.slot.clone(), set));
            }
            let Some((_, set)) = slots.iter().find(|(slot, _)| *slot == request.slot) else { continue };
            let context = || {
                let path = request.original.path().display();
                format!("installing {path} for {}", Text::new(&request.slot.name))
            };
            let planned = match store.kind() {
                Kind::Esp | Kind::Global => plan(&request, set),
                Kind::Kairos => job.plan_link(store, &request, set),
            };
            job.planned.push(planned.with_context(context)?);
        }
        Ok(job)
    }

    fn note_leftovers(&mut self, set: &Set) -> Result<()> {
        for leftover in &set.leftovers {
            let (Leftover { directory, place, name }, known) = (leftover, &self.leftovers);
            let Some(file) = durable::final_name(name) else { continue };
            // Kairos' slots share a directory.
            if known.iter().any(|(other, _)| other.place == *place && other.name == *name) {
                continue;
            }
            let context = || format!("examining {directory}/{name}");
            match set.check_twins(file).with_context(context)? {
                Ok(()) => {
                    let size = place.join(name).symlink_metadata().with_context(context)?.len();
                    self.leftovers.push((leftover.clone(), size));
                }
                Err(twin) => self.left_alone.push(Message::new(format_args!("{directory}/{name}: {twin}"))),
            }
        }
        Ok(())
    }

    /// What [`Job::commit`] changes for the next boot, in its order.
    pub(super) fn steps(&self) -> Result<Vec<Step>> {
        let of_one_entry = |one: &Planned<'_>, other: &Planned<'_>| one.directory == other.directory;
        let of_entry = |planned: &[Planned<'o>]| {
            let (written, enabled): (Vec<_>, Vec<_>) = planned.iter().partition(|planned| planned.enables.is_none());
            written.into_iter().chain(enabled).filter_map(Planned::step).collect::<Vec<_>>()
        };
        self.planned.chunk_by(of_one_entry).flat_map(of_entry).collect()
    }

    /// Bytes to be written.
    pub(super) fn bytes(&self) -> u64 {
        self.planned.iter().filter(|planned| planned.writes()).map(|planned| planned.size).sum()
    }

    /// Whether it can be done as a whole.
    pub(super) fn admit(&self, store: &Store) -> Result<()> {
        let space = store.space().with_context(|| format!("querying free space on {}", store.path().display()))?;
        let writes = || self.planned.iter().filter(|planned| planned.writes());
        if let Some(planned) = writes().find(|planned| !space.can_hold(planned.size)) {
            bail!("{}: {} bytes exceed the maximum file size of FAT", planned.doing("installing"), planned.size);
        }
        let given_back: u64 = self.leftovers.iter().map(|(_, size)| *size).sum();
        let (needed, free) =
            (space.needed(writes().map(|planned| planned.size), self.new_directories), space.free + given_back);
        if writes().next().is_some() && needed > free {
            bail!(
                "nothing installed: {} needed on {}, {} free (remove extensions with `sextant list` and \
                 `sextant remove`)",
                super::size(needed),
                store.path().display(),
                super::size(free)
            );
        }
        Ok(())
    }

    /// Writes all new files under temporary names and makes sure that they are what was verified. Nothing that a boot
    /// would take is changed until that is done for all of them.
    pub(super) fn prepare(&self, store: &Store, machine: Option<&Machine>) -> Result<Vec<Option<Prepared>>> {
        self.clean_up(store)?;
        let mut written = Vec::new();
        let progress = Progress::begin("writing", Some(self.bytes()));
        for planned in &self.planned {
            written.push(if planned.writes() { Some(planned.write(store, &progress)?) } else { None });
        }
        drop(progress);
        let progress = Progress::begin("reading back", Some(self.bytes()));
        for (planned, written) in self.planned.iter().zip(&written) {
            if let Some(written) = written {
                let read = written.read_back(&|bytes| progress.advance(bytes));
                read.map_err(advised).with_context(|| planned.doing("reading back"))?;
            }
        }
        drop(progress);
        let mut prepared = Vec::new();
        for (planned, written) in self.planned.iter().zip(written) {
            prepared.push(written.map(|written| planned.verify(machine, written)).transpose()?);
        }
        // What is there already was compared with the originals too.
        for planned in &self.planned {
            planned.check_original()?;
        }
        Ok(prepared)
    }

    /// Gives what was prepared its names, entry by entry: new files first, then those that are enabled, and the old ones go
    /// last. Each of them is one step that a loss of power leaves done or not done, and is on the disk before the next
    /// one begins.
    ///
    /// # Errors
    /// The first step that failed. What was done until then is in [`Planned::outcome`].
    pub(super) fn commit(&mut self, store: &Store, prepared: Vec<Option<Prepared>>) -> Result<()> {
        for planned in &mut self.planned {
            planned.outcome = Some(if planned.action == Action::Unchanged { Outcome::Done } else { Outcome::NotDone });
            planned.removal = planned.removes.as_ref().map(|_| Outcome::NotDone);
        }
        let mut prepared = prepared.into_iter();
        let of_one_entry = |one: &Planned<'_>, other: &Planned<'_>| one.directory == other.directory;
        for planned in self.planned.chunk_by_mut(of_one_entry) {
            for planned in planned.iter_mut() {
                if let Some(prepared) = prepared.next().flatten() {
                    let done = prepared.put();
                    planned.outcome = Some(Outcome::of(&done));
                    done.with_context(|| planned.doing("renaming"))?;
                }
            }
            for planned in planned.iter_mut().filter(|planned| planned.enables.is_some()) {
                let done = planned.enable(store);
                planned.outcome = Some(Outcome::of(&done));
                done.map_err(advised).with_context(|| planned.doing("enabling"))?;
            }
            for planned in planned.iter_mut().filter(|planned| planned.removes.is_some()) {
                let done = planned.remove();
                planned.removal = Some(Outcome::of(&done));
                done.map_err(advised).with_context(|| planned.doing("removing the disabled"))?;
            }
        }
        Ok(())
    }

    /// Removes what an interrupted run left.
    fn clean_up(&self, store: &Store) -> Result<()> {
        for (leftover, _) in &self.leftovers {
            let context = || format!("removing {}/{}", leftover.directory, leftover.name);
            store.clean_up(leftover).with_context(context)?;
        }
        Ok(())
    }
}

/// A file that is complete under its temporary name, and is what was verified.
#[derive(Debug)]
pub(super) struct Prepared {
    written: change::Written,
    holding: HeldImage<Examined>,
}

impl Prepared {
    fn put(self) -> Result<()> {
        self.holding.check_unchanged()?;
        self.written.put().map_err(advised)
    }
}

impl Planned<'_> {
    /// Copies the original, and looks whether it is still what it was.
    fn write(&self, store: &Store, progress: &Progress) -> Result<change::Written> {
        let place = store.make_directory(&self.slot, self.class);
        let place = place.with_context(|| self.doing("creating the directory of"))?;
        let written =
            change::Written::copy(&place, &self.file, self.original.source(), &|bytes| progress.advance(bytes));
        // That it was cut off is said better by what it was before.
        self.check_original()?;
        let written = written.map_err(advised).with_context(|| self.doing("writing"))?;
        if store.kind() == Kind::Kairos {
            // As whatever downloads there leaves them. FAT has no modes.
            let mode = std::fs::Permissions::from_mode(0o644);
            written.file().set_permissions(mode).with_context(|| self.doing("setting the mode of"))?;
        }
        Ok(written)
    }

    fn check_original(&self) -> Result<()> {
        let context = || self.doing(&format!("reading {} to install", self.original.path().display()));
        self.original.check().with_context(context)
    }

    fn verify(&self, machine: Option<&Machine>, written: change::Written) -> Result<Prepared> {
        let _waiting = Waiting::begin(self.doing("verifying the copy of"));
        let holding = self.original.check_written(machine, written.file());
        Ok(Prepared { holding: holding.with_context(|| self.doing("verifying the copy of"))?, written })
    }
}

/// The extensions of a slot, all of them.
pub(super) fn whole_set(store: &Store, slot: &Slot) -> Result<Set> {
    let set = store.set(slot).with_context(|| format!("listing {}", slot.directory))?;
    if let Some(line) = set.unreadable.first() {
        bail!("listing {line}");
    }
    Ok(set)
}

/// Whether a file of the store has the content of an image.
fn is_same(held: &Held, original: &Original) -> Result<bool> {
    let path = held.path().context("not a file of the store")?;
    Ok(change::same_content(original.source(), &change::open(path)?)?)
}

/// What has to be done with one image on the EFI system partition, where a slot has files of its own.
fn plan<'o>(request: &Request<'o>, set: &Set) -> Result<Planned<'o>> {
    let (slot, original) = (&request.slot, request.original);
    let file = original.file().to_owned();
    if let Some(character) = file.chars().find(|it| !it.is_ascii_graphic() || NOT_ON_FAT.contains(*it)) {
        bail!("invalid character {character:?} in file name (systemd-stub would skip it)");
    }
    if set.is_odd(&file) {
        bail!("{}/{file} exists and is not a regular file: remove it first", slot.directory);
    }
    let is_it = |held: &&Held| held.item.file.eq_ignore_ascii_case(&file);
    if let Some(other) = set.items.iter().filter(is_it).find(|held| held.item.file != file) {
        bail!("{} exists, and its name differs only in case: remove it first", other.now);
    }
    let there = |enabled: bool| set.items.iter().filter(is_it).find(|held| held.item.enabled == enabled);
    let (enabled, disabled) = (there(true), there(false));
    let action = match (enabled, disabled) {
        (Some(held), _) if is_same(held, original)? => Action::Unchanged,
        (Some(_), _) => Action::Replaced,
        (None, Some(held)) if is_same(held, original)? => Action::Enabled,
        (None, _) => Action::Installed,
    };
    if action != Action::Unchanged || disabled.is_some() {
        set.check_twins(&file)??;
    }
    let becomes_enabled = disabled.filter(|_| action == Action::Enabled).map(|held| held.item.clone());
    let removes = disabled.filter(|_| action != Action::Enabled);
    Ok(Planned {
        slot: slot.clone(),
        directory: slot.directory.clone(),
        file,
        class: original.class(),
        action,
        size: original.source().len(),
        outcome: None,
        removal: None,
        original,
        writes: matches!(action, Action::Installed | Action::Replaced),
        place: removes.and_then(|held| Some(held.path()?.parent()?.to_owned())),
        removes: removes.map(|held| held.now.clone()),
        enables: becomes_enabled,
    })
}

impl<'o> Job<'o> {
    /// What has to be done with one image in Kairos' store, where slots share files and have links to them.
    fn plan_link(&mut self, store: &Store, request: &Request<'o>, set: &Set) -> Result<Planned<'o>> {
        let (slot, original) = (&request.slot, request.original);
        let file = original.file().to_owned();
        if !Kairos::takes(&file) {
            bail!("file name does not end in .raw (lower case), as Kairos requires");
        }
        let is_it = |held: &&Held| held.item.file == file && held.item.class == original.class();
        let there = set.items.iter().find(is_it);
        if there.is_some_and(|held| held.link == Some(Link::File)) {
            let directory = slot.directory_of(original.class());
            bail!("{directory}/{file} is a file, not a link: remove it first");
        }
        let stored = there.filter(|held| held.is_stored);
        // For a slot before this one it may have been planned already.
        let is_shared = |other: &&Planned<'_>| other.file == file && other.class == original.class();
        let earlier = self.planned.iter().find(is_shared).map(|other| (other.action, other.writes, other.original));
        if let Some((_, _, other)) = earlier
            && !change::same_content(original.source(), other.source())?
        {
            bail!("{} has a different file of this name, and the store holds only one", other.path().display());
        }
        let same = stored.map(|held| is_same(held, original)).transpose()?;
        let links = request.enable && !there.is_some_and(Held::is_enabled_soundly);
        let action = match same {
            None => Action::Installed,
            Some(false) => Action::Replaced,
            Some(true) if links => Action::Enabled,
            Some(true) => Action::Unchanged,
        };
        let mut item = there.map(|held| held.item.clone());
        if item.is_none() {
            item = crate::esp::item(&file, original.source().len());
        }
        if action == Action::Replaced && earlier.is_none() {
            let users = item.as_ref().map(|item| store.users(item).0).unwrap_or_default();
            let others: Vec<String> = users.into_iter().filter(|user| *user != slot.name).collect();
            if !others.is_empty() {
                let others = others.join(", ");
                self.notes
                    .push(Message::new(format_args!("{file} is also enabled for {others}, and changes there too")));
            }
        }
        let class = original.class();
        let item = item.map(|item| Item { class, ..item });
        Ok(Planned {
            slot: slot.clone(),
            directory: slot.directory_of(class),
            file,
            class,
            action,
            size: original.source().len(),
            outcome: None,
            removal: None,
            original,
            writes: same != Some(true) && earlier.is_none(),
            place: None,
            removes: None,
            enables: item.filter(|_| links),
        })
    }
}
