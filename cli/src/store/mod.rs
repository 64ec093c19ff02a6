//! The stores of extensions on a machine.
//!
//! | store | files | enabled for |
//! |---|---|---|
//! | [`Kind::Esp`] | `<uki>.extra.d` beside each UKI | the boot entries of that UKI |
//! | [`Kind::Global`] | `\loader\extensions` of the EFI system partition | all boot entries |
//! | [`Kind::Kairos`] | `/var/lib/kairos` | the states of Kairos whose directories have a link |
//!
//! Nothing in any of them is authenticated: all of it is input from an attacker.

mod kairos;

pub use kairos::{Kairos, Link, Running, Stray};

use crate::esp::{self, Entries, Entry, Esp, Extra, Item, Space, change, disabled};
use crate::similar::Available;
use clap::ValueEnum;
use ddi::Class;
use ddi::text::{Message, Text};
use serde::Serialize;
use sextant::firmware::entry::BootEntry;
use sextant::root::Root;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Kind of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Beside the UKI of each boot entry, on the EFI system partition
    Esp,
    /// In \loader\extensions of the EFI system partition, for all boot entries (systemd-stub 258 or later)
    Global,
    /// In /var/lib/kairos, with links for each boot state, as `kairos-agent sysext` keeps them (Kairos 3.4 or later)
    Kairos,
}

impl Kind {
    /// Returns the name of the kind.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Esp => "esp",
            Self::Global => "global",
            Self::Kairos => "kairos",
        }
    }
}

/// The owner of a set of extensions: a boot entry, a state of Kairos, or all boot entries together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Name on the command line.
    pub name: String,
    /// Directory in the store, with a leading slash. (Kairos has another one for configuration extensions.)
    pub directory: String,
    boots: Option<BootEntry>,
}

impl Slot {
    fn of_entry(entry: &Entry) -> Self {
        Self { name: entry.name.clone(), directory: entry.extra_directory(), boots: Some(entry.boot_entry()) }
    }

    fn global() -> Self {
        Self { name: "all".to_owned(), directory: esp::GLOBAL.to_owned(), boots: None }
    }

    /// Returns the directory for extensions of `class`.
    #[must_use]
    pub fn directory_of(&self, class: Class) -> String {
        kairos::directory_of_slot(&self.directory, class)
    }

    /// Returns the names of a boot with these extensions; `None` if they are for all boots.
    #[must_use]
    pub const fn boots(&self) -> Option<&BootEntry> {
        self.boots.as_ref()
    }
}

/// Error of finding a slot.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SlotError {
    /// There is no such boot entry.
    #[error(transparent)]
    Entry(#[from] esp::EntryError),
    /// Kairos has no such state.
    #[error("Kairos has no boot state {name:?}; {}", Available(.name, &kairos::STATES))]
    State {
        /// Requested name.
        name: String,
    },
    /// The global store has one set for all boot entries.
    #[error("{name:?}: extensions of the global store apply to all boot entries")]
    Global {
        /// Requested name.
        name: String,
    },
}

/// The slots of a store.
#[derive(Debug, Default)]
pub struct Slots {
    /// The slots that can be changed.
    pub found: Vec<Slot>,
    /// Entries and files that could not be read, as sentences.
    pub left_out: Vec<Message>,
    /// The boot entries, if the store is beside UKIs, in which names ignore case.
    entries: Option<Entries>,
    is_global: bool,
}

impl Slots {
    /// Returns the slots of these names, each set of extensions once.
    ///
    /// # Errors
    /// [`SlotError`]
    pub fn named(&self, names: &[String]) -> Result<Vec<Slot>, SlotError> {
        if let Some(entries) = &self.entries {
            let found: Result<Vec<Entry>, _> = names.iter().map(|name| entries.named(name)).collect();
            return Ok(Entry::by_uki(found?).iter().map(Slot::of_entry).collect());
        }
        let mut slots: Vec<Slot> = Vec::new();
        for name in names {
            let Some(slot) = self.found.iter().find(|slot| slot.name == *name) else {
                let name = name.clone();
                return Err(if self.is_global { SlotError::Global { name } } else { SlotError::State { name } });
            };
            if !slots.contains(slot) {
                slots.push(slot.clone());
            }
        }
        Ok(slots)
    }
}

/// A file of a store, as a slot has it.
#[derive(Debug, Clone)]
pub struct Held {
    /// The extension.
    pub item: Item,
    /// Present file name.
    pub now: String,
    /// Link of the slot; `None` if it has none, and in stores in which the file name decides.
    pub link: Option<Link>,
    /// Whether the file is in the store, not only in the slot.
    pub is_stored: bool,
    path: PathBuf,
}

impl Held {
    /// Returns the path of the file; `None` if there is none, or if it is outside of the store.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        (self.is_stored || self.link == Some(Link::File)).then_some(self.path.as_path())
    }

    /// Returns whether the slot has the file that the store has under this name.
    #[must_use]
    pub fn is_enabled_soundly(&self) -> bool {
        self.item.enabled && !matches!(self.link, Some(Link::Elsewhere(_) | Link::Broken(_)))
    }

    /// Returns whether `word` is the full name of the extension or the file name.
    #[must_use]
    pub fn is_called(&self, word: &str) -> bool {
        self.item.name.as_deref() == Some(word) || self.item.file == word || self.now == word
    }
}

/// A temporary file of an interrupted change.
#[derive(Debug, Clone)]
pub struct Leftover {
    /// Directory, for messages.
    pub directory: String,
    /// Path of the directory.
    pub place: PathBuf,
    /// Name of the temporary file.
    pub name: String,
}

/// The extensions of a slot.
#[derive(Debug, Default)]
pub struct Set {
    /// The extensions, in merge order.
    pub items: Vec<Held>,
    /// Temporary files of interrupted changes.
    pub leftovers: Vec<Leftover>,
    /// Unusual files, as sentences.
    pub remarks: Vec<Message>,
    /// Directories that can't be listed, and why.
    pub unreadable: Vec<Message>,
    /// The directory, if the set is on FAT.
    extra: Option<Extra>,
}

impl Set {
    fn of_extra(extra: Extra) -> Self {
        let Some(place) = extra.place().map(Path::to_owned) else { return Self::default() };
        let held = |item: &Item| {
            let now = item.file_now();
            Held { item: item.clone(), path: place.join(&now), now, link: None, is_stored: true }
        };
        let leftover =
            |name: &String| Leftover { directory: extra.directory.clone(), place: place.clone(), name: name.clone() };
        let odd = |name: &String| {
            let (directory, name) = (Text::new(&extra.directory), Text::new(name));
            Message::new(format_args!("{directory}/{name} is not a regular file: no boot loads it"))
        };
        Self {
            items: extra.items.iter().map(held).collect(),
            leftovers: extra.leftovers.iter().map(leftover).collect(),
            remarks: extra.odd.iter().map(odd).collect(),
            extra: Some(extra),
            ..Self::default()
        }
    }

    /// Returns the extensions that `word` names.
    #[must_use]
    pub fn called(&self, word: &str) -> Vec<&Held> {
        self.items.iter().filter(|held| held.is_called(word)).collect()
    }

    /// Returns whether the set has this name, enabled or disabled, for something other than a regular file.
    #[must_use]
    pub fn is_odd(&self, file: &str) -> bool {
        let names = [file.to_owned(), disabled(file)];
        let odd = self.extra.iter().flat_map(|extra| &extra.odd);
        odd.into_iter().any(|found| names.iter().any(|name| name.eq_ignore_ascii_case(found)))
    }

    /// Checks that no other file may share its clusters on FAT. Other file systems have a journal.
    ///
    /// # Errors
    /// Those of [`change::check_twins`].
    pub fn check_twins(&self, file: &str) -> io::Result<Result<(), change::Twin>> {
        self.extra.as_ref().map_or(Ok(Ok(())), |extra| change::check_twins(extra, file))
    }
}

#[derive(Debug)]
enum Place {
    Beside(Esp),
    Global(Esp),
    Kairos(Kairos),
}

/// A store of extensions.
#[derive(Debug)]
pub struct Store(Place);

impl Store {
    /// Returns the store beside the UKIs of an EFI system partition.
    #[must_use]
    pub const fn beside(esp: Esp) -> Self {
        Self(Place::Beside(esp))
    }

    /// Returns the store for all boot entries.
    #[must_use]
    pub const fn global(esp: Esp) -> Self {
        Self(Place::Global(esp))
    }

    /// Returns the store of Kairos.
    #[must_use]
    pub const fn kairos(kairos: Kairos) -> Self {
        Self(Place::Kairos(kairos))
    }

    /// Returns Kairos' store; `None` for others.
    #[must_use]
    pub const fn as_kairos(&self) -> Option<&Kairos> {
        match &self.0 {
            Place::Beside(_) | Place::Global(_) => None,
            Place::Kairos(kairos) => Some(kairos),
        }
    }

    /// Returns the kind of the store.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match &self.0 {
            Place::Beside(_) => Kind::Esp,
            Place::Global(_) => Kind::Global,
            Place::Kairos(_) => Kind::Kairos,
        }
    }

    /// Returns the path of the partition, or of Kairos' directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        match &self.0 {
            Place::Beside(esp) | Place::Global(esp) => esp.path(),
            Place::Kairos(kairos) => kairos.path(),
        }
    }

    /// Returns the path of the EFI system partition; `None` for Kairos' store.
    #[must_use]
    pub fn esp(&self) -> Option<&Path> {
        match &self.0 {
            Place::Beside(esp) | Place::Global(esp) => Some(esp.path()),
            Place::Kairos(_) => None,
        }
    }

    /// Returns all slots.
    ///
    /// # Errors
    /// I/O errors of listing boot entries.
    pub fn slots(&self) -> io::Result<Slots> {
        Ok(match &self.0 {
            Place::Beside(esp) => {
                let entries = esp.entries()?;
                let (found, left_out) = (entries.found.iter().map(Slot::of_entry).collect(), entries.left_out.clone());
                Slots { found, left_out, entries: Some(entries), is_global: false }
            }
            Place::Global(_) => Slots { found: vec![Slot::global()], is_global: true, ..Slots::default() },
            Place::Kairos(_) => Slots { found: kairos::slots(), ..Slots::default() },
        })
    }

    /// Returns the extensions of a slot.
    ///
    /// # Errors
    /// I/O errors of listing its directory on the EFI system partition, also if it has too many files. (Those of Kairos' store are in
    /// [`Set::unreadable`], because the slot has two directories.)
    pub fn set(&self, slot: &Slot) -> io::Result<Set> {
        match &self.0 {
            Place::Beside(esp) => esp.directory(&slot.directory).map(Set::of_extra),
            Place::Global(esp) => esp.global().map(Set::of_extra),
            Place::Kairos(kairos) => Ok(kairos.set(&slot.name)),
        }
    }

    /// Returns the directory for files of `class`, and creates it if it is missing.
    ///
    /// # Errors
    /// I/O errors of `mkdir(2)` and `fsync(2)`.
    pub fn make_directory(&self, slot: &Slot, class: Class) -> io::Result<PathBuf> {
        match &self.0 {
            Place::Beside(esp) | Place::Global(esp) => esp.make_directory(&slot.directory),
            Place::Kairos(kairos) => kairos.make_directory(class),
        }
    }

    /// Enables a file of the store for a slot.
    ///
    /// # Errors
    /// I/O errors of `rename(2)`, `symlink(2)` and `fsync(2)`.
    pub fn enable(&self, slot: &Slot, item: &Item) -> io::Result<()> {
        match &self.0 {
            Place::Beside(esp) | Place::Global(esp) => {
                change::rename(&esp.place(&slot.directory)?, &item.file_now(), &item.file)
            }
            Place::Kairos(kairos) => kairos.enable(&slot.name, item.class, &item.file),
        }
    }

    /// Disables a file for a slot. The file stays in the store.
    ///
    /// # Errors
    /// I/O errors of `rename(2)`, `unlink(2)` and `fsync(2)`.
    pub fn disable(&self, slot: &Slot, item: &Item) -> io::Result<()> {
        match &self.0 {
            Place::Beside(esp) | Place::Global(esp) => {
                change::rename(&esp.place(&slot.directory)?, &item.file_now(), &disabled(&item.file))
            }
            Place::Kairos(kairos) => kairos.disable(&slot.name, item.class, &item.file),
        }
    }

    /// Removes a file from a slot, and from the store if no other slot has it. Returns why it stays in the store.
    ///
    /// # Errors
    /// I/O errors of `unlink(2)` and `fsync(2)`.
    pub fn remove(&self, slot: &Slot, item: &Item) -> io::Result<Option<Message>> {
        match &self.0 {
            Place::Beside(esp) | Place::Global(esp) => {
                change::remove(&esp.place(&slot.directory)?, &item.file_now())?;
                Ok(None)
            }
            Place::Kairos(kairos) => kairos.remove(&slot.name, item.class, &item.file),
        }
    }

    /// Returns the slots that have a file of the store, and errors of listing slots.
    #[must_use]
    pub fn users(&self, item: &Item) -> (Vec<String>, Vec<Message>) {
        match &self.0 {
            Place::Beside(_) | Place::Global(_) => (Vec::new(), Vec::new()),
            Place::Kairos(kairos) => kairos.users(item.class, &item.file),
        }
    }

    /// Locks the store until the returned file is dropped. `waiting` is called before waiting for another holder of the lock.
    ///
    /// # Errors
    /// I/O errors of `open(2)` and `flock(2)`.
    pub fn lock(&self, waiting: impl FnOnce()) -> io::Result<File> {
        match &self.0 {
            Place::Beside(esp) | Place::Global(esp) => esp.lock(waiting),
            Place::Kairos(kairos) => esp::lock(&kairos.make_home()?, waiting),
        }
    }

    /// Returns the free space.
    ///
    /// # Errors
    /// I/O errors of `statvfs(3)`.
    pub fn space(&self) -> io::Result<Space> {
        match &self.0 {
            Place::Beside(esp) | Place::Global(esp) => esp.space(),
            Place::Kairos(kairos) => kairos.space(),
        }
    }

    /// Writes all pending data.
    ///
    /// # Errors
    /// I/O errors of `syncfs(2)` and `fsync(2)`.
    pub fn sync(&self) -> io::Result<()> {
        match &self.0 {
            Place::Beside(esp) | Place::Global(esp) => change::sync(esp.path()),
            Place::Kairos(kairos) => change::sync(&kairos.make_home()?),
        }
    }

    /// Deletes a temporary file of an interrupted change.
    ///
    /// # Errors
    /// I/O errors of `unlink(2)` and `fsync(2)`.
    pub fn clean_up(&self, leftover: &Leftover) -> io::Result<()> {
        match &self.0 {
            Place::Beside(_) | Place::Global(_) => change::remove(&leftover.place, &leftover.name),
            Place::Kairos(_) => kairos::clean_up(leftover),
        }
    }
}

/// Returns the state in the name of the booted entry, or in immucore's file, whose links a boot uses.
#[must_use]
pub fn state_of(entry: &str) -> Option<&'static str> {
    kairos::state_of(entry)
}

/// Returns what immucore recorded in `root` about this boot; `None` on other systems.
///
/// # Errors
/// I/O errors of `openat2(2)`.
pub fn running(root: &Root) -> io::Result<Option<Running>> {
    Running::detect(root)
}
