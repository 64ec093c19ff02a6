//! SHA-256 of many messages of the same length that begin with the same salt.
//!
//! A single stream of SHA-256 leaves most of a processor idle, because each step waits for the one before. The blocks
//! of a hash tree are independent of each other, so several are hashed at once, with their instructions interleaved or
//! in the lanes of a vector. The state after the whole 64-byte blocks of the salt is computed once.

#[cfg(target_arch = "x86_64")]
mod lanes;
mod portable;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "instructions of the processor")]
mod x86;

#[cfg(target_arch = "x86_64")]
use lanes::Midstate;
use portable::Portable;

/// Length of a digest in bytes.
pub const DIGEST_SIZE: usize = 32;
/// Block size of the compression function in bytes.
const BLOCK: usize = 64;

/// An implementation of SHA-256 that this processor supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Implementation(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    #[cfg(target_arch = "x86_64")]
    ShaNi(x86::ShaNi),
    #[cfg(target_arch = "x86_64")]
    Avx2(x86::Avx2),
    Portable,
}

impl Implementation {
    /// Returns all implementations that this processor supports, the fastest first.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let kinds = [
            #[cfg(target_arch = "x86_64")]
            x86::ShaNi::detect().map(Kind::ShaNi),
            #[cfg(target_arch = "x86_64")]
            x86::Avx2::detect().map(Kind::Avx2),
            Some(Kind::Portable),
        ];
        kinds.into_iter().flatten().map(Self).collect()
    }

    /// Returns the fastest implementation that this processor supports.
    #[must_use]
    pub fn best() -> Self {
        Self::available().first().copied().unwrap_or(Self(Kind::Portable))
    }

    /// Returns a name for messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::ShaNi(_) => "sha-ni x2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(_) => "avx2 x8",
            Kind::Portable => "openssl",
        }
    }
}

/// Computes `SHA-256(salt ‖ block)` of blocks.
pub struct BlockHasher(Salted);

/// The state of an implementation after the salt.
enum Salted {
    #[cfg(target_arch = "x86_64")]
    ShaNi(x86::ShaNi, Midstate),
    #[cfg(target_arch = "x86_64")]
    Avx2(x86::Avx2, Midstate),
    Portable(Portable),
}

impl BlockHasher {
    /// Hashes the salt.
    #[must_use]
    pub fn new(implementation: Implementation, salt: &[u8]) -> Self {
        Self(match implementation.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::ShaNi(lanes) => Salted::ShaNi(lanes, Midstate::new(lanes, salt)),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(lanes) => Salted::Avx2(lanes, Midstate::new(lanes, salt)),
            Kind::Portable => Salted::Portable(Portable::new(salt)),
        })
    }

    /// Returns the implementation.
    #[must_use]
    pub fn implementation(&self) -> Implementation {
        Implementation(match &self.0 {
            #[cfg(target_arch = "x86_64")]
            Salted::ShaNi(lanes, _) => Kind::ShaNi(*lanes),
            #[cfg(target_arch = "x86_64")]
            Salted::Avx2(lanes, _) => Kind::Avx2(*lanes),
            Salted::Portable(_) => Kind::Portable,
        })
    }

    /// Writes the digest of each block of `block_size` bytes to `digests`, one after the other.
    ///
    /// # Panics
    /// If `block_size` is zero or not a multiple of 64, or `digests` does not have exactly the space for the digests of
    /// all blocks.
    pub fn hash_blocks(&self, block_size: usize, blocks: &[u8], digests: &mut [u8]) {
        assert!(block_size != 0 && block_size.is_multiple_of(BLOCK), "block size {block_size} is no multiple of 64");
        let (digests, rest) = digests.as_chunks_mut::<DIGEST_SIZE>();
        assert!(
            rest.is_empty() && digests.len().checked_mul(block_size) == Some(blocks.len()),
            "room for the digests of {} blocks, not of {} bytes in blocks of {block_size}",
            digests.len(),
            blocks.len(),
        );
        match &self.0 {
            #[cfg(target_arch = "x86_64")]
            Salted::ShaNi(lanes, midstate) => midstate.hash_blocks(*lanes, block_size, blocks, digests),
            #[cfg(target_arch = "x86_64")]
            Salted::Avx2(lanes, midstate) => midstate.hash_blocks(*lanes, block_size, blocks, digests),
            Salted::Portable(portable) => portable.hash_blocks(block_size, blocks, digests),
        }
    }
}

#[cfg(test)]
mod tests;
