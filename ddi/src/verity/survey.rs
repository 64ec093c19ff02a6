//! Looking around where a block doesn't match its digest: how far the damage goes, and what can still be read.
//!
//! This is for telling people about an image that has been refused already. Nothing in here is evidence.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::indexing_slicing,
    reason = "a superblock has no lengths beyond 2^63 bytes, and buffers are as long as a piece"
)]

use super::walk::PIECE;
use super::{Level, MAX_BLOCK_SIZE, RootHash, SaltedHasher, Superblock};
use crate::io::{Damaged, ReadAt};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a level that are looked at from the first damaged block on.
const REACH: u64 = 64 << 20;

/// Bytes that [`SoundData`] hashes at most: 2 seconds of the slowest processor that the time limit of a worker allows for.
const HASHED: u64 = 8 << 20;

/// Longest digest in bytes.
const DIGEST: usize = 64;

/// The damaged blocks of one level of a hash tree, from the first one on, as far as they were looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Survey {
    /// How many there are, at least 1.
    pub blocks: u64,
    /// Whether all bytes of all of them are zero.
    pub are_zero: bool,
    /// Whether the search reached the end of the level.
    pub is_complete: bool,
}

/// The blocks of a level and where their digests are.
struct Row<'a> {
    source: &'a dyn ReadAt,
    offset: u64,
    blocks: u64,
    size: usize,
    /// The first digest in the hash area.
    digests: u64,
}

impl<'a> Row<'a> {
    /// The level `level`, of which 0 is the data; `None` for the top, whose digest is the root hash.
    fn new(data: &'a dyn ReadAt, hash: &'a dyn ReadAt, superblock: &Superblock, level: usize) -> Option<Self> {
        let levels = superblock.geometry().levels();
        // The top stands first.
        let digests = levels.get(levels.len().checked_sub(level + 1)?)?.offset;
        let Some(Level { offset, blocks, .. }) = levels.get(levels.len() - level).copied() else {
            let (blocks, size) = (superblock.data_blocks(), superblock.data_block_size() as usize);
            return Some(Self { source: data, offset: 0, blocks, size, digests });
        };
        Some(Self { source: hash, offset, blocks, size: superblock.hash_block_size() as usize, digests })
    }
}

/// Counts the blocks of `level` (0 is the data) that don't match their digests, from block `first` on, in at most 64 MiB; `None`
/// where none is found or a level of this number has no digests.
#[must_use]
pub fn survey(
    data: &dyn ReadAt,
    hash: &dyn ReadAt,
    superblock: &Superblock,
    level: usize,
    first: u64,
) -> Option<Survey> {
    let row = Row::new(data, hash, superblock, level)?;
    let hasher = SaltedHasher::new(superblock.algorithm(), superblock.salt());
    let digest = superblock.algorithm().digest_size();
    let end = row.blocks.min(first.saturating_add(REACH / row.size as u64));
    let mut found = Survey { blocks: 0, are_zero: true, is_complete: end == row.blocks };
    let per_piece = PIECE / row.size;
    let (mut input, mut computed) = (vec![0; PIECE], vec![0; per_piece * digest]);
    let mut expected = computed.clone();
    let mut number = first;
    while number < end {
        let count = usize::try_from(end - number).map_or(per_piece, |count| count.min(per_piece));
        let input = &mut input[..count * row.size];
        let (computed, expected) = (&mut computed[..count * digest], &mut expected[..count * digest]);
        let read = row.source.read_exact_at(input, row.offset + number * row.size as u64);
        if read.and_then(|()| hash.read_exact_at(expected, row.digests + number * digest as u64)).is_err() {
            found.is_complete = false;
            break;
        }
        hasher.hash_blocks(row.size, input, computed);
        let digests = computed.chunks_exact(digest).zip(expected.chunks_exact(digest));
        for (block, (computed, expected)) in input.chunks_exact(row.size).zip(digests) {
            if computed != expected {
                found.blocks += 1;
                found.are_zero &= block.iter().all(|byte| *byte == 0);
            }
        }
        number += count as u64;
    }
    (found.blocks > 0).then_some(found)
}

/// Whether the top block of the hash tree alone keeps the tree from leading to `root`: made anew from the level below it, it does.
#[must_use]
pub fn is_top_damaged(data: &dyn ReadAt, hash: &dyn ReadAt, superblock: &Superblock, root: &RootHash) -> bool {
    let levels = superblock.geometry().levels();
    let Some(row) = levels.len().checked_sub(1).and_then(|below| Row::new(data, hash, superblock, below)) else {
        return false;
    };
    let hasher = SaltedHasher::new(superblock.algorithm(), superblock.salt());
    let digest = superblock.algorithm().digest_size();
    let mut top = vec![0; superblock.hash_block_size() as usize];
    let mut block = [0; MAX_BLOCK_SIZE as usize];
    let block = &mut block[..row.size];
    for (number, digest) in (0..row.blocks).zip(top.chunks_exact_mut(digest)) {
        if row.source.read_exact_at(block, row.offset + number * row.size as u64).is_err() {
            return false;
        }
        hasher.hash_blocks(row.size, block, digest);
    }
    let mut computed = vec![0; digest];
    hasher.hash_blocks(top.len(), &top, &mut computed);
    computed == root.as_bytes()
}

/// The data blocks that match their digests; reading others gives [`Damaged`]. After 8 MiB of blocks every read fails.
///
/// The digests themselves are not checked against the root hash: the verification that refused the data block did that.
#[derive(Debug)]
pub struct SoundData<'a> {
    data: &'a dyn ReadAt,
    hash: &'a dyn ReadAt,
    /// The first digest in the hash area; `None` where the digest of the only block is the root hash.
    digests: Option<u64>,
    size: usize,
    digest: usize,
    len: u64,
    hasher: SaltedHasher,
    /// Bytes that may still be hashed.
    left: AtomicU64,
}

impl<'a> SoundData<'a> {
    /// Reads `data` under the lowest level of the tree in `hash`.
    #[must_use]
    pub fn new(data: &'a dyn ReadAt, hash: &'a dyn ReadAt, superblock: &Superblock) -> Self {
        Self {
            data,
            hash,
            digests: superblock.geometry().levels().last().map(|level| level.offset),
            size: superblock.data_block_size() as usize,
            digest: superblock.algorithm().digest_size(),
            len: superblock.geometry().data_len(),
            hasher: SaltedHasher::new(superblock.algorithm(), superblock.salt()),
            left: AtomicU64::new(HASHED),
        }
    }

    /// Reads block `number` into `block`.
    fn read_block(&self, number: u64, block: &mut [u8]) -> io::Result<()> {
        let offset = number * self.size as u64;
        let take = |left: u64| left.checked_sub(self.size as u64);
        if self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            return Err(io::Error::other("too many blocks were hashed"));
        }
        self.data.read_exact_at(block, offset)?;
        let (mut computed, mut expected) = ([0; DIGEST], [0; DIGEST]);
        let (computed, expected) = (&mut computed[..self.digest], &mut expected[..self.digest]);
        let damaged = || io::Error::other(Damaged { offset });
        let digests = self.digests.ok_or_else(damaged)?;
        self.hash.read_exact_at(expected, digests + number * self.digest as u64)?;
        self.hasher.hash_blocks(self.size, block, computed);
        if computed == expected { Ok(()) } else { Err(damaged()) }
    }
}

impl ReadAt for SoundData<'_> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let end = u64::try_from(buf.len()).ok().and_then(|len| offset.checked_add(len));
        if end.is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let size = self.size as u64;
        let mut block = [0; MAX_BLOCK_SIZE as usize];
        let block = &mut block[..self.size];
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            self.read_block(at / size, block)?;
            let from = &block[usize::try_from(at % size).unwrap_or_default()..];
            let len = from.len().min(buf.len() - done);
            buf[done..][..len].copy_from_slice(&from[..len]);
            done += len;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "survey_tests.rs"]
mod tests;
