//! Partitions of an image as block devices.

use super::KernelError;
use loopdev::{LoopControl, LoopDevice};
use nix::errno::Errno;
use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

/// Maximum number of attempts to get a free device, since another process may take it first.
const ATTEMPTS: u32 = 64;

/// A range of a file as a read-only block device. It detaches itself when its last user closes it.
#[derive(Debug)]
pub(super) struct PartitionDevice {
    device: LoopDevice,
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
        let control = LoopControl::open().map_err(KernelError::NoLoop)?;
        // A writable descriptor would make the device writable, so the file is opened again, read-only.
        let file = File::open(Path::new("/proc/self/fd").join(file.as_raw_fd().to_string())).map_err(failed)?;
        let mut attempt = 1;
        loop {
            let device = control.next_free().map_err(failed)?;
            let options = device.with().offset(offset).size_limit(len).autoclear(true).read_only(true);
            match options.attach_fd(file.as_raw_fd()) {
                Ok(()) => return Ok(Self { device }),
                // Another process took the device, or an older kernel found pages of it that udev had read.
                Err(error) if attempt < ATTEMPTS && is_passing(&error) => attempt += 1,
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// Returns the path of the device node.
    pub(super) fn path(&self) -> Option<PathBuf> {
        self.device.path()
    }
}

fn is_passing(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EBUSY | Errno::EAGAIN))
}
