//! Hash trees over pseudo-random data, for tests.
#![allow(clippy::unwrap_used)]

use super::{HashAlgorithm, RootHash, Superblock, build};

/// Returns pseudo-random bytes, other ones for each seed.
pub(super) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ seed;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    })
    .take(len)
    .collect()
}

pub(super) struct Image {
    pub(super) data: Vec<u8>,
    pub(super) hash: Vec<u8>,
    pub(super) superblock: Superblock,
    pub(super) root: RootHash,
}

/// Returns an image with other data for each number of blocks.
pub(super) fn image(algorithm: HashAlgorithm, data_block: u32, hash_block: u32, blocks: u64, salt: &[u8]) -> Image {
    let superblock = Superblock::new(algorithm, data_block, hash_block, blocks, salt, [7; 16]).unwrap();
    let data = noise(usize::try_from(superblock.geometry().data_len()).unwrap(), blocks);
    let (root, hash) = build(&data, &superblock, 2).unwrap();
    Image { data, hash, superblock, root }
}
