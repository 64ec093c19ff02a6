#![allow(clippy::unwrap_used)]
use super::*;
use crate::verity::test_images::{Image, image};
use crate::verity::{HashAlgorithm, RootHash};

/// Data of 300 blocks of 512 bytes under a tree of three levels.
fn tree(blocks: u64) -> (Vec<u8>, Vec<u8>, Superblock, RootHash) {
    let Image { data, hash, superblock, root } = image(HashAlgorithm::Sha256, 512, 512, blocks, b"salt");
    (data, hash, superblock, root)
}

#[test]
fn damaged_blocks_are_counted_from_the_first_to_the_end_of_their_level() {
    let (mut data, mut hash, superblock, _) = tree(300);
    let count = |data: &Vec<u8>, hash: &Vec<u8>, level, first| {
        survey(data, hash, &superblock, level, first).map(|found| (found.blocks, found.are_zero, found.is_complete))
    };
    assert_eq!(count(&data, &hash, 0, 0), None);
    data[7 * 512..9 * 512].fill(0);
    assert_eq!(count(&data, &hash, 0, 7), Some((2, true, true)));
    data[299 * 512 + 511] ^= 1;
    assert_eq!(count(&data, &hash, 0, 7), Some((3, false, true)));
    assert_eq!(count(&data, &hash, 0, 9), Some((1, false, true)));
    // 300 digests of 32 bytes take 19 blocks, these take 2, those are in the top.
    let levels = superblock.geometry().levels();
    assert_eq!(levels.iter().map(|level| level.blocks).collect::<Vec<_>>(), [1, 2, 19]);
    assert_eq!(count(&data, &hash, 1, 0), None);
    let leaf = usize::try_from(levels[2].offset).unwrap();
    hash[leaf + 3 * 512] ^= 1;
    hash[leaf + 18 * 512] ^= 1;
    assert_eq!(count(&data, &hash, 1, 3), Some((2, false, true)));
    assert_eq!(count(&data, &hash, 3, 0), None, "the digest of the top is the root hash");
    assert_eq!(count(&data, &hash, usize::MAX - 1, 0), None);
    // What can't be read ends the search.
    data.truncate(290 * 512);
    // Blocks 7 and 8, and block 48, of which the digest is damaged.
    assert_eq!(count(&data, &hash, 0, 7), Some((3, false, false)));
}

#[test]
fn damaged_blocks_are_counted_in_64_mib_and_no_further() {
    // 64 MiB and two blocks.
    let Image { mut data, hash, superblock, .. } = image(HashAlgorithm::Sha256, 4096, 4096, 16_386, b"");
    for block in [1, 16_384, 16_385] {
        data[block * 4096] ^= 1;
    }
    let count = |first| survey(&data, &hash, &superblock, 0, first).map(|found| (found.blocks, found.is_complete));
    assert_eq!(count(0), Some((1, false)));
    assert_eq!(count(1), Some((2, false)));
    assert_eq!(count(2), Some((2, true)));
}

#[test]
fn a_damaged_top_is_told_from_another_image() {
    let (data, mut hash, superblock, root) = tree(300);
    let top = usize::try_from(superblock.geometry().levels()[0].offset).unwrap();
    hash[top] ^= 1;
    assert!(is_top_damaged(&data, &hash, &superblock, &root));
    let other = RootHash::from_bytes(&[7; 32]).unwrap();
    assert!(!is_top_damaged(&data, &hash, &superblock, &other));
    hash[top + 512] ^= 1;
    assert!(!is_top_damaged(&data, &hash, &superblock, &root));
    let (data, hash, single, root) = tree(1);
    assert!(!is_top_damaged(&data, &hash, &single, &root));
    assert_eq!(survey(&data, &hash, &single, 0, 0), None);
}

#[test]
fn only_sound_blocks_are_handed_out() {
    let (mut data, hash, superblock, _) = tree(300);
    let good = data.clone();
    data[5 * 512 + 9] ^= 1;
    let sound = SoundData::new(&data, &hash, &superblock);
    assert_eq!(sound.len(), 300 * 512);
    let mut buffer = vec![0; 5 * 512];
    sound.read_exact_at(&mut buffer, 0).unwrap();
    assert_eq!(buffer, good[..5 * 512]);
    sound.read_exact_at(&mut buffer[..700], 6 * 512 + 100).unwrap();
    assert_eq!(buffer[..700], good[6 * 512 + 100..][..700]);
    for (offset, len) in [(2560, 1), (3071, 1), (2000, 2000)] {
        let error = sound.read_exact_at(&mut buffer[..len], offset);
        assert_eq!(Damaged::of(&error.unwrap_err()), Some(Damaged { offset: 2560 }), "{offset}");
    }
    assert_eq!(sound.read_exact_at(&mut [0; 2], 300 * 512 - 1).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(Damaged::of(&io::ErrorKind::UnexpectedEof.into()), None);
}

#[test]
fn the_work_of_finding_sound_blocks_is_bounded() {
    let (data, hash, superblock, _) = tree(300);
    let sound = SoundData::new(&data, &hash, &superblock);
    let read = || sound.read_exact_at(&mut [0; 1], 0);
    for _ in 0..HASHED / 512 {
        read().unwrap();
    }
    assert_eq!(Damaged::of(&read().unwrap_err()), None);
}
