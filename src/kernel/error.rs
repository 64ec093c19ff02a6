//! Errors of a trial activation.

use devicemapper::DmError;
use nix::errno::Errno;
use std::io;
use thiserror::Error;

/// Errors of a trial activation.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KernelError {
    /// The mount namespace cannot be made. That needs `CAP_SYS_ADMIN`.
    #[error("making a mount namespace: {0}")]
    Namespace(Errno),
    /// The image is not a file, so it cannot be attached to a loop device.
    #[error("attaching the image: it is not a file")]
    NotAFile,
    /// The kernel has no loop devices (module `loop`).
    #[error("attaching the image: the kernel has no loop devices ({0})")]
    NoLoop(io::Error),
    /// Attaching a loop device failed.
    #[error("attaching the {partition} partition to a loop device: {cause}")]
    Loop {
        /// Name of the partition.
        partition: &'static str,
        /// Error of the kernel.
        cause: io::Error,
    },
    /// The kernel has no device mapper (module `dm_mod`).
    #[error("activating the image: the kernel has no device mapper ({0})")]
    NoDeviceMapper(String),
    /// The kernel has no dm-verity (module `dm_verity`).
    #[error("activating the image: the kernel has no dm-verity")]
    NoVerity,
    /// The kernel must verify the signature and refuses it.
    #[error(
        "activating the image: the kernel does not accept its signature ({cause}), and {demand} requires in-kernel signature verification"
    )]
    Signature {
        /// Error of the kernel.
        cause: String,
        /// Name of the switch that requires in-kernel verification.
        demand: &'static str,
    },
    /// dm-verity refuses the image.
    #[error("activating the image through dm-verity, {step}: {cause}")]
    Verity {
        /// Step that failed.
        step: &'static str,
        /// Error of the kernel.
        cause: String,
    },
    /// The file system cannot be mounted.
    #[error("mounting its {kind} file system: {cause}")]
    Mount {
        /// `erofs` or `squashfs`.
        kind: String,
        /// Error of the kernel.
        cause: io::Error,
    },
}

/// Returns the description of the system error, without the structures that the crate adds.
pub(super) fn describe(error: &DmError) -> String {
    errno(error).map_or_else(|| error.to_string(), |errno| errno.desc().to_owned())
}

/// Returns the error number, `None` if the error does not come from the kernel.
pub(super) fn errno(error: &DmError) -> Option<Errno> {
    match error {
        DmError::Core(devicemapper::errors::Error::Ioctl(_, _, _, errno)) => Some(**errno),
        _ => None,
    }
}
