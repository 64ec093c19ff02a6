//! Every implementation of SHA-2 against OpenSSL, a test for each. It is *ignored* where the processor lacks the
//! instructions: libtest has no such end, and would print `ok`.

use ddi::verity::HashAlgorithm;
use ddi::verity::sha2::{BlockHasher, Implementation};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut trials = Vec::new();
    for algorithm in HashAlgorithm::ALL {
        for (name, supported) in Implementation::known(algorithm) {
            let name = format!("{algorithm}::{}", name.replace(' ', "_"));
            for (test, run) in TESTS {
                trials.push(Trial::ignorable_test(format!("{name}::{test}"), move || match supported {
                    Some(implementation) => run(algorithm, implementation),
                    None => Ok(Completion::ignored_with("this processor lacks the instructions")),
                }));
            }
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

type Test = fn(HashAlgorithm, Implementation) -> Result<Completion, Failed>;

const TESTS: [(&str, Test); 3] = [
    ("every_length_of_salt_and_block", every_length),
    ("every_alignment", every_alignment),
    ("every_number_of_blocks", every_number),
];

fn every_length(algorithm: HashAlgorithm, implementation: Implementation) -> Result<Completion, Failed> {
    let salt = noise(300, 1);
    for salt_len in 0..=salt.len() {
        let hasher = BlockHasher::new(implementation, &salt[..salt_len]);
        // Each length with some salts, and each salt with some lengths: those of images, and those around a block.
        let lengths: Vec<_> = if salt_len % 32 < 2 {
            (1..=400).chain([511, 512, 513, 1024, 2048, 4096]).collect()
        } else {
            vec![1, 55, 64, 111, 127, 128, 512, 1024, 2048, 4096]
        };
        for length in lengths {
            check(algorithm, &hasher, &salt[..salt_len], length, &noise(17 * length, length as u64))?;
        }
    }
    Ok(Completion::Completed)
}

fn every_alignment(algorithm: HashAlgorithm, implementation: Implementation) -> Result<Completion, Failed> {
    let salt = noise(32, 2);
    let hasher = BlockHasher::new(implementation, &salt);
    let bytes = noise(128 + 16 * 4096, 3);
    for misalignment in 0..128 {
        for length in [1, 63, 64, 65, 128, 512, 4096] {
            check(algorithm, &hasher, &salt, length, &bytes[misalignment..][..16 * length])?;
        }
    }
    Ok(Completion::Completed)
}

fn every_number(algorithm: HashAlgorithm, implementation: Implementation) -> Result<Completion, Failed> {
    for salt_len in [0, 32, 64, 128, 256] {
        let salt = noise(salt_len, 4);
        let hasher = BlockHasher::new(implementation, &salt);
        for count in 0..=70 {
            for length in [64, 192, 512] {
                check(algorithm, &hasher, &salt, length, &noise(count * length, count as u64))?;
            }
        }
    }
    Ok(Completion::Completed)
}

fn check(
    algorithm: HashAlgorithm,
    hasher: &BlockHasher,
    salt: &[u8],
    length: usize,
    blocks: &[u8],
) -> Result<(), Failed> {
    let expected: Vec<u8> = blocks
        .chunks(length)
        .flat_map(|block| match algorithm {
            HashAlgorithm::Sha256 => openssl::sha::sha256(&[salt, block].concat()).to_vec(),
            _ => openssl::sha::sha512(&[salt, block].concat()).to_vec(),
        })
        .collect();
    let mut digests = vec![0xaa; expected.len()];
    hasher.hash_blocks(length, blocks, &mut digests);
    if digests == expected {
        return Ok(());
    }
    let block = digests.iter().zip(&expected).position(|(found, expected)| found != expected).unwrap_or(0)
        / algorithm.digest_size();
    Err(format!("block {block} of {} of {length} bytes, salt of {} bytes", blocks.len() / length, salt.len()).into())
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
