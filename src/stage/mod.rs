//! Giving systemd the images that were verified, and nothing else.

mod custody;
mod ledger;
mod mount_custody;
mod quarantine;

pub use custody::{CopyCustody, Custody, Holding, InPlaceCustody};
pub use ledger::{Withdrawn, recheck, withdraw};
pub use mount_custody::MountCustody;
pub use quarantine::quarantine;

use crate::extension::ExtensionName;
use crate::image::Class;
use crate::io::{FileSource, ReadAt};
use crate::kernel::mounts;
use crate::root::Root;
use crate::stamp::Stamp;
use crate::verify::VerifiedImage;
use anyhow::{Context, Result, bail};
use custody::Way;
use std::fs::File;
use std::path::Path;

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
    match vouch(root, class, &name, &source, &target) {
        Ok(()) => Ok(StagedImage { path, occupied }),
        Err(error) => {
            // The note that should have said what it is doesn't, so that it would be withdrawn in the end anyway.
            let _ = mounts::detach(&target);
            Err(error).with_context(context)
        }
    }
}

/// Compares what is seen at `target` now with what was verified, by whichever way it came, and notes what that is.
fn vouch(root: &Root, class: Class, name: &ExtensionName, source: &FileSource, target: &Path) -> Result<()> {
    let stamp = Stamp::of(source.file())?;
    if File::open(target).and_then(|file| Stamp::of(&file))? != stamp {
        bail!("it is not the file that was verified");
    }
    Ok(ledger::complete(root, class, name, stamp)?)
}
