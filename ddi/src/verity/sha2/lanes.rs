//! Common code of the implementations that hash several messages at once: salt, padding, and the rest of a message.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::indexing_slicing,
    reason = "lanes and rounds, whose numbers are constants"
)]

use std::array;

use super::Salted;
use super::constants::{INITIAL_256, INITIAL_512};

/// A word of the algorithm: 32 bits in SHA-256, 64 bits in SHA-512.
pub(super) trait Word: Copy + Send + Sync {
    /// The state before the first block.
    const INITIAL: [Self; 8];
    /// Block size of the compression function in bytes.
    const BLOCK: usize;
    /// Length in bytes of the field for the length of the message at the end of the padding.
    const LENGTH_SIZE: usize;

    /// Writes the word in big-endian order. `bytes` has exactly its size.
    fn write_to(self, bytes: &mut [u8]);
}

impl Word for u32 {
    const INITIAL: [Self; 8] = INITIAL_256;
    const BLOCK: usize = 64;
    const LENGTH_SIZE: usize = 8;

    fn write_to(self, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self.to_be_bytes());
    }
}

impl Word for u64 {
    const INITIAL: [Self; 8] = INITIAL_512;
    const BLOCK: usize = 128;
    const LENGTH_SIZE: usize = 16;

    fn write_to(self, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self.to_be_bytes());
    }
}

/// The largest block size of a compression function in bytes.
const MAX_BLOCK: usize = <u64 as Word>::BLOCK;

/// The eight working variables between two blocks.
pub(super) type State<W> = [W; 8];

/// The compression function over `N` messages at once.
pub(super) trait Lanes<W, const N: usize>: Copy + Send + Sync {
    /// Processes each message into its state. All have the same length, a multiple of [`Word::BLOCK`] which may be
    /// zero.
    fn compress(self, states: &mut [State<W>; N], messages: [&[u8]; N]);
}

/// The state after the salt, with which every message begins.
pub(super) struct Midstate<L, W, const N: usize> {
    lanes: L,
    /// State after the whole blocks of the salt.
    state: State<W>,
    /// The rest of the salt, at the start of a block that data will fill.
    head: [u8; MAX_BLOCK],
    /// Length of that rest in bytes.
    head_len: usize,
    salt_len: usize,
    /// The implementation for fewer blocks than [`Few::below`].
    few: Option<Few>,
}

/// What hashes a few blocks faster than an implementation whose lanes would be mostly unused.
pub(super) struct Few {
    /// Number of blocks from which on the lanes are faster.
    pub(super) below: usize,
    pub(super) hasher: Box<dyn Salted>,
}

impl<L: Lanes<W, N>, W: Word, const N: usize> Midstate<L, W, N> {
    pub(super) fn new(lanes: L, salt: &[u8], few: Option<Few>) -> Self {
        let (whole, rest) = salt.split_at(salt.len() - salt.len() % W::BLOCK);
        let mut states = [W::INITIAL; N];
        lanes.compress(&mut states, [whole; N]);
        let mut head = [0; MAX_BLOCK];
        head[..rest.len()].copy_from_slice(rest);
        Self { lanes, state: states[0], head, head_len: rest.len(), salt_len: salt.len(), few }
    }

    fn hash(&self, messages: [&[u8]; N]) -> [State<W>; N] {
        let block_size = messages[0].len();
        let mut states = [self.state; N];
        let (mut head_len, mut taken) = (self.head_len, 0);
        if head_len != 0 && head_len + block_size >= W::BLOCK {
            taken = W::BLOCK - head_len;
            let mut firsts = [self.head; N];
            for (first, message) in firsts.iter_mut().zip(messages) {
                first[head_len..W::BLOCK].copy_from_slice(&message[..taken]);
            }
            self.lanes.compress(&mut states, firsts.each_ref().map(|first| &first[..W::BLOCK]));
            head_len = 0;
        }
        if head_len == 0 {
            let whole = (block_size - taken) / W::BLOCK * W::BLOCK;
            self.lanes.compress(&mut states, messages.map(|message| &message[taken..][..whole]));
            taken += whole;
        }

        // FIPS 180-4, sections 5.1.1 and 5.1.2: a one bit, zeros and the length in bits fill the last block or the last
        // two.
        let rest = head_len + block_size - taken;
        let end = if rest < W::BLOCK - W::LENGTH_SIZE { W::BLOCK } else { 2 * W::BLOCK };
        let bits = 8 * (self.salt_len + block_size) as u64;
        let mut lasts = [[0; 2 * MAX_BLOCK]; N];
        for (last, message) in lasts.iter_mut().zip(messages) {
            last[..head_len].copy_from_slice(&self.head[..head_len]);
            last[head_len..rest].copy_from_slice(&message[taken..]);
            last[rest] = 0x80;
            last[end - 8..end].copy_from_slice(&bits.to_be_bytes());
        }
        self.lanes.compress(&mut states, lasts.each_ref().map(|last| &last[..end]));
        states
    }
}

impl<L: Lanes<W, N>, W: Word, const N: usize> Salted for Midstate<L, W, N> {
    fn hash_blocks(&self, block_size: usize, blocks: &[u8], digests: &mut [u8]) {
        let digest_size = 8 * size_of::<W>();
        for (group, digests) in blocks.chunks(block_size * N).zip(digests.chunks_mut(digest_size * N)) {
            let count = digests.len() / digest_size;
            if let Some(few) = &self.few
                && count < few.below
            {
                few.hasher.hash_blocks(block_size, group, digests);
                continue;
            }
            // Lanes without a block repeat the last one.
            let messages = array::from_fn(|lane| &group[lane.min(count - 1) * block_size..][..block_size]);
            let words = self.hash(messages).into_iter().flatten();
            digests.chunks_exact_mut(size_of::<W>()).zip(words).for_each(|(bytes, word)| word.write_to(bytes));
        }
    }
}
