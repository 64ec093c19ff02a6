//! What `sextant install` has to do: found out before anything is done, prepared as a whole, and only then done.

use super::esp_options::listing;
use super::install::advised;
use super::machine::Machine;
use super::original::Original;
use super::progress::{Progress, Waiting};
use crate::durable;
use crate::esp::{Entry, Esp, Extra, Item, change};
use crate::image::Class;
use crate::io::ReadAt;
use crate::stage::Holding;
use crate::text::{Message, Text};
use anyhow::{Context, Result, bail};
use serde::{Serialize, Serializer};
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

/// One file for one entry.
#[derive(Debug, Serialize)]
pub(super) struct Planned<'o> {
    #[serde(serialize_with = "name_of")]
    pub(super) entry: Entry,
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
    /// The disabled file of this name that becomes the enabled one.
    #[serde(skip)]
    enables: Option<Item>,
    #[serde(skip)]
    place: Option<PathBuf>,
}

fn name_of<S: Serializer>(entry: &Entry, serializer: S) -> Result<S::Ok, S::Error> {
    entry.name.serialize(serializer)
}

impl Planned<'_> {
    /// Whether bytes are written.
    pub(super) fn writes(&self) -> bool {
        matches!(self.action, Action::Installed | Action::Replaced)
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
        format!("{what} {} for {}", self.file, Text::new(&self.entry.name))
    }

    fn place(&self) -> std::io::Result<&Path> {
        self.place.as_deref().ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }

    /// Enables the disabled file of this name.
    fn enable(&self) -> std::io::Result<()> {
        let Some(disabled) = &self.enables else { return Ok(()) };
        change::rename(self.place()?, &disabled.file_now(), &disabled.file)
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
    /// Temporary files that an interrupted run left, whichever entry it was for: place, name, size.
    leftovers: Vec<(PathBuf, String, u64)>,
    new_directories: u64,
}

impl<'o> Job<'o> {
    /// Compares what is asked for with what is there.
    pub(super) fn plan(esp: &Esp, entries: &[Entry], images: &'o [Original]) -> Result<Self> {
        let mut job = Self { planned: Vec::new(), left_alone: Vec::new(), leftovers: Vec::new(), new_directories: 0 };
        for (index, image) in images.iter().enumerate() {
            let twice = |other: &&Original| image.file().eq_ignore_ascii_case(other.file());
            if let Some(other) = images.iter().take(index).find(twice) {
                bail!("installing {}: {} has the same name", image.path().display(), other.path().display());
            }
        }
        for entry in Entry::by_uki(esp.entries().with_context(|| listing(esp))?.found) {
            match esp.extra(&entry) {
                Ok(extra) => job.note_leftovers(&extra)?,
                // Those that are installed for are looked at below.
                Err(error) => {
                    job.left_alone.push(Message::new(format_args!("{}: {error}", entry.extra_directory())));
                }
            }
        }
        for entry in entries {
            let extra = esp.extra(entry).with_context(|| format!("listing {}", entry.extra_directory()))?;
            job.new_directories += u64::from(extra.place().is_none());
            for image in images {
                let planned = plan(entry, &extra, image)
                    .with_context(|| format!("installing {} for {}", image.path().display(), Text::new(&entry.name)))?;
                job.planned.push(planned);
            }
        }
        Ok(job)
    }

    fn note_leftovers(&mut self, extra: &Extra) -> Result<()> {
        let Some(place) = extra.place() else { return Ok(()) };
        for leftover in &extra.leftovers {
            let Some(file) = durable::final_name(leftover) else { continue };
            let context = || format!("looking at {}/{leftover}", extra.directory);
            match change::check_twins(extra, file).with_context(context)? {
                Ok(()) => {
                    let size = place.join(leftover).metadata().with_context(context)?.len();
                    self.leftovers.push((place.to_owned(), leftover.clone(), size));
                }
                Err(twin) => {
                    self.left_alone.push(Message::new(format_args!("{}/{leftover}: {twin}", extra.directory)));
                }
            }
        }
        Ok(())
    }

    /// Bytes to be written.
    pub(super) fn bytes(&self) -> u64 {
        self.planned.iter().filter(|planned| planned.writes()).map(|planned| planned.size).sum()
    }

    /// Whether it can be done as a whole.
    pub(super) fn admit(&self, esp: &Esp) -> Result<()> {
        let space = esp.space().with_context(|| format!("asking what is free on {}", esp.path().display()))?;
        let writes = || self.planned.iter().filter(|planned| planned.writes());
        if let Some(planned) = writes().find(|planned| !space.can_hold(planned.size)) {
            bail!("{}: {} bytes are more than a file on FAT may have", planned.doing("installing"), planned.size);
        }
        let given_back: u64 = self.leftovers.iter().map(|(_, _, size)| *size).sum();
        let (needed, free) =
            (space.needed(writes().map(|planned| planned.size), self.new_directories), space.free + given_back);
        if writes().next().is_some() && needed > free {
            bail!(
                "installing nothing: {} are needed on {} and {} are free (`sextant list` tells what is there, \
                 `sextant remove` takes it away)",
                super::size(needed),
                esp.path().display(),
                super::size(free)
            );
        }
        Ok(())
    }

    /// Writes all new files under temporary names and makes sure that they are what was verified. Nothing that a boot
    /// would take is changed until that is done for all of them.
    pub(super) fn prepare(&self, esp: &Esp, machine: Option<&Machine>) -> Result<Vec<Option<Prepared>>> {
        self.clean_up()?;
        let mut written = Vec::new();
        let progress = Progress::begin("writing", Some(self.bytes()));
        for planned in &self.planned {
            written.push(if planned.writes() { Some(planned.write(esp, &progress)?) } else { None });
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
    pub(super) fn commit(&mut self, prepared: Vec<Option<Prepared>>) -> Result<()> {
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
                    done.with_context(|| planned.doing("putting in its place"))?;
                }
            }
            for planned in planned.iter_mut().filter(|planned| planned.enables.is_some()) {
                let done = planned.enable();
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
    fn clean_up(&self) -> Result<()> {
        for (place, leftover, _) in &self.leftovers {
            change::remove(place, leftover).with_context(|| format!("removing {}", place.join(leftover).display()))?;
        }
        Ok(())
    }
}

/// A file that is complete under its temporary name, and is what was verified.
#[derive(Debug)]
pub(super) struct Prepared {
    written: change::Written,
    holding: Holding,
}

impl Prepared {
    fn put(self) -> Result<()> {
        self.holding.check_unchanged()?;
        self.written.put().map_err(advised)
    }
}

impl Planned<'_> {
    /// Copies the original, and looks whether it is still what it was.
    fn write(&self, esp: &Esp, progress: &Progress) -> Result<change::Written> {
        let place = esp.make_extra(&self.entry).with_context(|| self.doing("making the directory of"))?;
        let written =
            change::Written::copy(&place, &self.file, self.original.source(), &|bytes| progress.advance(bytes));
        // That it was cut off is said better by what it was before.
        self.check_original()?;
        written.map_err(advised).with_context(|| self.doing("writing"))
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

/// What has to be done with one image for one entry.
fn plan<'o>(entry: &Entry, extra: &Extra, original: &'o Original) -> Result<Planned<'o>> {
    let file = original.file().to_owned();
    if let Some(character) = file.chars().find(|it| !it.is_ascii_graphic() || NOT_ON_FAT.contains(*it)) {
        bail!("{character:?} in its name is nothing that systemd-stub takes from a FAT file system");
    }
    let is_it = |item: &&Item| item.file.eq_ignore_ascii_case(&file);
    if let Some(other) = extra.items.iter().filter(is_it).find(|item| item.file != file) {
        bail!("{} is there, whose name differs in nothing but case: remove it first", other.file_now());
    }
    let there = |enabled: bool| extra.items.iter().filter(is_it).find(|item| item.enabled == enabled);
    let (enabled, disabled) = (there(true), there(false));
    let same = |item: &Item| -> Result<bool> {
        let place = extra.place().context("the directory is gone")?;
        Ok(change::same_content(original.source(), &change::open(&place.join(item.file_now()))?)?)
    };
    let action = match (enabled, disabled) {
        (Some(item), _) if same(item)? => Action::Unchanged,
        (Some(_), _) => Action::Replaced,
        (None, Some(item)) if same(item)? => Action::Enabled,
        (None, _) => Action::Installed,
    };
    if action != Action::Unchanged || disabled.is_some() {
        change::check_twins(extra, &file)??;
    }
    Ok(Planned {
        entry: entry.clone(),
        directory: extra.directory.clone(),
        file,
        class: original.class(),
        action,
        size: original.source().len(),
        outcome: None,
        removal: None,
        original,
        removes: disabled.filter(|_| action != Action::Enabled).map(Item::file_now),
        enables: disabled.filter(|_| action == Action::Enabled).cloned(),
        place: extra.place().map(Path::to_owned),
    })
}
