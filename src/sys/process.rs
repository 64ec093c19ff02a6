//! Calls that change the calling process.

use nix::errno::Errno;
use nix::libc;
use nix::unistd::{ForkResult, fork};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Forks this process, and runs `child` in the new one, which then exits.
///
/// `child` must not take a lock that another thread of this process may hold: it must only compute on memory and use
/// what it received, and must not log. It may use the allocator, because the C library resets its locks in the child.
/// Destructors of this process' values do not run in the child.
///
/// # Errors
/// Errors of `fork(2)`.
pub(crate) fn fork_for(child: impl FnOnce()) -> Result<nix::unistd::Pid, Errno> {
    // SAFETY: a lock can at worst cause a deadlock in the child, for which the parent does not wait forever. No memory
    // is shared, and the child exits by _exit(2).
    match unsafe { fork() }? {
        ForkResult::Child => {
            child();
            leave(0)
        }
        ForkResult::Parent { child } => Ok(child),
    }
}

/// Exits the process without running destructors of values from its parent.
pub(crate) fn leave(status: libc::c_int) -> ! {
    // SAFETY: _exit(2) takes any number and does not return.
    unsafe { libc::_exit(status) }
}

/// Makes the C library use one memory arena for all threads of a newly forked process. Each of the others would reserve
/// 64 MiB of address space.
pub(crate) fn one_arena() {
    // SAFETY: mallopt(3) changes a setting of the allocator, under the allocator's own lock.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// Moves `descriptor` to the number `place`, the lowest, and closes all others. Only for a newly forked process: no
/// value from its parent may use a descriptor any more.
///
/// # Errors
/// Errors of `dup2(2)` and `close_range(2)`.
pub(crate) fn keep_only(descriptor: RawFd, place: RawFd) -> Result<(), Errno> {
    let next = libc::c_uint::try_from(place).map_err(|_| Errno::EBADF)?.saturating_add(1);
    // SAFETY: these calls change descriptors of this process only, and no memory.
    Errno::result(unsafe { libc::dup2(descriptor, place) })?;
    // SAFETY: as above.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, next, libc::c_uint::MAX, 0) };
    match Errno::result(closed) {
        // Linux before 5.9.
        Err(Errno::ENOSYS | Errno::EPERM) => {
            // More descriptors than systemd permits a unit (`DefaultLimitNOFILE=`) or a login.
            for descriptor in next..=4096 {
                // SAFETY: as above.
                unsafe { libc::close(descriptor.cast_signed()) };
            }
            Ok(())
        }
        result => result.map(drop),
    }
}

/// Takes ownership of a descriptor that was received with a message.
pub(crate) fn received(descriptor: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just given this descriptor to this process, and no other value owns it (unix(7),
    // `SCM_RIGHTS`).
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}
