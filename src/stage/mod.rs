//! Staging of verified images for systemd.

mod copies;
mod custody;
mod ledger;
mod mount_custody;
mod quarantine;

pub use copies::free as free_copies;
pub use custody::{Backing, CopyCustody, Stageable, StagingCustody};
pub use ledger::{Withdrawn, faults, foreign, link_target, recheck, withdraw, withdraw_images};
pub use mount_custody::MountCustody;
pub use quarantine::{quarantine, reject_on_host, take_out};

use crate::kernel::mounts;
use crate::root::Root;
use crate::stamp::Stamp;
use crate::verify::{HeldImage, OnReadImage, Verified, VerifiedImage};
use anyhow::{Context, Result, bail};
use ddi::io::ReadAt;
use std::fs::File;

/// Mode of a staged image.
const MODE: u32 = 0o444;
/// Error for a staged file without the stamp that was compared when it was verified.
const OTHER: &str = "it is not the file that was verified, or was changed since";

/// A staged image.
#[derive(Debug)]
pub struct StagedImage {
    path: String,
    occupied: u64,
}

impl StagedImage {
    /// Returns its path inside the root.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the memory in bytes that it occupies in addition to the original file.
    #[must_use]
    pub fn occupied(&self) -> u64 {
        self.occupied
    }
}

/// Stages a verified image: it appears complete and under its final name. The record for [`recheck`] has the stamp that
/// was compared while the image was verified.
///
/// An image that was only examined has another type, and does not compile here:
///
/// ```compile_fail,E0277
/// use sextant::verify::{Examined, VerifiedImage};
///
/// fn stage(root: &sextant::root::Root, image: VerifiedImage<Examined>) {
///     let _ = sextant::stage::stage(root, image);
/// }
/// ```
///
/// # Errors
/// If the directory or the file cannot be made, or the file changed after it was verified. Nothing is visible then.
pub fn stage(root: &Root, image: impl Into<Stageable>) -> Result<StagedImage> {
    match image.into() {
        Verified::Full(image) => place(root, VerifiedImage::into_held_image(image)),
        Verified::OnRead(image) => place(root, OnReadImage::into_held_image(image).map(Backing::Mount)),
    }
}

fn place(root: &Root, holding: HeldImage<Backing>) -> Result<StagedImage> {
    let directory = holding.class().staging_directory();
    let file = format!("{}.raw", holding.name());
    let path = format!("{directory}/{file}");
    let context = || format!("staging {path}");
    let (class, name) = (holding.class(), holding.name().clone());
    ledger::begin(root, class, &name).with_context(context)?;
    let target = root.make_directory(directory).with_context(context)?.join(file);
    let (backing, source, verified) = holding.into_parts();
    let (occupied, is_same): (_, fn(&Stamp, &Stamp) -> bool) = match backing {
        Backing::Copy(copy) => {
            // Before the rename the whole stamp must be equal.
            if Stamp::of(copy.file()).with_context(context)? != verified {
                bail!("staging {path}: {OTHER}");
            }
            copy.place(&target).with_context(context)?;
            (source.len(), Stamp::is_renamed)
        }
        Backing::Mount(mount) => {
            mount.attach(&target).with_context(context)?;
            (0, Stamp::eq)
        }
    };
    let staged = File::open(&target).and_then(|file| Stamp::of(&file)).map_err(anyhow::Error::from);
    let recorded = staged.and_then(|staged| {
        if !is_same(&staged, &verified) {
            bail!(OTHER);
        }
        Ok(ledger::complete(root, class, &name, staged)?)
    });
    match recorded {
        Ok(()) => Ok(StagedImage { path, occupied }),
        Err(error) => {
            // The record is incomplete, so `merge` would withdraw the image anyway.
            let _ = mounts::detach(&target);
            Err(error).with_context(context)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::policy::Limits;
    use crate::verify::{Candidate, Custody};
    use ddi::Class;

    #[test]
    fn a_staged_copy_takes_memory_for_all_of_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let custody = CopyCustody::new(&root, Limits::default()).unwrap();
        let file = dir.path().join("a.sysext.raw");
        std::fs::write(&file, "12345").unwrap();
        let holding = custody.take(Candidate::open(&file, Class::Sysext).unwrap()).unwrap();
        let staged = place(&root, holding).unwrap();
        assert_eq!((staged.path(), staged.occupied()), ("/run/extensions/a.raw", 5));
        assert_eq!(std::fs::read(dir.path().join("run/extensions/a.raw")).unwrap(), b"12345");
    }
}
