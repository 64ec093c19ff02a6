//! Free space of a partition.

use nix::sys::statfs::{MSDOS_SUPER_MAGIC, statfs};
use nix::sys::statvfs::statvfs;
use std::io;
use std::path::Path;

/// Largest file that FAT can hold, in bytes (Microsoft, "FAT File System Specification" 1.03: sizes have 32 bits).
const FAT_MAX_FILE: u64 = u32::MAX as u64;

/// Free space of a file system, and its unit of allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Free space in bytes.
    pub free: u64,
    /// Free or not, in bytes.
    pub size: u64,
    /// Size of a cluster in bytes.
    pub cluster: u64,
    /// Whether the file system is FAT.
    pub fat: bool,
}

impl Space {
    /// Returns the space of the file system at `path`.
    ///
    /// # Errors
    /// As `statvfs(3)`.
    pub fn of(path: &Path) -> io::Result<Self> {
        let found = statvfs(path)?;
        let cluster = found.fragment_size().max(1);
        let fat = statfs(path)?.filesystem_type() == MSDOS_SUPER_MAGIC;
        let bytes = |blocks: u64| blocks.saturating_mul(cluster);
        Ok(Self { free: bytes(found.blocks_available()), size: bytes(found.blocks()), cluster, fat })
    }

    /// Returns the space in bytes for files of these sizes and a number of new directories. Each directory may grow by one
    /// cluster.
    #[must_use]
    pub fn needed(self, sizes: impl IntoIterator<Item = u64>, directories: u64) -> u64 {
        let files = sizes.into_iter().map(|size| size.div_ceil(self.cluster).saturating_mul(self.cluster));
        let directories = directories.saturating_mul(2).saturating_mul(self.cluster);
        files.fold(directories, u64::saturating_add)
    }

    /// Returns whether the file system supports a file of `size` bytes.
    #[must_use]
    pub fn can_hold(self, size: u64) -> bool {
        !self.fat || size <= FAT_MAX_FILE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_take_whole_clusters() {
        let space = Space { free: 0, size: 0, cluster: 4096, fat: true };
        assert_eq!(space.needed([1, 4096, 4097], 1), (1 + 1 + 2 + 2) * 4096);
        assert_eq!(space.needed([u64::MAX - 4096, u64::MAX - 4096], u64::MAX), u64::MAX);
        assert!(space.can_hold(u64::from(u32::MAX)) && !space.can_hold(1 << 32));
        assert!(Space { fat: false, ..space }.can_hold(1 << 32));
    }
}
