//! OpenSSL's SHA-256, one message at a time. OpenSSL is linked anyway and has assembly for most processors, such as the
//! SHA instructions of aarch64.

use openssl::sha::Sha256;

use super::DIGEST_SIZE;

pub(super) struct Portable {
    salted: Sha256,
}

impl Portable {
    pub(super) fn new(salt: &[u8]) -> Self {
        let mut salted = Sha256::new();
        salted.update(salt);
        Self { salted }
    }

    pub(super) fn hash_blocks(&self, block_size: usize, blocks: &[u8], digests: &mut [[u8; DIGEST_SIZE]]) {
        for (block, digest) in blocks.chunks_exact(block_size).zip(digests) {
            let mut state = self.salted.clone();
            state.update(block);
            *digest = state.finish();
        }
    }
}
