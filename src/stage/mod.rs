//! Giving systemd the images that were verified, and nothing else.

mod custody;
mod ledger;
mod quarantine;

pub use custody::{CopyCustody, Custody, Holding, InPlaceCustody};
pub use ledger::withdraw;
pub use quarantine::quarantine;

use crate::root::Root;
use crate::verify::VerifiedImage;
use anyhow::{Context, Result};

/// Mode of a staged image.
const MODE: u32 = 0o444;

/// An image that systemd will find.
#[derive(Debug)]
pub struct StagedImage {
    path: String,
}

impl StagedImage {
    /// Its path, as seen from inside the root.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
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
    ledger::note(root, image.class(), image.name()).with_context(context)?;
    let target = root.make_directory(directory).with_context(context)?.join(file);
    let copy = image.into_holding().into_copy().context("no copy was taken").with_context(context)?;
    copy.persist(&target, MODE).with_context(context)?;
    Ok(StagedImage { path })
}
