//! SHA-256 with the vector instructions of x86-64.
//!
//! This is the only unsafe code of the hash. It is sound for two reasons: a value of [`ShaNi`] or [`Avx2`] exists only
//! if `detect()` found the instructions, and every load is from a slice or array that is at least as long.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::indexing_slicing,
    reason = "lanes and rounds, whose numbers are constants"
)]
// The variables have the names of FIPS 180-4. Lane and block numbers index several arrays at once.
#![allow(clippy::many_single_char_names, clippy::needless_range_loop)]

use std::arch::x86_64::{
    __m128i, __m256i, _mm_add_epi32, _mm_alignr_epi8, _mm_loadu_si128, _mm_set_epi64x, _mm_sha256msg1_epu32,
    _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8, _mm_shuffle_epi32, _mm_storeu_si128,
    _mm256_add_epi32, _mm256_and_si256, _mm256_loadu_si256, _mm256_or_si256, _mm256_permute2x128_si256,
    _mm256_set_epi64x, _mm256_set1_epi32, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_slli_epi32,
    _mm256_srli_epi32, _mm256_storeu_si256, _mm256_unpackhi_epi32, _mm256_unpackhi_epi64, _mm256_unpacklo_epi32,
    _mm256_unpacklo_epi64, _mm256_xor_si256,
};

use super::BLOCK;
use super::lanes::{Lanes, ROUND_CONSTANTS, State};

/// Evidence that the processor has the SHA instructions.
///
/// Two messages are hashed at once: `sha256rnds2` takes four cycles, one can begin every two, and there are enough
/// registers for two messages.
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

impl Lanes<2> for ShaNi {
    fn compress(self, states: &mut [State; 2], messages: [&[u8]; 2]) {
        // SAFETY: `self` was made by `detect`, so the processor has every feature of the callee.
        unsafe { sha_ni(states, messages) }
    }
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn sha_ni<const N: usize>(states: &mut [State; N], messages: [&[u8]; N]) {
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

/// Evidence that the processor has AVX2. Eight messages are hashed at once, each in its own lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Avx2(());

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }
}

impl Lanes<8> for Avx2 {
    fn compress(self, states: &mut [State; 8], messages: [&[u8]; 8]) {
        // SAFETY: `self` was made by `detect`, so the processor has AVX2.
        unsafe { avx2(states, messages) }
    }
}

#[target_feature(enable = "avx2")]
fn avx2(states: &mut [State; 8], messages: [&[u8]; 8]) {
    let messages = messages.map(|message| message.as_chunks::<BLOCK>().0);
    let blocks = messages.iter().map(|message| message.len()).min().unwrap_or(0);
    // Row n has variable n of all messages.
    let mut rows = [_mm256_setzero_si256(); 8];
    for (row, words) in rows.iter_mut().zip(&*states) {
        // SAFETY: the state has the 32 bytes that are read, and the load needs no alignment.
        *row = unsafe { _mm256_loadu_si256(words.as_ptr().cast()) };
    }
    let mut state = transpose(rows);

    for block in 0..blocks {
        let before = state;
        let swap = _mm256_set_epi64x(
            0x0c0d_0e0f_0809_0a0b,
            0x0405_0607_0001_0203,
            0x0c0d_0e0f_0809_0a0b,
            0x0405_0607_0001_0203,
        );
        let mut words = [_mm256_setzero_si256(); 16];
        for half in 0..2 {
            let mut rows = [_mm256_setzero_si256(); 8];
            for lane in 0..8 {
                let (halves, _) = messages[lane][block].as_chunks::<32>();
                rows[lane] = _mm256_shuffle_epi8(load_half(&halves[half]), swap);
            }
            words[8 * half..][..8].copy_from_slice(&transpose(rows));
        }
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = state;
        // Unrolled, so that words and variables stay in registers if there are enough.
        macro_rules! sixteen_rounds {
            ($constants:expr, $schedule:literal: $($round:literal)*) => {$(
                if $schedule {
                    let early = words[($round + 1) % 16];
                    let late = words[($round + 14) % 16];
                    let small0 = xor3(rotate::<7, 25>(early), rotate::<18, 14>(early), _mm256_srli_epi32::<3>(early));
                    let small1 = xor3(rotate::<17, 15>(late), rotate::<19, 13>(late), _mm256_srli_epi32::<10>(late));
                    let sum = _mm256_add_epi32(words[$round], words[($round + 9) % 16]);
                    words[$round] = _mm256_add_epi32(sum, _mm256_add_epi32(small0, small1));
                }
                let constant = _mm256_set1_epi32($constants[$round].cast_signed());
                let input = _mm256_add_epi32(words[$round], _mm256_add_epi32(h, constant));
                let large1 = xor3(rotate::<6, 26>(e), rotate::<11, 21>(e), rotate::<25, 7>(e));
                let choice = _mm256_xor_si256(g, _mm256_and_si256(e, _mm256_xor_si256(f, g)));
                let first = _mm256_add_epi32(input, _mm256_add_epi32(large1, choice));
                let large0 = xor3(rotate::<2, 30>(a), rotate::<13, 19>(a), rotate::<22, 10>(a));
                let majority = _mm256_or_si256(_mm256_and_si256(a, b), _mm256_and_si256(c, _mm256_or_si256(a, b)));
                (h, g, f, e) = (g, f, e, _mm256_add_epi32(d, first));
                (d, c, b, a) = (c, b, a, _mm256_add_epi32(first, _mm256_add_epi32(large0, majority)));
            )*};
        }
        let ([first, later @ ..], _) = ROUND_CONSTANTS.as_chunks::<16>() else { return };
        sixteen_rounds!(first, false: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        for constants in later {
            sixteen_rounds!(constants, true: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        }
        state = [a, b, c, d, e, f, g, h];
        for (variable, before) in state.iter_mut().zip(before) {
            *variable = _mm256_add_epi32(*variable, before);
        }
    }

    for (words, row) in states.iter_mut().zip(transpose(state)) {
        // SAFETY: the state has room for the 32 bytes that are written, and the store needs no alignment.
        unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), row) };
    }
}

#[target_feature(enable = "avx2")]
fn load_half(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: the array has the 32 bytes that are read, and the load needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

/// Rotates each word to the right by `RIGHT` bits. `LEFT` is 32 less `RIGHT`.
#[target_feature(enable = "avx2")]
fn rotate<const RIGHT: i32, const LEFT: i32>(words: __m256i) -> __m256i {
    const { assert!(RIGHT + LEFT == 32) };
    _mm256_or_si256(_mm256_srli_epi32::<RIGHT>(words), _mm256_slli_epi32::<LEFT>(words))
}

#[target_feature(enable = "avx2")]
fn xor3(first: __m256i, second: __m256i, third: __m256i) -> __m256i {
    _mm256_xor_si256(first, _mm256_xor_si256(second, third))
}

/// Transposes eight rows of eight words.
#[target_feature(enable = "avx2")]
fn transpose(rows: [__m256i; 8]) -> [__m256i; 8] {
    let [r0, r1, r2, r3, r4, r5, r6, r7] = rows;
    let pairs = [
        (_mm256_unpacklo_epi32(r0, r1), _mm256_unpackhi_epi32(r0, r1)),
        (_mm256_unpacklo_epi32(r2, r3), _mm256_unpackhi_epi32(r2, r3)),
        (_mm256_unpacklo_epi32(r4, r5), _mm256_unpackhi_epi32(r4, r5)),
        (_mm256_unpacklo_epi32(r6, r7), _mm256_unpackhi_epi32(r6, r7)),
    ];
    let [(l0, h0), (l1, h1), (l2, h2), (l3, h3)] = pairs;
    // Columns 0 to 3 of the upper and of the lower four rows. Columns 4 to 7 are in the upper halves.
    let upper = [
        _mm256_unpacklo_epi64(l0, l1),
        _mm256_unpackhi_epi64(l0, l1),
        _mm256_unpacklo_epi64(h0, h1),
        _mm256_unpackhi_epi64(h0, h1),
    ];
    let lower = [
        _mm256_unpacklo_epi64(l2, l3),
        _mm256_unpackhi_epi64(l2, l3),
        _mm256_unpacklo_epi64(h2, h3),
        _mm256_unpackhi_epi64(h2, h3),
    ];
    [
        _mm256_permute2x128_si256::<0x20>(upper[0], lower[0]),
        _mm256_permute2x128_si256::<0x20>(upper[1], lower[1]),
        _mm256_permute2x128_si256::<0x20>(upper[2], lower[2]),
        _mm256_permute2x128_si256::<0x20>(upper[3], lower[3]),
        _mm256_permute2x128_si256::<0x31>(upper[0], lower[0]),
        _mm256_permute2x128_si256::<0x31>(upper[1], lower[1]),
        _mm256_permute2x128_si256::<0x31>(upper[2], lower[2]),
        _mm256_permute2x128_si256::<0x31>(upper[3], lower[3]),
    ]
}
