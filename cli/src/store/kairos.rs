//! Kairos' store (since Kairos 3.4).
//!
//! The layout is that of `kairos-agent sysext` and of immucore (kairos-io/kairos ca022425, `agent/pkg/action/sysext.go`,
//! `immucore/pkg/state/steps_shared.go`, `steps_uki.go`):
//!
//! - Files: `/var/lib/kairos/extensions/FILE.raw`, configuration extensions in `/var/lib/kairos/confexts/`.
//! - A file is enabled for a boot state by a symbolic link of the same name with the absolute path of the file, in `active/`,
//!   `passive/`, `recovery/` or `common/` (all states) below that directory.
//! - Both programs read entries whose names end in `.raw` and that are not directories, and follow any link.
//! - immucore links them into `/run/extensions` at boot. `sysext disable` removes the link, `sysext remove` the links and
//!   the file.

use super::{Held, Leftover, Set, Slot};
use crate::esp::{self, Item, Space, change};
use ddi::Class;
use ddi::compare_versions;
use ddi::text::{Message, Text};
use sextant::durable;
use sextant::firmware::entry::BootEntry;
use sextant::root::Root;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Directory of the store.
const HOME: &str = "/var/lib/kairos";
/// Directories of links, one for each state.
pub(super) const STATES: [&str; 4] = ["active", "passive", "recovery", COMMON];
/// Directory of links for all states.
const COMMON: &str = "common";
/// Where immucore records, in memory, what it booted.
const NOTES: &str = "/run/cos";
/// Suffix of extensions.
const RAW: &[u8] = b".raw";
/// Maximum number of remarks of a set.
const MAX_REMARKS: usize = 32;

/// Returns the directory of files of a class.
const fn directory_of(class: Class) -> &'static str {
    match class {
        Class::Sysext => "/var/lib/kairos/extensions",
        Class::Confext => "/var/lib/kairos/confexts",
    }
}

/// Returns the directory for extensions of `class` in a slot. In other stores it is the directory of the slot.
pub(super) fn directory_of_slot(directory: &str, class: Class) -> String {
    match directory.strip_prefix(directory_of(Class::Sysext)) {
        Some(state) => format!("{}{state}", directory_of(class)),
        None => directory.to_owned(),
    }
}

/// Returns the state whose links a boot uses: that of the entry in `LoaderEntrySelected`, or of immucore's file in `/run/cos`
/// (`sdk/state/state.go`, `detectBoot`; `immucore/pkg/state/steps_shared.go`, `bootStateToExtensionSubDir`).
pub(super) fn state_of(entry: &str) -> Option<&'static str> {
    let prefixes = [
        ("active", "active"),
        ("passive", "passive"),
        ("recovery", "recovery"),
        ("statereset", "recovery"),
        ("autoreset", "recovery"),
    ];
    prefixes.into_iter().find(|(prefix, _)| entry.starts_with(prefix)).map(|(_, state)| state)
}

pub(super) fn slots() -> Vec<Slot> {
    let slot = |state: &str| Slot {
        name: state.to_owned(),
        directory: format!("{}/{state}", directory_of(Class::Sysext)),
        boots: (state != COMMON).then(|| BootEntry { loader: Some(state.to_owned()), stub: None }),
    };
    STATES.into_iter().map(slot).collect()
}

/// A machine that immucore booted from its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    /// State whose links this boot used.
    pub state: &'static str,
    /// Whether the machine booted a UKI.
    pub is_uki: bool,
    /// Whether this version of immucore supports Kairos' store.
    pub has_store: bool,
}

impl Running {
    /// Reads what immucore recorded about this boot; `None` on an installation medium and on other systems.
    ///
    /// Versions with a store create a directory before they look for extensions: that of the store when a UKI was booted,
    /// `/run/extensions` in other boots. Versions before Kairos 3.4 create neither.
    pub(super) fn detect(root: &Root) -> io::Result<Option<Self>> {
        let exists = |path: &str| match root.metadata(path) {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
            Err(error) => Err(error),
        };
        for mode in ["active", "passive", "recovery", "autoreset"] {
            if exists(&format!("{NOTES}/{mode}_mode"))?
                && let Some(state) = state_of(mode)
            {
                let is_uki = exists(&format!("{NOTES}/uki_boot_mode"))?;
                let has_store = exists(directory_of(Class::Sysext))? || (!is_uki && exists("/run/extensions")?);
                return Ok(Some(Self { state, is_uki, has_store }));
            }
        }
        Ok(None)
    }

    /// Returns whether immucore moves the files in `directory` of the EFI system partition at the next boot (`MigrateSysExt` in
    /// `immucore/pkg/state/steps_uki.go`).
    #[must_use]
    pub fn moves(self, directory: &str) -> bool {
        let moved = ["/EFI/kairos/active.efi.extra.d", "/EFI/kairos/passive.efi.extra.d"];
        self.is_uki && self.has_store && moved.iter().any(|it| it.eq_ignore_ascii_case(directory))
    }
}

/// How a file is enabled for a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// A link to the file of that name in the store.
    Stored,
    /// A link to another file, with its target.
    Elsewhere(Text),
    /// A broken link, with the cause.
    Broken(Message),
    /// A file in place of a link.
    File,
}

/// A file at a place from which no boot loads it.
#[derive(Debug, Clone)]
pub struct Stray {
    /// The extension, with the file name that it should have.
    pub item: Item,
    /// Present file name.
    pub now: String,
    /// The states with a link to it.
    pub states: Vec<Slot>,
    /// Path of the file.
    pub path: PathBuf,
}

/// Kairos' store below a root.
#[derive(Debug)]
pub struct Kairos {
    root: Root,
    path: PathBuf,
}

impl Kairos {
    /// Opens the store of the machine whose root is `path`. The store may be missing.
    ///
    /// # Errors
    /// I/O errors of `open(2)`.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { root: Root::open(path)?, path: path.join(HOME.trim_start_matches('/')) })
    }

    /// Returns whether a file of this name is an extension. Case matters (`filepath.Ext`).
    #[must_use]
    pub fn takes(file: &str) -> bool {
        file.as_bytes().ends_with(RAW)
    }

    /// Returns the path of the store.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn make_home(&self) -> io::Result<PathBuf> {
        esp::make_directory(&self.root, HOME)
    }

    pub(super) fn make_directory(&self, class: Class) -> io::Result<PathBuf> {
        esp::make_directory(&self.root, directory_of(class))
    }

    pub(super) fn space(&self) -> io::Result<Space> {
        // The nearest existing directory: an unused store has none of its own.
        for directory in [HOME, "/var/lib", "/var"] {
            if let Some(place) = self.root.directory(directory)? {
                return Space::of(&place);
            }
        }
        Space::of(&self.root.directory("/")?.ok_or(io::ErrorKind::NotFound)?)
    }

    /// Returns the files that are enabled for a state, and all other files of the store.
    pub(super) fn set(&self, state: &str) -> Set {
        let mut set = Set::default();
        for class in Class::ALL {
            if let Err(line) = self.add(&mut set, state, class) {
                set.unreadable.push(line);
            }
        }
        set.items
            .sort_by(|a, b| compare_versions(&a.item.file, &b.item.file).then_with(|| a.item.file.cmp(&b.item.file)));
        let count = set.remarks.len();
        if count > MAX_REMARKS {
            set.remarks.truncate(MAX_REMARKS);
            set.remarks.push(Message::new(format_args!("{HOME}: {} more such lines", count - MAX_REMARKS)));
        }
        set
    }

    /// Adds the files of `class`. The error says why they can't be listed.
    fn add(&self, set: &mut Set, state: &str, class: Class) -> Result<(), Message> {
        let base = directory_of(class);
        let links_in = format!("{base}/{state}");
        let failed = |directory: &str| {
            let directory = directory.to_owned();
            move |error: io::Error| Message::new(format_args!("{directory}: {error}"))
        };
        let files = self.files(base, class, set).map_err(failed(base))?;
        let entries = self.entries(&links_in, set).map_err(failed(&links_in))?;
        let names: BTreeSet<&String> = files.keys().chain(entries.keys()).collect();
        for file in names {
            let (stored, entry) = (files.get(file), entries.get(file));
            let link = entry.map(|entry| self.link(&links_in, file, entry, stored));
            match &link {
                Some(Link::Elsewhere(target)) => set
                    .remarks
                    .push(Message::new(format_args!("{links_in}/{file} links to {target}, not to {base}/{file}"))),
                Some(Link::Broken(cause)) => {
                    set.remarks.push(Message::new(format_args!("{links_in}/{file} is a broken link: {cause}")));
                }
                Some(Link::File) => {
                    set.remarks.push(Message::new(format_args!("{links_in}/{file} is a file, not a link")));
                }
                Some(Link::Stored) | None => {}
            }
            let place = if stored.is_some() { base } else { &links_in };
            // A link to another file is followed inside the root.
            let path = self.root.directory(place).map_err(failed(place))?.unwrap_or_default().join(file);
            let size = match (stored, entry) {
                (Some(metadata), _) => metadata.len(),
                (None, Some(_)) => self.root.metadata(&format!("{links_in}/{file}")).map_or(0, |it| it.len()),
                (None, None) => 0,
            };
            let Some(mut item) = esp::item(file, size) else { continue };
            if item.class != class && stored.is_some() {
                set.remarks.push(Message::new(format_args!(
                    "{base}/{file} is a {} by its name, which systemd-{} skips",
                    item.class.as_str(),
                    class.as_str()
                )));
                item.name = None;
            }
            item.class = class;
            item.enabled = link.is_some();
            set.items.push(Held { item, now: file.clone(), link, is_stored: stored.is_some(), path });
        }
        Ok(())
    }

    /// Lists the regular files of the store.
    fn files(&self, base: &str, class: Class, set: &mut Set) -> io::Result<BTreeMap<String, Metadata>> {
        let Some(place) = self.root.directory(base)? else { return Ok(BTreeMap::new()) };
        let mut files = BTreeMap::new();
        for (file, metadata) in list(&self.root, base, &place, set)? {
            if metadata.is_file() && Kairos::takes(&file) {
                files.insert(file, metadata);
            } else if metadata.is_file() && file.strip_suffix(".disabled").is_some_and(Kairos::takes) {
                set.remarks.push(Message::new(format_args!(
                    "{base}/{file} was disabled beside a UKI before it was moved here: Kairos skips it"
                )));
            } else if Kairos::takes(&file) {
                set.remarks.push(Message::new(format_args!("{base}/{file} is not a regular file")));
            } else if metadata.is_dir() && !STATES.contains(&file.as_str()) {
                set.remarks.push(Message::new(format_args!(
                    "{base}/{file} is a directory that no boot state of a {} has",
                    class.as_str()
                )));
            }
        }
        Ok(files)
    }

    /// Lists the entries in the directory of a state that count as links.
    fn entries(&self, links_in: &str, set: &mut Set) -> io::Result<BTreeMap<String, Metadata>> {
        let Some(place) = self.root.directory(links_in)? else { return Ok(BTreeMap::new()) };
        let found = list(&self.root, links_in, &place, set)?;
        Ok(found.into_iter().filter(|(file, metadata)| Kairos::takes(file) && !metadata.is_dir()).collect())
    }

    fn link(&self, links_in: &str, file: &str, entry: &Metadata, stored: Option<&Metadata>) -> Link {
        let path = format!("{links_in}/{file}");
        if !entry.is_symlink() {
            return if entry.is_file() { Link::File } else { Link::Broken(Message::new("not a regular file")) };
        }
        match self.root.metadata(&path) {
            Err(error) => Link::Broken(Message::new(error)),
            Ok(metadata) if !metadata.is_file() => Link::Broken(Message::new("not a regular file")),
            Ok(metadata) if stored.is_some_and(|stored| is_same(stored, &metadata)) => Link::Stored,
            Ok(_) => {
                let place = self.root.directory(links_in).ok().flatten().unwrap_or_default();
                let target = fs::read_link(place.join(file)).unwrap_or_default();
                Link::Elsewhere(Text::from_os(target.as_os_str()))
            }
        }
    }

    /// Returns the states with a link of any name to a file of the store, and errors of listing directories.
    pub(super) fn users(&self, class: Class, file: &str) -> (Vec<String>, Vec<Message>) {
        let base = directory_of(class);
        let (mut users, mut unreadable) = (Vec::new(), Vec::new());
        let Ok(stored) = self.root.metadata(&format!("{base}/{file}")) else { return (users, unreadable) };
        for state in STATES {
            let links_in = format!("{base}/{state}");
            match self.entries(&links_in, &mut Set::default()) {
                Ok(entries) => {
                    let mut links = entries.keys().map(|name| self.root.metadata(&format!("{links_in}/{name}")));
                    if links.any(|found| found.is_ok_and(|found| is_same(&found, &stored))) {
                        users.push(state.to_owned());
                    }
                }
                Err(error) => unreadable.push(Message::new(format_args!("{links_in}: {error}"))),
            }
        }
        (users, unreadable)
    }

    /// Returns files that immucore moved from the directory of a UKI to the system extensions, where no boot loads them: configuration
    /// extensions and disabled ones.
    ///
    /// # Errors
    /// I/O errors of `openat2(2)` and `getdents(2)`, also if there are too many files.
    pub fn strays(&self) -> io::Result<Vec<Stray>> {
        let base = directory_of(Class::Sysext);
        let Some(place) = self.root.directory(base)? else { return Ok(Vec::new()) };
        let mut strays = Vec::new();
        for (now, metadata) in list(&self.root, base, &place, &mut Set::default())? {
            let Some(item) = esp::item(&now, metadata.len()).filter(|_| metadata.is_file()) else { continue };
            if item.enabled && item.class == Class::Sysext {
                continue;
            }
            let has_link = |state: &&Slot| {
                let link = self.root.directory(&state.directory).ok().flatten().map(|place| place.join(&now));
                link.is_some_and(|link| link.symlink_metadata().is_ok_and(|found| found.is_symlink()))
            };
            let states = slots().iter().filter(has_link).cloned().collect();
            strays.push(Stray { path: place.join(&now), item, now, states });
        }
        Ok(strays)
    }

    /// Removes the links to a stray, and then the stray.
    ///
    /// # Errors
    /// I/O errors of `unlink(2)` and `fsync(2)`.
    pub fn remove_stray(&self, stray: &Stray) -> io::Result<()> {
        for state in &stray.states {
            self.disable(&state.name, Class::Sysext, &stray.now)?;
        }
        let place = self.root.directory(directory_of(Class::Sysext))?.ok_or(io::ErrorKind::NotFound)?;
        change::remove(&place, &stray.now)
    }

    /// Creates the link of a state, and replaces an older link.
    pub(super) fn enable(&self, state: &str, class: Class, file: &str) -> io::Result<()> {
        let base = directory_of(class);
        let place = esp::make_directory(&self.root, &format!("{base}/{state}"))?;
        let path = place.join(file);
        if path.symlink_metadata().is_ok_and(|metadata| !metadata.is_symlink()) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let temporary = durable::temporary_name(&path)?;
        durable::remove(&temporary)?;
        std::os::unix::fs::symlink(format!("{base}/{file}"), &temporary)?;
        if let Err(error) = fs::rename(&temporary, &path) {
            durable::remove(&temporary)?;
            return Err(error);
        }
        File::open(place)?.sync_all()
    }

    /// Removes the link of a state. Other files are kept.
    pub(super) fn disable(&self, state: &str, class: Class, file: &str) -> io::Result<()> {
        let directory = format!("{}/{state}", directory_of(class));
        let place = self.root.directory(&directory)?.ok_or(io::ErrorKind::NotFound)?;
        let path = place.join(file);
        if !path.symlink_metadata()?.is_symlink() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a link"));
        }
        fs::remove_file(path)?;
        File::open(place)?.sync_all()
    }

    /// Disables a file for a state, and deletes it if it is not enabled for another state. Returns why it is kept.
    pub(super) fn remove(&self, state: &str, class: Class, file: &str) -> io::Result<Option<Message>> {
        let base = directory_of(class);
        if let Some(place) = self.root.directory(&format!("{base}/{state}"))? {
            durable::remove(&place.join(file))?;
            File::open(place)?.sync_all()?;
        }
        let (users, unreadable) = self.users(class, file);
        if let Some(line) = unreadable.first() {
            return Ok(Some(Message::new(format_args!("{base}/{file} is kept: {line}"))));
        }
        if !users.is_empty() {
            return Ok(Some(Message::new(format_args!("{base}/{file} is kept for {}", users.join(", ")))));
        }
        let Some(place) = self.root.directory(base)? else { return Ok(None) };
        match place.join(file).symlink_metadata() {
            Ok(metadata) if metadata.is_file() => change::remove(&place, file).map(|()| None),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Deletes a temporary file of an interrupted change.
pub(super) fn clean_up(leftover: &Leftover) -> io::Result<()> {
    durable::remove(&leftover.place.join(&leftover.name))?;
    File::open(&leftover.place)?.sync_all()
}

/// Lists a directory. Temporary files and names that are not UTF-8 become lines of `set`.
fn list(root: &Root, directory: &str, place: &Path, set: &mut Set) -> io::Result<Vec<(String, Metadata)>> {
    let names: Vec<OsString> = root.list(directory)?.unwrap_or_default();
    esp::check_count(names.len())?;
    let mut found = Vec::new();
    for name in names {
        let metadata = match place.join(&name).symlink_metadata() {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        match name.into_string() {
            Ok(name) if durable::final_name(&name).is_some() => {
                if !metadata.is_dir() {
                    let (directory, place) = (directory.to_owned(), place.to_owned());
                    set.leftovers.push(Leftover { directory, place, name });
                }
            }
            Ok(name) => found.push((name, metadata)),
            Err(name) => {
                let name = Text::from_os(&name);
                set.remarks.push(Message::new(format_args!("{directory}/{name} is left out: its name is not UTF-8")));
            }
        }
    }
    Ok(found)
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}
