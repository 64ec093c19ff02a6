//! The component of sextant among those of systemd-pcrlock: a directory with variants.
//!
//! Each boot entry has the variant of its next boot, and those of former sets that the policy has to admit until that boot.
//! Files are written under a temporary name, synced and renamed; a variant is removed only after its successor is on the disk.
//! So after a power loss the directory admits the same boots as before, or more.

use super::names;
use super::variant::{Variant, VariantError};
use crate::measure::{ArchiveError, Bank};
use ddi::bytes::hex;
use ddi::text::{Message, Text};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use sextant::durable;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Name of the directory. systemd-pcrlock sorts components by name: this one comes after UKIs (`650-…`) and before
/// `700-action-efi-exit-boot-services` and `750-os-separator`, as the stub measures (systemd.pcrlock(5)).
pub const COMPONENT: &str = "670-sextant.pcrlock.d";
/// Largest variant in bytes. One with 16 records has 5 KiB.
const MAX_FILE: u64 = 64 << 10;
/// Maximum number of files in the directory.
const MAX_FILES: usize = 4096;
/// Number of digits of a value in the name of a former variant.
const DIGITS: usize = 16;

/// Error of reading or writing the component.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ComponentError {
    /// A file or the directory can't be read, written or removed.
    #[error("{doing} {path}")]
    Io {
        /// What was being done
        doing: &'static str,
        /// Path of the file
        path: Text,
        /// Error of the system
        source: io::Error,
    },
    /// The directory is a link or a file.
    #[error("{0} is not a directory")]
    NotDirectory(Text),
    /// There are too many files.
    #[error("{path} has more than {MAX_FILES} files")]
    TooMany {
        /// Path of the directory
        path: Text,
    },
    /// The value of a variant can't be computed.
    #[error("computing the value of a variant")]
    Value(#[from] ArchiveError),
    /// A variant can't be written as JSON.
    #[error("writing a variant")]
    Json(#[from] serde_json::Error),
}

/// What a variant is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// The next boot of the entry.
    Next,
    /// A boot of a former set, or of one that a power loss could leave.
    Former,
}

/// A recorded variant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Name of the file.
    pub file: String,
    /// Name of the boot entry.
    pub entry: String,
    /// What it is for.
    pub sort: Sort,
    /// Its measurements.
    pub variant: Variant,
}

/// What is in the directory.
#[derive(Debug, Default)]
pub struct Recorded {
    /// The variants, in the order of the names of their files.
    pub rows: Vec<Row>,
    /// Files that are no variants of sextant, as sentences. systemd-pcrlock may admit them nonetheless, or fail because of them.
    pub others: Vec<Message>,
}

impl Recorded {
    /// Returns what the next boot of an entry measures, as it was recorded last.
    #[must_use]
    pub fn next(&self, entry: &str) -> Option<&Variant> {
        let row = self.rows.iter().find(|row| row.entry == entry && row.sort == Sort::Next);
        row.map(|row| &row.variant)
    }

    /// Returns the former variants that need not be admitted any more, because the next boot of their entry has taken place: PCR 13
    /// has `value` in `bank`. Those of an entry of which no next boot is recorded go once any recorded boot has taken place. `None` if
    /// no variant has that value.
    ///
    /// # Errors
    /// [`ArchiveError`] if OpenSSL fails to hash.
    pub fn obsolete(&self, bank: Bank, value: &[u8]) -> Result<Option<Vec<&Row>>, ArchiveError> {
        let mut booted: Vec<&Row> = Vec::new();
        for row in &self.rows {
            if row.variant.values_in(bank)?.iter().any(|it| it == value) {
                booted.push(row);
            }
        }
        if booted.is_empty() {
            return Ok(None);
        }
        let has_next = |entry: &str| self.next(entry).is_some();
        let has_booted = |row: &Row| {
            booted.iter().any(|it| it.sort == Sort::Next && (it.entry == row.entry || !has_next(&row.entry)))
        };
        let is_obsolete = |row: &&Row| row.sort == Sort::Former && has_booted(row);
        Ok(Some(self.rows.iter().filter(is_obsolete).collect()))
    }
}

/// The directory, locked against other processes of sextant.
#[derive(Debug)]
pub struct Component {
    path: PathBuf,
    directory: File,
}

impl Component {
    /// Opens the directory in `parent`, one of those that systemd-pcrlock reads; `None` if it does not exist. `waiting` is called
    /// before waiting for another process.
    ///
    /// # Errors
    /// [`ComponentError::Io`]; [`ComponentError::NotDirectory`]
    pub fn open(parent: &Path, waiting: impl FnOnce()) -> Result<Option<Self>, ComponentError> {
        let path = parent.join(COMPONENT);
        match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(failed("examining", &path)(source)),
            // A link would have sextant write and delete elsewhere.
            Ok(metadata) if !metadata.is_dir() => return Err(ComponentError::NotDirectory(shown(&path))),
            Ok(_) => {}
        }
        let directory = crate::esp::lock(&path, waiting).map_err(failed("locking", &path))?;
        Ok(Some(Self { path, directory }))
    }

    /// Opens the directory, and creates it and `parent` if they are missing.
    ///
    /// # Errors
    /// As [`Component::open`].
    pub fn create(parent: &Path, waiting: impl FnOnce()) -> Result<Self, ComponentError> {
        let path = parent.join(COMPONENT);
        DirBuilder::new().recursive(true).mode(0o755).create(parent).map_err(failed("creating", parent))?;
        match DirBuilder::new().mode(0o755).create(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed("creating", &path)(error)),
            Err(_) => {}
            Ok(()) => File::open(parent).and_then(|it| it.sync_all()).map_err(failed("syncing", parent))?,
        }
        Self::open(parent, waiting)?.ok_or_else(|| failed("opening", &path)(io::ErrorKind::NotFound.into()))
    }

    /// Returns the path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the variants.
    ///
    /// # Errors
    /// [`ComponentError`]. A file that is no variant is no error, but among [`Recorded::others`].
    pub fn read(&self) -> Result<Recorded, ComponentError> {
        let listing = failed("listing", &self.path);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(&listing)? {
            names.push(entry.map_err(&listing)?.file_name());
            if names.len() > MAX_FILES {
                return Err(ComponentError::TooMany { path: shown(&self.path) });
            }
        }
        names.sort();
        let mut recorded = Recorded::default();
        for name in names {
            let Some(file) = name.to_str().filter(|it| names::parse(it).is_some()) else {
                recorded.others.extend(remark(&name));
                continue;
            };
            let Some((entry, digits)) = names::parse(file) else { continue };
            let sort = if digits.is_none() { Sort::Next } else { Sort::Former };
            match read_file(&self.path.join(file)).map_err(failed("reading", &self.path.join(file)))? {
                Ok(variant) => recorded.rows.push(Row { file: file.to_owned(), entry, sort, variant }),
                Err(why) => recorded.others.push(Message::new(format_args!("{file} is no variant of sextant: {why}"))),
            }
        }
        Ok(recorded)
    }

    /// Records that the next boot of `entry` measures `next`. What was recorded for it before stays admitted, and so do the
    /// variants `also`, until [`Recorded::obsolete`] names them. Returns whether anything was written.
    ///
    /// # Errors
    /// [`ComponentError`]; then the directory admits all that it did, and maybe more.
    pub fn record(&self, entry: &str, next: &Variant, also: &[Variant]) -> Result<bool, ComponentError> {
        let recorded = self.read()?;
        let mut changed = false;
        for former in recorded.next(entry).into_iter().chain(also).filter(|former| *former != next) {
            let file = names::former(entry, &digits(former)?);
            if !recorded.rows.iter().any(|row| row.file == file && row.variant == *former) {
                self.write(&file, former)?;
                changed = true;
            }
        }
        if recorded.next(entry) != Some(next) {
            self.write(&names::next(entry), next)?;
            changed = true;
        }
        // Once it is what comes next, it isn't a former one.
        let is_next = |row: &&Row| row.entry == entry && row.sort == Sort::Former && row.variant == *next;
        for row in recorded.rows.iter().filter(is_next) {
            self.remove(row)?;
        }
        Ok(changed)
    }

    /// Makes a former variant of that of the next boot of an entry, because the entry does not exist any more.
    ///
    /// # Errors
    /// [`ComponentError`]
    pub fn retire(&self, row: &Row) -> Result<(), ComponentError> {
        self.write(&names::former(&row.entry, &digits(&row.variant)?), &row.variant)?;
        self.remove(row)
    }

    /// Removes a variant.
    ///
    /// # Errors
    /// [`ComponentError::Io`]
    pub fn remove(&self, row: &Row) -> Result<(), ComponentError> {
        let path = self.path.join(&row.file);
        durable::remove(&path).map_err(failed("removing", &path))?;
        self.directory.sync_all().map_err(failed("syncing", &self.path))
    }

    fn write(&self, file: &str, variant: &Variant) -> Result<(), ComponentError> {
        let path = self.path.join(file);
        durable::write(&path, &variant.to_json()?, 0o644).map_err(failed("writing", &path))
    }
}

fn shown(path: &Path) -> Text {
    Text::from_os(path.as_os_str())
}

fn failed(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> ComponentError {
    let path = shown(path);
    move |source| ComponentError::Io { doing, path: path.clone(), source }
}

/// The beginning of its value, by which a former variant is named.
fn digits(variant: &Variant) -> Result<String, ArchiveError> {
    let mut digits = hex(variant.value()?.of(Bank::Sha256));
    digits.truncate(DIGITS);
    Ok(digits)
}

/// A sentence about a file that sextant did not write; `None` where systemd-pcrlock passes it over (`conf_files_list_strv`).
fn remark(name: &OsStr) -> Option<Message> {
    let text = Text::from_os(name);
    let is_read = name.as_encoded_bytes().ends_with(names::SUFFIX.as_bytes()) && !text.as_str().starts_with('.');
    is_read.then(|| Message::new(format_args!("{text} is no variant of sextant: other name")))
}

/// Reads a variant, or says why it is none.
fn read_file(path: &Path) -> io::Result<Result<Variant, String>> {
    // Neither follows a link nor waits for a FIFO.
    let mut options = OpenOptions::new();
    options.read(true).custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits());
    let file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.raw_os_error() == Some(Errno::ELOOP as i32) => return Ok(Err("symbolic link".to_owned())),
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Ok(Err("not a regular file".to_owned()));
    }
    let mut content = Vec::new();
    file.take(MAX_FILE.saturating_add(1)).read_to_end(&mut content)?;
    if content.len() as u64 > MAX_FILE {
        return Ok(Err(format!("more than {MAX_FILE} bytes")));
    }
    Ok(Variant::parse(&content).map_err(|error: VariantError| error.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::measure::Digests;

    fn variant(byte: u8) -> Variant {
        let digest = Digests::new(vec![byte; 32], vec![byte; 48]).unwrap();
        let hex = |bank| hex(digest.of(bank));
        let digests =
            Bank::ALL.map(|bank| format!("{{\"hashAlg\":\"{bank}\",\"digest\":\"{}\"}}", hex(bank))).join(",");
        Variant::parse(format!("{{\"records\":[{{\"pcr\":13,\"digests\":[{digests}]}}]}}").as_bytes()).unwrap()
    }

    fn component(dir: &Path) -> Component {
        Component::create(&dir.join("pcrlock.d"), || {}).unwrap()
    }

    /// Entry, sort and measurement of each variant.
    fn rows(component: &Component) -> Vec<(String, Sort, Variant)> {
        component.read().unwrap().rows.into_iter().map(|row| (row.entry, row.sort, row.variant)).collect()
    }

    fn obsolete(component: &Component, booted: &Variant) -> Option<Vec<(String, Variant)>> {
        let recorded = component.read().unwrap();
        let value = booted.value().unwrap();
        let rows = recorded.obsolete(Bank::Sha256, value.of(Bank::Sha256)).unwrap()?;
        Some(rows.into_iter().map(|row| (row.entry.clone(), row.variant.clone())).collect())
    }

    #[test]
    fn what_was_recorded_before_stays_admitted_until_the_next_boot() {
        let dir = tempfile::tempdir().unwrap();
        let component = component(dir.path());
        let active = |sort, byte| ("active".to_owned(), sort, variant(byte));
        assert!(component.record("active", &variant(1), &[]).unwrap());
        assert!(!component.record("active", &variant(1), &[]).unwrap(), "nothing is written twice");
        assert_eq!(rows(&component), [active(Sort::Next, 1)]);
        // 2 is what a power loss during the change could leave.
        assert!(component.record("active", &variant(3), &[variant(1), variant(2)]).unwrap());
        let all = rows(&component);
        assert_eq!(all.len(), 3);
        assert!(
            [active(Sort::Next, 3), active(Sort::Former, 1), active(Sort::Former, 2)].iter().all(|it| all.contains(it))
        );
        // Before the next boot, and after one of what a power loss left.
        assert_eq!(obsolete(&component, &variant(1)), Some(vec![]));
        assert_eq!(obsolete(&component, &variant(2)), Some(vec![]));
        let mut gone = obsolete(&component, &variant(3)).unwrap();
        gone.sort_by_key(|(_, it)| *it != variant(1));
        assert_eq!(gone, [("active".to_owned(), variant(1)), ("active".to_owned(), variant(2))]);
        assert_eq!(obsolete(&component, &variant(4)), None, "the boot measured a set that was never recorded");
        // Back to what it was.
        component.record("active", &variant(1), &[]).unwrap();
        assert!(!rows(&component).contains(&active(Sort::Former, 1)));
        assert_eq!(fs::read_dir(component.path()).unwrap().count(), 3, "no temporary file is left");
    }

    #[test]
    fn the_separator_of_the_initrd_makes_no_difference() {
        let dir = tempfile::tempdir().unwrap();
        let component = component(dir.path());
        component.record("active", &variant(1), &[]).unwrap();
        component.record("active", &variant(2), &[]).unwrap();
        let [_, after] = variant(2).values_in(Bank::Sha384).unwrap();
        let recorded = component.read().unwrap();
        assert_eq!(recorded.obsolete(Bank::Sha384, &after).unwrap().unwrap().len(), 1);
    }

    #[test]
    fn entries_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let component = component(dir.path());
        for entry in ["active", "passive"] {
            component.record(entry, &variant(1), &[]).unwrap();
            component.record(entry, &variant(2), &[]).unwrap();
        }
        component.record("passive", &variant(3), &[]).unwrap();
        let gone = obsolete(&component, &variant(2)).unwrap();
        assert_eq!(gone, [("active".to_owned(), variant(1))]);
        // An entry that is gone: any boot of what is recorded for others.
        let row = component.read().unwrap().rows.into_iter().find(|row| row.file == "passive.pcrlock").unwrap();
        component.retire(&row).unwrap();
        assert_eq!(component.read().unwrap().next("passive"), None);
        assert_eq!(obsolete(&component, &variant(2)).unwrap().len(), 4);
        assert_eq!(obsolete(&component, &variant(3)), Some(vec![]));
    }

    #[test]
    fn junk_is_named_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let component = component(dir.path());
        component.record("active", &variant(1), &[]).unwrap();
        let place = component.path();
        let file = |name: &str, content: &str| fs::write(place.join(name), content).unwrap();
        file("notes.txt", "systemd-pcrlock passes it over");
        file("ours but not.pcrlock", "");
        file("broken.pcrlock", "{\"rec");
        file("other.pcrlock", "{\"records\":[{\"pcr\":99,\"digests\":[]}]}");
        file("large.pcrlock", &" ".repeat((64 << 10) + 1));
        fs::create_dir(place.join("directory.pcrlock")).unwrap();
        std::os::unix::fs::symlink("active.pcrlock", place.join("link.pcrlock")).unwrap();
        nix::unistd::mkfifo(&place.join("fifo.pcrlock"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let before = fs::read_dir(place).unwrap().count();
        let recorded = component.read().unwrap();
        let others: Vec<_> = recorded.others.iter().map(Message::as_str).collect();
        assert_eq!(
            others,
            [
                "broken.pcrlock is no variant of sextant: not a list of records",
                "directory.pcrlock is no variant of sextant: not a regular file",
                "fifo.pcrlock is no variant of sextant: not a regular file",
                "large.pcrlock is no variant of sextant: more than 65536 bytes",
                "link.pcrlock is no variant of sextant: symbolic link",
                "other.pcrlock is no variant of sextant: record of PCR 99; expected PCR 13",
                "ours but not.pcrlock is no variant of sextant: other name",
            ]
        );
        component.record("active", &variant(2), &[]).unwrap();
        assert_eq!(fs::read_dir(place).unwrap().count(), before + 1);
        // A name that is sextant's to write is written, whatever was there.
        component.record("link", &variant(2), &[]).unwrap();
        assert!(place.join("link.pcrlock").symlink_metadata().unwrap().is_file());
        assert_eq!(rows(&component).len(), 3);
        let error = component.record("directory", &variant(2), &[]).unwrap_err();
        assert!(error.to_string().starts_with("writing "), "{error}");
        for number in 0..MAX_FILES {
            file(&format!("{number}.pcrlock"), "");
        }
        assert!(component.read().unwrap_err().to_string().ends_with("has more than 4096 files"));
    }

    #[test]
    fn a_link_in_the_place_of_the_directory_is_not_followed() {
        let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert!(Component::open(dir.path(), || {}).unwrap().is_none());
        std::os::unix::fs::symlink(elsewhere.path(), dir.path().join(COMPONENT)).unwrap();
        for error in
            [Component::open(dir.path(), || {}).unwrap_err(), Component::create(dir.path(), || {}).unwrap_err()]
        {
            assert!(error.to_string().ends_with("670-sextant.pcrlock.d is not a directory"), "{error}");
        }
    }
}
