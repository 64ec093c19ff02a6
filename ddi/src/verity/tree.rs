//! Verification and construction of a hash tree.
//!
//! Both hash the blocks of a level to get the blocks of the level above (see [`super::walk`]). [`build`] keeps these.
//! [`verify`] compares them as a whole with those on the disk.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::indexing_slicing,
    reason = "a superblock has no lengths beyond 2^63 bytes, and buffers are as long as a unit"
)]

use std::sync::{Mutex, PoisonError};

use super::error::{Area, TreeError};
use super::walk::{Shifted, Walk};
use super::zeros::first_nonzero_within;
use super::{RootHash, SUPERBLOCK_SIZE, Superblock};
use crate::io::ReadAt;

/// Evidence that all bytes of data and hash tree match a root hash. Only [`verify`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedTree {
    root_hash: RootHash,
    data_len: u64,
    hash_area_len: u64,
}

impl VerifiedTree {
    /// Returns the root hash that data and tree match.
    #[must_use]
    pub fn root_hash(&self) -> &RootHash {
        &self.root_hash
    }

    /// Returns the length in bytes of the data that the tree covers. Later bytes are not verified.
    #[must_use]
    pub fn data_len(&self) -> u64 {
        self.data_len
    }

    /// Returns the length in bytes of superblock and tree. Later bytes are not verified.
    #[must_use]
    pub fn hash_area_len(&self) -> u64 {
        self.hash_area_len
    }
}

/// Checks all of the data and the whole tree against `root`, from the top down.
///
/// `hash` is the whole hash area and starts with `superblock`. Both sources may be longer than the superblock
/// describes; for the other bytes see [`VerifiedTree::data_len`] and [`super::first_nonzero`]. `threads` is at least 1,
/// see [`super::default_threads`]; more than 8 are not used, and less than 1 MiB of data is hashed by one thread.
///
/// If there are several faults, the error is the first one in the level nearest to the top.
///
/// # Errors
/// [`TreeError`] for that fault.
///
/// # Panics
/// If a source panics while it is read.
pub fn verify(
    data: &dyn ReadAt,
    hash: &dyn ReadAt,
    superblock: &Superblock,
    root: &RootHash,
    threads: usize,
) -> Result<VerifiedTree, TreeError> {
    check_areas(data, hash, superblock, root)?;
    let geometry = superblock.geometry();
    let walk = Walk::new(superblock, threads);
    let computed = walk.root(data, hash)?;
    if computed != *root {
        return Err(TreeError::RootMismatch { computed, expected: root.clone() });
    }
    for (depth, parents) in geometry.levels().iter().enumerate() {
        let children = walk.children(depth, data, hash);
        walk.parents(
            &children,
            || vec![0; walk.parents_per_unit(&children) * walk.hash_block_size],
            |on_disk, first, expected| {
                let on_disk = &mut on_disk[..expected.len()];
                let offset = parents.offset + first * walk.hash_block_size as u64;
                hash.read_exact_at(on_disk, offset).map_err(|cause| TreeError::Io {
                    area: Area::Hash,
                    offset,
                    cause,
                })?;
                match on_disk.iter().zip(expected).position(|(found, expected)| found != expected) {
                    Some(position) => Err(walk.fault(&children, first, offset, position)),
                    None => Ok(()),
                }
            },
        )?;
    }
    Ok(VerifiedTree { root_hash: root.clone(), data_len: geometry.data_len(), hash_area_len: geometry.hash_area_len() })
}

/// Checks that both areas are as long as the superblock describes, that the length of `root` fits its algorithm, and
/// that the bytes between the superblock and the first hash block, which no digest covers, are zero.
pub(super) fn check_areas(
    data: &dyn ReadAt,
    hash: &dyn ReadAt,
    superblock: &Superblock,
    root: &RootHash,
) -> Result<(), TreeError> {
    let geometry = superblock.geometry();
    if !root.fits(superblock.algorithm()) {
        let expected = superblock.algorithm().digest_size();
        return Err(TreeError::DigestSizeMismatch { expected, found: root.as_bytes().len() });
    }
    check_data_len(data, superblock)?;
    if hash.len() < geometry.hash_area_len() {
        return Err(TreeError::HashAreaTooShort { needed: geometry.hash_area_len(), found: hash.len() });
    }

    let superblock_end = SUPERBLOCK_SIZE as u64;
    let first_hash_block = superblock_end.next_multiple_of(u64::from(superblock.hash_block_size()));
    let unused = first_nonzero_within(hash, superblock_end, first_hash_block).map_err(|cause| TreeError::Io {
        area: Area::Hash,
        offset: superblock_end,
        cause,
    })?;
    if let Some(offset) = unused {
        return Err(TreeError::UnusedNotZero { offset });
    }
    Ok(())
}

/// Builds the hash area for `data` (the superblock, zeros to the end of its block, the tree) and returns the root hash
/// with it.
///
/// # Errors
/// [`TreeError`] if the data is too short or cannot be read, or the tree does not fit into memory.
///
/// # Panics
/// If `data` panics while it is read.
pub fn build(data: &dyn ReadAt, superblock: &Superblock, threads: usize) -> Result<(RootHash, Vec<u8>), TreeError> {
    check_data_len(data, superblock)?;
    let len = superblock.geometry().hash_area_len();
    let too_large = || TreeError::TreeTooLarge { len };
    let size = usize::try_from(len).map_err(|_| too_large())?;
    let mut area = Vec::new();
    area.try_reserve_exact(size).map_err(|_| too_large())?;
    area.extend_from_slice(&superblock.to_bytes());
    area.resize(size, 0);

    let walk = Walk::new(superblock, threads);
    for (depth, parents) in superblock.geometry().levels().iter().enumerate().rev() {
        // Each level is directly before the one that it is made from.
        let end = usize::try_from(parents.offset + parents.len).map_err(|_| too_large())?;
        let start = usize::try_from(parents.offset).map_err(|_| too_large())?;
        let (upper, lower) = area.split_at_mut(end);
        let below: &[u8] = lower;
        let below = Shifted { bytes: below, start: parents.offset + parents.len };
        let children = walk.children(depth, data, &below);
        let level = Mutex::new(&mut upper[start..]);
        walk.parents(
            &children,
            || (),
            |(), first, blocks| {
                let position = usize::try_from(first).map_err(|_| too_large())? * walk.hash_block_size;
                let mut level = level.lock().unwrap_or_else(PoisonError::into_inner);
                level[position..][..blocks.len()].copy_from_slice(blocks);
                Ok(())
            },
        )?;
    }
    let root = walk.root(data, &area)?;
    Ok((root, area))
}

fn check_data_len(data: &dyn ReadAt, superblock: &Superblock) -> Result<(), TreeError> {
    let needed = superblock.geometry().data_len();
    if data.len() < needed {
        return Err(TreeError::DataTooShort { needed, found: data.len() });
    }
    Ok(())
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
