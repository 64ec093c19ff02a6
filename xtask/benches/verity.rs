//! Throughput of the hash, of verification and of construction.
//!
//! `cargo bench --bench verity`. The data is in memory, so this is hashing and copying without any disk.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ddi::verity::sha2::{BlockHasher, Implementation};
use ddi::verity::{HashAlgorithm, Superblock, build, default_threads, verify};

const BLOCK: u32 = 4096;
const SALT: [u8; 32] = [0x5a; 32];

fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u64;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()
    })
    .flatten()
    .take(len)
    .collect()
}

/// One thread, data in the second-level cache: what a core can hash at most.
fn hashing(criterion: &mut Criterion) {
    let blocks = noise(128 * 1024);
    let count = blocks.len() / BLOCK as usize;
    let mut group = criterion.benchmark_group("hash");
    group.throughput(Throughput::Bytes(blocks.len() as u64));
    for algorithm in HashAlgorithm::ALL {
        let mut digests = vec![0; count * algorithm.digest_size()];
        for (name, supported) in Implementation::known(algorithm) {
            let Some(implementation) = supported else { continue };
            let hasher = BlockHasher::new(implementation, &SALT);
            group.bench_function(format!("{algorithm} {name}"), |bencher| {
                bencher.iter(|| hasher.hash_blocks(BLOCK as usize, black_box(&blocks), &mut digests));
            });
        }
    }
    group.finish();
}

fn trees(criterion: &mut Criterion) {
    let data = noise(256 * 1024 * 1024);
    let mut group = criterion.benchmark_group("256 MiB");
    group.throughput(Throughput::Bytes(data.len() as u64));
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    let mut threads = vec![1, default_threads()];
    threads.dedup();
    for algorithm in HashAlgorithm::ALL {
        let superblock = Superblock::new(algorithm, BLOCK, BLOCK, 65536, &SALT, [0; 16]).unwrap();
        let (root, hash) = build(&data, &superblock, default_threads()).unwrap();
        for threads in &threads {
            group.bench_function(format!("verify {algorithm}, threads: {threads}"), |bencher| {
                bencher.iter(|| verify(&data, &hash, &superblock, &root, *threads).unwrap());
            });
        }
    }
    let superblock = Superblock::new(HashAlgorithm::Sha256, BLOCK, BLOCK, 65536, &SALT, [0; 16]).unwrap();
    group.bench_function(format!("build sha256, threads: {}", default_threads()), |bencher| {
        bencher.iter(|| build(&data, &superblock, default_threads()).unwrap());
    });
    group.finish();
}

criterion_group!(benches, hashing, trees);
criterion_main!(benches);
