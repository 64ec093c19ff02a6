//! Privileges that a worker drops before it reads hostile bytes.

use super::{SOCKET, worker_filter};
use crate::sys::process;
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use std::os::fd::RawFd;

/// Maximum number of descriptors: the socket and images.
const DESCRIPTORS: u64 = 4;
/// Processor time in seconds after which the kernel ends the worker, even if its watching process is gone.
const PROCESSOR: u64 = 3600;

/// Drops all privileges except reading images, computing, and communicating through [`SOCKET`], which becomes `socket`.
///
/// - The process ends with its parent, and cannot be traced or dump its memory.
/// - It has no other descriptor, and can only get more by receiving them (`RLIMIT_NOFILE` and the filter).
/// - It cannot write files (`RLIMIT_FSIZE`) or dump core, has `memory` bytes of address space, and limited processor
///   time.
/// - It has no capabilities, cannot execute programs, and cannot gain privileges.
/// - It has no system calls but those of [`worker_filter`].
///
/// # Errors
/// The step that failed.
pub(super) fn enter(socket: RawFd, memory: u64) -> Result<(), (&'static str, Errno)> {
    let at = |step: &'static str| move |errno: Errno| (step, errno);
    process::keep_only(socket, SOCKET).map_err(at("closing descriptors"))?;
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(at("ending with the agent"))?;
    prctl::set_dumpable(false).map_err(at("refusing to be traced"))?;
    // One arena is enough for the few threads that hash. Each of the others would reserve 64 MiB of address space.
    process::one_arena();
    let limits = [
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_FSIZE, 0),
        (Resource::RLIMIT_NOFILE, DESCRIPTORS),
        (Resource::RLIMIT_AS, memory),
    ];
    for (resource, limit) in limits {
        lower(resource, limit).map_err(at("limiting what it may use"))?;
    }
    lower_processor().map_err(at("limiting what it may use"))?;
    let none = CapabilitySet::empty();
    let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
    set_capabilities(None, none).map_err(|errno| ("dropping capabilities", Errno::from_raw(errno.raw_os_error())))?;
    prctl::set_no_new_privs().map_err(at("forgoing privileges"))?;
    worker_filter::apply().map_err(at("filtering system calls"))
}

/// Lowers the limit of processor time, so that the process ends by `SIGXCPU` and not by `SIGKILL`, which can have any cause:
/// the kernel sends the latter at the hard limit (Linux 6.12, `kernel/time/posix-cpu-timers.c`, `check_process_timers`).
fn lower_processor() -> Result<(), Errno> {
    let (_, now) = getrlimit(Resource::RLIMIT_CPU)?;
    let limit = PROCESSOR.min(now);
    setrlimit(Resource::RLIMIT_CPU, limit.saturating_sub(1).max(1), limit)
}

/// Lowers a limit. A limit that is already lower stays.
fn lower(resource: Resource, limit: u64) -> Result<(), Errno> {
    let (_, now) = getrlimit(resource)?;
    setrlimit(resource, limit.min(now), limit.min(now))
}
