//! Mounts of a test's own: private to it, and gone with it.

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::fs;
use std::panic::resume_unwind;
use std::path::Path;
use std::thread;
use support::harness::ignore;

/// Runs `test` in a mount namespace of its own.
pub(crate) fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = thread::spawn(|| {
        if let Err(errno) = unshare(CloneFlags::CLONE_NEWNS) {
            ignore(&format!("no mount namespace: {errno}"));
        }
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        test();
    });
    if let Err(panic) = thread.join() {
        resume_unwind(panic);
    }
}

/// The same where the machine's `/run` is empty and its kernel log can't be written to: neither journald nor udev nor
/// anything else of the machine's is there to be reached.
pub(crate) fn with_empty_run(test: impl FnOnce() + Send + 'static) {
    in_namespace(|| {
        mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), Some("mode=755")).unwrap();
        let kernel_log = Path::new("/dev/kmsg");
        if kernel_log.exists() {
            mount(Some("/dev/null"), kernel_log, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
        }
        test();
    });
}

/// The mounts that this thread sees.
pub(crate) fn mounts() -> String {
    fs::read_to_string("/proc/thread-self/mountinfo").unwrap()
}
