//! Common code of the implementations that hash several messages at once: salt, padding, and the rest of a message.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::indexing_slicing,
    reason = "lanes and rounds, whose numbers are constants"
)]

use std::array;

use super::{BLOCK, DIGEST_SIZE};

/// The eight working variables between two blocks.
pub(super) type State = [u32; 8];

/// Initial hash value (FIPS 180-4, section 5.3.3).
const INITIAL: State =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// Round constants (FIPS 180-4, section 4.2.2).
pub(super) const ROUND_CONSTANTS: [u32; 64] = [
    0x428a_2f98,
    0x7137_4491,
    0xb5c0_fbcf,
    0xe9b5_dba5,
    0x3956_c25b,
    0x59f1_11f1,
    0x923f_82a4,
    0xab1c_5ed5,
    0xd807_aa98,
    0x1283_5b01,
    0x2431_85be,
    0x550c_7dc3,
    0x72be_5d74,
    0x80de_b1fe,
    0x9bdc_06a7,
    0xc19b_f174,
    0xe49b_69c1,
    0xefbe_4786,
    0x0fc1_9dc6,
    0x240c_a1cc,
    0x2de9_2c6f,
    0x4a74_84aa,
    0x5cb0_a9dc,
    0x76f9_88da,
    0x983e_5152,
    0xa831_c66d,
    0xb003_27c8,
    0xbf59_7fc7,
    0xc6e0_0bf3,
    0xd5a7_9147,
    0x06ca_6351,
    0x1429_2967,
    0x27b7_0a85,
    0x2e1b_2138,
    0x4d2c_6dfc,
    0x5338_0d13,
    0x650a_7354,
    0x766a_0abb,
    0x81c2_c92e,
    0x9272_2c85,
    0xa2bf_e8a1,
    0xa81a_664b,
    0xc24b_8b70,
    0xc76c_51a3,
    0xd192_e819,
    0xd699_0624,
    0xf40e_3585,
    0x106a_a070,
    0x19a4_c116,
    0x1e37_6c08,
    0x2748_774c,
    0x34b0_bcb5,
    0x391c_0cb3,
    0x4ed8_aa4a,
    0x5b9c_ca4f,
    0x682e_6ff3,
    0x748f_82ee,
    0x78a5_636f,
    0x84c8_7814,
    0x8cc7_0208,
    0x90be_fffa,
    0xa450_6ceb,
    0xbef9_a3f7,
    0xc671_78f2,
];

/// The compression function over `N` messages at once.
pub(super) trait Lanes<const N: usize>: Copy {
    /// Processes each message into its state. All have the same length, a multiple of 64 bytes which may be zero.
    fn compress(self, states: &mut [State; N], messages: [&[u8]; N]);
}

/// The state after the salt, with which every message begins.
pub(super) struct Midstate {
    /// State after the whole blocks of the salt.
    state: State,
    /// The rest of the salt, at the start of a block that data will fill.
    head: [u8; BLOCK],
    /// Length of that rest in bytes.
    head_len: usize,
    salt_len: usize,
}

impl Midstate {
    pub(super) fn new<const N: usize>(lanes: impl Lanes<N>, salt: &[u8]) -> Self {
        let (whole, rest) = salt.split_at(salt.len() - salt.len() % BLOCK);
        let mut states = [INITIAL; N];
        lanes.compress(&mut states, [whole; N]);
        let mut head = [0; BLOCK];
        head[..rest.len()].copy_from_slice(rest);
        Self { state: states[0], head, head_len: rest.len(), salt_len: salt.len() }
    }

    pub(super) fn hash_blocks<const N: usize>(
        &self,
        lanes: impl Lanes<N>,
        block_size: usize,
        blocks: &[u8],
        digests: &mut [[u8; DIGEST_SIZE]],
    ) {
        for (group, digests) in blocks.chunks(block_size * N).zip(digests.chunks_mut(N)) {
            // Lanes without a block repeat the last one.
            let last = digests.len() - 1;
            let messages = array::from_fn(|lane| &group[lane.min(last) * block_size..][..block_size]);
            let states = self.hash(lanes, block_size, messages);
            for (digest, state) in digests.iter_mut().zip(states) {
                let (words, _) = digest.as_chunks_mut();
                words.iter_mut().zip(state).for_each(|(bytes, word)| *bytes = word.to_be_bytes());
            }
        }
    }

    fn hash<const N: usize>(&self, lanes: impl Lanes<N>, block_size: usize, messages: [&[u8]; N]) -> [State; N] {
        let mut states = [self.state; N];
        let mut taken = 0;
        if self.head_len != 0 {
            taken = BLOCK - self.head_len;
            let mut firsts = [self.head; N];
            for (first, message) in firsts.iter_mut().zip(messages) {
                first[self.head_len..].copy_from_slice(&message[..taken]);
            }
            lanes.compress(&mut states, firsts.each_ref().map(<[u8; BLOCK]>::as_slice));
        }

        let whole = (block_size - taken) / BLOCK * BLOCK;
        lanes.compress(&mut states, messages.map(|message| &message[taken..][..whole]));
        taken += whole;

        // FIPS 180-4, section 5.1.1: a one bit, zeros and the length in bits fill the last block or the last two.
        let rest = block_size - taken;
        let end = if rest < BLOCK - 8 { BLOCK } else { 2 * BLOCK };
        let bits = 8 * (self.salt_len + block_size) as u64;
        let mut lasts = [[0; 2 * BLOCK]; N];
        for (last, message) in lasts.iter_mut().zip(messages) {
            last[..rest].copy_from_slice(&message[taken..]);
            last[rest] = 0x80;
            last[end - 8..end].copy_from_slice(&bits.to_be_bytes());
        }
        lanes.compress(&mut states, lasts.each_ref().map(|last| &last[..end]));
        states
    }
}
