//! The salted hash of dm-verity for many blocks of the same size.

use std::fmt;

use super::HashAlgorithm;
use super::sha2::{BlockHasher, Implementation};

/// Hashes blocks, each after the salt: `H(salt ‖ block)`, hash type 1 of dm-verity.
pub struct SaltedHasher(BlockHasher);

impl SaltedHasher {
    /// Chooses the fastest implementation that this processor supports.
    #[must_use]
    pub fn new(algorithm: HashAlgorithm, salt: &[u8]) -> Self {
        Self(BlockHasher::new(Implementation::best(algorithm), salt))
    }

    /// Writes the digest of each block of `blocks` to `digests`, one after the other.
    ///
    /// # Panics
    /// If `block_size` is zero, or `digests` does not have exactly the space for the digests of all blocks.
    pub fn hash_blocks(&self, block_size: usize, blocks: &[u8], digests: &mut [u8]) {
        self.0.hash_blocks(block_size, blocks, digests);
    }
}

impl fmt::Debug for SaltedHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.implementation().name())
    }
}
