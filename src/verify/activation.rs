//! Looking into the file system of an image that has been checked.

use super::Rooted;
use crate::extension::Compatible;
use crate::reason::{Reason, Refusal};
use ddi::filesystem::{Filesystem, FilesystemError, Kind, Tree};
use ddi::io::ReadAt;
use ddi::verity::Superblock;
use thiserror::Error;

/// Why an image that is intact can't be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ActivationError {
    /// The file system can't be mounted.
    #[error("mounting its file system: {0}")]
    Filesystem(FilesystemError),
    /// The kernel can't give a device blocks smaller than its own, and those of dm-verity are its data blocks
    /// (Linux 6.12, `verity_io_hints`).
    #[error("mounting its file system: blocks of {found} bytes on a device with blocks of {device}")]
    BlockSize {
        /// Block size of the file system.
        found: u64,
        /// Data block size of the hash tree.
        device: u32,
    },
    /// The kernel refuses it.
    #[error(transparent)]
    Kernel(Box<dyn std::error::Error + Send + Sync>),
    /// What is in it doesn't fit.
    #[error("{}", .0.detail())]
    Refused(#[from] Refusal),
}

impl From<FilesystemError> for ActivationError {
    fn from(cause: FilesystemError) -> Self {
        Self::Filesystem(cause)
    }
}

impl ActivationError {
    /// The rule that was broken.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Filesystem(_) | Self::BlockSize { .. } | Self::Kernel(_) => Reason::NotMountable,
            Self::Refused(refusal) => refusal.reason(),
        }
    }
}

/// What looks into the file system while it is there, and finds out whether it is an extension that fits. It may be called from
/// another thread.
pub type Look<'l> = &'l mut (dyn FnMut(&dyn Tree) -> Result<Compatible, Refusal> + Send);

/// Trial activation: makes the file system of an image readable in the way in which it will be read later, for as long as
/// `look` takes, and leaves nothing behind.
pub trait Activate: Sync {
    /// Activates, looks, deactivates. `kind` is the format of the file system. The result is what `look` found, so an
    /// implementation has to call it.
    ///
    /// # Errors
    /// [`ActivationError`]: the file system's, or what `look` refused.
    fn activate(&self, image: Rooted<'_>, kind: Kind, look: Look<'_>) -> Result<Compatible, ActivationError>;
}

/// Reads the file system in `data` in this process, which needs neither a kernel facility nor a privilege. Returns its format,
/// and what `look` found.
///
/// # Errors
/// [`ActivationError`]: the file system's, or what `look` refused.
pub(super) fn look_in_process(
    data: &dyn ReadAt,
    superblock: &Superblock,
    look: &mut dyn FnMut(&Filesystem<'_>) -> Result<Compatible, Refusal>,
) -> Result<(Kind, Compatible), ActivationError> {
    let filesystem = Filesystem::open(data)?;
    let device = superblock.data_block_size();
    if let Some(found) = filesystem.device_block_size().filter(|size| *size < u64::from(device)) {
        return Err(ActivationError::BlockSize { found, device });
    }
    let compatible = look(&filesystem)?;
    Ok((filesystem.kind(), compatible))
}
