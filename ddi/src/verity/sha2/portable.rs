//! OpenSSL's SHA-2, one message at a time. OpenSSL is linked anyway and has assembly for most processors.

use openssl::sha::{Sha256, Sha512};

use super::Salted;

/// A state of OpenSSL after the salt.
pub(super) struct Portable<S>(S);

impl Portable<Sha256> {
    pub(super) fn sha256(salt: &[u8]) -> Self {
        let mut salted = Sha256::new();
        salted.update(salt);
        Self(salted)
    }
}

impl Portable<Sha512> {
    pub(super) fn sha512(salt: &[u8]) -> Self {
        let mut salted = Sha512::new();
        salted.update(salt);
        Self(salted)
    }
}

impl Salted for Portable<Sha256> {
    fn hash_blocks(&self, block_size: usize, blocks: &[u8], digests: &mut [u8]) {
        for (block, digest) in blocks.chunks_exact(block_size).zip(digests.chunks_exact_mut(32)) {
            let mut state = self.0.clone();
            state.update(block);
            digest.copy_from_slice(&state.finish());
        }
    }
}

impl Salted for Portable<Sha512> {
    fn hash_blocks(&self, block_size: usize, blocks: &[u8], digests: &mut [u8]) {
        for (block, digest) in blocks.chunks_exact(block_size).zip(digests.chunks_exact_mut(64)) {
            let mut state = self.0.clone();
            state.update(block);
            digest.copy_from_slice(&state.finish());
        }
    }
}
