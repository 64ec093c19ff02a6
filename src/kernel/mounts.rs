//! A file under a second name, read-only and without a copy.

use crate::{durable, sys};
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::{Mode, SFlag, mknod};
use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// A mount of a single file that is not attached yet.
#[derive(Debug)]
pub struct DetachedMount(OwnedFd);

/// Permitted use of the second name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Reading only.
    Data,
    /// Reading and executing.
    Program,
}

impl DetachedMount {
    /// Makes a read-only mount of an open file, whatever its name refers to now (Linux 5.12).
    pub(crate) fn of(file: impl AsFd, purpose: Use) -> io::Result<Self> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
        let tree = open_tree(file, "", flags)?;
        // Before the mount is visible to other processes.
        sys::mount::restrict(&tree, purpose == Use::Data)?;
        Ok(Self(tree))
    }

    /// Attaches the mount at `path`, in place of a file of this name.
    ///
    /// A mount needs a mount point. An empty file would be an image that systemd refuses with all others, for an
    /// instant, or permanently if the agent were killed then. So the mount point is a socket, which systemd ignores and
    /// which cannot be opened.
    pub(crate) fn attach(self, path: &Path) -> io::Result<()> {
        let temporary = durable::temporary_name(path)?;
        durable::remove(&temporary)?;
        mknod(&temporary, SFlag::S_IFSOCK, Mode::empty(), 0)?;
        fs::rename(&temporary, path)?;
        let attached = move_mount(&self.0, "", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH);
        attached.map_err(|errno| {
            // The first error is reported. A socket that is left is not an image.
            let _ = fs::remove_file(path);
            errno.into()
        })
    }
}

/// Unmounts everything at `path`, and removes the file.
pub(crate) fn detach(path: &Path) -> io::Result<()> {
    unmount(path)?;
    durable::remove(path)
}

/// Unmounts everything at `path`.
pub(crate) fn unmount(path: &Path) -> io::Result<()> {
    loop {
        match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            // Nothing is mounted any more, or only a mount that the agent cannot have made.
            Err(Errno::EINVAL | Errno::ENOENT | Errno::EPERM) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
}
