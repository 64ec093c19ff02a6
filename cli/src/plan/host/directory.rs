//! A root directory of this machine, or a tree of files like one.

use super::{Entry, Host};
use ddi::filesystem::EntryKind;
use nix::dir::{Dir, Type};
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// Names of one directory that are listed, at most.
const MAX_NAMES: usize = 100_000;

/// A directory that is the root of a host. No link leads out of it.
#[derive(Debug)]
pub struct Directory(OwnedFd);

impl Directory {
    /// Opens `path`.
    ///
    /// # Errors
    /// As `open(2)`.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(File::open(path)?.into()))
    }

    /// Opens what is at `path`, unless a link is on the way or it is above the root.
    fn resolve(&self, path: &[u8], flags: OFlag) -> io::Result<Option<OwnedFd>> {
        let path = if path.is_empty() { b"." } else { path };
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        match openat2(self.0.as_fd(), OsStr::from_bytes(path), how.mode(Mode::empty())) {
            Ok(file) => Ok(Some(file)),
            Err(nix::errno::Errno::ENOENT | nix::errno::Errno::ENOTDIR | nix::errno::Errno::ELOOP) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Host for Directory {
    fn entry(&self, path: &[u8]) -> io::Result<Option<Entry>> {
        let Some(file) = self.resolve(path, OFlag::O_PATH)? else { return Ok(None) };
        let found = fstat(&file)?;
        let kind = kind(&found);
        let target = match kind {
            EntryKind::Symlink => readlinkat(&file, "")?.into_vec(),
            _ => Vec::new(),
        };
        // Of an overlay the files may have other numbers, the directories have not.
        let is_mount_point = kind == EntryKind::Directory && {
            let above = path.iter().rposition(|byte| *byte == b'/').and_then(|slash| path.get(..slash));
            let above = self.resolve(above.unwrap_or_default(), OFlag::O_PATH)?;
            above.map(|above| fstat(&above)).transpose()?.is_some_and(|above| above.st_dev != found.st_dev)
        };
        Ok(Some(Entry { kind, target, is_mount_point }))
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
                // Not every file system says it in the directory.
                _ => match fstatat(&own, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
                    Ok(found) => kind(&found),
                    Err(nix::errno::Errno::ENOENT) => continue,
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
}

fn kind(found: &FileStat) -> EntryKind {
    match SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFDIR => EntryKind::Directory,
        SFlag::S_IFLNK => EntryKind::Symlink,
        SFlag::S_IFCHR => EntryKind::CharacterDevice,
        SFlag::S_IFBLK => EntryKind::BlockDevice,
        SFlag::S_IFIFO => EntryKind::Fifo,
        SFlag::S_IFSOCK => EntryKind::Socket,
        _ => EntryKind::File,
    }
}
