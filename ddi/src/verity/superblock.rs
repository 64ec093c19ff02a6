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

/// Minimum block size in bytes: a sector.
pub const MIN_BLOCK_SIZE: u32 = 512;
/// Maximum block size in bytes. `verity_ctr()` refuses blocks larger than a page, and all architectures can have pages
/// of 4096 bytes.
pub const MAX_BLOCK_SIZE: u32 = 4096;
/// Maximum length of the salt in bytes: its space in the superblock.
pub const MAX_SALT_SIZE: usize = 256;

const SIGNATURE: [u8; 8] = *b"verity\0\0";
const VERSION: u32 = 1;
const HASH_TYPE: u32 = 1;

const UUID_OFFSET: usize = 16;
const ALGORITHM_OFFSET: usize = 32;
const ALGORITHM_SIZE: usize = 32;
const SALT_OFFSET: usize = 88;

/// Errors of [`Superblock::new`] and [`Superblock::parse`].
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SuperblockError {
    /// The superblock is shorter than 512 bytes.
    #[error("verity superblock ends after {found} bytes, it has {SUPERBLOCK_SIZE}")]
    Truncated {
        /// Number of bytes.
        found: usize,
    },
    /// The first eight bytes are not `verity` and two NULs.
    #[error("no verity superblock: it begins with {}", bytes::hex(found))]
    Signature {
        /// The first eight bytes.
        found: [u8; 8],
    },
    /// The version of the superblock is unknown.
    #[error("verity superblock of version {found}, only {VERSION} is known")]
    Version {
        /// Version number.
        found: u32,
    },
    /// The hash type is unsupported, such as 0 of Chrome OS.
    #[error("verity hash type {found}, only {HASH_TYPE} is supported")]
    HashType {
        /// Number of the hash type.
        found: u32,
    },
    /// The algorithm is neither SHA-256 nor SHA-512, or bytes after the end of its name are not zero.
    #[error("hash algorithm \"{}\" is neither sha256 nor sha512, padded with NULs", found.escape_ascii())]
    Algorithm {
        /// All bytes of the field.
        found: [u8; ALGORITHM_SIZE],
    },
    /// The data block size is not a power of two from 512 to 4096.
    #[error("data block size {found} is not a power of two from {MIN_BLOCK_SIZE} to {MAX_BLOCK_SIZE}")]
    DataBlockSize {
        /// Data block size in bytes.
        found: u32,
    },
    /// The hash block size is not a power of two from 512 to 4096.
    #[error("hash block size {found} is not a power of two from {MIN_BLOCK_SIZE} to {MAX_BLOCK_SIZE}")]
    HashBlockSize {
        /// Hash block size in bytes.
        found: u32,
    },
    /// The number of data blocks is zero.
    #[error("no data blocks")]
    NoData,
    /// Data or tree would be longer than the maximum length of a file.
    #[error("{data_blocks} data blocks of {data_block_size} bytes are more than a file can hold")]
    TooLarge {
        /// Number of data blocks.
        data_blocks: u64,
        /// Data block size in bytes.
        data_block_size: u32,
    },
    /// The salt is longer than [`MAX_SALT_SIZE`].
    #[error("salt of {found} bytes, the most is {MAX_SALT_SIZE}")]
    SaltSize {
        /// Length of the salt in bytes.
        found: usize,
    },
    /// An unused byte, which no digest covers, is not zero.
    #[error("unused byte {offset} of the verity superblock is {found:#04x}, not zero")]
    Padding {
        /// Offset in the superblock, in bytes.
        offset: usize,
        /// Value of the byte.
        found: u8,
    },
}

/// A superblock with all values within their bounds.
///
/// No signature covers it. The hash tree proves that its values are those with which the root hash was made, with two
/// exceptions: the UUID, which has no meaning, and the hash block size if there is a single data block and so no hash
/// block.
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
    /// Describes a hash tree to be built. Block sizes are in bytes. `uuid` is stored unchanged.
    ///
    /// # Errors
    /// [`SuperblockError`] for a block size that is not a power of two from 512 to 4096, for zero data blocks or more
    /// than fit into a file, or for a salt of more than 256 bytes.
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

    /// Parses the superblock in the first 512 bytes of `bytes`. Other bytes are ignored.
    ///
    /// # Errors
    /// [`SuperblockError`] for the first deviation from the format, which includes unused bytes that are not zero.
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
        // All fields with a meaning are equal in both, so a difference is in an unused byte.
        match superblock.to_bytes().iter().zip(block).position(|(written, found)| written != found) {
            Some(offset) => {
                let found = block.get(offset).copied().ok_or_else(truncated)?;
                Err(SuperblockError::Padding { offset, found })
            }
            None => Ok(superblock),
        }
    }

    /// Returns the 512 bytes for the start of the verity partition.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; SUPERBLOCK_SIZE] {
        // `new` makes sure that the salt fits.
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

    /// Returns the hash algorithm.
    #[must_use]
    pub fn algorithm(&self) -> HashAlgorithm {
        self.algorithm
    }

    /// Returns the size of a data block in bytes.
    #[must_use]
    pub fn data_block_size(&self) -> u32 {
        self.data_block_size
    }

    /// Returns the size of a hash block in bytes.
    #[must_use]
    pub fn hash_block_size(&self) -> u32 {
        self.hash_block_size
    }

    /// Returns the number of data blocks, at least 1.
    #[must_use]
    pub fn data_blocks(&self) -> u64 {
        self.data_blocks
    }

    /// Returns the salt of 0 to 256 bytes.
    #[must_use]
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// Returns the UUID in the order in which its bytes are written.
    #[must_use]
    pub fn uuid(&self) -> [u8; 16] {
        self.uuid
    }

    /// Returns the lengths of data and hash area and the offsets of the levels.
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

/// Pads bytes with NULs.
fn padded<'a, const N: usize>(bytes: impl IntoIterator<Item = &'a u8>) -> [u8; N] {
    let mut all = [0; N];
    all.iter_mut().zip(bytes).for_each(|(slot, byte)| *slot = *byte);
    all
}

#[cfg(test)]
#[path = "superblock_tests.rs"]
mod tests;
