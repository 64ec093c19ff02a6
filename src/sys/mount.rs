//! `mount_setattr(2)`, which nix and rustix do not have.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};

/// Makes an unattached mount read-only, without devices and set-user-ID programs, and with `noexec` without executable
/// files.
///
/// # Errors
/// Errors of `mount_setattr(2)` (Linux 5.12).
pub(crate) fn restrict(mount: impl AsFd, noexec: bool) -> io::Result<()> {
    let noexec = if noexec { libc::MOUNT_ATTR_NOEXEC } else { 0 };
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOSUID | noexec,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: mount_setattr(2) reads an empty string and a structure of the given size. Both live until it returns, and
    // the kernel keeps no pointer to them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
