//! Showing a file under a second name, read-only, without a copy.

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

/// A mount of one file that isn't attached anywhere yet.
#[derive(Debug)]
pub struct DetachedMount(OwnedFd);

/// What may be done with the second name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Reading.
    Data,
    /// Running it.
    Program,
}

impl DetachedMount {
    /// A read-only mount of the very file that is open, whatever its name leads to by now (Linux 5.12).
    pub(crate) fn of(file: impl AsFd, purpose: Use) -> io::Result<Self> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
        let tree = open_tree(file, "", flags)?;
        // Before anybody can see it.
        sys::mount::restrict(&tree, purpose == Use::Data)?;
        Ok(Self(tree))
    }

    /// Attaches it at `path`, in place of a file of this name.
    ///
    /// A mount needs something to be mounted on. An empty file would for an instant, or for good if the agent
    /// were killed then, be an image that systemd refuses, with all others. A socket is none to systemd, and
    /// nobody can open it.
    pub(crate) fn attach(self, path: &Path) -> io::Result<()> {
        let temporary = durable::temporary_name(path)?;
        durable::remove(&temporary)?;
        mknod(&temporary, SFlag::S_IFSOCK, Mode::empty(), 0)?;
        fs::rename(&temporary, path)?;
        let attached = move_mount(&self.0, "", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH);
        attached.map_err(|errno| {
            // The first error is the one to tell, and what is left is no image.
            let _ = fs::remove_file(path);
            errno.into()
        })
    }
}

/// Takes away whatever is mounted at `path`, and then the file itself.
pub(crate) fn detach(path: &Path) -> io::Result<()> {
    unmount(path)?;
    durable::remove(path)
}

/// Takes away whatever is mounted at `path`.
pub(crate) fn unmount(path: &Path) -> io::Result<()> {
    loop {
        match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            // Nothing (any more), or nothing that we could have mounted.
            Err(Errno::EINVAL | Errno::ENOENT | Errno::EPERM) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
}
