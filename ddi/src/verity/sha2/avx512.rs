//! SHA-2 with the vectors of 512 bits of x86-64: sixteen messages of SHA-256 at once, or eight of SHA-512.
//!
//! The unsafe code is sound for two reasons: a value of [`Avx512`] exists only if `detect()` found the instructions, and
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
    __m128i, __m512i, _mm_loadu_si128, _mm512_broadcast_i32x4, _mm512_castsi128_si512, _mm512_inserti32x4,
    _mm512_loadu_si512, _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_shuffle_i32x4, _mm512_storeu_si512,
    _mm512_ternarylogic_epi64, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32,
    _mm512_unpacklo_epi64,
};

use super::constants::{ROUND_CONSTANTS_256, ROUND_CONSTANTS_512};
use super::lanes::{Lanes, State, Word};
use super::vectors::{SWAP_32, SWAP_64, compress_block};

/// Evidence that the processor has AVX-512 for words and bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Avx512(());

impl Avx512 {
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")).then_some(Self(()))
    }
}

impl Lanes<u32, 16> for Avx512 {
    fn compress(self, states: &mut [State<u32>; 16], messages: [&[u8]; 16]) {
        // SAFETY: `self` was made by `detect`, so the processor has every feature of the callee.
        unsafe { sha256(states, messages) }
    }
}

impl Lanes<u64, 8> for Avx512 {
    fn compress(self, states: &mut [State<u64>; 8], messages: [&[u8]; 8]) {
        // SAFETY: `self` was made by `detect`, so the processor has every feature of the callee.
        unsafe { sha512(states, messages) }
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn sha256(states: &mut [State<u32>; 16], messages: [&[u8]; 16]) {
    use words_32::{add, choice, large0, large1, majority, small0, small1, splat};

    let messages = messages.map(|message| message.as_chunks::<{ <u32 as Word>::BLOCK }>().0);
    let blocks = messages.iter().map(|message| message.len()).min().unwrap_or(0);
    let messages = messages.map(|message| &message[..blocks]);
    let swap = _mm512_broadcast_i32x4(load(&SWAP_32));
    let mut state = [_mm512_setzero_si512(); 8];
    for half in 0..2 {
        let rows = rows(|message| load_words(&states[message].as_chunks().0[half]));
        state[4 * half..][..4].copy_from_slice(&transpose_32(rows));
    }

    for block in 0..blocks {
        let mut words = [_mm512_setzero_si512(); 16];
        for quarter in 0..4 {
            let rows = rows(|message| load(&messages[message][block].as_chunks().0[quarter]));
            let rows = rows.map(|row| _mm512_shuffle_epi8(row, swap));
            words[4 * quarter..][..4].copy_from_slice(&transpose_32(rows));
        }
        compress_block!(state, words, ROUND_CONSTANTS_256);
    }

    for half in 0..2 {
        let rows = transpose_32([state[4 * half], state[4 * half + 1], state[4 * half + 2], state[4 * half + 3]]);
        for (row, vector) in rows.into_iter().enumerate() {
            let mut lanes = [[0; 4]; 4];
            // SAFETY: the array has room for the 64 bytes that are written, and the store needs no alignment.
            unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), vector) };
            for (lane, words) in lanes.into_iter().enumerate() {
                states[4 * lane + row][4 * half..][..4].copy_from_slice(&words);
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn sha512(states: &mut [State<u64>; 8], messages: [&[u8]; 8]) {
    use words_64::{add, choice, large0, large1, majority, small0, small1, splat};

    let messages = messages.map(|message| message.as_chunks::<{ <u64 as Word>::BLOCK }>().0);
    let blocks = messages.iter().map(|message| message.len()).min().unwrap_or(0);
    let swap = _mm512_broadcast_i32x4(load(&SWAP_64));
    let mut state = [_mm512_setzero_si512(); 8];
    for variable in 0..8 {
        let words = states.map(|state| state[variable]);
        // SAFETY: the array has the 64 bytes that are read, and the load needs no alignment.
        state[variable] = unsafe { _mm512_loadu_si512(words.as_ptr().cast()) };
    }

    for block in 0..blocks {
        let halves = messages.map(|message| message[block].as_chunks().0);
        let [w0, w1, w2, w3, w4, w5, w6, w7] = transpose_64(halves.map(|halves| &halves[0]), swap);
        let [w8, w9, w10, w11, w12, w13, w14, w15] = transpose_64(halves.map(|halves| &halves[1]), swap);
        let mut words = [w0, w1, w2, w3, w4, w5, w6, w7, w8, w9, w10, w11, w12, w13, w14, w15];
        compress_block!(state, words, ROUND_CONSTANTS_512);
    }

    for variable in 0..8 {
        let mut words = [0; 8];
        // SAFETY: the array has room for the 64 bytes that are written, and the store needs no alignment.
        unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), state[variable]) };
        states.iter_mut().zip(words).for_each(|(state, word)| state[variable] = word);
    }
}

/// Puts together four vectors from what `load` loads for each of sixteen messages: lane n of vector m is of message
/// 4n + m.
///
/// Lanes are inserted from memory, not shuffled: Intel's processors shuffle on one of their two ports for 512 bits only.
#[target_feature(enable = "avx512f")]
fn rows(load: impl Fn(usize) -> __m128i) -> [__m512i; 4] {
    let row = |row: usize| {
        let lanes = _mm512_castsi128_si512(load(row));
        let lanes = _mm512_inserti32x4::<1>(lanes, load(4 + row));
        let lanes = _mm512_inserti32x4::<2>(lanes, load(8 + row));
        _mm512_inserti32x4::<3>(lanes, load(12 + row))
    };
    [row(0), row(1), row(2), row(3)]
}

/// Transposes the words of [`rows`], so that vector n has word n of all messages, or transposes them back.
#[target_feature(enable = "avx512f")]
fn transpose_32([r0, r1, r2, r3]: [__m512i; 4]) -> [__m512i; 4] {
    let (low01, high01) = (_mm512_unpacklo_epi32(r0, r1), _mm512_unpackhi_epi32(r0, r1));
    let (low23, high23) = (_mm512_unpacklo_epi32(r2, r3), _mm512_unpackhi_epi32(r2, r3));
    [
        _mm512_unpacklo_epi64(low01, low23),
        _mm512_unpackhi_epi64(low01, low23),
        _mm512_unpacklo_epi64(high01, high23),
        _mm512_unpackhi_epi64(high01, high23),
    ]
}

/// Transposes lanes of 128 bits.
#[target_feature(enable = "avx512f")]
fn lanes(r0: __m512i, r1: __m512i, r2: __m512i, r3: __m512i) -> [__m512i; 4] {
    let (low01, high01) = (_mm512_shuffle_i32x4::<0x44>(r0, r1), _mm512_shuffle_i32x4::<0xee>(r0, r1));
    let (low23, high23) = (_mm512_shuffle_i32x4::<0x44>(r2, r3), _mm512_shuffle_i32x4::<0xee>(r2, r3));
    [
        _mm512_shuffle_i32x4::<0x88>(low01, low23),
        _mm512_shuffle_i32x4::<0xdd>(low01, low23),
        _mm512_shuffle_i32x4::<0x88>(high01, high23),
        _mm512_shuffle_i32x4::<0xdd>(high01, high23),
    ]
}

#[target_feature(enable = "avx512f")]
fn load_block(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: the array has the 64 bytes that are read, and the load needs no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// Loads eight words of each message: vector n has word n of all.
#[target_feature(enable = "avx512f,avx512bw")]
fn transpose_64(parts: [&[u8; 64]; 8], swap: __m512i) -> [__m512i; 8] {
    let r0 = _mm512_shuffle_epi8(load_block(parts[0]), swap);
    let r1 = _mm512_shuffle_epi8(load_block(parts[1]), swap);
    let r2 = _mm512_shuffle_epi8(load_block(parts[2]), swap);
    let r3 = _mm512_shuffle_epi8(load_block(parts[3]), swap);
    let r4 = _mm512_shuffle_epi8(load_block(parts[4]), swap);
    let r5 = _mm512_shuffle_epi8(load_block(parts[5]), swap);
    let r6 = _mm512_shuffle_epi8(load_block(parts[6]), swap);
    let r7 = _mm512_shuffle_epi8(load_block(parts[7]), swap);
    let (l0, h0) = (_mm512_unpacklo_epi64(r0, r1), _mm512_unpackhi_epi64(r0, r1));
    let (l1, h1) = (_mm512_unpacklo_epi64(r2, r3), _mm512_unpackhi_epi64(r2, r3));
    let (l2, h2) = (_mm512_unpacklo_epi64(r4, r5), _mm512_unpackhi_epi64(r4, r5));
    let (l3, h3) = (_mm512_unpacklo_epi64(r6, r7), _mm512_unpackhi_epi64(r6, r7));
    let [w0, w2, w4, w6] = lanes(l0, l1, l2, l3);
    let [w1, w3, w5, w7] = lanes(h0, h1, h2, h3);
    [w0, w1, w2, w3, w4, w5, w6, w7]
}

#[target_feature(enable = "avx512f")]
fn load(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: the array has the 16 bytes that are read, and the load needs no alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
fn load_words(words: &[u32; 4]) -> __m128i {
    // SAFETY: the array has the 16 bytes that are read, and the load needs no alignment.
    unsafe { _mm_loadu_si128(words.as_ptr().cast()) }
}

/// Defines the functions of [`compress_block`] for one size of word.
macro_rules! define_words {
    ($module:ident, $integer:ty, $add:ident, $ror:ident, $srli:ident, $set1:ident,
     $large0:tt $large1:tt $small0:tt $small1:tt) => {
        mod $module {
            use super::{__m512i, _mm512_ternarylogic_epi64};
            use std::arch::x86_64::{$add, $ror, $set1, $srli};

            define_words!(xors large0, $ror, $ror, $large0);
            define_words!(xors large1, $ror, $ror, $large1);
            define_words!(xors small0, $ror, $srli, $small0);
            define_words!(xors small1, $ror, $srli, $small1);

            #[target_feature(enable = "avx512f")]
            pub(super) fn splat(word: $integer) -> __m512i {
                $set1(word.cast_signed())
            }

            #[target_feature(enable = "avx512f")]
            pub(super) fn add(a: __m512i, b: __m512i) -> __m512i {
                $add(a, b)
            }

            /// Returns the bits of `f` where `e` has ones, else those of `g`.
            #[target_feature(enable = "avx512f")]
            pub(super) fn choice(e: __m512i, f: __m512i, g: __m512i) -> __m512i {
                _mm512_ternarylogic_epi64::<0xca>(e, f, g)
            }

            #[target_feature(enable = "avx512f")]
            pub(super) fn majority(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
                _mm512_ternarylogic_epi64::<0xe8>(a, b, c)
            }
        }
    };
    (xors $name:ident, $rotate:ident, $third:ident, ($first:literal, $second:literal, $last:literal)) => {
        #[target_feature(enable = "avx512f")]
        pub(super) fn $name(x: __m512i) -> __m512i {
            _mm512_ternarylogic_epi64::<0x96>($rotate::<$first>(x), $rotate::<$second>(x), $third::<$last>(x))
        }
    };
}

define_words!(
    words_32,
    u32,
    _mm512_add_epi32,
    _mm512_ror_epi32,
    _mm512_srli_epi32,
    _mm512_set1_epi32,
    (2, 13, 22)(6, 11, 25)(7, 18, 3)(17, 19, 10)
);
define_words!(
    words_64,
    u64,
    _mm512_add_epi64,
    _mm512_ror_epi64,
    _mm512_srli_epi64,
    _mm512_set1_epi64,
    (28, 34, 39)(14, 18, 41)(1, 8, 7)(19, 61, 6)
);
