//! The directory below which every path is taken: `/` on a machine, any tree for tests and image builds.

use nix::dir::Dir;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A root directory. Symbolic links met on the way are resolved inside it, like `chroot` would
/// (`openat2(2)`, `RESOLVE_IN_ROOT`): an absolute link in a tree never leads to the host.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    directory: OwnedFd,
}

impl Root {
    /// Opens `path`.
    ///
    /// # Errors
    /// Where it is no directory that can be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let directory = File::open(path)?;
        if !directory.metadata()?.is_dir() {
            return Err(io::Error::from(io::ErrorKind::NotADirectory));
        }
        Ok(Self { path: path.to_owned(), directory: directory.into() })
    }

    /// Whether this is the machine's own root.
    #[must_use]
    pub fn is_machine(&self) -> bool {
        self.path == Path::new("/")
    }

    /// The path as given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `path` below the root, by name. For directories that the agent itself makes; what somebody
    /// else has laid out is opened with [`Root::open_file`].
    #[must_use]
    pub fn join(&self, path: &str) -> PathBuf {
        self.path.join(path.trim_start_matches('/'))
    }

    /// Opens a file for reading, links resolved inside the root.
    ///
    /// # Errors
    /// As `openat2(2)`.
    pub fn open_file(&self, path: &str) -> io::Result<File> {
        // Without O_NONBLOCK a FIFO under one of the names would stop the boot.
        self.resolve(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK).map(File::from)
    }

    /// A regular file's content, at most `limit` bytes; `None` where there is no such file.
    ///
    /// # Errors
    /// As `openat2(2)` and `read(2)`; [`io::ErrorKind::FileTooLarge`] beyond `limit`.
    pub fn read(&self, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let file = match self.open_file(path) {
            Ok(file) => file,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let mut content = Vec::new();
        file.take(limit.saturating_add(1)).read_to_end(&mut content)?;
        if content.len() as u64 > limit {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        Ok(Some(content))
    }

    /// Names in a directory, sorted by bytes; `None` where there is no such directory.
    ///
    /// # Errors
    /// As `openat2(2)` and `getdents(2)`.
    pub fn list(&self, path: &str) -> io::Result<Option<Vec<std::ffi::OsString>>> {
        use std::os::unix::ffi::OsStringExt;
        let directory = match self.resolve(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
            Ok(directory) => directory,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in Dir::from_fd(directory)?.iter() {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(std::ffi::OsString::from_vec(name));
            }
        }
        names.sort();
        Ok(Some(names))
    }

    fn resolve(&self, path: &str, flags: OFlag) -> io::Result<OwnedFd> {
        let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_IN_ROOT);
        Ok(openat2(self.directory.as_fd(), path, how.mode(Mode::empty()))?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn an_absolute_link_stays_below_the_root() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("usr/lib")).unwrap();
        fs::create_dir_all(dir.path().join("etc")).unwrap();
        fs::write(dir.path().join("usr/lib/os-release"), "ID=tree\n").unwrap();
        symlink("/usr/lib/os-release", dir.path().join("etc/os-release")).unwrap();
        symlink("../../../../../../etc/passwd", dir.path().join("etc/escape")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        assert_eq!(root.read("/etc/os-release", 100).unwrap().unwrap(), b"ID=tree\n");
        assert!(root.read("/etc/escape", 1 << 20).unwrap().is_none());
        assert_eq!(root.list("/etc").unwrap().unwrap(), ["escape", "os-release"]);
        assert!(root.list("/absent").unwrap().is_none());
        assert_eq!(root.read("/etc/os-release", 3).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert!(root.read("/usr/lib", 3).is_err());
    }
}
