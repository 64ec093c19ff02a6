//! Showing a file under a second name, read-only, without a copy.

use crate::durable;
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::{Mode, SFlag, mknod};
use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use std::fs;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
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
        restrict(&tree, purpose)?;
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

/// Sets the attributes of a mount before anybody can see it.
fn restrict(tree: &OwnedFd, purpose: Use) -> io::Result<()> {
    let noexec = match purpose {
        Use::Data => libc::MOUNT_ATTR_NOEXEC,
        Use::Program => 0,
    };
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOSUID | noexec,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: mount_setattr(2) reads an empty string and a structure of the size that is given, both of which live
    // until it returns, and keeps neither.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
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
