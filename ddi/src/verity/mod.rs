//! dm-verity, format version 1: the superblock, the shape of the hash tree, full verification and construction.
//!
//! The kernel checks a block when somebody reads it. Here everything is recomputed beforehand: all data and all
//! of the tree, with the bytes that no digest covers required to be zero. What passes can't fail later, unless
//! the medium changes, and leaves no place where something could hide. [`CheckedData`] checks all of the tree beforehand, and of the
//! data what is read, as the kernel does.
//!
//! Format: the kernel's `Documentation/admin-guide/device-mapper/verity.rst` (the tree) and cryptsetup's
//! `lib/verity/verity.c` (the superblock, which the kernel never reads).

mod checked;
mod error;
mod geometry;
mod hasher;
mod root_hash;
pub mod sha256;
mod superblock;
#[cfg(test)]
mod test_images;
mod tree;
mod walk;
mod workers;
mod zeros;

pub use checked::CheckedData;
pub use error::{Area, TreeError};
pub use geometry::{Geometry, Level, SUPERBLOCK_SIZE};
pub use hasher::{HashAlgorithm, SaltedHasher};
pub use root_hash::{RootHash, RootHashError};
pub use superblock::{MAX_BLOCK_SIZE, MAX_SALT_SIZE, MIN_BLOCK_SIZE, Superblock, SuperblockError};
pub use tree::{VerifiedTree, build, verify};
pub use workers::default_threads;
pub use zeros::first_nonzero;
