//! What a process does to itself.

use nix::errno::Errno;
use nix::libc;
use nix::unistd::{ForkResult, fork};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Forks this process. `child` runs in the new one, which then ends.
///
/// `child` may take no lock that another thread of this process could hold: it must compute on memory and on what it is handed, and
/// not log. The allocator may be used, since the C library resets its locks in the child. Destructors of values of this process
/// don't run in the child.
///
/// # Errors
/// As `fork(2)`.
pub(crate) fn fork_for(child: impl FnOnce()) -> Result<nix::unistd::Pid, Errno> {
    // SAFETY: a deadlock in the child is the worst that a lock could bring about, and the parent doesn't wait for ever; no memory
    // is shared, and the child leaves by _exit(2).
    match unsafe { fork() }? {
        ForkResult::Child => {
            child();
            leave(0)
        }
        ForkResult::Parent { child } => Ok(child),
    }
}

/// Ends the process, without running a destructor of anything that it has from its parent.
pub(crate) fn leave(status: libc::c_int) -> ! {
    // SAFETY: _exit(2) takes any number and does not return.
    unsafe { libc::_exit(status) }
}

/// Has the C library use one arena of memory for all threads, in a process that was just forked: the others would each reserve
/// 64 MiB of address space.
pub(crate) fn one_arena() {
    // SAFETY: mallopt(3) changes a setting of the allocator, under the allocator's own lock.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// Puts `descriptor` at `place`, the lowest number, and closes all others. Only for a process that was just forked: nothing that
/// it has from its parent may use a descriptor any more.
///
/// # Errors
/// As `dup2(2)` and `close_range(2)`.
pub(crate) fn keep_only(descriptor: RawFd, place: RawFd) -> Result<(), Errno> {
    let next = libc::c_uint::try_from(place).map_err(|_| Errno::EBADF)?.saturating_add(1);
    // SAFETY: these calls change descriptors of this process alone, and no memory.
    Errno::result(unsafe { libc::dup2(descriptor, place) })?;
    // SAFETY: as above.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, next, libc::c_uint::MAX, 0) };
    match Errno::result(closed) {
        // Linux before 5.9.
        Err(Errno::ENOSYS | Errno::EPERM) => {
            // More than systemd gives to a unit (`DefaultLimitNOFILE=`), and to a login.
            for descriptor in next..=4096 {
                // SAFETY: as above.
                unsafe { libc::close(descriptor.cast_signed()) };
            }
            Ok(())
        }
        result => result.map(drop),
    }
}

/// Takes over a descriptor that came with a message.
pub(crate) fn received(descriptor: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just given this descriptor to this process, which nothing else owns (unix(7), `SCM_RIGHTS`).
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}
