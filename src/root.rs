//! The directory below which all paths are resolved: `/` on a machine, or any tree for tests and image builds.

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2, readlinkat};
use nix::sys::stat::Mode;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The file by which systemd and the units in `systemd-units/` distinguish an initrd from a host (systemd 257,
/// `src/basic/initrd-util.c`, `in_initrd`).
pub(crate) const INITRD_RELEASE: &str = "/etc/initrd-release";

/// A root directory. Symbolic links are resolved inside it, as after `chroot` (`openat2(2)`, `RESOLVE_IN_ROOT`): an
/// absolute link in a tree never leads to the host.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
    is_machine: bool,
}

impl Root {
    /// Opens `path`. The machine's own root directory is recognized by its identity, not by its name: `/.`, a link to
    /// `/` and a bind mount of it are the machine, too.
    ///
    /// # Errors
    /// If `path` is not a directory or cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let directory = File::open(path)?;
        let metadata = directory.metadata()?;
        if !metadata.is_dir() {
            return Err(io::Error::from(io::ErrorKind::NotADirectory));
        }
        Ok(Self { is_machine: is_same(&metadata, &fs::metadata("/")?), directory: directory.into() })
    }

    /// Returns whether this is the machine's own root.
    #[must_use]
    pub const fn is_machine(&self) -> bool {
        self.is_machine
    }

    /// Returns the host that an initrd has mounted, `None` if there is none.
    pub(crate) fn sysroot(&self) -> Option<Self> {
        Self::open(&self.directory("/sysroot").ok()??).ok()
    }

    /// Returns whether this is the root of an initrd of dracut's kind, by the rule of systemd.
    pub(crate) fn is_initrd(&self) -> bool {
        self.open_file(INITRD_RELEASE).is_ok()
    }

    /// Returns whether `path` below this root is the same file or directory as `path` on the machine.
    ///
    /// # Errors
    /// Errors of `openat2(2)`.
    pub(crate) fn shares(&self, path: &str) -> io::Result<bool> {
        match (self.metadata(path), fs::metadata(path)) {
            (Ok(ours), Ok(machines)) => Ok(is_same(&ours, &machines)),
            (Err(error), _) | (_, Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }

    /// Returns the path of an existing directory, with links resolved inside the root. Returns `None` if it does not
    /// exist.
    ///
    /// # Errors
    /// Errors of `openat2(2)`.
    pub fn directory(&self, path: &str) -> io::Result<Option<PathBuf>> {
        if self.is_machine {
            // All paths are inside this root, and /proc may not be mounted yet.
            return match fs::metadata(path) {
                Ok(metadata) if metadata.is_dir() => Ok(Some(PathBuf::from(path))),
                Ok(_) => Err(io::ErrorKind::NotADirectory.into()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            };
        }
        match self.resolve(path, OFlag::O_PATH | OFlag::O_DIRECTORY) {
            Ok(directory) => fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd())).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the path of a directory. Makes it and its parents if they do not exist.
    ///
    /// # Errors
    /// Errors of `openat2(2)` and `mkdir(2)`.
    pub fn make_directory(&self, path: &str) -> io::Result<PathBuf> {
        if let Some(directory) = self.directory(path)? {
            return Ok(directory);
        }
        let (parent, name) = path.trim_end_matches('/').rsplit_once('/').ok_or(io::ErrorKind::InvalidInput)?;
        let parent = if parent.is_empty() { "/" } else { parent };
        let directory = self.make_directory(parent)?.join(name);
        match fs::create_dir(&directory) {
            Ok(()) => Ok(directory),
            // A dangling link of this name must not be followed out of the root.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.directory(path)?.ok_or(io::ErrorKind::NotADirectory.into())
            }
            Err(error) => Err(error),
        }
    }

    /// Opens a file for reading, with links resolved inside the root.
    ///
    /// # Errors
    /// I/O errors of `openat2(2)`, including `ELOOP` for loops of links.
    pub fn open_file(&self, path: &str) -> io::Result<File> {
        // Without O_NONBLOCK, a FIFO of this name would block the boot.
        self.resolve(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK).map(File::from)
    }

    /// Reads a regular file of at most `limit` bytes. Returns `None` if it does not exist.
    ///
    /// # Errors
    /// Errors of `openat2(2)` and `read(2)`; [`io::ErrorKind::FileTooLarge`] if the file is larger than `limit`.
    pub fn read(&self, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let file = match self.open_file(path) {
            Ok(file) => file,
            Err(error) if is_absent(&error) => return Ok(None),
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

    /// Returns the metadata of `path`, with links resolved inside the root.
    ///
    /// # Errors
    /// Errors of `openat2(2)`.
    pub fn metadata(&self, path: &str) -> io::Result<Metadata> {
        File::from(self.resolve(path, OFlag::O_PATH)?).metadata()
    }

    /// Returns the target of the link at `path`, as the link has it. Returns `None` if there is no link.
    ///
    /// # Errors
    /// Errors of `openat2(2)` and `readlinkat(2)`.
    pub fn link(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        let link = match self.resolve(path, OFlag::O_PATH | OFlag::O_NOFOLLOW) {
            Ok(link) => link,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        // EINVAL or ENOENT: it is something else than a link.
        match readlinkat(&link, "") {
            Ok(target) => Ok(Some(target.into_vec())),
            Err(Errno::EINVAL | Errno::ENOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the absolute path below this root, without links, of what is at `path`. Returns `None` if there is
    /// nothing.
    ///
    /// # Errors
    /// Errors of `openat2(2)`, including `ELOOP` for loops of links.
    pub fn resolved(&self, path: &str) -> io::Result<Option<PathBuf>> {
        let resolve = || {
            if self.is_machine {
                return fs::canonicalize(path);
            }
            let of = |file: &OwnedFd| fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
            let (root, found) = (of(&self.directory)?, of(&self.resolve(path, OFlag::O_PATH)?)?);
            let inside = found.strip_prefix(root).map_err(|_| io::ErrorKind::InvalidInput)?;
            Ok(Path::new("/").join(inside))
        };
        match resolve() {
            Ok(found) => Ok(Some(found)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns whether `path` exists, even as a dangling link.
    #[must_use]
    pub fn has_name(&self, path: &str) -> bool {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("/", path));
        let parent = if parent.is_empty() { "/" } else { parent };
        matches!(self.list(parent), Ok(Some(names)) if names.iter().any(|found| found == name))
    }

    /// Returns the names in a directory, sorted by bytes. Returns `None` if the directory does not exist.
    ///
    /// # Errors
    /// Errors of `openat2(2)` and `getdents(2)`.
    pub fn list(&self, path: &str) -> io::Result<Option<Vec<std::ffi::OsString>>> {
        self.list_some(path, usize::MAX)
    }

    /// Lists a directory as [`Root::list`] does, but at most `limit` names: the first that the kernel returns.
    ///
    /// # Errors
    /// Errors of `openat2(2)` and `getdents(2)`.
    pub fn list_some(&self, path: &str, limit: usize) -> io::Result<Option<Vec<std::ffi::OsString>>> {
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
            if names.len() >= limit {
                break;
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

/// Returns whether the error says that a file or a directory on the way to it does not exist.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Compares device and inode. They are equal for bind mounts of one directory. File systems, subvolumes and overlays
/// differ in the device.
fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
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

    #[test]
    fn directories_are_made_inside_whatever_links_say() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        symlink("/var/run", path.join("run")).unwrap();
        fs::create_dir_all(path.join("var/run")).unwrap();
        let root = Root::open(&path).unwrap();
        assert_eq!(root.make_directory("/run/a/b").unwrap(), path.join("var/run/a/b"));
        assert!(path.join("var/run/a/b").is_dir());
        assert_eq!(root.directory("/run/a").unwrap(), Some(path.join("var/run/a")));
        assert_eq!(root.directory("/run/c").unwrap(), None);
        symlink("/var/nothing", path.join("dangling")).unwrap();
        assert!(root.make_directory("/dangling/a").is_err());
        fs::write(path.join("file"), "").unwrap();
        assert!(root.make_directory("/file/a").is_err());
    }
}
