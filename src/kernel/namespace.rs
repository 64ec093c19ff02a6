//! A mount namespace that is private to a thread and ends with it.

use super::KernelError;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::fs;
use std::panic::resume_unwind;
use std::thread;

/// The directory of udev's socket. If udev is there, libdevmapper's protocol makes the process that changes a device
/// wait for udev's confirmation. For a device that lives for milliseconds this is useless, and a slow or stuck udev
/// must not delay the boot. So the directory is hidden in the namespace.
const UDEV: &str = "/run/udev";

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
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    fs::create_dir_all(UDEV).map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some("tmpfs"), UDEV, Some("tmpfs"), flags, Some("size=4k"))
}
