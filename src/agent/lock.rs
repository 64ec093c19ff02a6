//! Serializes `stage`, `merge` and `confirm`: `merge` can be called by a stage runner while `stage` is still at work.

use crate::report;
use crate::root::Root;
use anyhow::{Context, Result, bail};
use nix::fcntl::OFlag;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;

const DIRECTORY: &str = "/run/sextant";
const NAME: &str = "lock";
/// Of the owner alone: who can open the file, be it for reading, can hold the lock (flock(2)).
const MODE: u32 = 0o600;

/// Waits for another run to end, and keeps others waiting until what is returned is dropped.
///
/// How long a run may take is for its unit to say; the kernel lets go of the lock of one that is killed.
///
/// # Errors
/// If the file can't be opened or locked. The caller must then leave everything as it is.
pub(super) fn exclusive(root: &Root) -> Result<File> {
    let opening = || format!("opening {DIRECTORY}/{NAME}");
    let path = root.make_directory(DIRECTORY).with_context(|| format!("creating {DIRECTORY}"))?.join(NAME);
    // In a tree that others laid out a link must not lead to a file outside of it, nor a FIFO make us wait.
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false).mode(MODE).custom_flags(flags);
    let lock = options.open(path).with_context(opening)?;
    if !lock.metadata().with_context(opening)?.is_file() {
        bail!("{}: not a regular file", opening());
    }
    match lock.try_lock() {
        Ok(()) => return Ok(lock),
        Err(TryLockError::WouldBlock) => report::tell_terminal("waiting for another run of sextant-agent"),
        Err(TryLockError::Error(_)) => {}
    }
    lock.lock().with_context(|| format!("locking {DIRECTORY}/{NAME}"))?;
    Ok(lock)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn only_the_owner_can_hold_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let lock = exclusive(&root).unwrap();
        let path = dir.path().join("run/sextant/lock");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let other = File::open(&path).unwrap();
        assert!(matches!(other.try_lock(), Err(TryLockError::WouldBlock)));
        drop(lock);
        other.try_lock().unwrap();
    }

    #[test]
    fn what_is_no_file_is_neither_followed_nor_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let path = dir.path().join("run/sextant/lock");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(dir.path().join("outside"), &path).unwrap();
        let error = exclusive(&root).unwrap_err();
        assert!(format!("{error:#}").starts_with("opening /run/sextant/lock: "), "{error:#}");
        assert!(!dir.path().join("outside").exists());
        fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(exclusive(&root).unwrap_err().to_string(), "opening /run/sextant/lock: not a regular file");
    }
}
