//! Why the kernel doesn't take an image.

use devicemapper::DmError;
use nix::errno::Errno;
use std::io;
use thiserror::Error;

/// Why the kernel doesn't take an image.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KernelError {
    /// Mounts of its own need `CAP_SYS_ADMIN`.
    #[error("making a mount namespace: {0}")]
    Namespace(Errno),
    /// Only files can be attached.
    #[error("attaching the image: it is not a file")]
    NotAFile,
    /// No loop devices: module `loop`.
    #[error("attaching the image: the kernel has no loop devices ({0})")]
    NoLoop(io::Error),
    /// Attaching a loop device.
    #[error("attaching the {partition} partition to a loop device: {cause}")]
    Loop {
        /// Which.
        partition: &'static str,
        /// What the kernel said.
        cause: io::Error,
    },
    /// No device mapper: module `dm_mod`.
    #[error("activating the image: the kernel has no device mapper ({0})")]
    NoDeviceMapper(String),
    /// No dm-verity: module `dm_verity`.
    #[error("activating the image: the kernel has no dm-verity")]
    NoVerity,
    /// The kernel must check the signature and doesn't accept it.
    #[error(
        "activating the image: the kernel does not accept its signature ({cause}), and {demand} requires in-kernel signature verification"
    )]
    Signature {
        /// What the kernel said.
        cause: String,
        /// What forbids everything else.
        demand: &'static str,
    },
    /// dm-verity refuses.
    #[error("activating the image through dm-verity, {step}: {cause}")]
    Verity {
        /// What was being done.
        step: &'static str,
        /// What the kernel said.
        cause: String,
    },
    /// The file system can't be mounted.
    #[error("mounting its {kind} file system: {cause}")]
    Mount {
        /// `erofs` or `squashfs`.
        kind: String,
        /// What the kernel said.
        cause: io::Error,
    },
}

/// The system's word for what went wrong, without the dump of structures that the crate adds.
pub(super) fn describe(error: &DmError) -> String {
    errno(error).map_or_else(|| error.to_string(), |errno| errno.desc().to_owned())
}

/// The error number, if it was the kernel that refused.
pub(super) fn errno(error: &DmError) -> Option<Errno> {
    match error {
        DmError::Core(devicemapper::errors::Error::Ioctl(_, _, _, errno)) => Some(**errno),
        _ => None,
    }
}
