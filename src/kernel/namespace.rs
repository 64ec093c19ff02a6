//! A mount namespace that is private to a thread and ends with it.

use super::KernelError;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::panic::resume_unwind;
use std::thread;

/// Runs `work` in a thread with its own mount namespace.
pub(super) fn enter<T: Send, E: From<KernelError> + Send>(work: impl FnOnce() -> Result<T, E> + Send) -> Result<T, E> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            isolate().map_err(KernelError::Namespace)?;
            work()
        });
        // A panic is passed on to the caller, which confines it to its image.
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

fn isolate() -> Result<(), Errno> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
}
