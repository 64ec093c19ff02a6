//! One at a time: `merge` can be called by whoever runs stages, while `stage` is still at work.

use crate::root::Root;
use libc::O_NOFOLLOW;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;

const DIRECTORY: &str = "/run/sextant";
const NAME: &str = "lock";

/// Waits for another run of `stage` or `merge` to end, and keeps others waiting until what is returned is dropped.
///
/// How long a run may take is for its unit to say; the kernel lets go of the lock of one that is killed.
///
/// # Errors
/// As `open(2)` and `flock(2)`.
pub(super) fn exclusive(root: &Root) -> io::Result<File> {
    let path = root.make_directory(DIRECTORY)?.join(NAME);
    // A link in a tree that somebody else laid out must not lead to a file outside of it.
    let lock = OpenOptions::new().write(true).create(true).truncate(false).custom_flags(O_NOFOLLOW).open(path)?;
    lock.lock()?;
    Ok(lock)
}
