//! Trial activation: reading the file system of an image that has been checked.

use super::Rooted;
use crate::extension::Compatible;
use crate::reason::{Reason, Refusal};
use ddi::filesystem::{Filesystem, FilesystemError, Kind, Tree};
use ddi::io::ReadAt;
use ddi::verity::Superblock;
use thiserror::Error;

/// Errors of a trial activation.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ActivationError {
    /// The file system cannot be read.
    #[error("mounting its file system: {0}")]
    Filesystem(FilesystemError),
    /// The file system's block size is smaller than that of the device. The kernel cannot set it on a dm-verity device,
    /// whose minimum is the data block size (Linux 6.12, `verity_io_hints`).
    #[error("mounting its file system: blocks of {found} bytes on a device with blocks of {device}")]
    BlockSize {
        /// Block size of the file system in bytes.
        found: u64,
        /// Data block size of the hash tree in bytes.
        device: u32,
    },
    /// The kernel refuses the image.
    #[error(transparent)]
    Kernel(Box<dyn std::error::Error + Send + Sync>),
    /// The file system is not an extension for this host.
    #[error("{}", .0.detail())]
    Refused(#[from] Refusal),
}

impl From<FilesystemError> for ActivationError {
    fn from(cause: FilesystemError) -> Self {
        Self::Filesystem(cause)
    }
}

impl ActivationError {
    /// Returns the reason token.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Filesystem(_) | Self::BlockSize { .. } | Self::Kernel(_) => Reason::NotMountable,
            Self::Refused(refusal) => refusal.reason(),
        }
    }
}

/// A function that reads the file system while it is active, and judges whether it is an extension for this host. It
/// may be called from another thread.
pub type Judge<'l> = &'l mut (dyn FnMut(&dyn Tree) -> Result<Compatible, Refusal> + Send);

/// Trial activation: makes the file system of an image readable in the way in which it will be read later, calls
/// `judge`, and leaves nothing behind.
pub trait Activate: Sync {
    /// Activates the image, calls `judge`, and deactivates the image. `kind` is the format of the file system. An
    /// implementation must call `judge`, because its result is the evidence.
    ///
    /// # Errors
    /// [`ActivationError`] of the activation, or the refusal of `judge`.
    fn activate(&self, image: Rooted<'_>, kind: Kind, judge: Judge<'_>) -> Result<Compatible, ActivationError>;
}

/// Opens the file system in `data` in this process, without any kernel facility or privilege, and calls `judge`.
/// Returns the format and the result of `judge`.
///
/// # Errors
/// [`ActivationError`] of the file system, or the refusal of `judge`.
pub(super) fn activate_in_process(
    data: &dyn ReadAt,
    superblock: &Superblock,
    judge: &mut dyn FnMut(&Filesystem<'_>) -> Result<Compatible, Refusal>,
) -> Result<(Kind, Compatible), ActivationError> {
    let filesystem = Filesystem::open(data)?;
    let device = superblock.data_block_size();
    if let Some(found) = filesystem.device_block_size().filter(|size| *size < u64::from(device)) {
        return Err(ActivationError::BlockSize { found, device });
    }
    let compatible = judge(&filesystem)?;
    Ok((filesystem.kind(), compatible))
}
