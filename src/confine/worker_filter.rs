//! The system calls of a worker.

use super::SOCKET;
use super::filter::{Argument, Filters, Permitted};
use crate::sys;
use nix::errno::Errno;
use nix::libc;
use std::sync::LazyLock;

/// System calls with any arguments: to read open files, for memory, for threads, and to exit.
const FREE: &[libc::c_long] = &[
    libc::SYS_pread64,
    libc::SYS_close,
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_clock_gettime,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

static FILTERS: LazyLock<Option<Filters>> = LazyLock::new(|| compile().ok());

/// Compiles the filters for [`apply`]. A process does that once for all its workers.
pub(super) fn prepare() {
    LazyLock::force(&FILTERS);
}

/// Restricts this process to the permitted system calls. Others fail with `EPERM`.
///
/// If the kernel has no seccomp (`CONFIG_SECCOMP_FILTER`), the other restrictions still apply.
///
/// # Errors
/// Errors of `prctl(2)` with `PR_SET_SECCOMP`.
pub(super) fn apply() -> Result<(), Errno> {
    for filter in FILTERS.as_ref().ok_or(Errno::ENOTSUP)? {
        match sys::filter::install(filter) {
            Err(Errno::EINVAL) if !sys::filter::is_supported() => return Ok(()),
            result => result?,
        }
    }
    Ok(())
}

fn compile() -> Result<Filters, seccompiler::BackendError> {
    let is = |number, mask, value| Argument { number, mask, value };
    // Questions and answers use one descriptor.
    let socket = [is(0, -1, SOCKET)];
    // Memory cannot be executable or shared: a write to shared memory would change the image.
    let private = [is(2, libc::PROT_EXEC, 0), is(3, libc::MAP_TYPE, libc::MAP_PRIVATE)];
    Permitted::new(FREE)
        .with(libc::SYS_recvmsg, &socket)?
        .with(libc::SYS_sendmsg, &socket)?
        .with(libc::SYS_mmap, &private)?
        .with(libc::SYS_mprotect, &[is(2, libc::PROT_EXEC, 0)])?
        // Threads, but not processes.
        .with(libc::SYS_clone, &[is(0, libc::CLONE_THREAD, libc::CLONE_THREAD)])?
        // Only for the calling thread: otherwise a worker could set the affinity of other processes without
        // capabilities.
        .with(libc::SYS_sched_setaffinity, &[is(0, -1, 0)])?
        // No signals, even to itself: with kill(2) or tgkill(2) a worker could end other processes of root. abort(3)
        // therefore ends by an illegal instruction.
        .compile()
}
