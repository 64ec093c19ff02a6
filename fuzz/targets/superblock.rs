//! The superblock of dm-verity.
#![no_main]

use ddi::verity::{MAX_SALT_SIZE, SUPERBLOCK_SIZE, Superblock};
use libfuzzer_sys::fuzz_target;
use sextant_fuzz as _;

fuzz_target!(|data: &[u8]| {
    let Ok(superblock) = Superblock::parse(data) else { return };
    // Every byte has been understood.
    assert_eq!(superblock.to_bytes().as_slice(), &data[..SUPERBLOCK_SIZE]);
    assert!(superblock.salt().len() <= MAX_SALT_SIZE);
    let block = u64::from(superblock.hash_block_size());
    let geometry = superblock.geometry();
    assert_eq!(geometry.data_len(), superblock.data_blocks() * u64::from(superblock.data_block_size()));
    let mut next = geometry.levels().first().map_or(geometry.hash_area_len(), |top| top.offset);
    assert!(next >= SUPERBLOCK_SIZE as u64);
    for level in geometry.levels() {
        assert_eq!((level.offset, level.len), (next, level.blocks * block));
        next += level.len;
    }
    assert_eq!(next, geometry.hash_area_len());
});
