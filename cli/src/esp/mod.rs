//! The EFI system partition: boot entries, and the extensions beside their UKIs.
//!
//! systemd-stub loads `*.raw` from the directory `<uki>.extra.d` next to the UKI that it was loaded from
//! (systemd-stub(7)). Nothing on this partition is authenticated, so all of it is input from an attacker. Only the next boot decides
//! about extensions.

pub mod change;
mod entry;
mod extra;

pub use entry::{Entries, Entry, EntryError};
pub use extra::{Extra, Item, disabled};
pub(crate) use extra::{check_count, item};
pub use sextant::esp::{LocateError, Space, find, find_below};
pub use sextant::measure::GLOBAL;

use ddi::text::Text;
use sextant::root::Root;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// A mounted EFI system partition, or a directory with the same layout.
#[derive(Debug)]
pub struct Esp {
    root: Root,
    path: PathBuf,
}

impl Esp {
    /// Opens the partition at `path`.
    ///
    /// # Errors
    /// I/O errors; [`io::ErrorKind::NotFound`] if `path` has no directory `EFI`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let root = Root::open(path)?;
        let efi = match root.directory("/EFI") {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => None,
            found => found?,
        };
        if efi.is_none() {
            let cause = "not an EFI system partition: no directory EFI";
            return Err(io::Error::new(io::ErrorKind::NotFound, cause));
        }
        Ok(Self { root, path: path.to_owned() })
    }

    /// Returns the mount point.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns all boot entries that start a UKI.
    ///
    /// # Errors
    /// I/O errors of listing directories.
    pub fn entries(&self) -> io::Result<Entries> {
        entry::all(&self.root)
    }

    /// Returns the files that systemd-boot loads itself for an entry, by lines `extra` of its file.
    ///
    /// # Errors
    /// I/O errors of reading the entry's file.
    pub fn extra_lines(&self, entry: &Entry) -> io::Result<Vec<Text>> {
        entry::extra_lines(&self.root, entry)
    }

    /// Returns the extensions in a directory of the partition.
    ///
    /// # Errors
    /// I/O errors of listing the directory, also if it has too many files.
    pub fn directory(&self, directory: &str) -> io::Result<Extra> {
        Extra::read_directory(&self.root, directory.to_owned())
    }

    /// Returns the path of a directory of the partition.
    ///
    /// # Errors
    /// I/O errors; [`io::ErrorKind::NotFound`] if there is none.
    pub fn place(&self, directory: &str) -> io::Result<PathBuf> {
        self.root.directory(directory)?.ok_or(io::ErrorKind::NotFound.into())
    }

    /// Returns the extensions for all entries, in [`GLOBAL`].
    ///
    /// # Errors
    /// As [`Self::directory`].
    pub fn global(&self) -> io::Result<Extra> {
        Extra::read_directory(&self.root, GLOBAL.to_owned())
    }

    /// Returns the extensions in a directory that a boot reads; `None` if it is a file, which systemd-stub ignores (systemd 257,
    /// `src/boot/util.c`, `open_directory`).
    ///
    /// # Errors
    /// As [`Self::directory`].
    pub fn taken(&self, directory: &str) -> io::Result<Option<Extra>> {
        match self.directory(directory) {
            Ok(extra) => Ok(Some(extra)),
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the path of a directory of extensions, and creates it if it is missing.
    ///
    /// # Errors
    /// I/O errors of `mkdir(2)` and `fsync(2)`.
    pub fn make_directory(&self, directory: &str) -> io::Result<PathBuf> {
        make_directory(&self.root, directory)
    }

    /// Locks the partition until the returned file is dropped. `waiting` is called before waiting for another holder of the lock.
    ///
    /// Without the lock, two changes would delete each other's temporary files as those of an interrupted change.
    ///
    /// # Errors
    /// I/O errors of `open(2)` and `flock(2)`.
    pub fn lock(&self, waiting: impl FnOnce()) -> io::Result<File> {
        lock(&self.path, waiting)
    }

    /// Returns the free space.
    ///
    /// # Errors
    /// I/O errors of `statvfs(3)`.
    pub fn space(&self) -> io::Result<Space> {
        Space::of(&self.path)
    }
}

/// Creates a directory below `root` if it is missing, and syncs it before a file is written into it.
pub(crate) fn make_directory(root: &Root, directory: &str) -> io::Result<PathBuf> {
    let path = root.make_directory(directory)?;
    if let Some(parent) = path.parent() {
        File::open(parent)?.sync_all()?;
    }
    Ok(path)
}

/// Locks the directory at `path`. `waiting` is called before waiting for another holder of the lock.
pub(crate) fn lock(path: &Path, waiting: impl FnOnce()) -> io::Result<File> {
    let directory = File::open(path)?;
    match directory.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            waiting();
            directory.lock()?;
        }
        Err(TryLockError::Error(error)) => return Err(error),
    }
    Ok(directory)
}
