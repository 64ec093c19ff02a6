//! What the process gives up before it reads a byte.

use super::{SOCKET, filter};
use crate::sys::process;
use nix::errno::Errno;
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
    process::keep_only(socket, SOCKET).map_err(at("closing descriptors"))?;
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(at("ending with the agent"))?;
    prctl::set_dumpable(false).map_err(at("refusing to be traced"))?;
    // One arena is enough for the few threads that hash, and the others would each reserve 64 MiB of address space.
    process::one_arena();
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

/// Sets a limit, or leaves one that is lower already.
fn lower(resource: Resource, limit: u64) -> Result<(), Errno> {
    let (_, now) = getrlimit(resource)?;
    setrlimit(resource, limit.min(now), limit.min(now))
}
