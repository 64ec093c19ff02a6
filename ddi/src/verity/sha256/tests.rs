use openssl::sha;
use proptest::prelude::*;

use super::*;

/// Computes the digests by the definition, with another implementation of SHA-256.
fn expected(salt: &[u8], block_size: usize, blocks: &[u8]) -> Vec<u8> {
    let digest = |block: &[u8]| sha::sha256(&[salt, block].concat());
    blocks.chunks(block_size).flat_map(digest).collect()
}

fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    })
    .take(len)
    .collect()
}

#[test]
fn every_salt_length_and_block_size_gives_the_digests_of_the_definition() {
    let salt = noise(256, 1);
    for implementation in Implementation::available() {
        for salt_len in 0..=256 {
            let hasher = BlockHasher::new(implementation, &salt[..salt_len]);
            for block_size in [512, 1024, 2048, 4096] {
                let blocks = noise(3 * block_size, salt_len as u64);
                let mut digests = vec![0; 3 * DIGEST_SIZE];
                hasher.hash_blocks(block_size, &blocks, &mut digests);
                let wanted = expected(&salt[..salt_len], block_size, &blocks);
                assert_eq!(
                    digests,
                    wanted,
                    "{} with a salt of {salt_len} and blocks of {block_size}",
                    implementation.name()
                );
            }
        }
    }
}

#[test]
fn every_number_of_blocks_fills_the_lanes_rightly() {
    let salt = noise(32, 2);
    for implementation in Implementation::available() {
        let hasher = BlockHasher::new(implementation, &salt);
        for count in 0..=40 {
            // Block sizes that are not powers of two work, too, as does the smallest.
            for block_size in [64, 192, 512] {
                let blocks = noise(count * block_size, count as u64);
                let mut digests = vec![0xaa; count * DIGEST_SIZE];
                hasher.hash_blocks(block_size, &blocks, &mut digests);
                assert_eq!(
                    digests,
                    expected(&salt, block_size, &blocks),
                    "{} of {count} blocks",
                    implementation.name()
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn implementations_agree(
        salt in prop::collection::vec(any::<u8>(), 0..=256),
        exponent in 0_u32..4,
        count in 0_usize..20,
        misalignment in 0_usize..64,
        seed: u64,
    ) {
        let block_size = 512 << exponent;
        let bytes = noise(misalignment + count * block_size, seed);
        let blocks = &bytes[misalignment..];
        for implementation in Implementation::available() {
            let mut digests = vec![0; count * DIGEST_SIZE];
            BlockHasher::new(implementation, &salt).hash_blocks(block_size, blocks, &mut digests);
            prop_assert_eq!(&digests, &expected(&salt, block_size, blocks), "{}", implementation.name());
        }
    }
}

#[test]
#[should_panic(expected = "room for the digests of 2 blocks")]
fn room_for_too_few_digests_is_a_bug_of_the_caller() {
    let hasher = BlockHasher::new(Implementation::best(), &[]);
    hasher.hash_blocks(512, &[0; 3 * 512], &mut [0; 2 * DIGEST_SIZE]);
}
