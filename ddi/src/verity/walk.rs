//! Traversal of a hash tree: hashing the blocks of one level yields the blocks of the level above.
//!
//! The memory does not depend on the size of the image: each thread has buffers of at most 384 KiB together. Arithmetic
//! cannot overflow, because a [`super::Superblock`] describes lengths of less than 2^63 bytes.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::indexing_slicing,
    reason = "a superblock has no lengths beyond 2^63 bytes, and buffers are as long as a unit"
)]

use std::io;

use super::workers::{MAX_THREADS, for_each_unit};
use super::{Area, Level, MAX_BLOCK_SIZE, RootHash, SaltedHasher, Superblock, TreeError};
use crate::io::ReadAt;

/// Number of bytes that a thread reads and hashes at once. They fit into the second-level cache.
pub(super) const PIECE: usize = 128 * 1024;
/// Number of bytes of data in a unit of work: the data of one hash block of 4096 bytes with SHA-256.
const UNIT: usize = 512 * 1024;
/// Number of bytes from which on a level is hashed by several threads.
const MIN_THREADED: u64 = 1024 * 1024;

/// A source with `bytes` at offset `start` of the hash area.
pub(super) struct Shifted<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) start: u64,
}

impl ReadAt for Shifted<'_> {
    fn len(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.bytes.read_exact_at(buf, offset.checked_sub(self.start).ok_or(io::ErrorKind::UnexpectedEof)?)
    }
}

/// The blocks of a level that are to be hashed.
pub(super) struct Children<'a> {
    source: &'a dyn ReadAt,
    area: Area,
    offset: u64,
    block_size: usize,
    blocks: u64,
    /// Number of the level. The data is level 0.
    level: usize,
}

pub(super) struct Walk<'a> {
    superblock: &'a Superblock,
    hasher: SaltedHasher,
    digest_size: usize,
    pub(super) hash_block_size: usize,
    threads: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(superblock: &'a Superblock, threads: usize) -> Self {
        Self {
            superblock,
            hasher: SaltedHasher::new(superblock.algorithm(), superblock.salt()),
            digest_size: superblock.algorithm().digest_size(),
            hash_block_size: superblock.hash_block_size() as usize,
            threads: threads.min(MAX_THREADS),
        }
    }

    /// Returns the blocks that are hashed to make the level at `depth` (0 is the top).
    pub(super) fn children<'s>(&self, depth: usize, data: &'s dyn ReadAt, hash: &'s dyn ReadAt) -> Children<'s> {
        let levels = self.superblock.geometry().levels();
        match levels.get(depth + 1) {
            Some(Level { offset, blocks, .. }) => Children {
                source: hash,
                area: Area::Hash,
                offset: *offset,
                block_size: self.hash_block_size,
                blocks: *blocks,
                level: levels.len() - depth - 1,
            },
            None => Children {
                source: data,
                area: Area::Data,
                offset: 0,
                block_size: self.superblock.data_block_size() as usize,
                blocks: self.superblock.data_blocks(),
                level: 0,
            },
        }
    }

    /// Returns the digest of the top block. A single data block is itself the top.
    pub(super) fn root(&self, data: &dyn ReadAt, hash: &dyn ReadAt) -> Result<RootHash, TreeError> {
        let (source, area, offset, size) = match self.superblock.geometry().levels().first() {
            Some(top) => (hash, Area::Hash, top.offset, self.superblock.hash_block_size()),
            None => (data, Area::Data, 0, self.superblock.data_block_size()),
        };
        let mut buffer = [0; MAX_BLOCK_SIZE as usize];
        let block = &mut buffer[..size as usize];
        source.read_exact_at(block, offset).map_err(|cause| TreeError::Io { area, offset, cause })?;
        let mut digest = vec![0; self.digest_size];
        self.hasher.hash_blocks(block.len(), block, &mut digest);
        Ok(RootHash::from_bytes(&digest)?)
    }

    fn digests_per_block(&self) -> usize {
        self.hash_block_size / self.digest_size
    }

    /// Returns the number of hash blocks in a unit of work, at least 1. Together they have at most 128 KiB.
    pub(super) fn parents_per_unit(&self, children: &Children<'_>) -> usize {
        (UNIT / (self.digests_per_block() * children.block_size)).max(1)
    }

    /// Hashes all `children` and passes the resulting hash blocks to `sink`, several whole blocks at a time, with the
    /// number in their level of the first one. Each thread has its own state for the sink.
    pub(super) fn parents<S>(
        &self,
        children: &Children<'_>,
        sink_state: impl Fn() -> S + Sync,
        sink: impl Fn(&mut S, u64, &[u8]) -> Result<(), TreeError> + Sync,
    ) -> Result<(), TreeError> {
        let digests_per_block = self.digests_per_block() as u64;
        let parents = children.blocks.div_ceil(digests_per_block);
        let per_unit = self.parents_per_unit(children);
        let child_len = children.block_size as u64;
        let threads = if children.blocks * child_len < MIN_THREADED { 1 } else { self.threads };
        let buffers = || (vec![0; PIECE], vec![0; per_unit * self.hash_block_size], sink_state());
        for_each_unit(parents.div_ceil(per_unit as u64), threads, buffers, |(input, output, state), unit| {
            let first_parent = unit * per_unit as u64;
            let count = at_most(parents - first_parent, per_unit);
            let first_child = first_parent * digests_per_block;
            let last_child = (first_child + count as u64 * digests_per_block).min(children.blocks);

            let output = &mut output[..count * self.hash_block_size];
            // Digests fill a hash block completely, so those of several blocks are contiguous.
            let mut position = 0;
            let mut child = first_child;
            while child < last_child {
                let blocks = at_most(last_child - child, PIECE / children.block_size);
                let input = &mut input[..blocks * children.block_size];
                let offset = children.offset + child * child_len;
                children.source.read_exact_at(input, offset).map_err(|cause| TreeError::Io {
                    area: children.area,
                    offset,
                    cause,
                })?;
                let digests = &mut output[position..][..blocks * self.digest_size];
                self.hasher.hash_blocks(children.block_size, input, digests);
                position += digests.len();
                child += blocks as u64;
            }
            output[position..].fill(0);
            sink(state, first_parent, output)
        })
    }

    /// Returns the fault for a difference at byte `position` of the hash blocks that begin with number `first` at
    /// `offset`.
    pub(super) fn fault(&self, children: &Children<'_>, first: u64, offset: u64, position: usize) -> TreeError {
        let block = first * self.digests_per_block() as u64 + (position / self.digest_size) as u64;
        if block < children.blocks {
            let offset = children.offset + block * children.block_size as u64;
            TreeError::Mismatch { level: children.level, block, offset }
        } else {
            TreeError::UnusedNotZero { offset: offset + position as u64 }
        }
    }
}

fn at_most(count: u64, most: usize) -> usize {
    usize::try_from(count).map_or(most, |count| count.min(most))
}
