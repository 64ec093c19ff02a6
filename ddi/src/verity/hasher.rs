//! The salted hash of dm-verity for many blocks of the same size.

use std::fmt;

use openssl::sha::Sha512;

use super::sha256::{BlockHasher, Implementation};

/// A hash algorithm that images may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HashAlgorithm {
    /// SHA-256, the default of `systemd-repart` and `veritysetup`.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl HashAlgorithm {
    /// All algorithms.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// Returns the name in the superblock, which is that of the kernel's crypto API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Returns the length of a digest in bytes, a power of two, so that digests in a hash block need no padding.
    #[must_use]
    pub fn digest_size(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

impl fmt::Display for HashAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Hashes blocks, each after the salt: `H(salt ‖ block)`, hash type 1 of dm-verity.
pub struct SaltedHasher(Inner);

enum Inner {
    Sha256(BlockHasher),
    /// The state after hashing the salt.
    Sha512(Sha512),
}

impl SaltedHasher {
    /// Chooses the fastest implementation that this processor supports.
    #[must_use]
    pub fn new(algorithm: HashAlgorithm, salt: &[u8]) -> Self {
        Self(match algorithm {
            HashAlgorithm::Sha256 => Inner::Sha256(BlockHasher::new(Implementation::best(), salt)),
            HashAlgorithm::Sha512 => {
                let mut state = Sha512::new();
                state.update(salt);
                Inner::Sha512(state)
            }
        })
    }

    /// Writes the digest of each block of `blocks` to `digests`, one after the other.
    ///
    /// # Panics
    /// If `block_size` is zero, or `digests` does not have exactly the space for the digests of all whole blocks.
    pub fn hash_blocks(&self, block_size: usize, blocks: &[u8], digests: &mut [u8]) {
        match &self.0 {
            Inner::Sha256(hasher) => hasher.hash_blocks(block_size, blocks, digests),
            Inner::Sha512(salted) => {
                let (digests, rest) = digests.as_chunks_mut::<64>();
                let blocks = blocks.chunks_exact(block_size);
                assert!(rest.is_empty() && blocks.len() == digests.len(), "room for one digest of each block");
                for (block, digest) in blocks.zip(digests) {
                    let mut state = salted.clone();
                    state.update(block);
                    *digest = state.finish();
                }
            }
        }
    }
}

impl fmt::Debug for SaltedHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Inner::Sha256(hasher) => hasher.implementation().name(),
            Inner::Sha512(_) => "openssl sha512",
        })
    }
}
