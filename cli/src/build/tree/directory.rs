//! Reads a directory of the host as a tree.

use super::host::Stamp;
use super::overlay::Notes;
use super::path::{display, join};
use super::{Below, Content, FileTree, Kind, MAX_DEPTH, Metadata, NodeId, Time, TreeTooLarge};
use crate::base::Base;
use ddi::filesystem::EntryKind;
use ddi::text::Text;
use nix::dir::Dir;
use nix::fcntl::OFlag;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longest value of an extended attribute in bytes (the kernel's `XATTR_SIZE_MAX`), and longest list of names.
const MAX_XATTR: usize = 65_536;

/// Error of reading a directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// A system call failed.
    #[error("reading {path}: {error}")]
    Io {
        /// Path below the directory
        path: Text,
        /// Error of the system
        error: io::Error,
    },
    /// Deeper than [`MAX_DEPTH`].
    #[error("reading {path}: directories are nested more than {MAX_DEPTH} deep")]
    TooDeep {
        /// The directory
        path: Text,
    },
    /// The tree exceeds its bounds.
    #[error(transparent)]
    TooLarge(#[from] TreeTooLarge),
}

/// Mapping of file ownership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// Files of this user and group become root's, as in a user namespace; others keep their owners. So the extension does not
    /// depend on the user who builds it.
    Mapped {
        /// User who becomes root
        uid: u32,
        /// Group that becomes root
        gid: u32,
    },
    /// All files keep their owners.
    Kept,
}

impl Owners {
    fn apply(self, uid: u32, gid: u32) -> (u32, u32) {
        match self {
            Self::Kept => (uid, gid),
            Self::Mapped { uid: user, gid: group } => {
                (if uid == user { 0 } else { uid }, if gid == group { 0 } else { gid })
            }
        }
    }
}

/// Reads the directory at `path` and all directories in it: names and metadata now, content when it is needed. Hard links stay
/// hard links. The metadata of the directory become those of the root.
///
/// # Errors
/// [`DirectoryError`]
pub fn read_directory(path: &Path, owners: Owners) -> Result<FileTree, DirectoryError> {
    let io = |error: io::Error| DirectoryError::Io { path: Text::from_os(path.as_os_str()), error };
    // `path` itself may be a link.
    let directory = File::open(path).map_err(io)?;
    let metadata = directory.metadata().map_err(io)?;
    if !metadata.is_dir() {
        return Err(io(io::ErrorKind::NotADirectory.into()));
    }
    let base = Arc::new(Base::new(directory.into()));
    let mut reading = Reading { base, owners, tree: FileTree::default(), links: HashMap::new() };
    let mut own = reading.metadata(&metadata, &proc_path(reading.base.directory())).map_err(io)?;
    Notes::take(&mut own.xattrs);
    let root = reading.tree.root();
    reading.tree.describe(root, own)?;
    let mut todo = vec![(Vec::new(), root, 0_usize)];
    while let Some((path, id, depth)) = todo.pop() {
        if depth > MAX_DEPTH {
            return Err(DirectoryError::TooDeep { path: display(&path) });
        }
        let below = reading.read(&path, id)?;
        todo.extend(below.into_iter().map(|(path, id)| (path, id, depth.saturating_add(1))));
    }
    Ok(reading.tree)
}

struct Reading {
    base: Arc<Base>,
    owners: Owners,
    tree: FileTree,
    /// Nodes of files with several names, by device and inode.
    links: HashMap<(u64, u64), NodeId>,
}

impl Reading {
    /// Reads one directory and returns its subdirectories.
    fn read(&mut self, path: &[u8], id: NodeId) -> Result<Vec<(Vec<u8>, NodeId)>, DirectoryError> {
        let io = |path: &[u8], error: io::Error| DirectoryError::Io { path: display(path), error };
        let directory = self.base.open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY).map_err(|error| io(path, error))?;
        let place = proc_path(&directory);
        let mut names = Vec::new();
        let mut listing = Dir::from_fd(directory.try_clone().map_err(|error| io(path, error))?)
            .map_err(|error| io(path, error.into()))?;
        for entry in listing.iter() {
            names.push(entry.map_err(|error| io(path, error.into()))?.file_name().to_bytes().to_vec());
        }
        names.retain(|name| name != b"." && name != b"..");
        let mut below = Vec::new();
        for name in names {
            let full = join(path, &name);
            let at = place.join(OsStr::from_bytes(&name));
            let Some((child, is_directory)) = self.node(&full, &at)? else { continue };
            self.tree.link(id, &name, child)?;
            if is_directory {
                below.push((full, child));
            }
        }
        Ok(below)
    }

    /// Adds a node for the file at `at`, and returns whether it is a directory. `None` for whiteouts: the source may be the upper
    /// directory of an overlay.
    fn node(&mut self, path: &[u8], at: &Path) -> Result<Option<(NodeId, bool)>, DirectoryError> {
        let io = |error: io::Error| DirectoryError::Io { path: display(path), error };
        let found = fs::symlink_metadata(at).map_err(io)?;
        let key = (found.dev(), found.ino());
        let shared = !found.is_dir() && found.nlink() > 1;
        if let Some(id) = self.links.get(&key).filter(|_| shared) {
            return Ok(Some((*id, false)));
        }
        let kind = match found.file_type() {
            kind if kind.is_dir() => Kind::Directory(BTreeMap::new()),
            kind if kind.is_file() => Kind::File(Content::host(&self.base, path, Stamp::of(&found))),
            kind if kind.is_symlink() => {
                Kind::Symlink(fs::read_link(at).map_err(io)?.into_os_string().as_bytes().to_vec())
            }
            kind if kind.is_block_device() => Kind::Special(EntryKind::BlockDevice),
            kind if kind.is_char_device() => Kind::Special(EntryKind::CharacterDevice),
            kind if kind.is_fifo() => Kind::Special(EntryKind::Fifo),
            _ => Kind::Special(EntryKind::Socket),
        };
        let mut metadata = self.metadata(&found, at).map_err(io)?;
        let notes = Notes::take(&mut metadata.xattrs);
        let whiteout = found.file_type().is_char_device() && found.rdev() == 0 || notes.whiteout && found.is_file();
        for (says, what) in [
            (whiteout, Below::Whiteout),
            (notes.opaque && found.is_dir(), Below::Opaque),
            (notes.redirect.is_some() && found.is_dir(), Below::Redirect),
            (notes.metacopy && found.is_file(), Below::Content),
        ] {
            if says {
                self.tree.note_below(path.to_vec(), what)?;
            }
        }
        if whiteout || notes.metacopy && found.is_file() {
            return Ok(None);
        }
        let id = self.tree.add(metadata, kind)?;
        if shared {
            self.links.insert(key, id);
        }
        Ok(Some((id, found.is_dir())))
    }

    fn metadata(&self, found: &fs::Metadata, at: &Path) -> io::Result<Metadata> {
        let (uid, gid) = self.owners.apply(found.uid(), found.gid());
        let nanoseconds = u32::try_from(found.mtime_nsec()).unwrap_or_default();
        let mtime = Time { seconds: found.mtime(), nanoseconds };
        let mode = u16::try_from(found.mode() & 0o7777).unwrap_or_default();
        Ok(Metadata { mode, uid, gid, mtime, xattrs: xattrs(at)? })
    }
}

/// Returns a path to an open directory that stays valid if the directory is renamed.
fn proc_path(directory: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()))
}

/// Reads the extended attributes of a file, except those that belong to the host.
fn xattrs(at: &Path) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    // For the directory itself, `at` is a link in /proc that has to be followed; links below it are not followed.
    let follow = at.parent() == Some(Path::new("/proc/self/fd"));
    let mut names = vec![0; MAX_XATTR];
    let listed = if follow { rustix::fs::listxattr(at, &mut names) } else { rustix::fs::llistxattr(at, &mut names) };
    let count = match listed {
        Ok(count) => count,
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        Err(error) => return Err(error.into()),
    };
    let mut found = BTreeMap::new();
    for name in names.get(..count).unwrap_or_default().split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if HOST_ONLY.contains(&name) {
            continue;
        }
        let mut value = vec![0; MAX_XATTR];
        let name_text = OsStr::from_bytes(name);
        let got = if follow {
            rustix::fs::getxattr(at, name_text, &mut value)
        } else {
            rustix::fs::lgetxattr(at, name_text, &mut value)
        };
        match got {
            Ok(count) => {
                // Copied, because the buffer is much larger.
                found.insert(name.to_vec(), value.get(..count).unwrap_or_default().to_vec());
            }
            // Removed since the list was read.
            Err(rustix::io::Errno::NODATA) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

/// Attributes of the security policy of this host. The target machine has a policy of its own.
const HOST_ONLY: [&[u8]; 3] = [b"security.selinux", b"security.ima", b"security.evm"];
