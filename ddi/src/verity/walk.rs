//! Going over the levels of a hash tree: the blocks of one are hashed, which gives the blocks of the one above.
//!
//! Memory doesn't depend on the size of the image: every thread has buffers of at most 384 KiB together. Numbers
//! can't overflow: a [`super::Superblock`] has no lengths beyond 2^63 bytes.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::indexing_slicing,
    reason = "a superblock has no lengths beyond 2^63 bytes, and buffers are as long as a unit"
)]

use std::io;

use super::workers::for_each_unit;
use super::{Area, Level, MAX_BLOCK_SIZE, RootHash, SaltedHasher, Superblock, TreeError};
use crate::io::ReadAt;

/// Bytes that a thread reads and hashes at once: they are still in the second-level cache when they are hashed.
pub(super) const PIECE: usize = 128 * 1024;
/// Bytes of data that a thread takes on at once; the data of one hash block of 4096 bytes with SHA-256.
const UNIT: usize = 512 * 1024;
/// A level with less bytes than this isn't worth a second thread.
const SINGLE_THREADED: u64 = 1024 * 1024;

/// Bytes that stand at `start` of the hash area.
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

/// The blocks of a level, which are to be hashed.
pub(super) struct Children<'a> {
    source: &'a dyn ReadAt,
    area: Area,
    offset: u64,
    block_size: usize,
    blocks: u64,
    /// 0 for data.
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
            threads,
        }
    }

    /// What the level at `depth` (0 is the top) is made from.
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

    /// Digest of the top block, which is the data block where there is only one.
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

    /// How many hash blocks are made at once, at least 1. All of them are at most 128 KiB.
    pub(super) fn parents_per_unit(&self, children: &Children<'_>) -> usize {
        (UNIT / (self.digests_per_block() * children.block_size)).max(1)
    }

    /// Hashes all of `children` and gives the hash blocks that they make to `sink`, some whole blocks at a time,
    /// along with the number in their level of the first. Each thread's sink has a state of its own.
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
        let threads = if children.blocks * child_len < SINGLE_THREADED { 1 } else { self.threads };
        let buffers = || (vec![0; PIECE], vec![0; per_unit * self.hash_block_size], sink_state());
        for_each_unit(parents.div_ceil(per_unit as u64), threads, buffers, |(input, output, state), unit| {
            let first_parent = unit * per_unit as u64;
            let count = at_most(parents - first_parent, per_unit);
            let first_child = first_parent * digests_per_block;
            let last_child = (first_child + count as u64 * digests_per_block).min(children.blocks);

            let output = &mut output[..count * self.hash_block_size];
            // Digests fill a hash block without a rest, so those of several blocks are one run.
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

    /// What is wrong where byte `position` differs in the hash blocks that begin with number `first` at `offset`.
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
