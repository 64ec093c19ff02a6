//! Custody without a copy: a read-only mount of the file that is verified.
//!
//! Three facts together ensure that the verified bytes are the merged bytes:
//!
//! - The mount is made from the open file before it is verified. No name is looked up again, so replacing the file has
//!   no effect.
//! - The file's stamp is taken before the first byte is read, and compared after verification
//!   ([`HeldImage::check_unchanged`]), after staging, and again at the end of the initrd ([`super::recheck`]). A write
//!   through a descriptor in the meantime makes the file unusable. `src/stamp.rs` lists the changes that a stamp cannot
//!   detect, such as a write through an existing mapping.
//! - Afterwards the initrd is deleted, and the mount is the only name of the file.
//!
//! In addition, dm-verity checks every block again when it is read.

use super::custody::{Backing, CopyCustody, StagingCustody, only_mount};
use crate::kernel::mounts::{DetachedMount, Use};
use crate::verify::{Candidate, Custody, HeldImage, Shortage};
use ddi::text::Message;

/// Mounts each image if that is possible, else copies it.
#[derive(Debug)]
pub struct MountCustody {
    copies: CopyCustody,
}

impl MountCustody {
    /// Makes a custody that uses `copies` where a mount is impossible.
    #[must_use]
    pub fn new(copies: CopyCustody) -> Self {
        Self { copies }
    }
}

impl Custody for MountCustody {
    type Backing = Backing;
    type Mount = DetachedMount;

    fn take(&self, candidate: Candidate) -> Result<HeldImage<Backing>, Box<Shortage>> {
        match DetachedMount::of(candidate.source().file(), Use::Data) {
            Ok(mount) => Ok(HeldImage::of(candidate, Backing::Mount(mount))),
            Err(error) => {
                let remark = format_args!("staged as a copy, because it cannot be mounted: {error}");
                Ok(self.copies.take(candidate)?.with_remark(Message::new(remark)))
            }
        }
    }

    fn only_mount(&self, backing: Backing) -> Result<DetachedMount, Backing> {
        only_mount(backing)
    }
}

impl StagingCustody for MountCustody {
    fn account(&self, occupied: u64) {
        self.copies.account(occupied);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::policy::Limits;
    use crate::root::Root;
    use ddi::Class;

    #[test]
    fn what_is_staged_counts_for_the_copies() {
        let dir = tempfile::tempdir().unwrap();
        let copies = CopyCustody::new(
            &Root::open(dir.path()).unwrap(),
            Limits { memory: 10, keep_free: 0, ..Limits::default() },
        );
        let custody = MountCustody::new(copies.unwrap());
        let path = dir.path().join("image.sysext.raw");
        std::fs::write(&path, "12345678").unwrap();
        let take = || custody.copies.take(Candidate::open(&path, Class::Sysext).unwrap()).is_ok();
        assert!(take());
        custody.account(3);
        assert!(!take());
    }
}
