//! Reader of single files in an erofs or squashfs image, without mounting it.
//!
//! The bytes have been verified against a signed root hash before, so they are those that the signer made. They are
//! parsed as hostile input all the same: no field of the image decides how much is allocated, every operation has a
//! limit on its work, and only what is needed is read. An image of any size takes a few hundred KiB of memory and the
//! size of the file that is read.
//!
//! Formats: the kernel's `Documentation/filesystems/{erofs,squashfs}.rst`, `fs/erofs/erofs_fs.h` and
//! `fs/squashfs/squashfs_fs.h` of Linux 6.12.

/// Evaluates an expression that is generic over the format.
macro_rules! with_format {
    ($self:ident, $format:ident => $body:expr) => {
        match &$self.inner {
            Inner::Erofs($format) => $body,
            Inner::Squashfs($format) => $body,
        }
    };
}

mod cache;
mod codec;
mod erofs;
mod error;
mod format;
mod mask;
mod meter;
mod overlay;
mod owners;
mod path;
mod squashfs;
mod tree;
mod walk;

pub use error::FilesystemError;
pub use mask::Mask;
pub use owners::{Owner, Owners, Part};
pub use tree::Tree;
pub use walk::Node;

use crate::io::ReadAt;
use cache::Cache;
use erofs::Erofs;
use format::Format;
use meter::Meter;
use serde::{Deserialize, Serialize};
use squashfs::Squashfs;
use std::ffi::OsString;
use std::fmt;

/// Limit on the work of one operation, in bytes read and decompressed. It is enough for a directory of a million names.
const WORK: u64 = 128 << 20;

/// Additional work for each byte of requested content, because content may be compressed, and more may have to be
/// decompressed than is requested.
const WORK_PER_BYTE: u64 = 8;

/// Maximum number of entries in a listing of one directory.
const MAX_ENTRIES: usize = 65_536;

/// Maximum length in bytes of the value of an extended attribute (the kernel's `XATTR_SIZE_MAX`).
const MAX_XATTR: usize = 65_536;

/// The format of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Enhanced Read-Only File System.
    Erofs,
    /// Squashfs 4.0.
    Squashfs,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Erofs => "erofs",
            Self::Squashfs => "squashfs",
        })
    }
}

/// The type of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// A FIFO.
    Fifo,
    /// A socket.
    Socket,
}

impl EntryKind {
    /// Returns the type in the upper bits of a mode (`S_IFMT`). Returns `None` for a type that no kernel makes.
    #[must_use]
    pub const fn of_mode(mode: u32) -> Option<Self> {
        Some(match mode & 0o170_000 {
            0o010_000 => Self::Fifo,
            0o020_000 => Self::CharacterDevice,
            0o040_000 => Self::Directory,
            0o060_000 => Self::BlockDevice,
            0o100_000 => Self::File,
            0o120_000 => Self::Symlink,
            0o140_000 => Self::Socket,
            _ => return None,
        })
    }
}

impl fmt::Display for EntryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "a regular file",
            Self::Directory => "a directory",
            Self::Symlink => "a symbolic link",
            Self::CharacterDevice => "a character device",
            Self::BlockDevice => "a block device",
            Self::Fifo => "a FIFO",
            Self::Socket => "a socket",
        })
    }
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// Name: 1 to 255 bytes without `/` and NUL.
    pub name: OsString,
    /// Type of the entry itself. A symbolic link is not followed.
    pub kind: EntryKind,
}

enum Inner {
    Erofs(Erofs),
    Squashfs(Squashfs),
}

/// A file system whose superblock has been read. It keeps only the latest metadata in memory, at most 200 KiB.
pub struct Filesystem<'a> {
    source: &'a dyn ReadAt,
    cache: Cache,
    inner: Inner,
}

impl fmt::Debug for Filesystem<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filesystem").field("kind", &self.kind()).finish_non_exhaustive()
    }
}

impl<'a> Filesystem<'a> {
    /// Reads the superblock of a file system of either format that begins at the first byte of `source`.
    ///
    /// # Errors
    /// [`FilesystemError::UnknownFilesystem`] without a known magic number, else the first fault of the superblock.
    pub fn open(source: &'a dyn ReadAt) -> Result<Self, FilesystemError> {
        let cache = Cache::default();
        let meter = Meter::new(source, &cache, WORK);
        let inner = if let Some(erofs) = Erofs::open(&meter, source.len())? {
            Inner::Erofs(erofs)
        } else if let Some(squashfs) = Squashfs::open(&meter, source.len())? {
            Inner::Squashfs(squashfs)
        } else {
            return Err(FilesystemError::UnknownFilesystem);
        };
        Ok(Self { source, cache, inner })
    }

    /// Returns the format.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.inner {
            Inner::Erofs(_) => Kind::Erofs,
            Inner::Squashfs(_) => Kind::Squashfs,
        }
    }

    /// Returns the block size in bytes that the kernel sets on the device when it mounts this file system. Returns
    /// `None` if it keeps the device's block size (Linux 6.12, `erofs_fc_fill_super`, `squashfs_fill_super`).
    #[must_use]
    pub fn device_block_size(&self) -> Option<u64> {
        match &self.inner {
            Inner::Erofs(erofs) => Some(erofs.block_size()),
            Inner::Squashfs(_) => None,
        }
    }

    /// Reads the regular file at `path`. Returns `None` if it does not exist.
    ///
    /// A path begins at the root, with or without a slash. Symbolic links are followed inside the image, as systemd
    /// does.
    ///
    /// # Errors
    /// [`FilesystemError::TooLarge`] if the file has more than `max_len` bytes, [`FilesystemError::NotAFile`] if `path`
    /// is not a regular file, errors of the path ([`FilesystemError::is_about_path`]) and errors of reading.
    pub fn read_file(&self, path: &str, max_len: usize) -> Result<Option<Vec<u8>>, FilesystemError> {
        let max_len = u64::try_from(max_len).unwrap_or(u64::MAX);
        let meter = Meter::new(self.source, &self.cache, WORK.saturating_add(max_len.saturating_mul(WORK_PER_BYTE)));
        with_format!(self, format => read_file(format, &meter, path, max_len))
    }

    /// Returns the type of the file at `path`, after following symbolic links. Returns `None` if it does not exist,
    /// which includes the target of a link.
    ///
    /// # Errors
    /// Errors of the path and of reading.
    pub fn entry(&self, path: &str) -> Result<Option<EntryKind>, FilesystemError> {
        let meter = Meter::new(self.source, &self.cache, WORK);
        with_format!(self, format => entry(format, &meter, path))
    }

    /// Returns the type of `name` in the directory at `directory`. Symbolic links in the path are followed, `name`
    /// itself is not.
    ///
    /// # Errors
    /// Errors of the path and of reading.
    pub fn entry_nofollow(&self, directory: &str, name: &str) -> Result<Option<EntryKind>, FilesystemError> {
        let meter = Meter::new(self.source, &self.cache, WORK);
        with_format!(self, format => entry_nofollow(format, &meter, directory, name))
    }

    /// Returns the entries of the directory at `directory`, sorted by the bytes of their names. Returns `None` if it
    /// does not exist.
    ///
    /// # Errors
    /// [`FilesystemError::TooManyEntries`] if there are more than 65536, errors of the path and of reading.
    pub fn list(&self, directory: &str) -> Result<Option<Vec<DirEntry>>, FilesystemError> {
        let meter = Meter::new(self.source, &self.cache, WORK);
        with_format!(self, format => list(format, &meter, directory))
    }

    /// Returns the target, at most 4095 bytes, of the symbolic link `name` in the directory at `directory`. Symbolic
    /// links in the path are followed. Returns `None` if `name` does not exist or is not a symbolic link.
    ///
    /// # Errors
    /// Errors of the path and of reading.
    pub fn link_target(&self, directory: &str, name: &str) -> Result<Option<Vec<u8>>, FilesystemError> {
        let meter = Meter::new(self.source, &self.cache, WORK);
        with_format!(self, format => link_target(format, &meter, directory, name))
    }

    /// Returns the value of an extended attribute of the file at `path`, after following symbolic links. Returns `None`
    /// if file or attribute do not exist. Only attributes with a name that begins with `user.` are read.
    ///
    /// # Errors
    /// Errors of the path and of reading.
    pub fn xattr(&self, path: &str, name: &str) -> Result<Option<Vec<u8>>, FilesystemError> {
        let Some(name) = name.strip_prefix("user.") else { return Ok(None) };
        let meter = Meter::new(self.source, &self.cache, WORK);
        with_format!(self, format => xattr(format, &meter, path, name))
    }
}

fn read_file<F: Format>(
    format: &F,
    meter: &Meter<'_>,
    path: &str,
    limit: u64,
) -> Result<Option<Vec<u8>>, FilesystemError> {
    let Some(node) = path::resolve(format, meter, path.as_bytes())? else { return Ok(None) };
    match F::kind(&node) {
        EntryKind::File => path::read(format, meter, &node, limit).map(Some),
        found => Err(FilesystemError::NotAFile { found }),
    }
}

fn entry<F: Format>(format: &F, meter: &Meter<'_>, path: &str) -> Result<Option<EntryKind>, FilesystemError> {
    Ok(path::resolve(format, meter, path.as_bytes())?.map(|node| F::kind(&node)))
}

fn entry_nofollow<F: Format>(
    format: &F,
    meter: &Meter<'_>,
    directory: &str,
    name: &str,
) -> Result<Option<EntryKind>, FilesystemError> {
    let Some(node) = path::resolve(format, meter, directory.as_bytes())? else { return Ok(None) };
    Ok(path::find(format, meter, &node, name.as_bytes())?.map(|node| F::kind(&node)))
}

fn link_target<F: Format>(
    format: &F,
    meter: &Meter<'_>,
    directory: &str,
    name: &str,
) -> Result<Option<Vec<u8>>, FilesystemError> {
    let Some(node) = path::resolve(format, meter, directory.as_bytes())? else { return Ok(None) };
    let found = path::find(format, meter, &node, name.as_bytes())?;
    let Some(link) = found.filter(|node| F::kind(node) == EntryKind::Symlink) else { return Ok(None) };
    path::read(format, meter, &link, path::MAX_TARGET).map(Some)
}

fn list<F: Format>(format: &F, meter: &Meter<'_>, directory: &str) -> Result<Option<Vec<DirEntry>>, FilesystemError> {
    let Some(node) = path::resolve(format, meter, directory.as_bytes())? else { return Ok(None) };
    path::list(format, meter, &node, MAX_ENTRIES).map(Some)
}

fn xattr<F: Format>(format: &F, meter: &Meter<'_>, path: &str, name: &str) -> Result<Option<Vec<u8>>, FilesystemError> {
    let Some(node) = path::resolve(format, meter, path.as_bytes())? else { return Ok(None) };
    format.user_xattr(meter, &node, name.as_bytes())
}
