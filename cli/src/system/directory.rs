//! Reads the root directory of a host.

use super::{Entry, Read as Content, System};
use crate::base::Base;
use ddi::filesystem::EntryKind;
use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, readlinkat};
use nix::sys::stat::{FileStat, fstat, fstatat};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

/// Maximum number of names of a directory.
const MAX_NAMES: usize = 100_000;

/// A root directory. No link leads out of it.
#[derive(Debug)]
pub struct Directory(Base);

impl Directory {
    /// Opens `path`.
    ///
    /// # Errors
    /// I/O errors of `open(2)`.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(Base::new(File::open(path)?.into())))
    }

    /// Opens the file at `path`; `None` if the path contains a link or leads out of the root.
    fn resolve(&self, path: &[u8], flags: OFlag) -> io::Result<Option<OwnedFd>> {
        match self.0.open(path, flags) {
            Ok(file) => Ok(Some(file)),
            Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(None),
                _ => Err(error),
            },
        }
    }
}

impl System for Directory {
    fn entry(&self, path: &[u8]) -> io::Result<Option<Entry>> {
        let Some(file) = self.resolve(path, OFlag::O_PATH)? else { return Ok(None) };
        let found = fstat(&file)?;
        let kind = kind(&found);
        let target = match kind {
            EntryKind::Symlink => readlinkat(&file, "")?.into_vec(),
            _ => Vec::new(),
        };
        // In an overlay, files may have another device number; directories have that of the overlay.
        let is_mount_point = kind == EntryKind::Directory && {
            let above = path.iter().rposition(|byte| *byte == b'/').and_then(|slash| path.get(..slash));
            let above = self.resolve(above.unwrap_or_default(), OFlag::O_PATH)?;
            above.map(|above| fstat(&above)).transpose()?.is_some_and(|above| above.st_dev != found.st_dev)
        };
        Ok(Some(Entry { kind, mode: found.st_mode & 0o7777, target, is_mount_point }))
    }

    fn list(&self, path: &[u8]) -> io::Result<Vec<(Vec<u8>, EntryKind)>> {
        let Some(directory) = self.resolve(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)? else { return Ok(Vec::new()) };
        let own = directory.try_clone()?;
        let mut names = Vec::new();
        for entry in Dir::from_fd(directory)?.iter() {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let kind = match entry.file_type() {
                Some(Type::Directory) => EntryKind::Directory,
                Some(Type::Symlink) => EntryKind::Symlink,
                Some(Type::File) => EntryKind::File,
                // Some file systems do not record the kind in the directory.
                _ => match fstatat(&own, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
                    Ok(found) => kind(&found),
                    Err(Errno::ENOENT) => continue,
                    Err(error) => return Err(error.into()),
                },
            };
            names.push((name.to_bytes().to_vec(), kind));
            if names.len() >= MAX_NAMES {
                break;
            }
        }
        Ok(names)
    }

    fn read(&self, path: &[u8], limit: usize) -> io::Result<Content> {
        // A FIFO would never be opened otherwise.
        let Some(file) = self.resolve(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK)? else { return Ok(Content::Absent) };
        let file = File::from(file);
        if !file.metadata()?.is_file() {
            return Ok(Content::Absent);
        }
        let mut content = Vec::new();
        file.take(u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1)).read_to_end(&mut content)?;
        Ok(if content.len() > limit { Content::TooLarge } else { Content::Bytes(content) })
    }
}

fn kind(found: &FileStat) -> EntryKind {
    EntryKind::of_mode(found.st_mode).unwrap_or(EntryKind::File)
}
