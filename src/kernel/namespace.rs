//! Mounts that nobody else sees and that end with the thread that made them.

use super::KernelError;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::fs;
use std::panic::resume_unwind;
use std::thread;

/// Where udev listens. libdevmapper's protocol makes whoever changes a device wait for udev to say that it has seen
/// the change, if udev is there. A device that lives for milliseconds is none of its business, and neither a slow
/// nor a stuck udev may hold up the boot, so in the namespace it isn't there.
const UDEV: &str = "/run/udev";

/// Runs `work` in a thread with a mount namespace of its own.
pub(super) fn enter<T: Send, E: From<KernelError> + Send>(work: impl FnOnce() -> Result<T, E> + Send) -> Result<T, E> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            isolate().map_err(KernelError::Namespace)?;
            work()
        });
        // A panic goes on in the caller, where it is confined to its image.
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
