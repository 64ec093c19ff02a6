//! Partitions of an image as block devices.

use super::KernelError;
use crate::sys::loop_device;
use nix::errno::Errno;
use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

/// Control node of loop devices.
const CONTROL: &str = "/dev/loop-control";
/// Maximum number of attempts to get a free device, since another process may take it first.
const ATTEMPTS: u32 = 64;

/// A range of a file as a read-only block device. It detaches itself when its last user closes it.
#[derive(Debug)]
pub(super) struct PartitionDevice {
    path: PathBuf,
    /// Keeps the device open.
    _node: File,
}

impl PartitionDevice {
    /// Attaches `len` bytes from `offset` on.
    pub(super) fn attach(
        file: BorrowedFd<'_>,
        partition: &'static str,
        offset: u64,
        len: u64,
    ) -> Result<Self, KernelError> {
        let failed = |cause| KernelError::Loop { partition, cause };
        let control = OpenOptions::new().read(true).write(true).open(CONTROL).map_err(KernelError::NoLoop)?;
        // A writable descriptor would make the device writable, so the file is opened again, read-only.
        let file = File::open(Path::new("/proc/self/fd").join(file.as_raw_fd().to_string())).map_err(failed)?;
        let mut attempt = 1;
        loop {
            let number = loop_device::free(&control).map_err(|error| failed(error.into()))?;
            let path = PathBuf::from(format!("/dev/loop{number}"));
            // Not opened for writing: udev would look at the device again after each time that a writer closes it.
            let node = File::open(&path).map_err(failed)?;
            match loop_device::configure(&node, &file, offset, len) {
                Ok(()) => return Ok(Self { path, _node: node }),
                // Another process took the device.
                Err(Errno::EBUSY) if attempt < ATTEMPTS => attempt += 1,
                Err(error) => return Err(failed(error.into())),
            }
        }
    }

    /// Returns the path of the device node.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}
