//! Reading a system: paths without a leading slash, links followed inside it.

use crate::system::{Entry, Read, System, find, resolve};
use ddi::filesystem::EntryKind;
use ddi::text::Message;
use sextant::policy::Place;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Most names of one directory that are looked at.
const MAX_NAMES: usize = 512;

/// A file, as far as it could be read.
pub(super) enum File {
    Bytes(Vec<u8>),
    Absent,
    Unreadable(Message),
}

pub(super) struct Look<'a> {
    system: &'a dyn System,
}

impl<'a> Look<'a> {
    pub(super) fn new(system: &'a dyn System) -> Self {
        Self { system }
    }

    /// The file at `path`, if it isn't larger than `limit` bytes.
    pub(super) fn read(&self, path: &str, limit: usize) -> io::Result<File> {
        let Some(place) = find(self.system, path.as_bytes())? else { return Ok(File::Absent) };
        match self.system.read(&place, limit) {
            Ok(Read::Bytes(bytes)) => Ok(File::Bytes(bytes)),
            Ok(Read::Absent | Read::Unread) => Ok(File::Absent),
            Ok(Read::TooLarge) => Ok(File::Unreadable(Message::new(format_args!("file is larger than {limit} bytes")))),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(File::Unreadable(Message::new(error))),
            Err(error) => Err(error),
        }
    }

    /// What is at `path`, links followed.
    pub(super) fn entry(&self, path: &str) -> io::Result<Option<Entry>> {
        match find(self.system, path.as_bytes())? {
            Some(place) => self.system.entry(&place),
            None => Ok(None),
        }
    }

    pub(super) fn is_file(&self, path: &str) -> io::Result<bool> {
        Ok(self.entry(path)?.is_some_and(|entry| entry.kind == EntryKind::File))
    }

    /// Whether there is anything of this name, be it a link that leads nowhere.
    pub(super) fn has_name(&self, path: &str) -> io::Result<bool> {
        Ok(self.itself(path)?.is_some())
    }

    /// The target of the link at `path`; `None` if there is no link.
    pub(super) fn link(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        let entry = self.itself(path)?.filter(|entry| entry.kind == EntryKind::Symlink);
        Ok(entry.map(|entry| entry.target))
    }

    fn itself(&self, path: &str) -> io::Result<Option<Entry>> {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        match resolve(self.system, directory.as_bytes())? {
            Some(directory) => self.system.entry(&crate::system::join(&directory, name.as_bytes())),
            None => Ok(None),
        }
    }

    /// Names in the directory at `path` that are UTF-8, in the order of their bytes.
    pub(super) fn names(&self, path: &str) -> io::Result<Vec<String>> {
        let Some(place) = resolve(self.system, path.as_bytes())? else { return Ok(Vec::new()) };
        let found = self.system.list(&place)?;
        let mut names: Vec<String> = found.into_iter().filter_map(|(name, _)| String::from_utf8(name).ok()).collect();
        names.sort_unstable();
        names.truncate(MAX_NAMES);
        Ok(names)
    }
}

/// The configuration is looked for as by the agent.
impl Place for Look<'_> {
    fn names(&self, directory: &str, limit: usize) -> io::Result<Option<Vec<OsString>>> {
        let Some(place) = resolve(self.system, directory.as_bytes())? else { return Ok(None) };
        let found = self.system.list(&place)?;
        Ok(Some(found.into_iter().take(limit).map(|(name, _)| OsString::from_vec(name)).collect()))
    }

    fn link(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        self.link(path)
    }

    fn resolved(&self, path: &str) -> io::Result<Option<PathBuf>> {
        let found = find(self.system, path.as_bytes())?;
        Ok(found.map(|place| Path::new("/").join(OsString::from_vec(place))))
    }

    fn read(&self, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(place) = find(self.system, path.as_bytes())? else { return Ok(None) };
        match self.system.read(&place, usize::try_from(limit).unwrap_or(usize::MAX))? {
            Read::Bytes(bytes) => Ok(Some(bytes)),
            Read::Unread => Ok(None),
            Read::Absent => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
            Read::TooLarge => Err(io::ErrorKind::FileTooLarge.into()),
        }
    }
}

/// A system that notes which files were asked for and not kept: an archive has to be read again for them.
pub struct Recorder<'a> {
    system: &'a dyn System,
    wanted: RefCell<BTreeMap<Vec<u8>, usize>>,
}

impl<'a> Recorder<'a> {
    /// Records what is asked of `system`.
    #[must_use]
    pub fn new(system: &'a dyn System) -> Self {
        Self { system, wanted: RefCell::default() }
    }

    /// The paths that were not kept, and the limits with which they were asked for.
    #[must_use]
    pub fn into_wanted(self) -> BTreeMap<Vec<u8>, usize> {
        self.wanted.into_inner()
    }
}

impl System for Recorder<'_> {
    fn entry(&self, path: &[u8]) -> io::Result<Option<Entry>> {
        self.system.entry(path)
    }

    fn list(&self, path: &[u8]) -> io::Result<Vec<(Vec<u8>, EntryKind)>> {
        self.system.list(path)
    }

    fn read(&self, path: &[u8], limit: usize) -> io::Result<Read> {
        let found = self.system.read(path, limit)?;
        if found == Read::Unread {
            let mut wanted = self.wanted.borrow_mut();
            let largest = wanted.entry(path.to_vec()).or_default();
            *largest = limit.max(*largest);
        }
        Ok(found)
    }
}
