use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;
use crate::verity::test_images::{Image, image, noise};
use crate::verity::{HashAlgorithm, build};

impl Image {
    fn new(algorithm: HashAlgorithm, data_block: u32, hash_block: u32, blocks: u64) -> Self {
        image(algorithm, data_block, hash_block, blocks, b"salt")
    }

    fn small() -> Self {
        // Three levels: 1, 5 and 75 blocks of 16 digests.
        Self::new(HashAlgorithm::Sha256, 512, 512, 1200)
    }

    fn open(&self) -> Result<CheckedData<&Vec<u8>, &Vec<u8>>, TreeError> {
        self.open_as(self.superblock.clone())
    }

    fn open_as(&self, superblock: Superblock) -> Result<CheckedData<&Vec<u8>, &Vec<u8>>, TreeError> {
        CheckedData::open(&self.data, &self.hash, superblock, self.root.clone())
    }
}

fn read(data: &dyn ReadAt, offset: usize, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    data.read_exact_at(&mut bytes, u64::try_from(offset).unwrap()).map(|()| bytes)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_read_is_the_data_and_each_block_counts_once(
        algorithm in prop::sample::select(HashAlgorithm::ALL.to_vec()),
        data_exponent in 9_u32..=12,
        hash_exponent in 9_u32..=12,
        blocks in prop_oneof![1_u64..20, 1_u64..700],
        places in prop::collection::vec((any::<prop::sample::Index>(), 1_usize..20_000), 1..8),
    ) {
        let image = Image::new(algorithm, 1 << data_exponent, 1 << hash_exponent, blocks);
        let checked = image.open().unwrap();
        prop_assert_eq!(checked.len(), image.data.len() as u64);
        prop_assert_eq!(checked.checked_len(), 1 << data_exponent);
        for (place, len) in places {
            let offset = place.index(image.data.len());
            let len = len.min(image.data.len() - offset);
            prop_assert!(read(&checked, offset, len).unwrap() == image.data[offset..offset + len]);
        }
        checked.check(0..u64::MAX).unwrap();
        prop_assert_eq!(checked.checked_len(), image.data.len() as u64);
        prop_assert!(read(&checked, image.data.len(), 1).is_err());
        prop_assert!(checked.take_fault().is_none());
    }
}

#[test]
fn a_damaged_block_is_noticed_where_it_is_read_and_nowhere_else() {
    let mut image = Image::small();
    image.data[600 * 512 + 7] ^= 1;
    let checked = image.open().unwrap();
    assert!(read(&checked, 0, 600 * 512).unwrap() == image.data[..600 * 512]);
    assert!(checked.take_fault().is_none());
    let error = read(&checked, 599 * 512, 1024).unwrap_err();
    assert!(error.to_string().contains("block 600 of level 0"), "{error}");
    assert!(read(&checked, 601 * 512, 512).is_ok());
    let fault = checked.take_fault().unwrap();
    assert!(matches!(fault, TreeError::Mismatch { level: 0, block: 600, offset: 307_200 }), "{fault}");
    assert!(matches!(checked.check(0..u64::MAX), Err(TreeError::Mismatch { level: 0, block: 600, .. })));
}

#[test]
fn every_byte_of_the_tree_is_checked_before_the_data() {
    let mut image = Image::small();
    for position in 512..image.hash.len() {
        image.hash[position] ^= 0x80;
        assert!(image.open().is_err(), "byte {position}");
        image.hash[position] ^= 0x80;
    }
    let other = Image::new(HashAlgorithm::Sha256, 512, 512, 1201);
    image.root = other.root;
    assert!(matches!(image.open(), Err(TreeError::RootMismatch { .. })));
}

#[test]
fn the_number_of_blocks_is_that_of_the_tree() {
    // All of these numbers give the same number of levels, and some the same number of blocks in each.
    for (real, others) in [(1200, vec![1184, 1185, 1199, 1201, 1216, 1217]), (16, vec![2, 15]), (15, vec![14, 16])] {
        let image = Image::new(HashAlgorithm::Sha256, 512, 512, real);
        for claimed in others {
            let superblock = Superblock::new(HashAlgorithm::Sha256, 512, 512, claimed, b"salt", [7; 16]).unwrap();
            let mut longer = Image { data: image.data.clone(), hash: image.hash.clone(), ..Image::small() };
            longer.root = image.root.clone();
            longer.data.resize(longer.data.len().max(usize::try_from(claimed * 512).unwrap()), 0);
            longer.hash.resize(longer.hash.len() + 512, 0);
            assert!(longer.open_as(superblock).is_err(), "{claimed} blocks in a tree of {real}");
        }
    }
}

/// An attacker with write access to the disk: from some read on, other bytes are returned.
struct Changing<'a> {
    good: &'a [u8],
    bad: &'a [u8],
    reads: &'a AtomicU64,
    from: u64,
}

impl ReadAt for Changing<'_> {
    fn len(&self) -> u64 {
        self.good.len() as u64
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let now = self.reads.fetch_add(1, Ordering::Relaxed);
        if now < self.from { self.good } else { self.bad }.read_exact_at(buf, offset)
    }
}

#[test]
fn whenever_the_disk_changes_no_other_byte_is_ever_read() {
    let image = Image::small();
    let other = Image { data: noise(image.data.len(), 99), ..Image::small() };
    // A complete and consistent image of the attacker, which replaces the good one.
    let (_, hash) = build(&other.data, &other.superblock, 2).unwrap();
    let reads = AtomicU64::new(0);
    let run = |from: u64| -> Option<Vec<Vec<u8>>> {
        reads.store(0, Ordering::Relaxed);
        let data = Changing { good: &image.data, bad: &other.data, reads: &reads, from };
        let tree = Changing { good: &image.hash, bad: &hash, reads: &reads, from };
        let checked = CheckedData::open(data, tree, image.superblock.clone(), image.root.clone()).ok()?;
        (0..8).map(|piece| read(&checked, piece * 70_000, 60_000).ok()).collect()
    };
    let expected: Vec<_> = (0..8).map(|piece| image.data[piece * 70_000..][..60_000].to_vec()).collect();
    assert!(run(u64::MAX).unwrap() == expected);
    let all = reads.load(Ordering::Relaxed);
    for from in 0..all {
        // Blocks of the tree in memory can still be used. Later reads fail.
        assert!(run(from).is_none_or(|found| found == expected), "changed after {from} of {all} reads");
    }
    assert!(run(0).is_none() && run(all / 2).is_none());
}
