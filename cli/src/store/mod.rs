//! The places where a machine keeps its extensions, and the sets of them there.
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

/// What kind of store it is.
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
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Esp => "esp",
            Self::Global => "global",
            Self::Kairos => "kairos",
        }
    }
}

/// What has a set of extensions of its own: a boot entry, a state of Kairos, or all boot entries together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The word for it on the command line.
    pub name: String,
    /// Its directory in the store, with a leading slash. (Kairos has another one for configuration extensions.)
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

    /// Its directory for extensions of `class`.
    #[must_use]
    pub fn directory_of(&self, class: Class) -> String {
        kairos::directory_of_slot(&self.directory, class)
    }

    /// The names that a boot with these extensions will have; `None` where they are for any boot.
    #[must_use]
    pub const fn boots(&self) -> Option<&BootEntry> {
        self.boots.as_ref()
    }
}

/// Why there is no such slot.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SlotError {
    /// No boot entry is meant.
    #[error(transparent)]
    Entry(#[from] esp::EntryError),
    /// Kairos has no such state.
    #[error("Kairos has no boot state {name:?}; {}", Available(.name, &kairos::STATES))]
    State {
        /// What was asked for.
        name: String,
    },
    /// One set is for all.
    #[error("{name:?}: extensions of the global store apply to all boot entries")]
    Global {
        /// What was asked for.
        name: String,
    },
}

/// The slots of a store.
#[derive(Debug, Default)]
pub struct Slots {
    /// Those that can be worked on.
    pub found: Vec<Slot>,
    /// What could not be looked at, as sentences.
    pub left_out: Vec<Message>,
    /// In which names are looked up in any case, beside UKIs.
    entries: Option<Entries>,
    is_global: bool,
}

impl Slots {
    /// The slots of these names, each set of extensions once.
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

/// A file of a store, and what a slot makes of it.
#[derive(Debug, Clone)]
pub struct Held {
    /// What it is.
    pub item: Item,
    /// Name of the file as it is now.
    pub now: String,
    /// How the slot has it; `None` where it hasn't, and where the name of the file alone says it.
    pub link: Option<Link>,
    /// Whether the store has the file, and not the slot alone.
    pub is_stored: bool,
    path: PathBuf,
}

impl Held {
    /// Where it can be read; `None` where there is nothing, or something outside of the store.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        (self.is_stored || self.link == Some(Link::File)).then_some(self.path.as_path())
    }

    /// Whether the slot takes the very file that the store has under this name.
    #[must_use]
    pub fn is_enabled_soundly(&self) -> bool {
        self.item.enabled && !matches!(self.link, Some(Link::Elsewhere(_) | Link::Broken(_)))
    }

    /// Whether a person who says `word` means this one: the extension's whole name, or the file's.
    #[must_use]
    pub fn is_called(&self, word: &str) -> bool {
        self.item.name.as_deref() == Some(word) || self.item.file == word || self.now == word
    }
}

/// What an interrupted change left.
#[derive(Debug, Clone)]
pub struct Leftover {
    /// The directory, as it is shown.
    pub directory: String,
    /// Where that is.
    pub place: PathBuf,
    /// Name of the temporary file.
    pub name: String,
}

/// The extensions of a slot.
#[derive(Debug, Default)]
pub struct Set {
    /// In the order in which systemd lays them over one another.
    pub items: Vec<Held>,
    /// What an interrupted change left.
    pub leftovers: Vec<Leftover>,
    /// What is odd, as sentences.
    pub remarks: Vec<Message>,
    /// Directories that can't be listed, and why.
    pub unreadable: Vec<Message>,
    /// As it lies on FAT.
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

    /// Those that `word` means.
    #[must_use]
    pub fn called(&self, word: &str) -> Vec<&Held> {
        self.items.iter().filter(|held| held.is_called(word)).collect()
    }

    /// Whether something of this name, enabled or disabled, is there that is no file.
    #[must_use]
    pub fn is_odd(&self, file: &str) -> bool {
        let names = [file.to_owned(), disabled(file)];
        let odd = self.extra.iter().flat_map(|extra| &extra.odd);
        odd.into_iter().any(|found| names.iter().any(|name| name.eq_ignore_ascii_case(found)))
    }

    /// Refuses to touch a file that FAT may have under two names. Other file systems have a journal.
    ///
    /// # Errors
    /// As [`change::check_twins`].
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

/// A place where extensions are kept.
#[derive(Debug)]
pub struct Store(Place);

impl Store {
    /// That beside the UKIs of an EFI system partition.
    #[must_use]
    pub const fn beside(esp: Esp) -> Self {
        Self(Place::Beside(esp))
    }

    /// That for all boot entries.
    #[must_use]
    pub const fn global(esp: Esp) -> Self {
        Self(Place::Global(esp))
    }

    /// That of Kairos.
    #[must_use]
    pub const fn kairos(kairos: Kairos) -> Self {
        Self(Place::Kairos(kairos))
    }

    /// Kairos' store, if it is that.
    #[must_use]
    pub const fn as_kairos(&self) -> Option<&Kairos> {
        match &self.0 {
            Place::Beside(_) | Place::Global(_) => None,
            Place::Kairos(kairos) => Some(kairos),
        }
    }

    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match &self.0 {
            Place::Beside(_) => Kind::Esp,
            Place::Global(_) => Kind::Global,
            Place::Kairos(_) => Kind::Kairos,
        }
    }

    /// Where it is: the partition, or Kairos' directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        match &self.0 {
            Place::Beside(esp) | Place::Global(esp) => esp.path(),
            Place::Kairos(kairos) => kairos.path(),
        }
    }

    /// The EFI system partition that it is on, if it is on one.
    #[must_use]
    pub fn esp(&self) -> Option<&Path> {
        match &self.0 {
            Place::Beside(esp) | Place::Global(esp) => Some(esp.path()),
            Place::Kairos(_) => None,
        }
    }

    /// All slots.
    ///
    /// # Errors
    /// Where the boot entries can't be listed.
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

    /// The extensions of a slot.
    ///
    /// # Errors
    /// Where its directory on the EFI system partition is there and can't be listed, or has too many files.
    /// ([`Set::unreadable`] has those of Kairos: the slot has two, and one may be sound.)
    pub fn set(&self, slot: &Slot) -> io::Result<Set> {
        match &self.0 {
            Place::Beside(esp) => esp.directory(&slot.directory).map(Set::of_extra),
            Place::Global(esp) => esp.global().map(Set::of_extra),
            Place::Kairos(kairos) => Ok(kairos.set(&slot.name)),
        }
    }

    /// The directory in which files of `class` are, and which is made if it isn't there.
    ///
    /// # Errors
    /// As `mkdir(2)` and `fsync(2)`.
    pub fn make_directory(&self, slot: &Slot, class: Class) -> io::Result<PathBuf> {
        match &self.0 {
            Place::Beside(esp) | Place::Global(esp) => esp.make_directory(&slot.directory),
            Place::Kairos(kairos) => kairos.make_directory(class),
        }
    }

    /// Has the slot take a file of the store again.
    ///
    /// # Errors
    /// As `rename(2)`, `symlink(2)` and `fsync(2)`.
    pub fn enable(&self, slot: &Slot, item: &Item) -> io::Result<()> {
        match &self.0 {
            Place::Beside(esp) | Place::Global(esp) => {
                change::rename(&esp.place(&slot.directory)?, &item.file_now(), &item.file)
            }
            Place::Kairos(kairos) => kairos.enable(&slot.name, item.class, &item.file),
        }
    }

    /// Keeps a slot from taking a file, which stays in the store.
    ///
    /// # Errors
    /// As `rename(2)`, `unlink(2)` and `fsync(2)`.
    pub fn disable(&self, slot: &Slot, item: &Item) -> io::Result<()> {
        match &self.0 {
            Place::Beside(esp) | Place::Global(esp) => {
                change::rename(&esp.place(&slot.directory)?, &item.file_now(), &disabled(&item.file))
            }
            Place::Kairos(kairos) => kairos.disable(&slot.name, item.class, &item.file),
        }
    }

    /// Takes a file away from a slot, and out of the store where no other slot has it. What is said in return is why it
    /// stays in the store, if it does.
    ///
    /// # Errors
    /// As `unlink(2)` and `fsync(2)`.
    pub fn remove(&self, slot: &Slot, item: &Item) -> io::Result<Option<Message>> {
        match &self.0 {
            Place::Beside(esp) | Place::Global(esp) => {
                change::remove(&esp.place(&slot.directory)?, &item.file_now())?;
                Ok(None)
            }
            Place::Kairos(kairos) => kairos.remove(&slot.name, item.class, &item.file),
        }
    }

    /// Which slots have a file of the store, besides those that can't be listed, which are sentences.
    #[must_use]
    pub fn users(&self, item: &Item) -> (Vec<String>, Vec<Message>) {
        match &self.0 {
            Place::Beside(_) | Place::Global(_) => (Vec::new(), Vec::new()),
            Place::Kairos(kairos) => kairos.users(item.class, &item.file),
        }
    }

    /// Keeps other changes of this store waiting until what is returned is dropped. `waiting` is called where one
    /// of them has to be waited for first.
    ///
    /// # Errors
    /// As `open(2)` and `flock(2)`.
    pub fn lock(&self, waiting: impl FnOnce()) -> io::Result<File> {
        match &self.0 {
            Place::Beside(esp) | Place::Global(esp) => esp.lock(waiting),
            Place::Kairos(kairos) => esp::lock(&kairos.make_home()?, waiting),
        }
    }

    /// What is free.
    ///
    /// # Errors
    /// As `statvfs(3)`.
    pub fn space(&self) -> io::Result<Space> {
        match &self.0 {
            Place::Beside(esp) | Place::Global(esp) => esp.space(),
            Place::Kairos(kairos) => kairos.space(),
        }
    }

    /// Writes everything that has not been written yet.
    ///
    /// # Errors
    /// As `syncfs(2)` and `fsync(2)`.
    pub fn sync(&self) -> io::Result<()> {
        match &self.0 {
            Place::Beside(esp) | Place::Global(esp) => change::sync(esp.path()),
            Place::Kairos(kairos) => change::sync(&kairos.make_home()?),
        }
    }

    /// Removes what an interrupted change left.
    ///
    /// # Errors
    /// As `unlink(2)` and `fsync(2)`.
    pub fn clean_up(&self, leftover: &Leftover) -> io::Result<()> {
        match &self.0 {
            Place::Beside(_) | Place::Global(_) => change::remove(&leftover.place, &leftover.name),
            Place::Kairos(_) => kairos::clean_up(leftover),
        }
    }
}

/// The part of the booted entry's name, or of immucore's note, that decides which links this boot took.
#[must_use]
pub fn state_of(entry: &str) -> Option<&'static str> {
    kairos::state_of(entry)
}

/// What immucore left in `root` about this boot; `None` on other systems.
///
/// # Errors
/// As `openat2(2)`.
pub fn running(root: &Root) -> io::Result<Option<Running>> {
    Running::detect(root)
}
