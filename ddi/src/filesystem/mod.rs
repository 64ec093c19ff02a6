//! Reading single files out of an erofs or squashfs image, without mounting it.
//!
//! The bytes have been verified against a signed root hash before, so they are what their signer
//! made; they are parsed all the same as if an attacker had. Nothing is allocated because a field
//! asks for it, every operation has a limit on its work, and what isn't needed isn't read: an
//! image of any size costs a few hundred KiB of memory plus the file that is asked for.
//!
//! Formats: the kernel's `Documentation/filesystems/{erofs,squashfs}.rst`, `fs/erofs/erofs_fs.h` and
//! `fs/squashfs/squashfs_fs.h` of Linux 6.12.

/// Calls a generic function with whichever format it is.
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
mod path;
mod squashfs;
mod tree;
mod walk;

pub use error::FilesystemError;
pub use mask::Mask;
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

/// Work that every operation may do, in bytes read and decompressed: enough to go through a
/// directory of a million names.
const WORK: u64 = 128 << 20;

/// Further work for each byte of content that is asked for, since what is read may be compressed, and what is
/// decompressed may be more than what is wanted.
const WORK_PER_BYTE: u64 = 8;

/// Entries that one directory is listed with at most.
const MAX_ENTRIES: usize = 65_536;

/// Longest value of an extended attribute in bytes (the kernel's `XATTR_SIZE_MAX`).
const MAX_XATTR: usize = 65_536;

/// Which format an image has.
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

/// What something in a directory is.
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
    /// What the upper bits of a mode say (`S_IFMT`); `None` for what no kernel makes.
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
    /// Its name: 1 to 255 bytes without `/` and NUL.
    pub name: OsString,
    /// What it is itself, links not followed.
    pub kind: EntryKind,
}

enum Inner {
    Erofs(Erofs),
    Squashfs(Squashfs),
}

/// A file system whose superblock has been read. It holds nothing else in memory but the metadata that was read last, at
/// most 200 KiB.
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
    /// Reads the superblock of whichever file system begins at the first byte of `source`.
    ///
    /// # Errors
    /// [`FilesystemError::UnknownFilesystem`] without a known magic number; otherwise what is wrong with the superblock.
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

    /// Which format it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.inner {
            Inner::Erofs(_) => Kind::Erofs,
            Inner::Squashfs(_) => Kind::Squashfs,
        }
    }

    /// The block size that the kernel gives the device when it mounts this file system, in bytes; `None` where it
    /// takes what the device has (Linux 6.12, `erofs_fc_fill_super` against `squashfs_fill_super`).
    #[must_use]
    pub fn device_block_size(&self) -> Option<u64> {
        match &self.inner {
            Inner::Erofs(erofs) => Some(erofs.block_size()),
            Inner::Squashfs(_) => None,
        }
    }

    /// The content of the regular file at `path`; `None` if there is nothing at `path`.
    ///
    /// A path begins at the root, with or without a slash. Symbolic links are followed inside the image, as
    /// systemd does.
    ///
    /// # Errors
    /// [`FilesystemError::TooLarge`] beyond `max_len` bytes, [`FilesystemError::NotAFile`] for anything else at `path`, errors
    /// of the path ([`FilesystemError::is_about_path`]), or whatever keeps the file system from being read.
    pub fn read_file(&self, path: &str, max_len: usize) -> Result<Option<Vec<u8>>, FilesystemError> {
        let max_len = u64::try_from(max_len).unwrap_or(u64::MAX);
        let meter = Meter::new(self.source, &self.cache, WORK.saturating_add(max_len.saturating_mul(WORK_PER_BYTE)));
        with_format!(self, format => read_file(format, &meter, path, max_len))
    }

    /// What is at `path`, symbolic links followed; `None` if there is nothing, also where a link leads to nothing.
    ///
    /// # Errors
    /// Errors of the path, or whatever keeps the file system from being read.
    pub fn entry(&self, path: &str) -> Result<Option<EntryKind>, FilesystemError> {
        let meter = Meter::new(self.source, &self.cache, WORK);
        with_format!(self, format => entry(format, &meter, path))
    }

    /// What is called `name` in the directory at `directory` (links in that path are followed), itself not followed.
    ///
    /// # Errors
    /// Errors of the path, or whatever keeps the file system from being read.
    pub fn entry_nofollow(&self, directory: &str, name: &str) -> Result<Option<EntryKind>, FilesystemError> {
        let meter = Meter::new(self.source, &self.cache, WORK);
        with_format!(self, format => entry_nofollow(format, &meter, directory, name))
    }

    /// The entries of the directory at `directory`, in the order of their bytes; `None` if there is nothing at that path.
    ///
    /// # Errors
    /// [`FilesystemError::TooManyEntries`] beyond 65536, errors of the path, or whatever keeps the file system from being read.
    pub fn list(&self, directory: &str) -> Result<Option<Vec<DirEntry>>, FilesystemError> {
        let meter = Meter::new(self.source, &self.cache, WORK);
        with_format!(self, format => list(format, &meter, directory))
    }

    /// Returns the target of the symbolic link `name` in the directory at `directory` (links in that path are followed);
    /// `None` if there is nothing of this name, or something else. At most 4095 bytes.
    ///
    /// # Errors
    /// Errors of the path, or whatever keeps the file system from being read.
    pub fn link_target(&self, directory: &str, name: &str) -> Result<Option<Vec<u8>>, FilesystemError> {
        let meter = Meter::new(self.source, &self.cache, WORK);
        with_format!(self, format => link_target(format, &meter, directory, name))
    }

    /// The value of an extended attribute of what is at `path`, symbolic links followed; `None` if there is nothing at
    /// `path` or it has no such attribute. Only names that begin with `user.` are looked for.
    ///
    /// # Errors
    /// Errors of the path, or whatever keeps the file system from being read.
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
