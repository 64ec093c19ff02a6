//! SHA-256 and SHA-512 of many messages of the same length that begin with the same salt.
//!
//! A single stream of SHA-2 leaves most of a processor idle, because each step waits for the one before. The blocks of a
//! hash tree are independent of each other, so several are hashed at once, with their instructions interleaved or in the
//! lanes of a vector. The state after the whole blocks of the salt is computed once.

#[cfg(target_arch = "aarch64")]
#[allow(unsafe_code, reason = "instructions of the processor")]
mod armv8;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "instructions of the processor")]
mod avx2;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "instructions of the processor")]
mod avx512;
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
mod constants;
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
mod lanes;
mod portable;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "instructions of the processor")]
mod sha_ni;
#[cfg(target_arch = "x86_64")]
mod vectors;

#[cfg(target_arch = "x86_64")]
use lanes::Few;
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
use lanes::Midstate;
use portable::Portable;

use super::HashAlgorithm;
use super::HashAlgorithm::{Sha256, Sha512};

/// An implementation of a hash algorithm that this processor supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Implementation {
    algorithm: HashAlgorithm,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    #[cfg(target_arch = "aarch64")]
    Armv8(armv8::Armv8),
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Avx512),
    #[cfg(target_arch = "x86_64")]
    ShaNi(sha_ni::ShaNi),
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Avx2),
    Portable,
}

impl Implementation {
    /// Returns the names of all implementations for this architecture, the fastest first, with those that this processor
    /// supports.
    ///
    /// The order is the same on all processors. AVX-512 comes before the SHA instructions: both are equally fast on
    /// Zen 4, which computes 512 bits in two steps, and AVX-512 is 1.9 times as fast on Emerald Rapids, which computes
    /// them in one (docs/performance.md).
    #[must_use]
    pub fn known(algorithm: HashAlgorithm) -> Vec<(&'static str, Option<Self>)> {
        let kinds: &[(&'static str, Option<Kind>)] = match algorithm {
            Sha256 => &[
                #[cfg(target_arch = "aarch64")]
                ("armv8 x2", armv8::Armv8::detect().map(Kind::Armv8)),
                #[cfg(target_arch = "x86_64")]
                ("avx512 x16", avx512::Avx512::detect().map(Kind::Avx512)),
                #[cfg(target_arch = "x86_64")]
                ("sha-ni x4", sha_ni::ShaNi::detect().map(Kind::ShaNi)),
                #[cfg(target_arch = "x86_64")]
                ("avx2 x8", avx2::Avx2::detect().map(Kind::Avx2)),
                ("openssl", Some(Kind::Portable)),
            ],
            Sha512 => &[
                #[cfg(target_arch = "x86_64")]
                ("avx512 x8", avx512::Avx512::detect().map(Kind::Avx512)),
                #[cfg(target_arch = "x86_64")]
                ("avx2 x4", avx2::Avx2::detect().map(Kind::Avx2)),
                ("openssl", Some(Kind::Portable)),
            ],
        };
        kinds.iter().map(|(name, kind)| (*name, kind.map(|kind| Self { algorithm, kind }))).collect()
    }

    /// Returns the fastest implementation that this processor supports.
    #[must_use]
    pub fn best(algorithm: HashAlgorithm) -> Self {
        let portable = Self { algorithm, kind: Kind::Portable };
        Self::known(algorithm).into_iter().find_map(|(_, supported)| supported).unwrap_or(portable)
    }

    /// Returns a name for messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        let mut known = Self::known(self.algorithm).into_iter();
        known.find(|(_, supported)| *supported == Some(self)).map_or("unknown", |(name, _)| name)
    }

    /// Hashes the salt.
    fn salted(self, salt: &[u8]) -> Box<dyn Salted> {
        match (self.algorithm, self.kind) {
            #[cfg(target_arch = "aarch64")]
            (_, Kind::Armv8(lanes)) => Box::new(Midstate::<_, u32, 2>::new(lanes, salt, None)),
            #[cfg(target_arch = "x86_64")]
            (Sha256, Kind::Avx512(lanes)) => Box::new(Midstate::<_, u32, 16>::new(lanes, salt, Some(self.few(salt)))),
            #[cfg(target_arch = "x86_64")]
            (Sha512, Kind::Avx512(lanes)) => Box::new(Midstate::<_, u64, 8>::new(lanes, salt, Some(self.few(salt)))),
            #[cfg(target_arch = "x86_64")]
            (_, Kind::ShaNi(lanes)) => Box::new(Midstate::<_, u32, 4>::new(lanes, salt, Some(self.few(salt)))),
            #[cfg(target_arch = "x86_64")]
            (Sha256, Kind::Avx2(lanes)) => Box::new(Midstate::<_, u32, 8>::new(lanes, salt, Some(self.few(salt)))),
            #[cfg(target_arch = "x86_64")]
            (Sha512, Kind::Avx2(lanes)) => Box::new(Midstate::<_, u64, 4>::new(lanes, salt, Some(self.few(salt)))),
            (Sha256, Kind::Portable) => Box::new(Portable::sha256(salt)),
            (Sha512, Kind::Portable) => Box::new(Portable::sha512(salt)),
        }
    }

    /// Returns the implementation for fewer blocks than fill the lanes. The numbers are those from which on a pass with
    /// unused lanes takes less time on Zen 4.
    #[cfg(target_arch = "x86_64")]
    fn few(self, salt: &[u8]) -> Few {
        let sha_ni = sha_ni::ShaNi::detect().map(Kind::ShaNi);
        let (below, kind) = match (self.algorithm, self.kind, sha_ni) {
            (Sha256, Kind::Avx512(_), Some(sha_ni)) => (16, sha_ni),
            (_, Kind::ShaNi(_), _) => (2, Kind::Portable),
            _ => (3, Kind::Portable),
        };
        Few { below, hasher: Self { kind, ..self }.salted(salt) }
    }
}

/// The state of an implementation after the salt.
trait Salted: Send + Sync {
    /// Writes the digest of each block to `digests`. All lengths were checked.
    fn hash_blocks(&self, block_size: usize, blocks: &[u8], digests: &mut [u8]);
}

/// Hashes blocks, each after the salt: `H(salt ‖ block)`, hash type 1 of dm-verity.
pub struct BlockHasher {
    implementation: Implementation,
    salted: Box<dyn Salted>,
}

impl BlockHasher {
    /// Hashes the salt.
    #[must_use]
    pub fn new(implementation: Implementation, salt: &[u8]) -> Self {
        Self { implementation, salted: implementation.salted(salt) }
    }

    /// Returns the implementation.
    #[must_use]
    pub fn implementation(&self) -> Implementation {
        self.implementation
    }

    /// Writes the digest of each block of `block_size` bytes to `digests`, one after the other.
    ///
    /// # Panics
    /// If `block_size` is zero, or `digests` does not have exactly the space for the digests of all blocks.
    pub fn hash_blocks(&self, block_size: usize, blocks: &[u8], digests: &mut [u8]) {
        assert!(block_size != 0, "blocks have at least one byte");
        let digest_size = self.implementation.algorithm.digest_size();
        let count = digests.len().checked_div(digest_size).unwrap_or(0);
        assert!(
            digests.len().is_multiple_of(digest_size) && count.checked_mul(block_size) == Some(blocks.len()),
            "room for the digests of {count} blocks, not of {} bytes in blocks of {block_size}",
            blocks.len(),
        );
        self.salted.hash_blocks(block_size, blocks, digests);
    }
}

#[cfg(test)]
mod tests;
