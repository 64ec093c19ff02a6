//! The superblock of a verity partition.
//!
//! Layout: `struct verity_sb` in cryptsetup's `lib/verity/verity.c`; 512 bytes, numbers little-endian:
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 8 | `verity\0\0` |
//! | 8 | 4 | version of the superblock, 1 |
//! | 12 | 4 | hash type, 1 (0 was Chrome OS) |
//! | 16 | 16 | UUID |
//! | 32 | 32 | name of the algorithm, padded with NUL |
//! | 64 | 4 | data block size in bytes |
//! | 68 | 4 | hash block size in bytes |
//! | 72 | 8 | number of data blocks |
//! | 80 | 2 | length of the salt in bytes |
//! | 82 | 6 | reserved |
//! | 88 | 256 | salt |
//! | 344 | 168 | reserved |

use thiserror::Error;

use super::{Geometry, HashAlgorithm, SUPERBLOCK_SIZE};
use crate::bytes;

/// Smallest block size in bytes: a sector.
pub const MIN_BLOCK_SIZE: u32 = 512;
/// Largest block size in bytes. `verity_ctr()` refuses blocks larger than a page, and 4096 bytes is the one page
/// size that all architectures can have.
pub const MAX_BLOCK_SIZE: u32 = 4096;
/// Longest salt in bytes: the room in the superblock.
pub const MAX_SALT_SIZE: usize = 256;

const SIGNATURE: [u8; 8] = *b"verity\0\0";
const VERSION: u32 = 1;
const HASH_TYPE: u32 = 1;

const UUID_OFFSET: usize = 16;
const ALGORITHM_OFFSET: usize = 32;
const ALGORITHM_SIZE: usize = 32;
const SALT_OFFSET: usize = 88;

/// Why a superblock is refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SuperblockError {
    /// Fewer bytes than a superblock has.
    #[error("verity superblock ends after {found} bytes, it has {SUPERBLOCK_SIZE}")]
    Truncated {
        /// Bytes there are.
        found: usize,
    },
    /// The first eight bytes are not `verity` and two NULs.
    #[error("no verity superblock: it begins with {}", bytes::hex(found))]
    Signature {
        /// The eight bytes.
        found: [u8; 8],
    },
    /// Another version of the superblock.
    #[error("verity superblock of version {found}, only {VERSION} is known")]
    Version {
        /// The version.
        found: u32,
    },
    /// Another hash type, such as 0 of Chrome OS.
    #[error("verity hash type {found}, only {HASH_TYPE} is supported")]
    HashType {
        /// The hash type.
        found: u32,
    },
    /// An algorithm other than SHA-256 and SHA-512, or a name with something behind its end.
    #[error("hash algorithm \"{}\" is neither sha256 nor sha512, padded with NULs", found.escape_ascii())]
    Algorithm {
        /// All bytes of the field.
        found: [u8; ALGORITHM_SIZE],
    },
    /// A data block size that isn't a power of two between 512 and 4096.
    #[error("data block size {found} is not a power of two from {MIN_BLOCK_SIZE} to {MAX_BLOCK_SIZE}")]
    DataBlockSize {
        /// The size in bytes.
        found: u32,
    },
    /// A hash block size that isn't a power of two between 512 and 4096.
    #[error("hash block size {found} is not a power of two from {MIN_BLOCK_SIZE} to {MAX_BLOCK_SIZE}")]
    HashBlockSize {
        /// The size in bytes.
        found: u32,
    },
    /// There is no data block.
    #[error("no data blocks")]
    NoData,
    /// Data or tree would be longer than any file can be.
    #[error("{data_blocks} data blocks of {data_block_size} bytes are more than a file can hold")]
    TooLarge {
        /// Number of data blocks.
        data_blocks: u64,
        /// Size of each in bytes.
        data_block_size: u32,
    },
    /// A salt that is longer than its room.
    #[error("salt of {found} bytes, the most is {MAX_SALT_SIZE}")]
    SaltSize {
        /// Length in bytes.
        found: usize,
    },
    /// A byte that nothing uses and nothing hashes isn't zero.
    #[error("unused byte {offset} of the verity superblock is {found:#04x}, not zero")]
    Padding {
        /// Position in the superblock.
        offset: usize,
        /// The byte.
        found: u8,
    },
}

/// A superblock whose every value is within bounds.
///
/// Nothing signs it: only the hash tree proves its values to be those that the root hash was made with. Not so the
/// UUID, which has no meaning, and the hash block size where a single data block needs no hash blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    algorithm: HashAlgorithm,
    data_block_size: u32,
    hash_block_size: u32,
    data_blocks: u64,
    salt: Vec<u8>,
    uuid: [u8; 16],
    geometry: Geometry,
}

impl Superblock {
    /// Describes a tree that is to be built. Block sizes are in bytes; `uuid` is stored as it is.
    ///
    /// # Errors
    /// A [`SuperblockError`] for a block size that is no power of two from 512 to 4096, no data blocks or more than
    /// fit a file, or a salt of more than 256 bytes.
    pub fn new(
        algorithm: HashAlgorithm,
        data_block_size: u32,
        hash_block_size: u32,
        data_blocks: u64,
        salt: &[u8],
        uuid: [u8; 16],
    ) -> Result<Self, SuperblockError> {
        if !is_block_size(data_block_size) {
            return Err(SuperblockError::DataBlockSize { found: data_block_size });
        }
        if !is_block_size(hash_block_size) {
            return Err(SuperblockError::HashBlockSize { found: hash_block_size });
        }
        if data_blocks == 0 {
            return Err(SuperblockError::NoData);
        }
        if salt.len() > MAX_SALT_SIZE {
            return Err(SuperblockError::SaltSize { found: salt.len() });
        }
        let geometry = u64::try_from(algorithm.digest_size())
            .ok()
            .and_then(|digest_size| Geometry::new(data_block_size, hash_block_size, digest_size, data_blocks))
            .ok_or(SuperblockError::TooLarge { data_blocks, data_block_size })?;
        Ok(Self { algorithm, data_block_size, hash_block_size, data_blocks, salt: salt.to_vec(), uuid, geometry })
    }

    /// Reads the superblock at the start of `bytes`; what follows its 512 bytes is not looked at.
    ///
    /// # Errors
    /// A [`SuperblockError`] for whatever is not exactly as the format wants it, unused bytes included.
    pub fn parse(bytes: &[u8]) -> Result<Self, SuperblockError> {
        let truncated = || SuperblockError::Truncated { found: bytes.len() };
        let block: &[u8; SUPERBLOCK_SIZE] = bytes.first_chunk().ok_or_else(truncated)?;
        let u32_at = |offset| bytes::u32_at(block, offset).ok_or_else(truncated);

        let signature: [u8; 8] = bytes::array(block, 0).ok_or_else(truncated)?;
        if signature != SIGNATURE {
            return Err(SuperblockError::Signature { found: signature });
        }
        let version = u32_at(8)?;
        if version != VERSION {
            return Err(SuperblockError::Version { found: version });
        }
        let hash_type = u32_at(12)?;
        if hash_type != HASH_TYPE {
            return Err(SuperblockError::HashType { found: hash_type });
        }
        let algorithm_field: [u8; ALGORITHM_SIZE] = bytes::array(block, ALGORITHM_OFFSET).ok_or_else(truncated)?;
        let algorithm = HashAlgorithm::ALL
            .into_iter()
            .find(|algorithm| padded_name(*algorithm) == algorithm_field)
            .ok_or(SuperblockError::Algorithm { found: algorithm_field })?;
        let data_blocks = bytes::u64_at(block, 72).ok_or_else(truncated)?;
        let salt_size = usize::from(bytes::u16_at(block, 80).ok_or_else(truncated)?);
        let salt_field: [u8; MAX_SALT_SIZE] = bytes::array(block, SALT_OFFSET).ok_or_else(truncated)?;
        let salt = salt_field.get(..salt_size).ok_or(SuperblockError::SaltSize { found: salt_size })?;
        let uuid = bytes::array(block, UUID_OFFSET).ok_or_else(truncated)?;

        let superblock = Self::new(algorithm, u32_at(64)?, u32_at(68)?, data_blocks, salt, uuid)?;
        // Whatever has a meaning is the same in both by now, so a difference is a byte without one.
        match superblock.to_bytes().iter().zip(block).position(|(written, found)| written != found) {
            Some(offset) => {
                let found = block.get(offset).copied().ok_or_else(truncated)?;
                Err(SuperblockError::Padding { offset, found })
            }
            None => Ok(superblock),
        }
    }

    /// The 512 bytes for the start of the verity partition.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; SUPERBLOCK_SIZE] {
        // The new() above sees to it that the salt fits.
        let salt_size = u16::try_from(self.salt.len()).unwrap_or(0);
        let fields: [&[u8]; 11] = [
            &SIGNATURE,
            &VERSION.to_le_bytes(),
            &HASH_TYPE.to_le_bytes(),
            &self.uuid,
            &padded_name(self.algorithm),
            &self.data_block_size.to_le_bytes(),
            &self.hash_block_size.to_le_bytes(),
            &self.data_blocks.to_le_bytes(),
            &salt_size.to_le_bytes(),
            &[0; 6],
            &self.salt,
        ];
        padded(fields.into_iter().flatten())
    }

    /// The hash algorithm.
    #[must_use]
    pub fn algorithm(&self) -> HashAlgorithm {
        self.algorithm
    }

    /// Size of a data block in bytes.
    #[must_use]
    pub fn data_block_size(&self) -> u32 {
        self.data_block_size
    }

    /// Size of a hash block in bytes.
    #[must_use]
    pub fn hash_block_size(&self) -> u32 {
        self.hash_block_size
    }

    /// Number of data blocks, at least 1.
    #[must_use]
    pub fn data_blocks(&self) -> u64 {
        self.data_blocks
    }

    /// The salt, at most 256 bytes, maybe none.
    #[must_use]
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// The UUID, whose bytes are in the order in which they are written.
    #[must_use]
    pub fn uuid(&self) -> [u8; 16] {
        self.uuid
    }

    /// How long data and hash area are and where the levels of the tree lie.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }
}

fn is_block_size(size: u32) -> bool {
    (MIN_BLOCK_SIZE..=MAX_BLOCK_SIZE).contains(&size) && size.is_power_of_two()
}

fn padded_name(algorithm: HashAlgorithm) -> [u8; ALGORITHM_SIZE] {
    padded(algorithm.name().as_bytes())
}

/// The bytes, filled up with NULs.
fn padded<'a, const N: usize>(bytes: impl IntoIterator<Item = &'a u8>) -> [u8; N] {
    let mut all = [0; N];
    all.iter_mut().zip(bytes).for_each(|(slot, byte)| *slot = *byte);
    all
}

#[cfg(test)]
#[path = "superblock_tests.rs"]
mod tests;
