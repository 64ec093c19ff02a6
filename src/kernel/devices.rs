//! Parts of an image as block devices.

use super::KernelError;
use crate::sys::loop_device;
use crate::verify::Rooted;
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
            match loop_device::attach(&device, &file, offset, len) {
                Ok(()) => return Ok(Self { device }),
                // Another process took the device, or an older kernel found pages of it that udev had read.
                Err(Errno::EBUSY | Errno::EAGAIN) if attempt < ATTEMPTS => attempt += 1,
                Err(errno) => return Err(failed(errno.into())),
            }
        }
    }

    fn path(&self) -> Result<PathBuf, KernelError> {
        self.device.path().ok_or(KernelError::NotAFile)
    }
}

/// What dm-verity reads of an image.
#[derive(Debug)]
pub(super) struct ImageDevices {
    data: PartitionDevice,
    /// `None` if the hash tree is on the same device.
    tree: Option<PartitionDevice>,
    tree_start: u64,
}

impl ImageDevices {
    /// Attaches both partitions as one device if they lie so that dm-verity finds the hash tree there, which they do in
    /// images of all known tools: each device costs waiting for the kernel.
    pub(super) fn attach(file: BorrowedFd<'_>, image: Rooted<'_>) -> Result<Self, KernelError> {
        let (root, verity) = (image.root(), image.verity());
        // The first block is the superblock.
        let distance = blocks_between(root.start, verity.start, image.superblock().hash_block_size().into());
        let shared = distance.and_then(|blocks| blocks.checked_add(1)).zip(verity.start.checked_add(verity.len));
        if let Some((tree_start, end)) = shared {
            let data = PartitionDevice::attach(file, "root", root.start, end.saturating_sub(root.start))?;
            return Ok(Self { data, tree: None, tree_start });
        }
        let data = PartitionDevice::attach(file, "root", root.start, image.data_len())?;
        let tree = PartitionDevice::attach(file, "root-verity", verity.start, verity.len)?;
        Ok(Self { data, tree: Some(tree), tree_start: 1 })
    }

    /// Returns the path of the device with the file system.
    pub(super) fn data(&self) -> Result<PathBuf, KernelError> {
        self.data.path()
    }

    /// Returns the path of the device with the hash tree, and the block in which it begins there.
    pub(super) fn tree(&self) -> Result<(PathBuf, u64), KernelError> {
        Ok((self.tree.as_ref().unwrap_or(&self.data).path()?, self.tree_start))
    }
}

/// Returns the distance between two places if the second one is behind the first by whole blocks.
fn blocks_between(first: u64, second: u64, block: u64) -> Option<u64> {
    let distance = second.checked_sub(first).filter(|distance| *distance > 0)?;
    (distance.checked_rem(block)? == 0).then(|| distance.checked_div(block))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_found_on_the_device_of_the_data_if_it_is_behind_them_by_whole_blocks() {
        for (first, second, block, expected) in [
            (1 << 20, 3 << 20, 4096, Some(512)),
            (512, 512 + 4096, 4096, Some(1)),
            (512, 4096, 4096, None),
            (512, 4096, 512, Some(7)),
            (3 << 20, 1 << 20, 4096, None),
            (1 << 20, 1 << 20, 4096, None),
            (0, 4096, 0, None),
        ] {
            assert_eq!(blocks_between(first, second, block), expected, "{first} {second} {block}");
        }
    }
}
