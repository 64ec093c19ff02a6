//! seccomp(2).

use nix::errno::Errno;
use nix::libc;
use seccompiler::sock_filter;

/// Puts a filter of system calls in place, for this process and what it forks, for good.
///
/// # Errors
/// As `prctl(2)`, `PR_SET_SECCOMP`.
pub(crate) fn install(filter: &[sock_filter]) -> Result<(), Errno> {
    let len = libc::c_ushort::try_from(filter.len()).map_err(|_| Errno::E2BIG)?;
    let program = libc::sock_fprog { len, filter: filter.as_ptr().cast_mut().cast() };
    // By prctl(2), not seccomp(2): systemd's group @system-service does not contain the latter before version 250.
    // SAFETY: the kernel copies the program, `len` instructions that outlive the call; `sock_filter` of seccompiler is
    // the kernel's (`#[repr(C)]`).
    let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    Errno::result(result).map(drop)
}

/// Whether the kernel knows filters at all (prctl(2), `PR_GET_SECCOMP`: `EINVAL` where it doesn't).
pub(crate) fn is_supported() -> bool {
    // SAFETY: it takes no further argument and changes nothing.
    Errno::result(unsafe { libc::prctl(libc::PR_GET_SECCOMP) }).is_ok()
}
