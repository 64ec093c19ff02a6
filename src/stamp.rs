//! Detection of changes to a file.
//!
//! The kernel sets a file's time of change (`st_ctime`) to the current time when the file is written through a
//! descriptor, truncated, renamed, linked or unlinked, and when its attributes change. No system call sets it to
//! another value. So a stamp detects all of these changes, with three exceptions:
//!
//! - **A write through a shared mapping**: only the first write to each page sets the time. On tmpfs not even that one
//!   does if the page was read through the mapping before (Linux 6.12, `mm/memory.c`, `fault_dirty_shared_page`;
//!   `mm/mmap.c`, `vma_wants_writenotify`; measured on 6.18).
//! - **A write in the same tick of the clock**: up to Linux 6.12 times are those of the last timer interrupt, 1 to 10
//!   ms apart, so a write in the tick in which the stamp was taken may be missed. From 6.13 on, a time that was read is
//!   followed by a later one on tmpfs, ext4, XFS and Btrfs (`FS_MGTIME`), but not on ramfs.
//! - **A change of the clock**: a process that may set the clock can restore an earlier time.
//!
//! Each of them needs a process that is privileged in the initrd or owns the file.

use crate::reason::{Reason, Refusal};
use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::str::FromStr;

/// Identity, size in bytes and times of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: Time,
    changed: Time,
}

/// Seconds since 1970, and nanoseconds.
type Time = (i64, i64);

impl Stamp {
    /// Takes the stamp of an open file.
    ///
    /// # Errors
    /// Errors of `fstat(2)`.
    pub fn of(file: &File) -> io::Result<Self> {
        file.metadata().map(|metadata| Self::from(&metadata))
    }

    /// Returns the refusal of a file whose stamp cannot be taken.
    pub(crate) fn refusal(error: &io::Error) -> Refusal {
        Refusal::new(Reason::Unreadable, format_args!("reading the file's identity and time of change: {error}"))
    }

    /// Checks that an open file still has this stamp.
    ///
    /// # Errors
    /// [`Reason::Unreadable`] if the file changed or `fstat(2)` fails.
    pub(crate) fn check(&self, file: &File) -> Result<(), Refusal> {
        let now = Self::of(file).map_err(|error| Self::refusal(&error))?;
        if now == *self {
            return Ok(());
        }
        let what = if now.size == self.size {
            "it was written to, renamed, or given other attributes".to_owned()
        } else {
            format!("it had {} bytes and has {} now", self.size, now.size)
        };
        Err(Refusal::new(Reason::Unreadable, format_args!("the image changed after it was opened: {what}")))
    }

    /// Returns whether `self` differs from `before` by at most a rename, which sets only the time of change (Linux
    /// 6.12, `fs/libfs.c`, `simple_rename_timestamp`). A write in between would set the time of modification, too.
    pub(crate) fn is_renamed(&self, before: &Self) -> bool {
        Self { changed: before.changed, ..*self } == *before
    }
}

impl From<&Metadata> for Stamp {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, inode, size, modified, changed } = self;
        write!(f, "{device} {inode} {size} {} {} {} {}", modified.0, modified.1, changed.0, changed.1)
    }
}

/// The error for text that is not a stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAStamp;

impl FromStr for Stamp {
    type Err = NotAStamp;

    fn from_str(text: &str) -> Result<Self, NotAStamp> {
        let mut words = text.split_ascii_whitespace();
        let mut next = || words.next().ok_or(NotAStamp);
        let number = |text: &str| text.parse().map_err(|_| NotAStamp);
        let time = |text: &str| text.parse().map_err(|_| NotAStamp);
        let stamp = Self {
            device: number(next()?)?,
            inode: number(next()?)?,
            size: number(next()?)?,
            modified: (time(next()?)?, time(next()?)?),
            changed: (time(next()?)?, time(next()?)?),
        };
        if words.next().is_some() { Err(NotAStamp) } else { Ok(stamp) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_rename_is_told_from_a_write() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name| dir.path().join(name);
        let stamp = |name| File::open(path(name)).and_then(|file| Stamp::of(&file)).unwrap();
        std::fs::write(path("a"), "content").unwrap();
        let before = stamp("a");
        // Wait longer than a tick of the clock.
        std::thread::sleep(std::time::Duration::from_millis(20));
        std::fs::rename(path("a"), path("b")).unwrap();
        assert!(stamp("b").is_renamed(&before));
        std::fs::write(path("b"), "CONTENT").unwrap();
        assert!(!stamp("b").is_renamed(&before), "a write of the same length");
        std::fs::copy(path("b"), path("c")).unwrap();
        assert!(!stamp("c").is_renamed(&stamp("b")), "another file");
    }

    #[test]
    fn a_stamp_survives_being_written_down() {
        let file = tempfile::tempfile().unwrap();
        let stamp = Stamp::of(&file).unwrap();
        assert_eq!(stamp.to_string().parse(), Ok(stamp));
        for text in ["", "1 2 3 4 5 6", "1 2 3 4 5 6 7 8", "1 2 3 4 5 6 x", "-1 2 3 4 5 6 7"] {
            assert_eq!(text.parse::<Stamp>(), Err(NotAStamp), "{text}");
        }
    }
}
