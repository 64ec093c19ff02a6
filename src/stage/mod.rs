//! Giving systemd the images that were verified, and nothing else.

mod custody;
mod quarantine;

pub use custody::{CopyCustody, Custody, Holding, InPlaceCustody};
pub use quarantine::quarantine;

use crate::durable;
use crate::root::Root;
use crate::verify::VerifiedImage;
use anyhow::{Context, Result};
use std::path::PathBuf;

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
    let path = format!("{directory}/{}.raw", image.name());
    let target: PathBuf = root.join(&path);
    durable::create_directory(&root.join(directory)).with_context(|| format!("making {directory}"))?;
    let copy = image.into_holding().into_copy().with_context(|| format!("staging {path}: no copy was taken"))?;
    copy.persist(&target, MODE).with_context(|| format!("staging {path}"))?;
    Ok(StagedImage { path })
}
