//! The kernel's say about an image.

use super::cmdline::only_kernel_verifies;
use super::devices::PartitionDevice;
use super::dm_verity::VerityDevice;
use super::tree::MountedTree;
use super::{COMMAND_LINE, KernelError, namespace};
use crate::extension::Compatible;
use crate::verify::{Activate, ActivationError, Look, Rooted};
use ddi::filesystem::Kind;
use std::fs;
use std::os::fd::BorrowedFd;
use std::path::Path;
use sys_mount::{Mount, MountFlags, UnmountFlags};

/// Where the file system is mounted, seen by one thread only.
const MOUNT_POINT: &str = "/run/sextant/look";

/// Activates images through loop and dm-verity and mounts their file systems, after this process has looked into
/// them: the kernel sees nothing that isn't signed, intact, and well-formed as far as we can tell.
#[derive(Debug, Clone, Copy)]
pub struct Activation {
    kernel_only: bool,
}

impl Activation {
    /// Reads the kernel's command line for whose word counts about signatures.
    #[must_use]
    pub fn new() -> Self {
        // Where it can't be read nobody knows that anything else is allowed.
        Self { kernel_only: fs::read_to_string(COMMAND_LINE).map_or(true, |text| only_kernel_verifies(&text)) }
    }

    fn mount(
        self,
        image: Rooted<'_>,
        kind: Kind,
        file: BorrowedFd<'_>,
        look: Look<'_>,
    ) -> Result<Compatible, ActivationError> {
        let kind = kind.to_string();
        let root = PartitionDevice::attach(file, "root", image.root().start, image.data_len())?;
        let verity = PartitionDevice::attach(file, "root-verity", image.verity().start, image.verity().len)?;
        let (Some(data), Some(hash)) = (root.path(), verity.path()) else {
            return Err(KernelError::NotAFile.into());
        };
        let device = VerityDevice::activate(image, &data, &hash, self.kernel_only)?;
        // The device mapper holds them now; they clear themselves when it lets go.
        drop((root, verity));
        let Some(node) = device.path() else { return Err(KernelError::NotAFile.into()) };
        let cannot_mount = |cause| KernelError::Mount { kind: kind.clone(), cause };
        fs::create_dir_all(MOUNT_POINT).map_err(cannot_mount)?;
        let flags = MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
        let mount = Mount::builder().fstype(kind.as_str()).flags(flags);
        let mounted = mount.mount_autodrop(node, MOUNT_POINT, UnmountFlags::DETACH).map_err(cannot_mount)?;
        let tree = MountedTree::open(Path::new(MOUNT_POINT)).map_err(cannot_mount)?;
        let looked = look(&tree);
        drop((tree, mounted));
        Ok(looked?)
    }
}

impl From<KernelError> for ActivationError {
    fn from(error: KernelError) -> Self {
        Self::Kernel(error.into())
    }
}

impl Default for Activation {
    fn default() -> Self {
        Self::new()
    }
}

impl Activate for Activation {
    fn activate(&self, image: Rooted<'_>, kind: Kind, look: Look<'_>) -> Result<Compatible, ActivationError> {
        let file = image.descriptor().ok_or(KernelError::NotAFile)?;
        let outcome = namespace::enter(|| self.mount(image, kind, file, look));
        // Only an empty directory is removed; the next image would make it again.
        let _ = fs::remove_dir(MOUNT_POINT);
        outcome
    }
}
