//! Files of the host, opened below a directory and nowhere else.

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// An open directory below which files are opened. No link is ever followed on the way.
#[derive(Debug)]
pub(crate) struct Base {
    directory: OwnedFd,
}

impl Base {
    pub(crate) fn new(directory: OwnedFd) -> Self {
        Self { directory }
    }

    pub(crate) fn directory(&self) -> &OwnedFd {
        &self.directory
    }

    /// Opens what is at `path`, the directory itself if that is empty.
    ///
    /// # Errors
    /// As `openat2(2)`: `ELOOP` where a link is on the way.
    pub(crate) fn open(&self, path: &[u8], flags: OFlag) -> io::Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
        let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW).resolve(resolve);
        Ok(openat2(self.directory.as_fd(), Path::new(OsStr::from_bytes(path)), how.mode(Mode::empty()))?)
    }
}
