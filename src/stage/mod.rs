//! Giving systemd the images that were verified, and nothing else.

mod custody;
mod ledger;
mod mount_custody;
mod quarantine;
mod stamp;

pub use custody::{CopyCustody, Custody, Holding, InPlaceCustody};
pub use ledger::{Withdrawn, recheck, withdraw};
pub use mount_custody::MountCustody;
pub use quarantine::quarantine;

use crate::io::ReadAt;
use crate::root::Root;
use crate::verify::VerifiedImage;
use anyhow::{Context, Result, bail};
use custody::Way;
use stamp::Stamp;
use std::fs::File;

/// Mode of a staged image.
const MODE: u32 = 0o444;

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

/// Puts a verified image where systemd looks for it, under its final name at once and complete.
///
/// # Errors
/// Where the directory can't be made or the file not be put there; nothing is visible then.
pub fn stage(root: &Root, image: VerifiedImage) -> Result<StagedImage> {
    let directory = image.class().staging_directory();
    let file = format!("{}.raw", image.name());
    let path = format!("{directory}/{file}");
    let context = || format!("staging {path}");
    let (class, name) = (image.class(), image.name().clone());
    ledger::note(root, class, &name).with_context(context)?;
    let target = root.make_directory(directory).with_context(context)?.join(file);
    let (way, source) = image.into_holding().into_way();
    let occupied = match way {
        Way::Nowhere => bail!("staging {path}: it was only looked at"),
        Way::Copy(copy) => {
            copy.persist(&target, MODE).with_context(context)?;
            source.len()
        }
        Way::Mount(mount) => {
            mount.attach(&target).with_context(context)?;
            0
        }
    };
    // What is seen there now is compared with what was verified, by whichever way it came.
    let stamp = Stamp::of(source.file()).with_context(context)?;
    let seen = File::open(&target).and_then(|file| Stamp::of(&file)).with_context(context)?;
    if seen != stamp {
        bail!("staging {path}: it is not the file that was verified");
    }
    ledger::complete(root, class, &name, stamp).with_context(context)?;
    Ok(StagedImage { path, occupied })
}
