//! Data that is checked against its hash tree whenever it is read, as in dm-verity.
//!
//! Each block of data and tree is read into memory, hashed there, and used only from there. A source that returns other
//! bytes at the next read causes an error, and never a byte that the root hash does not cover.

use super::tree::check_areas;
use super::{Area, Level, MAX_BLOCK_SIZE, RootHash, SaltedHasher, Superblock, TreeError};
use crate::io::ReadAt;
use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Number of hash blocks, of at most 4 KiB each, that are kept in memory. A tree has fewer levels, so sequential reads
/// need no block twice.
const KEPT: usize = 64;

/// A checked hash block: its level, its number there, its bytes.
type Kept = (usize, u64, Arc<[u8]>);

/// Data with a completely checked hash tree. Each block of the data is checked when it is read.
///
/// Only [`CheckedData::open`] makes one.
#[derive(Debug)]
pub struct CheckedData<D, H> {
    data: D,
    hash: H,
    superblock: Superblock,
    root: RootHash,
    hasher: SaltedHasher,
    kept: Mutex<Vec<Kept>>,
    /// Checked data blocks: a bit for each, in groups of 64. The key is the number of the first block divided by 64.
    checked: Mutex<HashMap<u64, u64>>,
    fault: Mutex<Option<TreeError>>,
}

impl<D: ReadAt, H: ReadAt> CheckedData<D, H> {
    /// Checks all hash blocks from the top down, and the last data block.
    ///
    /// No signature covers the superblock. In the last block of each level unused slots must be zero, which detects a
    /// number of data blocks that is too small. The last data block must match its digest, which detects a number that
    /// is too large.
    ///
    /// # Errors
    /// [`TreeError`] for the first fault.
    pub fn open(data: D, hash: H, superblock: Superblock, root: RootHash) -> Result<Self, TreeError> {
        check_areas(&data, &hash, &superblock, &root)?;
        let hasher = SaltedHasher::new(superblock.algorithm(), superblock.salt());
        let (kept, checked, fault) = (Mutex::default(), Mutex::default(), Mutex::default());
        let this = Self { data, hash, superblock, root, hasher, kept, checked, fault };
        for (depth, level) in this.levels().iter().enumerate() {
            for number in 0..level.blocks {
                this.hash_block(depth, number)?;
            }
        }
        let mut block = [0; BLOCK];
        this.data_block(this.superblock.data_blocks().saturating_sub(1), &mut block)?;
        Ok(this)
    }

    /// Returns the superblock.
    #[must_use]
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// Checks a range of the data, given in bytes. The part after the end of the data is ignored.
    ///
    /// # Errors
    /// [`TreeError`] for the first fault.
    pub fn check(&self, range: Range<u64>) -> Result<(), TreeError> {
        let size = u64::from(self.superblock.data_block_size());
        let end = range.end.min(self.len()).div_ceil(size);
        let mut block = [0; BLOCK];
        for number in range.start.checked_div(size).unwrap_or(0)..end {
            self.data_block(number, &mut block)?;
        }
        Ok(())
    }

    /// Returns the number of data bytes that have been checked, each counted once.
    #[must_use]
    pub fn checked_len(&self) -> u64 {
        let blocks = lock(&self.checked).values().map(|bits| u64::from(bits.count_ones())).sum::<u64>();
        blocks.saturating_mul(u64::from(self.superblock.data_block_size()))
    }

    /// Takes the first fault that [`ReadAt::read_exact_at`] found.
    pub fn take_fault(&self) -> Option<TreeError> {
        lock(&self.fault).take()
    }

    /// Returns the levels of hash blocks, the top first. The data is the level below the last.
    fn levels(&self) -> &[Level] {
        self.superblock.geometry().levels()
    }

    /// Returns the number of blocks in the level below `depth`.
    fn blocks_below(&self, depth: usize) -> u64 {
        let below = depth.checked_add(1).and_then(|below| self.levels().get(below));
        below.map_or(self.superblock.data_blocks(), |level| level.blocks)
    }

    /// Reads block `number` of the level at `depth` (the data is at the depth after the last), and compares its digest
    /// with the one in the block above it, or with the root hash.
    fn read(&self, depth: usize, number: u64, block: &mut [u8]) -> Result<(), TreeError> {
        let size = u64::try_from(block.len()).unwrap_or(u64::MAX);
        let start = number.saturating_mul(size);
        let (area, offset) = match self.levels().get(depth) {
            Some(level) => (Area::Hash, level.offset.saturating_add(start)),
            None => (Area::Data, start),
        };
        let read = match area {
            Area::Data => self.data.read_exact_at(block, offset),
            Area::Hash => self.hash.read_exact_at(block, offset),
        };
        read.map_err(|cause| TreeError::Io { area, offset, cause })?;
        let mut digest = [0; DIGEST];
        let digest = digest.get_mut(..self.superblock.algorithm().digest_size()).unwrap_or_default();
        self.hasher.hash_blocks(block.len(), block, digest);
        let Some(above) = depth.checked_sub(1) else {
            let computed = RootHash::from_bytes(digest)?;
            let expected = self.root.clone();
            return if computed == expected { Ok(()) } else { Err(TreeError::RootMismatch { computed, expected }) };
        };
        let per_block = self.digests_per_block();
        let parent = self.hash_block(above, number.checked_div(per_block).unwrap_or(0))?;
        let slot = usize::try_from(number.checked_rem(per_block).unwrap_or(0)).unwrap_or(usize::MAX);
        if parent.chunks_exact(digest.len().max(1)).nth(slot) == Some(&*digest) {
            return Ok(());
        }
        Err(TreeError::Mismatch { level: self.levels().len().saturating_sub(depth), block: number, offset })
    }

    fn digests_per_block(&self) -> u64 {
        let size = u64::try_from(self.superblock.algorithm().digest_size()).unwrap_or(u64::MAX);
        u64::from(self.superblock.hash_block_size()).checked_div(size).unwrap_or(0)
    }

    /// Returns a checked hash block, from memory or from the source.
    fn hash_block(&self, depth: usize, number: u64) -> Result<Arc<[u8]>, TreeError> {
        {
            let mut kept = lock(&self.kept);
            if let Some(place) = kept.iter().position(|(level, block, _)| (*level, *block) == (depth, number)) {
                let found = kept.remove(place);
                let bytes = Arc::clone(&found.2);
                kept.push(found);
                return Ok(bytes);
            }
        }
        let mut block = [0; BLOCK];
        let size = usize::try_from(self.superblock.hash_block_size()).unwrap_or(BLOCK);
        let block = block.get_mut(..size).unwrap_or_default();
        self.read(depth, number, block)?;
        self.check_unused(depth, number, block)?;
        let bytes: Arc<[u8]> = (&*block).into();
        let mut kept = lock(&self.kept);
        if kept.len() >= KEPT {
            kept.remove(0);
        }
        kept.push((depth, number, Arc::clone(&bytes)));
        Ok(bytes)
    }

    /// Checks that slots without a block below them are zero.
    fn check_unused(&self, depth: usize, number: u64, block: &[u8]) -> Result<(), TreeError> {
        let used = self.blocks_below(depth).saturating_sub(number.saturating_mul(self.digests_per_block()));
        let used =
            usize::try_from(used).unwrap_or(usize::MAX).saturating_mul(self.superblock.algorithm().digest_size());
        let Some(position) = block.get(used..).and_then(|unused| unused.iter().position(|byte| *byte != 0)) else {
            return Ok(());
        };
        let start = self.levels().get(depth).map_or(0, |level| level.offset);
        let size = u64::try_from(block.len()).unwrap_or(u64::MAX);
        let within = u64::try_from(used.saturating_add(position)).unwrap_or(u64::MAX);
        Err(TreeError::UnusedNotZero {
            offset: start.saturating_add(number.saturating_mul(size)).saturating_add(within),
        })
    }

    /// Reads and checks a data block.
    fn data_block<'b>(&self, number: u64, buffer: &'b mut [u8; BLOCK]) -> Result<&'b [u8], TreeError> {
        let size = usize::try_from(self.superblock.data_block_size()).unwrap_or(BLOCK);
        let block = buffer.get_mut(..size).unwrap_or_default();
        self.read(self.levels().len(), number, block)?;
        let bit = 1_u64.checked_shl(u32::try_from(number & 63).unwrap_or(0)).unwrap_or(0);
        *lock(&self.checked).entry(number >> 6).or_default() |= bit;
        Ok(block)
    }
}

/// Maximum length of a block in bytes.
const BLOCK: usize = 4096;
const _: () = assert!(BLOCK == 1 << MAX_BLOCK_SIZE.trailing_zeros());
/// Maximum length of a digest in bytes: that of SHA-512.
const DIGEST: usize = 64;

impl<D: ReadAt, H: ReadAt> ReadAt for CheckedData<D, H> {
    fn len(&self) -> u64 {
        self.superblock.geometry().data_len()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let end = u64::try_from(buf.len()).ok().and_then(|len| offset.checked_add(len));
        if end.is_none_or(|end| end > self.len()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let size = u64::from(self.superblock.data_block_size());
        let (mut rest, mut offset, mut block) = (buf, offset, [0; BLOCK]);
        while !rest.is_empty() {
            let checked = self.data_block(offset.checked_div(size).unwrap_or(0), &mut block).map_err(|error| {
                let reported = io::Error::other(error.to_string());
                lock(&self.fault).get_or_insert(error);
                reported
            })?;
            let within = usize::try_from(offset.checked_rem(size).unwrap_or(0)).unwrap_or(usize::MAX);
            let available = checked.get(within..).unwrap_or_default();
            let len = available.len().min(rest.len());
            let (Some(from), Some((to, behind))) = (available.get(..len), rest.split_at_mut_checked(len)) else {
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            if len == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            to.copy_from_slice(from);
            rest = behind;
            offset = offset.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        }
        Ok(())
    }
}

/// Locks a mutex, even after a panic in another thread, which can at worst cause another read of a block.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "checked_tests.rs"]
mod tests;
