//! The system call filter of a worker (seccomp(2)).

use super::SOCKET;
use crate::sys;
use nix::errno::Errno;
use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use std::collections::BTreeMap;
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
    // The second filter answers it with ENOSYS, so that the C library falls back to clone(2), whose flags can be
    // filtered.
    libc::SYS_clone3,
];

/// The filters, in the order in which they are installed. If two disagree, the stricter one applies.
static FILTERS: LazyLock<Option<[BpfProgram; 2]>> = LazyLock::new(|| compile().ok());

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

fn compile() -> Result<[BpfProgram; 2], seccompiler::BackendError> {
    let arch: TargetArch = std::env::consts::ARCH.try_into()?;
    let errno = |errno: Errno| SeccompAction::Errno((errno as i32).unsigned_abs());
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = FREE.iter().map(|call| (*call, Vec::new())).collect();
    let number = |value: libc::c_int| u64::from(value.unsigned_abs());
    let is = |argument, mask, value| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(mask), value)
    };
    let masked = |argument, mask, value| -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
        Ok(vec![SeccompRule::new(vec![is(argument, mask, value)?])?])
    };
    // Questions and answers use one descriptor.
    let socket = number(SOCKET);
    rules.insert(libc::SYS_recvmsg, masked(0, u64::from(u32::MAX), socket)?);
    rules.insert(libc::SYS_sendmsg, masked(0, u64::from(u32::MAX), socket)?);
    // Memory cannot be executable or shared: a write to shared memory would change the image.
    let private = [is(2, number(libc::PROT_EXEC), 0)?, is(3, number(libc::MAP_TYPE), number(libc::MAP_PRIVATE))?];
    rules.insert(libc::SYS_mmap, vec![SeccompRule::new(private.to_vec())?]);
    rules.insert(libc::SYS_mprotect, masked(2, number(libc::PROT_EXEC), 0)?);
    // Threads, but not processes.
    let thread = number(libc::CLONE_THREAD);
    rules.insert(libc::SYS_clone, masked(0, thread, thread)?);
    // Only for the calling thread: otherwise a worker could set the affinity of other processes without capabilities.
    rules.insert(libc::SYS_sched_setaffinity, masked(0, u64::from(u32::MAX), 0)?);
    // No signals, even to itself: with kill(2) or tgkill(2) a worker could end other processes of root. abort(3)
    // therefore ends by an illegal instruction.
    let allowed = SeccompFilter::new(rules, errno(Errno::EPERM), SeccompAction::Allow, arch)?;
    let without_clone3 = SeccompFilter::new(
        BTreeMap::from([(libc::SYS_clone3, Vec::new())]),
        SeccompAction::Allow,
        errno(Errno::ENOSYS),
        arch,
    )?;
    Ok([without_clone3.try_into()?, allowed.try_into()?])
}
