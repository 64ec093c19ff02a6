//! Custody by a copy in a private directory: the copy is verified, and renamed to its final path.
//! [`super::MountCustody`] needs no copy.

use crate::durable::Temporary;
use crate::kernel::mounts::DetachedMount;
use crate::policy::Limits;
use crate::reason::{Reason, Refusal};
use crate::root::Root;
use crate::stamp::Stamp;
use crate::verify::{Candidate, Custody, HeldImage, Shortage, Verified};
use anyhow::Context;
use ddi::io::FileSource;
use nix::errno::Errno;
use nix::sys::statvfs::fstatvfs;
use std::cell::Cell;
use std::fs::{self, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// Directory of the copies until they are verified, on the same file system as the staging directories, so that a
/// rename can move them.
const DIRECTORY: &str = "/run/sextant/staging";

/// The backing of bytes that are held for staging.
#[derive(Debug)]
pub enum Backing {
    /// A private copy.
    Copy(Temporary),
    /// A mount of the file.
    Mount(DetachedMount),
}

/// A custody whose images can be staged.
pub trait StagingCustody: Custody<Backing = Backing, Mount = DetachedMount> {
    /// Accounts for the memory in bytes that a staged image occupies permanently.
    fn account(&self, occupied: u64);
}

/// A verified image that can be staged.
pub type Stageable = Verified<Backing, DetachedMount>;

/// Returns a mount, and refuses a copy.
pub(super) fn only_mount(backing: Backing) -> Result<DetachedMount, Backing> {
    match backing {
        Backing::Mount(mount) => Ok(mount),
        copy @ Backing::Copy(_) => Err(copy),
    }
}

/// Copies each image into a private directory.
#[derive(Debug)]
pub struct CopyCustody {
    directory: PathBuf,
    limits: Limits,
    used: Cell<u64>,
}

impl CopyCustody {
    /// Makes an empty private directory.
    ///
    /// # Errors
    /// If the directory cannot be made.
    pub fn new(root: &Root, limits: Limits) -> anyhow::Result<Self> {
        let directory = root.make_directory(DIRECTORY).with_context(|| format!("making {DIRECTORY}"))?;
        // Files that a killed agent left there were never verified.
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("emptying {DIRECTORY}"));
            }
            _ => {}
        }
        fs::create_dir(&directory).with_context(|| format!("making {DIRECTORY}"))?;
        fs::set_permissions(&directory, Permissions::from_mode(0o700))
            .with_context(|| format!("closing {DIRECTORY}"))?;
        Ok(Self { directory, limits, used: Cell::new(0) })
    }

    /// Checks the limit and the free space before anything is written.
    fn check_room(&self, size: u64) -> Result<(), Refusal> {
        if self.used.get().saturating_add(size) > self.limits.memory {
            let left = self.limits.memory.saturating_sub(self.used.get());
            let detail = format_args!("image is {size} bytes; {left} are left for copies");
            return Err(Refusal::new(Reason::TooLarge, detail));
        }
        let error = |error: io::Error| Refusal::new(Reason::NoSpace, format_args!("asking for free space: {error}"));
        let directory = fs::File::open(&self.directory).map_err(error)?;
        let status = fstatvfs(&directory).map_err(|errno| error(errno.into()))?;
        let free = status.blocks_available().saturating_mul(status.fragment_size());
        if size.saturating_add(self.limits.keep_free) > free {
            let keep = self.limits.keep_free;
            let detail = format_args!("image is {size} bytes; /run has {free} free and keeps {keep} of them");
            return Err(Refusal::new(Reason::NoSpace, detail));
        }
        Ok(())
    }

    /// Copies the candidate. The copy is complete and has its final mode, so its stamp stays the same until it is
    /// renamed.
    fn copy(&self, candidate: &Candidate) -> Result<(FileSource, Stamp, Temporary), Refusal> {
        let no_space = |error: io::Error| {
            let reason = if is_full(&error) { Reason::NoSpace } else { Reason::NotStaged };
            Refusal::new(reason, format_args!("making room for the copy: {error}"))
        };
        let unreadable =
            |error: io::Error| Refusal::new(Reason::Unreadable, format_args!("copying the image: {error}"));
        let temporary = Temporary::create(self.directory.join("image")).map_err(no_space)?;
        let size = candidate.size();
        // By copy_file_range(2), which takes less time than reading and writing. Reserving the space before would take a
        // tenth of the time of the copy, and the free space has been checked.
        let copied = io::copy(&mut candidate.source().file().take(size), &mut temporary.file())
            .map_err(|error| if is_full(&error) { no_space(error) } else { unreadable(error) })?;
        if copied != size {
            let detail = format_args!("the image ended after {copied} of {size} bytes while it was copied");
            return Err(Refusal::new(Reason::Unreadable, detail));
        }
        temporary.file().set_permissions(Permissions::from_mode(super::MODE)).map_err(unreadable)?;
        let stamp = Stamp::of(temporary.file()).map_err(|error| Stamp::refusal(&error))?;
        let source = temporary.file().try_clone().and_then(FileSource::new).map_err(unreadable)?;
        Ok((source, stamp, temporary))
    }
}

impl Custody for CopyCustody {
    type Backing = Backing;
    type Mount = DetachedMount;

    fn take(&self, candidate: Candidate) -> Result<HeldImage<Backing>, Box<Shortage>> {
        match self.check_room(candidate.size()).and_then(|()| self.copy(&candidate)) {
            Ok((source, stamp, copy)) => Ok(HeldImage::copied(candidate, source, stamp, Backing::Copy(copy))),
            Err(refusal) => Err(Box::new(Shortage::new(candidate, refusal))),
        }
    }

    fn only_mount(&self, backing: Backing) -> Result<DetachedMount, Backing> {
        only_mount(backing)
    }
}

impl StagingCustody for CopyCustody {
    fn account(&self, occupied: u64) {
        self.used.set(self.used.get().saturating_add(occupied));
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::ENOSPC | Errno::EDQUOT))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    #[test]
    fn copies_take_no_more_memory_than_they_may() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let custody = CopyCustody::new(&root, Limits { memory: 10, keep_free: 0, ..Limits::default() }).unwrap();
        let admit = |custody: &CopyCustody, size| custody.check_room(size).map_err(|refusal| refusal.reason());
        assert_eq!(admit(&custody, 11), Err(Reason::TooLarge));
        assert_eq!(admit(&custody, 10), Ok(()));
        custody.account(4);
        assert_eq!(admit(&custody, 7), Err(Reason::TooLarge));
        assert_eq!(admit(&custody, 6), Ok(()));
        let custody = CopyCustody::new(&root, Limits { keep_free: u64::MAX, ..Limits::default() }).unwrap();
        assert_eq!(admit(&custody, 1), Err(Reason::NoSpace));
    }

    #[test]
    fn a_full_disk_is_told_from_a_broken_one() {
        let found = [Errno::ENOSPC, Errno::EDQUOT, Errno::EIO].map(|errno| is_full(&errno.into()));
        assert_eq!(found, [true, true, false]);
        assert!(!is_full(&io::ErrorKind::UnexpectedEof.into()));
    }
}
