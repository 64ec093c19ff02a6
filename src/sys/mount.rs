//! `mount_setattr(2)`, which neither nix nor rustix has.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};

/// Makes a mount that isn't attached yet read-only, without devices and set-user-ID programs, and with `noexec` without programs
/// at all.
///
/// # Errors
/// As `mount_setattr(2)` (Linux 5.12).
pub(crate) fn restrict(mount: impl AsFd, noexec: bool) -> io::Result<()> {
    let noexec = if noexec { libc::MOUNT_ATTR_NOEXEC } else { 0 };
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
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
