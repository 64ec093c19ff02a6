//! Files of the host, opened below a directory and nowhere else, and known again.

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// An open directory below which files are opened. No link is ever followed on the way.
#[derive(Debug)]
pub(super) struct Base {
    directory: OwnedFd,
}

impl Base {
    pub(super) fn new(directory: OwnedFd) -> Self {
        Self { directory }
    }

    pub(super) fn directory(&self) -> &OwnedFd {
        &self.directory
    }

    pub(super) fn open(&self, path: &[u8], flags: OFlag) -> io::Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
        let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW).resolve(resolve);
        Ok(openat2(self.directory.as_fd(), Path::new(OsStr::from_bytes(path)), how.mode(Mode::empty()))?)
    }

    /// Opens a regular file.
    pub(super) fn open_file(&self, path: &[u8]) -> io::Result<File> {
        self.open(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK).map(File::from)
    }
}

/// What a file was when it was seen, so that it is noticed when it is another by the time it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    dev: u64,
    ino: u64,
    pub(super) len: u64,
    ctime: (i64, i64),
}

impl Stamp {
    pub(super) fn of(metadata: &std::fs::Metadata) -> Self {
        let ctime = (metadata.ctime(), metadata.ctime_nsec());
        Self { dev: metadata.dev(), ino: metadata.ino(), len: metadata.len(), ctime }
    }
}
