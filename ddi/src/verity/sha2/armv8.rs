//! SHA-256 with the SHA-256 instructions of ARMv8.
//!
//! The unsafe code is sound for two reasons: a value of [`Armv8`] exists only if `detect()` found the instructions, and
//! every load or store is of an array that is as long.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::indexing_slicing,
    reason = "lanes and rounds, whose numbers are constants"
)]
// Lane and block numbers index several arrays at once.
#![allow(clippy::needless_range_loop)]

use std::arch::aarch64::{
    uint32x4_t, vaddq_u32, vdupq_n_u32, vld1q_u8, vld1q_u32, vreinterpretq_u32_u8, vrev32q_u8, vsha256h2q_u32,
    vsha256hq_u32, vsha256su0q_u32, vsha256su1q_u32, vst1q_u32,
};
use std::arch::is_aarch64_feature_detected;

use super::constants::ROUND_CONSTANTS_256;
use super::lanes::{Lanes, State, Word};

const BLOCK: usize = <u32 as Word>::BLOCK;

/// Evidence that the processor has the SHA-256 instructions.
///
/// Two messages are hashed at once: `sha256h` and `sha256h2` take four or more cycles, and one can begin every cycle or
/// every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Armv8(());

impl Armv8 {
    pub(super) fn detect() -> Option<Self> {
        (is_aarch64_feature_detected!("neon") && is_aarch64_feature_detected!("sha2")).then_some(Self(()))
    }
}

impl Lanes<u32, 2> for Armv8 {
    fn compress(self, states: &mut [State<u32>; 2], messages: [&[u8]; 2]) {
        // SAFETY: `self` was made by `detect`, so the processor has every feature of the callee.
        unsafe { sha256(states, messages) }
    }
}

#[target_feature(enable = "neon,sha2")]
fn sha256<const N: usize>(states: &mut [State<u32>; N], messages: [&[u8]; N]) {
    let messages = messages.map(|message| message.as_chunks::<BLOCK>().0);
    let blocks = messages.iter().map(|message| message.len()).min().unwrap_or(0);
    let mut abcd = [vdupq_n_u32(0); N];
    let mut efgh = abcd;
    for lane in 0..N {
        let [a, b, c, d, e, f, g, h] = states[lane];
        abcd[lane] = load_words(&[a, b, c, d]);
        efgh[lane] = load_words(&[e, f, g, h]);
    }

    for block in 0..blocks {
        let before = (abcd, efgh);
        let mut words = [[vdupq_n_u32(0); 4]; N];
        for lane in 0..N {
            words[lane] = load_block(&messages[lane][block]);
        }
        // Four rounds at a time, alternating between the messages, so that one computes while the other waits.
        let (constants, _) = ROUND_CONSTANTS_256.as_chunks();
        macro_rules! four_rounds {
            ($($group:literal)*) => {$(
                let constant = load_words(&constants[$group]);
                for lane in 0..N {
                    let words = &mut words[lane];
                    if $group >= 4 {
                        let sum = vsha256su0q_u32(words[$group % 4], words[($group + 1) % 4]);
                        words[$group % 4] = vsha256su1q_u32(sum, words[($group + 2) % 4], words[($group + 3) % 4]);
                    }
                    let input = vaddq_u32(words[$group % 4], constant);
                    let first = abcd[lane];
                    abcd[lane] = vsha256hq_u32(first, efgh[lane], input);
                    efgh[lane] = vsha256h2q_u32(efgh[lane], first, input);
                }
            )*};
        }
        four_rounds!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        for lane in 0..N {
            abcd[lane] = vaddq_u32(abcd[lane], before.0[lane]);
            efgh[lane] = vaddq_u32(efgh[lane], before.1[lane]);
        }
    }

    for lane in 0..N {
        let [a, b, c, d] = store_words(abcd[lane]);
        let [e, f, g, h] = store_words(efgh[lane]);
        states[lane] = [a, b, c, d, e, f, g, h];
    }
}

#[target_feature(enable = "neon")]
fn load_words(words: &[u32; 4]) -> uint32x4_t {
    // SAFETY: the array has the 16 bytes that are read.
    unsafe { vld1q_u32(words.as_ptr()) }
}

#[target_feature(enable = "neon")]
fn store_words(vector: uint32x4_t) -> [u32; 4] {
    let mut words = [0; 4];
    // SAFETY: the array has room for the 16 bytes that are written.
    unsafe { vst1q_u32(words.as_mut_ptr(), vector) };
    words
}

/// Loads the sixteen big-endian words of a block.
#[target_feature(enable = "neon")]
fn load_block(block: &[u8; BLOCK]) -> [uint32x4_t; 4] {
    let (quarters, _) = block.as_chunks::<16>();
    let mut words = [vdupq_n_u32(0); 4];
    for (words, bytes) in words.iter_mut().zip(quarters) {
        // SAFETY: the quarter has the 16 bytes that are read.
        let bytes = unsafe { vld1q_u8(bytes.as_ptr()) };
        *words = vreinterpretq_u32_u8(vrev32q_u8(bytes));
    }
    words
}
