//! System call filters (seccomp(2)).

use nix::errno::Errno;
use nix::libc;
use seccompiler::sock_filter;

/// Installs a filter of system calls permanently for this process and its children.
///
/// # Errors
/// Errors of `prctl(2)` with `PR_SET_SECCOMP`.
pub(crate) fn install(filter: &[sock_filter]) -> Result<(), Errno> {
    let len = libc::c_ushort::try_from(filter.len()).map_err(|_| Errno::E2BIG)?;
    let program = libc::sock_fprog { len, filter: filter.as_ptr().cast_mut().cast() };
    // By prctl(2), not seccomp(2): the agent's own filter, which a worker has already, permits only the former.
    // SAFETY: the kernel copies the program, `len` instructions that outlive the call; `sock_filter` of seccompiler is
    // the kernel's (`#[repr(C)]`).
    let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    Errno::result(result).map(drop)
}

/// Returns whether the kernel supports filters (prctl(2), `PR_GET_SECCOMP`, which fails with `EINVAL` if it does not).
pub(crate) fn is_supported() -> bool {
    // SAFETY: the call takes no further argument and changes nothing.
    Errno::result(unsafe { libc::prctl(libc::PR_GET_SECCOMP) }).is_ok()
}
