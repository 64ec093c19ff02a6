//! Custody without a copy: a read-only mount of the very file that is verified.
//!
//! Three things together make the bytes that were verified the bytes that are merged:
//!
//! - The mount is made of the open file before it is verified, so no name is looked up again: who puts another file
//!   in its place changes nothing.
//! - The file's stamp of before the first byte was read is compared after verifying ([`Holding::check_unchanged`]), after
//!   staging, and once more at the end of the initrd ([`super::recheck`]). A write through a descriptor in the meantime
//!   makes the file unusable; what a stamp can't notice, such as a write through a mapping that exists already, is listed in
//!   `src/stamp.rs`.
//! - After that the initrd is gone, and the mount is the only name that is left.
//!
//! And whatever happens then, every block is checked again by dm-verity when it is read.

use super::custody::{CopyCustody, StagingCustody, Way, only_mount};
use crate::kernel::mounts::{DetachedMount, Use};
use crate::verify::{Candidate, Custody, Holding, Shortage};
use ddi::text::Message;

/// Mounts each image where that is possible, and copies it where it isn't.
#[derive(Debug)]
pub struct MountCustody {
    copies: CopyCustody,
}

impl MountCustody {
    /// Copies are taken by `copies`.
    #[must_use]
    pub fn new(copies: CopyCustody) -> Self {
        Self { copies }
    }
}

impl Custody for MountCustody {
    type Way = Way;
    type Mount = DetachedMount;

    fn take(&self, candidate: Candidate) -> Result<Holding<Way>, Box<Shortage>> {
        match DetachedMount::of(candidate.source().file(), Use::Data) {
            Ok(mount) => Ok(Holding::of(candidate, Way::Mount(mount))),
            Err(error) => {
                let remark = format_args!("staged as a copy, because it cannot be mounted: {error}");
                Ok(self.copies.take(candidate)?.with_remark(Message::new(remark)))
            }
        }
    }

    fn only_mount(&self, way: Way) -> Result<DetachedMount, Way> {
        only_mount(way)
    }
}

impl StagingCustody for MountCustody {
    fn settle(&self, occupied: u64) {
        self.copies.settle(occupied);
    }
}
