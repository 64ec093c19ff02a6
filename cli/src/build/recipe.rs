//! From a tree to an image.

use super::format::{Format, Parameters, Place, Written};
use super::tree::{FileTree, Time};
use super::{FinishError, SigningKey, Watch, Workshop};
use ddi::io::Window;
use ddi::write::gpt::FIRST_PARTITION;
use ddi::write::{BuildError, DdiBuilder, derive_uuid};
use ddi::{Architecture, Class, ExtensionName};
use std::path::PathBuf;
use std::sync::Arc;

/// An image that is to be made.
pub struct Recipe<'a> {
    /// The files
    pub tree: &'a FileTree,
    /// The file system
    pub format: Format,
    /// Creation time of the file system
    pub time: Time,
    /// Class
    pub class: Class,
    /// Name
    pub name: &'a ExtensionName,
    /// Architecture of the partition types
    pub architecture: Architecture,
    /// Signs the image; `None` for an image without a signature
    pub key: Option<&'a SigningKey>,
    /// Number of threads, at least 1. The bytes do not depend on it.
    pub threads: usize,
}

/// An image in the output directory.
#[derive(Debug)]
pub struct Made {
    /// Path of the image
    pub path: PathBuf,
    /// Root hash in hexadecimal
    pub root_hash: String,
    /// Remarks for the user
    pub remarks: Vec<String>,
}

impl Recipe<'_> {
    /// Makes the image under `file_name`, verifies it if it is signed, and gives it its name.
    ///
    /// # Errors
    /// [`FinishError`]
    pub fn make(&self, workshop: &Workshop, file_name: &str, watch: &Watch) -> Result<Made, FinishError> {
        let draft = workshop.draft(file_name)?;
        // The file system is written where the first partition is, and not copied.
        let place = Place { path: draft.path(), offset: FIRST_PARTITION };
        let uuid = derive_uuid("file system", self.name.as_str().as_bytes());
        let parameters = Parameters { time: self.time, uuid, threads: self.threads };
        let total = self.format.work(self.tree);
        let progress = |bytes| watch("making the file system", total, bytes);
        let Written { len, remarks } = self.format.write(self.tree, place, parameters, &progress)?;

        let observer = Arc::clone(watch);
        let observer = Arc::new(move |bytes| observer("computing the hash tree", len, bytes));
        let source = draft.source(FIRST_PARTITION.saturating_add(len), observer)?;
        let filesystem = Window::new(&source, FIRST_PARTITION, len).ok_or(BuildError::TooLarge)?;
        let builder = DdiBuilder::new(self.name.as_str()).architecture(self.architecture).threads(self.threads);
        let parts = builder.protect(&filesystem)?;
        let root_hash = parts.root_hash.to_string();
        let path = if let Some(key) = self.key {
            draft.write_around(&parts.sign(&key.signer())?)?;
            workshop.finish(&draft, self.class, self.architecture, key.certificate(), watch)?
        } else {
            draft.write_around(&parts)?;
            workshop.finish_unsigned(&draft, watch)?
        };
        Ok(Made { path, root_hash, remarks })
    }
}
