//! SHA-256 with the SHA instructions of x86-64.
//!
//! The unsafe code is sound for two reasons: a value of [`ShaNi`] exists only if `detect()` found the instructions, and
//! every load or store is of an array that is as long.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::indexing_slicing,
    reason = "lanes and rounds, whose numbers are constants"
)]
// The variables have the names of FIPS 180-4. Lane and block numbers index several arrays at once.
#![allow(clippy::many_single_char_names, clippy::needless_range_loop)]

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_loadu_si128, _mm_set_epi64x, _mm_sha256msg1_epu32,
    _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8, _mm_shuffle_epi32, _mm_storeu_si128,
};

use super::constants::ROUND_CONSTANTS_256 as ROUND_CONSTANTS;
use super::lanes::{Lanes, State, Word};

const BLOCK: usize = <u32 as Word>::BLOCK;

/// Evidence that the processor has the SHA instructions.
///
/// Four messages are hashed at once, because an instruction waits four cycles for the one before: 8 % faster on Zen 4
/// than two, although the words of four messages do not fit into the registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ShaNi(());

impl ShaNi {
    pub(super) fn detect() -> Option<Self> {
        let detected = is_x86_feature_detected!("sha")
            && is_x86_feature_detected!("sse4.1")
            && is_x86_feature_detected!("ssse3")
            && is_x86_feature_detected!("sse2");
        detected.then_some(Self(()))
    }
}

impl Lanes<u32, 4> for ShaNi {
    fn compress(self, states: &mut [State<u32>; 4], messages: [&[u8]; 4]) {
        // SAFETY: `self` was made by `detect`, so the processor has every feature of the callee.
        unsafe { sha_ni(states, messages) }
    }
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn sha_ni<const N: usize>(states: &mut [State<u32>; N], messages: [&[u8]; N]) {
    let messages = messages.map(|message| message.as_chunks::<BLOCK>().0);
    let blocks = messages.iter().map(|message| message.len()).min().unwrap_or(0);
    // The instructions need the variables as A B E F and C D G H, the first in the highest lane.
    let mut abef = [_mm_set_epi64x(0, 0); N];
    let mut cdgh = abef;
    for lane in 0..N {
        let [a, b, c, d, e, f, g, h] = states[lane];
        abef[lane] = load_words([f, e, b, a]);
        cdgh[lane] = load_words([h, g, d, c]);
    }

    for block in 0..blocks {
        let before = (abef, cdgh);
        let mut words: [[__m128i; 4]; N] = [[_mm_set_epi64x(0, 0); 4]; N];
        for lane in 0..N {
            words[lane] = load_block(&messages[lane][block]);
        }
        // Four rounds at a time, alternating between the messages, so that one computes while the other waits.
        macro_rules! four_rounds {
            ($($group:literal)*) => {$(
                let constants: [u32; 4] = [
                    ROUND_CONSTANTS[4 * $group],
                    ROUND_CONSTANTS[4 * $group + 1],
                    ROUND_CONSTANTS[4 * $group + 2],
                    ROUND_CONSTANTS[4 * $group + 3],
                ];
                let constants = load_words(constants);
                for lane in 0..N {
                    let words = &mut words[lane];
                    if $group >= 4 {
                        let middle = _mm_alignr_epi8::<4>(words[($group + 3) % 4], words[($group + 2) % 4]);
                        let sum = _mm_add_epi32(_mm_sha256msg1_epu32(words[$group % 4], words[($group + 1) % 4]), middle);
                        words[$group % 4] = _mm_sha256msg2_epu32(sum, words[($group + 3) % 4]);
                    }
                    let input = _mm_add_epi32(words[$group % 4], constants);
                    cdgh[lane] = _mm_sha256rnds2_epu32(cdgh[lane], abef[lane], input);
                    abef[lane] = _mm_sha256rnds2_epu32(abef[lane], cdgh[lane], _mm_shuffle_epi32::<0x0e>(input));
                }
            )*};
        }
        four_rounds!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        for lane in 0..N {
            abef[lane] = _mm_add_epi32(abef[lane], before.0[lane]);
            cdgh[lane] = _mm_add_epi32(cdgh[lane], before.1[lane]);
        }
    }

    for lane in 0..N {
        let [f, e, b, a] = store_words(abef[lane]);
        let [h, g, d, c] = store_words(cdgh[lane]);
        states[lane] = [a, b, c, d, e, f, g, h];
    }
}

/// Loads four words, the first into the lowest lane.
#[target_feature(enable = "sse2")]
fn load_words(words: [u32; 4]) -> __m128i {
    // SAFETY: the array has the 16 bytes that are read, and the load needs no alignment.
    unsafe { _mm_loadu_si128(words.as_ptr().cast()) }
}

#[target_feature(enable = "sse2")]
fn store_words(vector: __m128i) -> [u32; 4] {
    let mut words = [0; 4];
    // SAFETY: the array has room for the 16 bytes that are written, and the store needs no alignment.
    unsafe { _mm_storeu_si128(words.as_mut_ptr().cast(), vector) };
    words
}

/// Loads the sixteen big-endian words of a block.
#[target_feature(enable = "sse2,ssse3")]
fn load_block(block: &[u8; BLOCK]) -> [__m128i; 4] {
    let swap = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    let (quarters, _) = block.as_chunks::<16>();
    let mut words = [swap; 4];
    for (words, bytes) in words.iter_mut().zip(quarters) {
        // SAFETY: the quarter has the 16 bytes that are read, and the load needs no alignment.
        let bytes = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
        *words = _mm_shuffle_epi8(bytes, swap);
    }
    words
}
