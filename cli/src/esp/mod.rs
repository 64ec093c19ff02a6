//! The EFI system partition: boot entries, and the extensions that lie beside the UKI of each.
//!
//! systemd-stub takes `*.raw` from the directory `<uki>.extra.d` next to the UKI that it was loaded from
//! (systemd-stub(7)). What is in there is judged at the next boot and at no other time: nothing on this partition is
//! authenticated, so all of it is input from an attacker.

pub mod change;
mod entry;
mod extra;

pub use entry::{Entries, Entry, EntryError};
pub use extra::{Extra, Item, disabled};
pub(crate) use extra::{check_count, item};
pub use sextant::esp::{LocateError, Space, find, find_below};

use sextant::root::Root;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// The directory of extensions for all boot entries, which systemd-stub reads since systemd 258 (systemd-stub(7)).
pub const GLOBAL: &str = "/loader/extensions";

/// An EFI system partition that is mounted, or a directory that looks like one.
#[derive(Debug)]
pub struct Esp {
    root: Root,
    path: PathBuf,
}

impl Esp {
    /// Opens the one at `path`.
    ///
    /// # Errors
    /// Where `path` is no directory, or has no directory `EFI` in it: then it is something else.
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

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All boot entries with a UKI of their own.
    ///
    /// # Errors
    /// Where a directory is there and can't be listed.
    pub fn entries(&self) -> io::Result<Entries> {
        entry::all(&self.root)
    }

    /// The extensions in a directory of the partition.
    ///
    /// # Errors
    /// Where the directory is there and can't be listed, or has more files than are looked at.
    pub fn directory(&self, directory: &str) -> io::Result<Extra> {
        Extra::read_directory(&self.root, directory.to_owned())
    }

    /// Where a directory of the partition is.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] where there is none.
    pub fn place(&self, directory: &str) -> io::Result<PathBuf> {
        self.root.directory(directory)?.ok_or(io::ErrorKind::NotFound.into())
    }

    /// The extensions of all entries, in [`GLOBAL`].
    ///
    /// # Errors
    /// As [`Self::directory`].
    pub fn global(&self) -> io::Result<Extra> {
        Extra::read_directory(&self.root, GLOBAL.to_owned())
    }

    /// The same of a directory that a boot reads: `None` where it is none, but a file, from which systemd-stub takes nothing
    /// (systemd 257, `src/boot/util.c`, `open_directory`).
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

    /// The place of a directory of extensions, which is made if it isn't there.
    ///
    /// # Errors
    /// As `mkdir(2)` and `fsync(2)`.
    pub fn make_directory(&self, directory: &str) -> io::Result<PathBuf> {
        make_directory(&self.root, directory)
    }

    /// Keeps other changes of this partition waiting until what is returned is dropped. `waiting` is called where one
    /// of them has to be waited for first.
    ///
    /// Without it, two changes would take each other's temporary files for what an interrupted one left.
    ///
    /// # Errors
    /// As `open(2)` and `flock(2)`.
    pub fn lock(&self, waiting: impl FnOnce()) -> io::Result<File> {
        lock(&self.path, waiting)
    }

    /// What is free.
    ///
    /// # Errors
    /// As `statvfs(3)`.
    pub fn space(&self) -> io::Result<Space> {
        Space::of(&self.path)
    }
}

/// Makes a directory below `root` where there is none, on the disk before anything is written into it.
pub(crate) fn make_directory(root: &Root, directory: &str) -> io::Result<PathBuf> {
    let path = root.make_directory(directory)?;
    if let Some(parent) = path.parent() {
        File::open(parent)?.sync_all()?;
    }
    Ok(path)
}

/// Locks the directory at `path`; `waiting` is called before waiting for another that holds the lock.
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
