//! Why a tree doesn't prove the data, or can't be built.

use super::{RootHash, RootHashError};
use std::io;
use thiserror::Error;

/// What `Io` was reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// The data that the tree covers.
    Data,
    /// Superblock and tree.
    Hash,
}

impl std::fmt::Display for Area {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Data => "data",
            Self::Hash => "hash tree",
        })
    }
}

/// Why a tree doesn't prove the data, or can't be built.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TreeError {
    /// The data ends before the last data block.
    #[error("the data is {found} bytes long, its superblock says {needed}")]
    DataTooShort {
        /// Bytes of all data blocks.
        needed: u64,
        /// Bytes there are.
        found: u64,
    },
    /// The hash area ends before the last hash block.
    #[error("the hash area is {found} bytes long, superblock and tree need {needed}")]
    HashAreaTooShort {
        /// Bytes of superblock and tree.
        needed: u64,
        /// Bytes there are.
        found: u64,
    },
    /// The root hash is none of the algorithm that the superblock names.
    #[error("a root hash of {found} bytes is none of {expected}, the digest size of the superblock's algorithm")]
    DigestSizeMismatch {
        /// Bytes of a digest of the algorithm.
        expected: usize,
        /// Bytes of the root hash.
        found: usize,
    },
    /// A block doesn't have the digest that the hash block above it says.
    #[error("block {block} of level {level} (0 is the data), at byte {offset}, does not match its digest")]
    Mismatch {
        /// 0 for a data block, 1 for a hash block with digests of data blocks, and so on to the top.
        level: usize,
        /// Number of the block in its level.
        block: u64,
        /// Its first byte: in the data for level 0, in the hash area for others.
        offset: u64,
    },
    /// A byte of the hash area that holds no digest isn't zero. So looks a tree that was made for more data.
    #[error("unused byte {offset} of the hash area is not zero")]
    UnusedNotZero {
        /// Its position in the hash area.
        offset: u64,
    },
    /// The top of the tree has another digest.
    #[error("the root hash is {computed}, not {expected}")]
    RootMismatch {
        /// Digest of the top block that is there.
        computed: RootHash,
        /// What it should be.
        expected: RootHash,
    },
    /// The tree is larger than the memory that it is to be built in.
    #[error("a hash tree of {len} bytes does not fit in memory")]
    TreeTooLarge {
        /// Bytes of superblock and tree.
        len: u64,
    },
    /// Reading failed.
    #[error("reading {area} at byte {offset}: {cause}")]
    Io {
        /// Which of the two.
        area: Area,
        /// First byte of what was to be read.
        offset: u64,
        /// The cause.
        cause: io::Error,
    },
    /// The digest of the top block is no root hash.
    #[error(transparent)]
    RootHash(#[from] RootHashError),
}
