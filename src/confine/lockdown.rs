//! What the process gives up before it reads a byte.

use super::{SOCKET, filter};
use nix::errno::Errno;
use nix::libc;
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use std::os::fd::RawFd;

/// Descriptors that it may have: that one, and images that it is handed.
const DESCRIPTORS: u64 = 4;
/// Processor seconds after which the kernel ends it, whatever becomes of the process that watches it.
const PROCESSOR: u64 = 3600;

/// Gives up everything but reading what it is handed, computing, and talking through [`SOCKET`], which becomes `socket`.
///
/// - It ends with the process that made it, and cannot be traced or dump its memory.
/// - No descriptor but that one, and no way to get another one but to be handed it (`RLIMIT_NOFILE`, and the filter).
/// - No file of any size (`RLIMIT_FSIZE`), no core file, `memory` bytes of address space, a bounded processor time.
/// - No capability, none to be gained by executing something, and no way to execute something.
/// - No system call but those of [`filter`].
///
/// # Errors
/// What could not be given up.
pub(super) fn enter(socket: RawFd, memory: u64) -> Result<(), (&'static str, Errno)> {
    let at = |step: &'static str| move |errno: Errno| (step, errno);
    only(socket).map_err(at("closing descriptors"))?;
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(at("ending with the agent"))?;
    prctl::set_dumpable(false).map_err(at("refusing to be traced"))?;
    // One arena is enough for the few threads that hash, and the others would each reserve 64 MiB of address space.
    // SAFETY: mallopt(3) changes a setting of the allocator; no other thread exists in a process that was just forked.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    let limits = [
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_FSIZE, 0),
        (Resource::RLIMIT_NOFILE, DESCRIPTORS),
        (Resource::RLIMIT_CPU, PROCESSOR),
        (Resource::RLIMIT_AS, memory),
    ];
    for (resource, limit) in limits {
        lower(resource, limit).map_err(at("limiting what it may use"))?;
    }
    let none = CapabilitySet::empty();
    let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
    set_capabilities(None, none).map_err(|errno| ("dropping capabilities", Errno::from_raw(errno.raw_os_error())))?;
    prctl::set_no_new_privs().map_err(at("forgoing privileges"))?;
    filter::apply().map_err(at("filtering system calls"))
}

/// Ends the process, without running a destructor of anything that it has from its parent.
pub(super) fn leave() -> ! {
    // SAFETY: _exit(2) takes any number and does not return.
    unsafe { libc::_exit(0) }
}

/// Puts `socket` at [`SOCKET`] and closes everything else.
fn only(socket: RawFd) -> Result<(), Errno> {
    // SAFETY: these calls change descriptors of this process alone, which runs nothing any more that owns one of them.
    unsafe {
        Errno::result(libc::dup2(socket, SOCKET))?;
        close_range(1, libc::c_uint::MAX)
    }
}

/// As `close_range(2)`, or one by one where the kernel has none (Linux before 5.9).
///
/// # Safety
/// Nothing that goes on running may own one of the descriptors.
unsafe fn close_range(first: libc::c_uint, last: libc::c_uint) -> Result<(), Errno> {
    // SAFETY: as the caller promises.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    match Errno::result(closed) {
        Err(Errno::ENOSYS | Errno::EPERM) => {
            // More than systemd gives to a unit (`DefaultLimitNOFILE=`), and to a login.
            for descriptor in first..=last.min(4096) {
                // SAFETY: as the caller promises.
                unsafe { libc::close(descriptor.cast_signed()) };
            }
            Ok(())
        }
        result => result.map(drop),
    }
}

/// Sets a limit, or leaves one that is lower already.
fn lower(resource: Resource, limit: u64) -> Result<(), Errno> {
    let (_, now) = getrlimit(resource)?;
    setrlimit(resource, limit.min(now), limit.min(now))
}
