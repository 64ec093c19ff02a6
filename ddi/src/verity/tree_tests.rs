use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use openssl::sha;
use proptest::prelude::*;

use super::*;
use crate::verity::HashAlgorithm;
use crate::verity::test_images::{Image, image};
use crate::verity::walk::PIECE;
use std::io;

impl Image {
    fn verify(&self) -> Result<VerifiedTree, TreeError> {
        verify(&self.data, &self.hash, &self.superblock, &self.root, 2)
    }
}

/// Builds a tree by the definition: recursively, block by block.
fn simple_tree(superblock: &Superblock, data: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let digest = |block: &[u8]| -> Vec<u8> {
        let message = [superblock.salt(), block].concat();
        match superblock.algorithm() {
            HashAlgorithm::Sha256 => sha::sha256(&message).to_vec(),
            HashAlgorithm::Sha512 => sha::sha512(&message).to_vec(),
        }
    };
    let hash_block = superblock.hash_block_size() as usize;
    let mut level: Vec<Vec<u8>> = data.chunks(superblock.data_block_size() as usize).map(digest).collect();
    let mut tree = Vec::new();
    while level.len() > 1 {
        let mut blocks = level.concat();
        blocks.resize(blocks.len().next_multiple_of(hash_block), 0);
        level = blocks.chunks(hash_block).map(digest).collect();
        tree.splice(0..0, blocks);
    }
    let mut area = superblock.to_bytes().to_vec();
    area.resize(hash_block, 0);
    (level.concat(), [area, tree].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn built_is_what_the_definition_says_and_verifies(
        algorithm in prop::sample::select(HashAlgorithm::ALL.to_vec()),
        data_exponent in 9_u32..=12,
        hash_exponent in 9_u32..=12,
        blocks in prop_oneof![1_u64..20, 1_u64..700],
        salt in prop::collection::vec(any::<u8>(), 0..=256),
        threads in 1_usize..4,
    ) {
        let made = image(algorithm, 1 << data_exponent, 1 << hash_exponent, blocks, &salt);
        let (root, area) = simple_tree(&made.superblock, &made.data);
        prop_assert_eq!(made.root.as_bytes(), root);
        prop_assert!(made.hash == area);
        let tree = verify(&made.data, &made.hash, &made.superblock, &made.root, threads).unwrap();
        prop_assert_eq!(tree.data_len(), made.data.len() as u64);
        prop_assert_eq!(tree.hash_area_len(), made.hash.len() as u64);
        prop_assert_eq!(tree.root_hash(), &made.root);
    }
}

#[test]
fn what_follows_data_and_tree_is_left_to_the_caller() {
    let mut made = image(HashAlgorithm::Sha256, 512, 512, 40, b"salt");
    let (data_len, hash_len) = (made.data.len() as u64, made.hash.len() as u64);
    made.data.extend([1; 700]);
    made.hash.extend([1; 3]);
    let tree = made.verify().unwrap();
    assert_eq!((tree.data_len(), tree.hash_area_len()), (data_len, hash_len));
}

#[test]
fn every_flipped_byte_is_found() {
    // Two levels with unused space in the last block of each; and three levels, of which only samples are tested.
    for (algorithm, blocks, step) in [(HashAlgorithm::Sha256, 18, 1), (HashAlgorithm::Sha512, 66, 13)] {
        let mut made = image(algorithm, 512, 512, blocks, b"salt");
        for position in (0..made.data.len()).step_by(step) {
            made.data[position] ^= 1 << (position % 8);
            let error = made.verify().unwrap_err();
            let wanted = position as u64 / 512;
            assert!(
                matches!(error, TreeError::Mismatch { level: 0, block, offset } if (block, offset) == (wanted, wanted * 512)),
                "data byte {position}: {error}"
            );
            made.data[position] ^= 1 << (position % 8);
        }
        for position in (SUPERBLOCK_SIZE..made.hash.len()).step_by(step) {
            made.hash[position] ^= 1 << (position % 8);
            assert!(made.verify().is_err(), "tree byte {position}");
            made.hash[position] ^= 1 << (position % 8);
        }
        assert!(made.verify().is_ok());
    }
}

#[test]
fn every_flipped_bit_of_the_superblock_is_found_but_in_the_uuid() {
    let made = image(HashAlgorithm::Sha256, 512, 1024, 40, b"salt");
    for bit in 0..8 * SUPERBLOCK_SIZE {
        let mut hash = made.hash.clone();
        hash[bit / 8] ^= 1 << (bit % 8);
        let accepted = Superblock::parse(&hash)
            .is_ok_and(|superblock| verify(&made.data, &hash, &superblock, &made.root, 1).is_ok());
        // The UUID does not affect the tree.
        assert_eq!(accepted, (16..32).contains(&(bit / 8)), "bit {bit}");
    }
}

#[test]
fn the_gap_behind_the_superblock_must_be_zero() {
    let mut made = image(HashAlgorithm::Sha512, 4096, 4096, 3, &[]);
    for position in [SUPERBLOCK_SIZE, 1000, 4095] {
        made.hash[position] = 1;
        let error = made.verify().unwrap_err();
        assert!(matches!(error, TreeError::UnusedNotZero { offset } if offset == position as u64), "{error}");
        made.hash[position] = 0;
    }
}

#[test]
fn less_or_more_data_than_the_tree_was_made_for_is_refused() {
    for blocks in [2, 15, 16, 17, 32, 33, 256, 257, 300] {
        let made = image(HashAlgorithm::Sha256, 512, 512, blocks, b"salt");
        let longer = [&made.data[..], &[0; 512 * 20]].concat();
        let mut area = made.hash.clone();
        area.resize(area.len() + 64 * 512, 0);
        for other in (1..blocks + 20).filter(|other| *other != blocks) {
            let claimed = Superblock::new(HashAlgorithm::Sha256, 512, 512, other, b"salt", [7; 16]).unwrap();
            assert!(verify(&longer, &area, &claimed, &made.root, 1).is_err(), "{blocks} blocks said to be {other}");
        }
    }
}

#[test]
fn digests_in_unused_slots_are_refused_even_where_the_root_hash_covers_them() {
    // A root hash over a top block with a byte after its last digest.
    let mut made = image(HashAlgorithm::Sha256, 512, 512, 3, &[]);
    let unused = 512 + 3 * 32;
    made.hash[unused] = 1;
    made.root = RootHash::from_bytes(&sha::sha256(&made.hash[512..])).unwrap();
    let error = made.verify().unwrap_err();
    assert!(matches!(error, TreeError::UnusedNotZero { offset } if offset == unused as u64), "{error}");
}

#[test]
fn the_fault_nearest_to_the_top_is_reported_and_the_first_of_its_level() {
    let mut made = image(HashAlgorithm::Sha256, 4096, 512, 3000, b"salt");
    let leaves = *made.superblock.geometry().levels().last().unwrap();
    for block in [2999, 1700, 800, 799] {
        made.data[block * 4096 + 17] ^= 1;
    }
    for _ in 0..20 {
        let error = verify(&made.data, &made.hash, &made.superblock, &made.root, 4).unwrap_err();
        assert!(
            matches!(error, TreeError::Mismatch { level: 0, block: 799, offset } if offset == 799 * 4096),
            "{error}"
        );
    }
    for block in [100, 55] {
        let offset = leaves.offset + block * 512;
        made.hash[usize::try_from(offset).unwrap()] ^= 1;
        let error = verify(&made.data, &made.hash, &made.superblock, &made.root, 4).unwrap_err();
        assert!(
            matches!(error, TreeError::Mismatch { level: 1, block: b, offset: o } if (b, o) == (block, offset)),
            "{error}"
        );
    }
}

#[test]
fn a_wrong_root_hash_is_seen_before_the_data_is_read() {
    let made = image(HashAlgorithm::Sha256, 4096, 4096, 300, &[]);
    let counted = Counted { bytes: &made.data, reads: AtomicU64::new(0), largest: AtomicUsize::new(0) };
    let other = RootHash::from_bytes(&[3; 32]).unwrap();
    let error = verify(&counted, &made.hash, &made.superblock, &other, 1).unwrap_err();
    let TreeError::RootMismatch { computed, expected } = error else { panic!("{error}") };
    assert_eq!((computed, expected), (made.root, other));
    assert_eq!(counted.reads.into_inner(), 0);
}

#[test]
fn lengths_that_do_not_fit_are_refused_with_the_numbers() {
    let made = image(HashAlgorithm::Sha256, 512, 512, 40, &[]);
    let short = &made.data[..40 * 512 - 1];
    for error in [
        verify(&short, &made.hash, &made.superblock, &made.root, 1).unwrap_err(),
        build(&short, &made.superblock, 1).unwrap_err(),
    ] {
        assert!(matches!(error, TreeError::DataTooShort { needed: 20480, found: 20479 }), "{error}");
    }
    let needed = made.hash.len() as u64;
    let short = &made.hash[..made.hash.len() - 1];
    let error = verify(&made.data, &short, &made.superblock, &made.root, 1).unwrap_err();
    assert!(matches!(error, TreeError::HashAreaTooShort { needed: n, found } if (n, found) == (needed, needed - 1)));
    let long = RootHash::from_bytes(&[0; 64]).unwrap();
    let error = verify(&made.data, &made.hash, &made.superblock, &long, 1).unwrap_err();
    assert!(matches!(error, TreeError::DigestSizeMismatch { expected: 32, found: 64 }), "{error}");
}

/// A source that records how it is read.
struct Counted<'a> {
    bytes: &'a [u8],
    reads: AtomicU64,
    largest: AtomicUsize,
}

impl ReadAt for Counted<'_> {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.largest.fetch_max(buf.len(), Ordering::Relaxed);
        self.bytes.read_exact_at(buf, offset)
    }
}

#[test]
fn data_is_read_once_and_in_bounded_pieces() {
    for (data_block, hash_block) in [(512, 512), (512, 4096), (4096, 512), (4096, 4096)] {
        let blocks = 8 * 1024 * 1024 / u64::from(data_block) + 1;
        let made = image(HashAlgorithm::Sha256, data_block, hash_block, blocks, &[]);
        let counted = Counted { bytes: &made.data, reads: AtomicU64::new(0), largest: AtomicUsize::new(0) };
        verify(&counted, &made.hash, &made.superblock, &made.root, 2).unwrap();
        assert_eq!(counted.reads.into_inner(), (made.data.len() as u64).div_ceil(PIECE as u64));
        assert_eq!(counted.largest.into_inner(), PIECE);
    }
}

/// A source that fails from some byte on.
struct Broken {
    len: u64,
    good: u64,
    panics: bool,
}

impl ReadAt for Broken {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        assert!(!self.panics || offset < self.good, "the source panics");
        if offset >= self.good {
            return Err(io::Error::from_raw_os_error(5));
        }
        buf.fill(0);
        Ok(())
    }
}

#[test]
fn an_error_of_the_source_says_where() {
    let superblock = Superblock::new(HashAlgorithm::Sha256, 4096, 4096, 2048, &[], [0; 16]).unwrap();
    let good = 3 * 1024 * 1024;
    let data = Broken { len: 2048 * 4096, good, panics: false };
    let error = build(&data, &superblock, 4).unwrap_err();
    let TreeError::Io { area: Area::Data, offset, cause } = &error else { panic!("{error}") };
    assert_eq!((*offset, cause.raw_os_error()), (good, Some(5)));
}

#[test]
#[should_panic(expected = "the source panics")]
fn a_panic_of_the_source_is_one_of_the_caller() {
    let superblock = Superblock::new(HashAlgorithm::Sha256, 4096, 4096, 2048, &[], [0; 16]).unwrap();
    let data = Broken { len: 2048 * 4096, good: 3 * 1024 * 1024, panics: true };
    let _ = build(&data, &superblock, 2);
}
