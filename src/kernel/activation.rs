//! Trial activation: the kernel mounts an image once before it is staged.

use super::cmdline::only_kernel_verifies;
use super::devices::ImageDevices;
use super::dm_verity::VerityDevice;
use super::tree::MountedTree;
use super::{COMMAND_LINE, KernelError, namespace};
use crate::extension::Compatible;
use crate::verify::{Activate, ActivationError, Judge, Rooted};
use ddi::filesystem::Kind;
use std::fs;
use std::os::fd::BorrowedFd;
use std::path::Path;
use sys_mount::{Mount, MountFlags, UnmountFlags};

/// Mount point of the file system, visible to one thread only.
const MOUNT_POINT: &str = "/run/sextant/look";

/// Activates images through loop devices and dm-verity, and mounts their file systems. The agent has verified an image
/// before, so the kernel reads only data that is signed, intact and, as far as the agent can tell, well-formed.
#[derive(Debug, Clone, Copy)]
pub struct Activation {
    kernel_only: bool,
}

impl Activation {
    /// Reads from the kernel's command line whether only the kernel may verify signatures.
    #[must_use]
    pub fn new() -> Self {
        // If it cannot be read, the stricter rule applies.
        Self { kernel_only: fs::read_to_string(COMMAND_LINE).map_or(true, |text| only_kernel_verifies(&text)) }
    }

    fn mount(
        self,
        image: Rooted<'_>,
        kind: Kind,
        file: BorrowedFd<'_>,
        judge: Judge<'_>,
    ) -> Result<Compatible, ActivationError> {
        let kind = kind.to_string();
        let devices = ImageDevices::attach(file, image)?;
        let device = VerityDevice::activate(image, &devices, self.kernel_only)?;
        // The device mapper keeps these devices open. They detach themselves when it closes them.
        drop(devices);
        let Some(node) = device.path() else { return Err(KernelError::NotAFile.into()) };
        let cannot_mount = |cause| KernelError::Mount { kind: kind.clone(), cause };
        fs::create_dir_all(MOUNT_POINT).map_err(cannot_mount)?;
        let flags = MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
        let mount = Mount::builder().fstype(kind.as_str()).flags(flags);
        let mounted = mount.mount_autodrop(node, MOUNT_POINT, UnmountFlags::DETACH).map_err(cannot_mount)?;
        let tree = MountedTree::open(Path::new(MOUNT_POINT)).map_err(cannot_mount)?;
        let judged = judge(&tree);
        drop((tree, mounted));
        Ok(judged?)
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
    fn activate(&self, image: Rooted<'_>, kind: Kind, judge: Judge<'_>) -> Result<Compatible, ActivationError> {
        let file = image.descriptor().ok_or(KernelError::NotAFile)?;
        let outcome = namespace::enter(|| self.mount(image, kind, file, judge));
        // This removes only an empty directory. The next image would make it again.
        let _ = fs::remove_dir(MOUNT_POINT);
        outcome
    }
}
