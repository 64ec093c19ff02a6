//! Giving systemd the images that were verified, and nothing else.

mod copies;
mod custody;
mod ledger;
mod mount_custody;
mod quarantine;

pub use copies::free as free_copies;
pub use custody::{CopyCustody, Stageable, StagingCustody, Way};
pub use ledger::{Withdrawn, faults, foreign, link_target, recheck, withdraw, withdraw_images};
pub use mount_custody::MountCustody;
pub use quarantine::{quarantine, reject_on_host, take_out};

use crate::kernel::mounts;
use crate::root::Root;
use crate::stamp::Stamp;
use crate::verify::{Holding, OnReadImage, Verified, VerifiedImage};
use anyhow::{Context, Result, bail};
use ddi::io::ReadAt;
use std::fs::File;

/// Mode of a staged image.
const MODE: u32 = 0o444;
/// What is said where the staged file doesn't have the stamp that was compared when it was verified.
const OTHER: &str = "it is not the file that was verified, or was changed since";

/// An image that systemd will find.
#[derive(Debug)]
pub struct StagedImage {
    path: String,
    occupied: u64,
}

impl StagedImage {
    /// Its path, as seen from inside the root.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Memory that it takes in addition to the file that was found, in bytes.
    #[must_use]
    pub fn occupied(&self) -> u64 {
        self.occupied
    }
}

/// Puts a verified image where systemd looks for it, under its final name at once and complete. What is recorded of it, for
/// [`recheck`], is the stamp that was compared while it was verified.
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
/// Where the directory can't be made or the file not be put there, or it was changed since it was verified; nothing is
/// visible then.
pub fn stage(root: &Root, image: impl Into<Stageable>) -> Result<StagedImage> {
    match image.into() {
        Verified::Full(image) => place(root, VerifiedImage::into_holding(image)),
        Verified::OnRead(image) => place(root, OnReadImage::into_holding(image).map(Way::Mount)),
    }
}

fn place(root: &Root, holding: Holding<Way>) -> Result<StagedImage> {
    let directory = holding.class().staging_directory();
    let file = format!("{}.raw", holding.name());
    let path = format!("{directory}/{file}");
    let context = || format!("staging {path}");
    let (class, name) = (holding.class(), holding.name().clone());
    ledger::note(root, class, &name).with_context(context)?;
    let target = root.make_directory(directory).with_context(context)?.join(file);
    let (way, source, verified) = holding.into_parts();
    let (occupied, is_same): (_, fn(&Stamp, &Stamp) -> bool) = match way {
        Way::Copy(copy) => {
            // Up to the rename the whole stamp holds.
            if Stamp::of(copy.file()).with_context(context)? != verified {
                bail!("staging {path}: {OTHER}");
            }
            copy.place(&target).with_context(context)?;
            (source.len(), Stamp::is_renamed)
        }
        Way::Mount(mount) => {
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
            // The note that should have said what it is doesn't, so that it would be withdrawn in the end anyway.
            let _ = mounts::detach(&target);
            Err(error).with_context(context)
        }
    }
}
