//! Errors of verifying and building a hash tree.

use super::{RootHash, RootHashError};
use std::io;
use thiserror::Error;

/// The area that [`TreeError::Io`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// The data covered by the tree.
    Data,
    /// The superblock and the tree.
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

/// Errors of verifying and building a hash tree.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TreeError {
    /// The data is shorter than the superblock says.
    #[error("the data is {found} bytes long, its superblock says {needed}")]
    DataTooShort {
        /// Length of all data blocks in bytes.
        needed: u64,
        /// Length of the data in bytes.
        found: u64,
    },
    /// The hash area is shorter than superblock and tree.
    #[error("the hash area is {found} bytes long, superblock and tree need {needed}")]
    HashAreaTooShort {
        /// Length of superblock and tree in bytes.
        needed: u64,
        /// Length of the hash area in bytes.
        found: u64,
    },
    /// The length of the root hash is not that of a digest of the superblock's algorithm.
    #[error("a root hash of {found} bytes is none of {expected}, the digest size of the superblock's algorithm")]
    DigestSizeMismatch {
        /// Length of a digest in bytes.
        expected: usize,
        /// Length of the root hash in bytes.
        found: usize,
    },
    /// A block does not match its digest in the hash block above it.
    #[error("block {block} of level {level} (0 is the data), at byte {offset}, does not match its digest")]
    Mismatch {
        /// 0 for a data block, 1 for a hash block with digests of data blocks, and so on to the top.
        level: usize,
        /// Number of the block in its level.
        block: u64,
        /// Offset of the block in bytes: in the data for level 0, in the hash area for other levels.
        offset: u64,
    },
    /// An unused byte of the hash area is not zero. A tree that was made for more data causes this, too.
    #[error("unused byte {offset} of the hash area is not zero")]
    UnusedNotZero {
        /// Offset in the hash area, in bytes.
        offset: u64,
    },
    /// The digest of the top block is not the root hash.
    #[error("the root hash is {computed}, not {expected}")]
    RootMismatch {
        /// Digest of the top block.
        computed: RootHash,
        /// Expected root hash.
        expected: RootHash,
    },
    /// The tree does not fit into memory.
    #[error("a hash tree of {len} bytes does not fit in memory")]
    TreeTooLarge {
        /// Length of superblock and tree in bytes.
        len: u64,
    },
    /// Reading failed.
    #[error("reading {area} at byte {offset}: {cause}")]
    Io {
        /// The area that was read.
        area: Area,
        /// Offset of the read in bytes.
        offset: u64,
        /// Error of the source.
        cause: io::Error,
    },
    /// The digest of the top block is not a root hash.
    #[error(transparent)]
    RootHash(#[from] RootHashError),
}
