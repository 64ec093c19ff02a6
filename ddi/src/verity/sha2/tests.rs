use proptest::prelude::*;

use super::*;

/// Computes the digests by the definition, with another implementation.
fn expected(algorithm: HashAlgorithm, salt: &[u8], block_size: usize, blocks: &[u8]) -> Vec<u8> {
    let digest = |block: &[u8]| match algorithm {
        Sha256 => openssl::sha::sha256(&[salt, block].concat()).to_vec(),
        Sha512 => openssl::sha::sha512(&[salt, block].concat()).to_vec(),
    };
    blocks.chunks(block_size).flat_map(digest).collect()
}

fn supported() -> impl Iterator<Item = Implementation> {
    HashAlgorithm::ALL.into_iter().flat_map(Implementation::known).filter_map(|(_, supported)| supported)
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn implementations_agree(
        salt in prop::collection::vec(any::<u8>(), 0..=300),
        block_size in prop_oneof![1_usize..300, Just(512), Just(1024), Just(2048), Just(4096)],
        count in 0_usize..40,
        misalignment in 0_usize..64,
        seed: u64,
    ) {
        let bytes = noise(misalignment + count * block_size, seed);
        let blocks = &bytes[misalignment..];
        for implementation in supported() {
            let mut digests = vec![0; count * implementation.algorithm.digest_size()];
            BlockHasher::new(implementation, &salt).hash_blocks(block_size, blocks, &mut digests);
            let expected = expected(implementation.algorithm, &salt, block_size, blocks);
            prop_assert_eq!(&digests, &expected, "{:?}", implementation);
        }
    }
}

#[test]
fn the_best_implementation_is_the_first_that_the_processor_supports() {
    for algorithm in HashAlgorithm::ALL {
        let names: Vec<_> = Implementation::known(algorithm).iter().map(|(name, _)| *name).collect();
        assert_eq!(names.last(), Some(&"openssl"));
        let first = supported().find(|implementation| implementation.algorithm == algorithm);
        assert_eq!(Some(Implementation::best(algorithm)), first);
        assert!(names.contains(&Implementation::best(algorithm).name()));
    }
}

#[test]
#[should_panic(expected = "room for the digests of 2 blocks")]
fn room_for_too_few_digests_is_a_bug_of_the_caller() {
    let hasher = BlockHasher::new(Implementation::best(Sha256), &[]);
    hasher.hash_blocks(512, &[0; 3 * 512], &mut [0; 2 * 32]);
}
