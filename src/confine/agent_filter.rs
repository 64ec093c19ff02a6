//! The system calls of the agent itself.
//!
//! They could be filtered by its unit (`SystemCallFilter=` and others). But systemd compiles such a filter for each
//! start of a command, for every architecture that the kernel runs, which takes as long as the rest of a stage without
//! images (`docs/performance.md`). And where no unit starts the agent (yip's stages of Kairos), nothing would be
//! filtered.

use super::filter::{Argument, Filters, Permitted};
use crate::sys;
use nix::libc;
use thiserror::Error;

/// System calls with any arguments. The agent runs no other program, listens nowhere, and reads no other process.
const FREE: &[libc::c_long] = &[
    // Files that are open.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_lseek,
    libc::SYS_copy_file_range,
    libc::SYS_sendfile,
    libc::SYS_splice,
    libc::SYS_fadvise64,
    libc::SYS_ftruncate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fcntl,
    libc::SYS_ioctl,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fchmod,
    libc::SYS_fgetxattr,
    libc::SYS_getdents64,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_memfd_create,
    libc::SYS_close,
    libc::SYS_close_range,
    // Files by name.
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getcwd,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_symlinkat,
    libc::SYS_renameat2,
    libc::SYS_unlinkat,
    libc::SYS_fchmodat,
    // Mounts.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_mount_setattr,
    // Memory.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    // Threads, workers, and how a worker drops its privileges.
    libc::SYS_futex,
    libc::SYS_set_tid_address,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_kill,
    libc::SYS_tgkill,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_prctl,
    libc::SYS_prlimit64,
    libc::SYS_capget,
    libc::SYS_capset,
    // Signals.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    // What the process and the machine are.
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrandom,
    // Time.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    // The sockets of the journal and of workers.
    libc::SYS_connect,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_recvmsg,
    libc::SYS_recvfrom,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    // The signature for dm-verity, in a keyring of a thread.
    libc::SYS_add_key,
    libc::SYS_keyctl,
    // udev's answer to the device mapper.
    libc::SYS_semget,
    libc::SYS_semctl,
    libc::SYS_semop,
    libc::SYS_semtimedop,
];

/// Those that not all architectures have under one name.
#[cfg(target_arch = "x86_64")]
const OF_ARCHITECTURE: &[libc::c_long] = &[
    libc::SYS_renameat,
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_mkdir,
    libc::SYS_mknod,
    libc::SYS_symlink,
    libc::SYS_rename,
    libc::SYS_unlink,
    libc::SYS_rmdir,
    libc::SYS_chmod,
    libc::SYS_dup2,
    libc::SYS_poll,
    libc::SYS_time,
    libc::SYS_arch_prctl,
];
/// `renameat` (`asm-generic/unistd.h`), by which the C library renames files. The crate `libc` has no name for it.
#[cfg(target_arch = "aarch64")]
const OF_ARCHITECTURE: &[libc::c_long] = &[38];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const OF_ARCHITECTURE: &[libc::c_long] = &[];

/// Flags of `clone(2)` that make namespaces. `CLONE_NEWTIME` is none of them: its bit is one of the signal's.
const NAMESPACES: libc::c_int = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;

/// The kernel did not take the filter.
#[derive(Debug, Error)]
#[error("filtering the agent's system calls: {0}")]
pub struct FilterError(String);

/// Restricts all threads of this process, and what they start, to the system calls that the agent needs. Others fail
/// with `EPERM`; those of another architecture (i386) end the process. Privileges cannot be gained any more.
///
/// Compared with what `SystemCallFilter=@system-service @mount`, `RestrictNamespaces=mnt`,
/// `RestrictAddressFamilies=AF_UNIX`, `MemoryDenyWriteExecute=yes`, `LockPersonality=yes`, `RestrictRealtime=yes` and
/// `SystemCallArchitectures=native` permit together, no program can be executed, no memory can be made executable, no
/// socket accepts connections, and no user, group or scheduling policy can be set.
///
/// Does nothing if the kernel has no seccomp.
///
/// # Errors
/// [`FilterError`]. The process is then restricted as before.
pub fn filter_agent() -> Result<(), FilterError> {
    let failed = |error: &dyn std::fmt::Display| FilterError(error.to_string());
    if !sys::filter::is_supported() {
        return Ok(());
    }
    for filter in compile().map_err(|error| failed(&error))? {
        seccompiler::apply_filter_all_threads(&filter).map_err(|error| failed(&error))?;
    }
    Ok(())
}

fn compile() -> Result<Filters, seccompiler::BackendError> {
    let is = |number, mask, value| Argument { number, mask, value };
    let unix = [is(0, -1, libc::AF_UNIX)];
    Permitted::new(FREE.iter().chain(OF_ARCHITECTURE))
        .with(libc::SYS_mmap, &[is(2, libc::PROT_EXEC, 0)])?
        .with(libc::SYS_mprotect, &[is(2, libc::PROT_EXEC, 0)])?
        .with(libc::SYS_clone, &[is(0, NAMESPACES, 0)])?
        // One namespace, in which a thread mounts what it examines.
        .with(libc::SYS_unshare, &[is(0, !libc::CLONE_NEWNS, 0)])?
        .with(libc::SYS_sched_setaffinity, &[is(0, -1, 0)])?
        .with(libc::SYS_socket, &unix)?
        .with(libc::SYS_socketpair, &unix)?
        .compile()
}

#[cfg(test)]
#[path = "agent_filter_tests.rs"]
mod tests;
