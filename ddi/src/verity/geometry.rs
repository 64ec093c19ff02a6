//! The geometry of a hash tree: offsets and lengths of its levels.
//!
//! Computed as in cryptsetup's `hash_levels()` and `VERITY_hash_offset_block()` (`lib/verity/verity_hash.c`,
//! `verity.c`) and the kernel's `verity_ctr()` (`drivers/md/dm-verity-target.c`).

/// Length of the superblock in bytes. The rest of its hash block is unused.
pub const SUPERBLOCK_SIZE: usize = 512;

/// One level of a hash tree: consecutive hash blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Number of its first block, in hash blocks from the start of the hash area. The block with the superblock is 0.
    pub first_block: u64,
    /// Number of its hash blocks, at least 1.
    pub blocks: u64,
    /// Offset in the hash area, in bytes.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
}

/// The geometry of data and hash tree that a superblock describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geometry {
    data_len: u64,
    hash_area_len: u64,
    levels: Vec<Level>,
}

impl Geometry {
    /// Computes the geometry. Returns `None` if a length exceeds the maximum file offset (2^63 − 1), or a size is zero.
    ///
    /// Block and digest sizes are powers of two, so digests fill a hash block completely.
    pub(super) fn new(data_block_size: u32, hash_block_size: u32, digest_size: u64, data_blocks: u64) -> Option<Self> {
        let hash_block_size = u64::from(hash_block_size);
        let digests_per_block = hash_block_size.checked_div(digest_size).filter(|count| *count >= 2)?;

        let mut counts = Vec::new();
        let mut below = data_blocks;
        while below > 1 {
            below = below.div_ceil(digests_per_block);
            counts.push(below);
        }

        // The tree begins at the first hash block after the superblock, with its top level.
        let mut first_block = u64::try_from(SUPERBLOCK_SIZE).ok()?.div_ceil(hash_block_size);
        let mut levels = Vec::with_capacity(counts.len());
        for blocks in counts.into_iter().rev() {
            let offset = first_block.checked_mul(hash_block_size)?;
            levels.push(Level { first_block, blocks, offset, len: blocks.checked_mul(hash_block_size)? });
            first_block = first_block.checked_add(blocks)?;
        }
        let data_len = u64::from(data_block_size).checked_mul(data_blocks)?;
        let hash_area_len = first_block.checked_mul(hash_block_size)?;
        let largest = u64::try_from(i64::MAX).ok()?;
        (data_len <= largest && hash_area_len <= largest).then_some(Self { data_len, hash_area_len, levels })
    }

    /// Returns the length in bytes of the data that the tree covers.
    #[must_use]
    pub fn data_len(&self) -> u64 {
        self.data_len
    }

    /// Returns the length in bytes of the superblock's block and the tree.
    #[must_use]
    pub fn hash_area_len(&self) -> u64 {
        self.hash_area_len
    }

    /// Returns the levels in the order in which they are in the hash area: the top level first, the one with the
    /// digests of the data last. There are none for a single data block, whose digest is the root hash.
    #[must_use]
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    fn level_sizes(hash_block_size: u32, digest_size: u64, data_blocks: u64) -> Vec<u64> {
        let geometry = Geometry::new(4096, hash_block_size, digest_size, data_blocks).unwrap();
        geometry.levels().iter().map(|level| level.blocks).collect()
    }

    #[test]
    fn a_level_is_added_when_the_one_below_has_more_than_one_block() {
        assert_eq!(level_sizes(4096, 32, 1), Vec::<u64>::new());
        assert_eq!(level_sizes(4096, 32, 2), [1]);
        assert_eq!(level_sizes(4096, 32, 128), [1]);
        assert_eq!(level_sizes(4096, 32, 129), [1, 2]);
        assert_eq!(level_sizes(4096, 32, 16384), [1, 128]);
        assert_eq!(level_sizes(4096, 32, 16385), [1, 2, 129]);
        assert_eq!(level_sizes(512, 64, 65), [1, 2, 9]);
    }

    #[test]
    fn levels_follow_each_other_without_a_gap_and_end_where_the_area_ends() {
        for hash_block_size in [512, 1024, 4096] {
            for data_blocks in [1, 2, 15, 16, 17, 5000, 1 << 30] {
                let geometry = Geometry::new(1024, hash_block_size, 32, data_blocks).unwrap();
                assert_eq!(geometry.data_len(), data_blocks * 1024);
                let mut end = u64::from(hash_block_size);
                for level in geometry.levels() {
                    assert_eq!(level.offset, end);
                    assert_eq!(level.offset, level.first_block * u64::from(hash_block_size));
                    assert_eq!(level.len, level.blocks * u64::from(hash_block_size));
                    end += level.len;
                }
                assert_eq!(geometry.hash_area_len(), end);
            }
        }
    }

    #[test]
    fn lengths_beyond_the_largest_file_offset_are_refused() {
        let most = (1 << 63) / 4096;
        assert_eq!(Geometry::new(4096, 4096, 32, most), None);
        assert_eq!(Geometry::new(4096, 4096, 32, u64::MAX), None);
        assert_eq!(Geometry::new(512, 512, 64, u64::MAX), None);
        let geometry = Geometry::new(4096, 4096, 32, most - 1).unwrap();
        assert_eq!(geometry.levels().len(), 8);
    }
}
