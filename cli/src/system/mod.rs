//! The files of a system, as a directory, an initrd or a UKI holds them.
// For all modules of this folder.
#![deny(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

mod archive;
mod compression;
mod directory;
mod header;
mod path;
mod sequence;
mod uki;

pub use archive::{Archive, ArchiveError, Segment};
pub use compression::{Compression, MAGIC_SIZE};
pub use directory::Directory;
pub use path::{find, join, resolve, resolve_from};
pub use uki::{InitrdError, is_program, read_initrd, read_initrd_into};

use ddi::filesystem::EntryKind;
use std::io;

/// Something in a root file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is itself.
    pub kind: EntryKind,
    /// Its permissions.
    pub mode: u32,
    /// The target of a symbolic link.
    pub target: Vec<u8>,
    /// Whether another file system is mounted there: systemd moves it over the merged hierarchy, so it stays visible.
    pub is_mount_point: bool,
}

/// What became of reading a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// Its content
    Bytes(Vec<u8>),
    /// There is no regular file
    Absent,
    /// It is larger than what was asked for
    TooLarge,
    /// It is in an archive that was read without keeping it
    Unread,
}

/// A root file system.
pub trait System {
    /// Returns what is at `path`, which has no leading slash and leads through directories only; the last name is not
    /// followed. `None` if there is nothing.
    ///
    /// # Errors
    /// As the system says.
    fn entry(&self, path: &[u8]) -> io::Result<Option<Entry>>;

    /// Returns the names in the directory at `path`, in any order, and what each of them is.
    ///
    /// # Errors
    /// As the system says.
    fn list(&self, path: &[u8]) -> io::Result<Vec<(Vec<u8>, EntryKind)>>;

    /// Reads the regular file at `path`, which is as for [`System::entry`], unless it is larger than `limit` bytes.
    ///
    /// # Errors
    /// As the system says.
    fn read(&self, path: &[u8], limit: usize) -> io::Result<Read>;
}

#[cfg(test)]
pub(crate) mod tests;
