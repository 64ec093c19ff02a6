//! dm-verity, format version 1: superblock, geometry of the hash tree, full verification and construction.
//!
//! The kernel checks a block when it is read. [`verify`] recomputes everything beforehand: all data and the whole tree.
//! Bytes that no digest covers must be zero. So a verified image cannot fail later unless the medium changes, and it
//! has no room for hidden bytes. [`CheckedData`] checks the whole tree beforehand, and data when it is read, as the
//! kernel does.
//!
//! Format: the kernel's `Documentation/admin-guide/device-mapper/verity.rst` (the tree) and cryptsetup's
//! `lib/verity/verity.c` (the superblock, which the kernel never reads).

mod algorithm;
mod checked;
mod error;
mod geometry;
mod hasher;
mod root_hash;
pub mod sha2;
mod superblock;
mod survey;
#[cfg(test)]
mod test_images;
mod tree;
mod walk;
mod workers;
mod zeros;

pub use algorithm::HashAlgorithm;
pub use checked::CheckedData;
pub use error::{Area, TreeError};
pub use geometry::{Geometry, Level, SUPERBLOCK_SIZE};
pub use hasher::SaltedHasher;
pub use root_hash::{RootHash, RootHashError};
pub use superblock::{MAX_BLOCK_SIZE, MAX_SALT_SIZE, MIN_BLOCK_SIZE, Superblock, SuperblockError};
pub use survey::{SoundData, Survey, is_top_damaged, survey};
pub use tree::{VerifiedTree, build, verify};
pub use workers::default_threads;
pub use zeros::first_nonzero;
