//! SHA-2 with the vectors of 256 bits of x86-64: eight messages of SHA-256 at once, or four of SHA-512.
//!
//! The unsafe code is sound for two reasons: a value of [`Avx2`] exists only if `detect()` found the instructions, and
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
    __m128i, __m256i, _mm_loadu_si128, _mm256_and_si256, _mm256_broadcastsi128_si256, _mm256_loadu_si256,
    _mm256_or_si256, _mm256_permute2x128_si256, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_storeu_si256,
    _mm256_unpackhi_epi32, _mm256_unpackhi_epi64, _mm256_unpacklo_epi32, _mm256_unpacklo_epi64, _mm256_xor_si256,
};

use super::constants::{ROUND_CONSTANTS_256, ROUND_CONSTANTS_512};
use super::lanes::{Lanes, State, Word};
use super::vectors::{SWAP_32, SWAP_64, compress_block};

/// Evidence that the processor has AVX2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Avx2(());

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }
}

impl Lanes<u32, 8> for Avx2 {
    fn compress(self, states: &mut [State<u32>; 8], messages: [&[u8]; 8]) {
        // SAFETY: `self` was made by `detect`, so the processor has AVX2.
        unsafe { sha256(states, messages) }
    }
}

impl Lanes<u64, 4> for Avx2 {
    fn compress(self, states: &mut [State<u64>; 4], messages: [&[u8]; 4]) {
        // SAFETY: `self` was made by `detect`, so the processor has AVX2.
        unsafe { sha512(states, messages) }
    }
}

#[target_feature(enable = "avx2")]
fn sha256(states: &mut [State<u32>; 8], messages: [&[u8]; 8]) {
    use words_32::{add, choice, large0, large1, majority, small0, small1, splat};

    let messages = messages.map(|message| message.as_chunks::<{ <u32 as Word>::BLOCK }>().0);
    let blocks = messages.iter().map(|message| message.len()).min().unwrap_or(0);
    let swap = _mm256_broadcastsi128_si256(load(&SWAP_32));
    let mut state = [_mm256_setzero_si256(); 8];
    for variable in 0..8 {
        let words = states.map(|state| state[variable]);
        // SAFETY: the array has the 32 bytes that are read, and the load needs no alignment.
        state[variable] = unsafe { _mm256_loadu_si256(words.as_ptr().cast()) };
    }

    for block in 0..blocks {
        let halves = messages.map(|message| message[block].as_chunks().0);
        let [w0, w1, w2, w3, w4, w5, w6, w7] = transpose_32(halves.map(|halves| &halves[0]), swap);
        let [w8, w9, w10, w11, w12, w13, w14, w15] = transpose_32(halves.map(|halves| &halves[1]), swap);
        let mut words = [w0, w1, w2, w3, w4, w5, w6, w7, w8, w9, w10, w11, w12, w13, w14, w15];
        compress_block!(state, words, ROUND_CONSTANTS_256);
    }

    for variable in 0..8 {
        let mut words = [0; 8];
        // SAFETY: the array has room for the 32 bytes that are written, and the store needs no alignment.
        unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), state[variable]) };
        states.iter_mut().zip(words).for_each(|(state, word)| state[variable] = word);
    }
}

#[target_feature(enable = "avx2")]
fn sha512(states: &mut [State<u64>; 4], messages: [&[u8]; 4]) {
    use words_64::{add, choice, large0, large1, majority, small0, small1, splat};

    let messages = messages.map(|message| message.as_chunks::<{ <u64 as Word>::BLOCK }>().0);
    let blocks = messages.iter().map(|message| message.len()).min().unwrap_or(0);
    let swap = _mm256_broadcastsi128_si256(load(&SWAP_64));
    let mut state = [_mm256_setzero_si256(); 8];
    for variable in 0..8 {
        let words = states.map(|state| state[variable]);
        // SAFETY: the array has the 32 bytes that are read, and the load needs no alignment.
        state[variable] = unsafe { _mm256_loadu_si256(words.as_ptr().cast()) };
    }

    for block in 0..blocks {
        let quarters = messages.map(|message| message[block].as_chunks().0);
        let [w0, w1, w2, w3] = transpose_64(quarters.map(|quarters| &quarters[0]), swap);
        let [w4, w5, w6, w7] = transpose_64(quarters.map(|quarters| &quarters[1]), swap);
        let [w8, w9, w10, w11] = transpose_64(quarters.map(|quarters| &quarters[2]), swap);
        let [w12, w13, w14, w15] = transpose_64(quarters.map(|quarters| &quarters[3]), swap);
        let mut words = [w0, w1, w2, w3, w4, w5, w6, w7, w8, w9, w10, w11, w12, w13, w14, w15];
        compress_block!(state, words, ROUND_CONSTANTS_512);
    }

    for variable in 0..8 {
        let mut words = [0; 4];
        // SAFETY: the array has room for the 32 bytes that are written, and the store needs no alignment.
        unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), state[variable]) };
        states.iter_mut().zip(words).for_each(|(state, word)| state[variable] = word);
    }
}

/// Loads eight words of each message: vector n has word n of all.
#[target_feature(enable = "avx2")]
fn transpose_32(parts: [&[u8; 32]; 8], swap: __m256i) -> [__m256i; 8] {
    let r0 = _mm256_shuffle_epi8(load_part(parts[0]), swap);
    let r1 = _mm256_shuffle_epi8(load_part(parts[1]), swap);
    let r2 = _mm256_shuffle_epi8(load_part(parts[2]), swap);
    let r3 = _mm256_shuffle_epi8(load_part(parts[3]), swap);
    let r4 = _mm256_shuffle_epi8(load_part(parts[4]), swap);
    let r5 = _mm256_shuffle_epi8(load_part(parts[5]), swap);
    let r6 = _mm256_shuffle_epi8(load_part(parts[6]), swap);
    let r7 = _mm256_shuffle_epi8(load_part(parts[7]), swap);
    let (l0, h0) = (_mm256_unpacklo_epi32(r0, r1), _mm256_unpackhi_epi32(r0, r1));
    let (l1, h1) = (_mm256_unpacklo_epi32(r2, r3), _mm256_unpackhi_epi32(r2, r3));
    let (l2, h2) = (_mm256_unpacklo_epi32(r4, r5), _mm256_unpackhi_epi32(r4, r5));
    let (l3, h3) = (_mm256_unpacklo_epi32(r6, r7), _mm256_unpackhi_epi32(r6, r7));
    let [w0, w4] = lanes(_mm256_unpacklo_epi64(l0, l1), _mm256_unpacklo_epi64(l2, l3));
    let [w1, w5] = lanes(_mm256_unpackhi_epi64(l0, l1), _mm256_unpackhi_epi64(l2, l3));
    let [w2, w6] = lanes(_mm256_unpacklo_epi64(h0, h1), _mm256_unpacklo_epi64(h2, h3));
    let [w3, w7] = lanes(_mm256_unpackhi_epi64(h0, h1), _mm256_unpackhi_epi64(h2, h3));
    [w0, w1, w2, w3, w4, w5, w6, w7]
}

/// Loads four words of each message: vector n has word n of all.
#[target_feature(enable = "avx2")]
fn transpose_64(parts: [&[u8; 32]; 4], swap: __m256i) -> [__m256i; 4] {
    let r0 = _mm256_shuffle_epi8(load_part(parts[0]), swap);
    let r1 = _mm256_shuffle_epi8(load_part(parts[1]), swap);
    let r2 = _mm256_shuffle_epi8(load_part(parts[2]), swap);
    let r3 = _mm256_shuffle_epi8(load_part(parts[3]), swap);
    let [w0, w2] = lanes(_mm256_unpacklo_epi64(r0, r1), _mm256_unpacklo_epi64(r2, r3));
    let [w1, w3] = lanes(_mm256_unpackhi_epi64(r0, r1), _mm256_unpackhi_epi64(r2, r3));
    [w0, w1, w2, w3]
}

/// Transposes lanes of 128 bits.
#[target_feature(enable = "avx2")]
fn lanes(r0: __m256i, r1: __m256i) -> [__m256i; 2] {
    [_mm256_permute2x128_si256::<0x20>(r0, r1), _mm256_permute2x128_si256::<0x31>(r0, r1)]
}

#[target_feature(enable = "avx2")]
fn load_part(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: the array has the 32 bytes that are read, and the load needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
fn load(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: the array has the 16 bytes that are read, and the load needs no alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
fn xor3(first: __m256i, second: __m256i, third: __m256i) -> __m256i {
    _mm256_xor_si256(first, _mm256_xor_si256(second, third))
}

/// Defines the functions of [`compress_block`] for one size of word.
macro_rules! define_words {
    ($module:ident, $integer:ty, $add:ident, $slli:ident, $srli:ident, $set1:ident,
     $large0:tt $large1:tt $small0:tt $small1:tt) => {
        mod $module {
            use super::{__m256i, _mm256_and_si256, _mm256_or_si256, _mm256_xor_si256, xor3};
            use std::arch::x86_64::{$add, $set1, $slli, $srli};

            define_words!(xors large0, rotate, rotate, $large0);
            define_words!(xors large1, rotate, rotate, $large1);
            define_words!(xors small0, rotate, shift, $small0);
            define_words!(xors small1, rotate, shift, $small1);

            /// Rotates each word to the right by `RIGHT` bits. `LEFT` is the size of a word less `RIGHT`.
            #[target_feature(enable = "avx2")]
            fn rotate<const RIGHT: i32, const LEFT: i32>(words: __m256i) -> __m256i {
                const { assert!(RIGHT + LEFT == <$integer>::BITS.cast_signed()) };
                _mm256_or_si256($srli::<RIGHT>(words), $slli::<LEFT>(words))
            }

            #[target_feature(enable = "avx2")]
            fn shift<const RIGHT: i32, const UNUSED: i32>(words: __m256i) -> __m256i {
                $srli::<RIGHT>(words)
            }

            #[target_feature(enable = "avx2")]
            pub(super) fn splat(word: $integer) -> __m256i {
                $set1(word.cast_signed())
            }

            #[target_feature(enable = "avx2")]
            pub(super) fn add(a: __m256i, b: __m256i) -> __m256i {
                $add(a, b)
            }

            /// Returns the bits of `f` where `e` has ones, else those of `g`.
            #[target_feature(enable = "avx2")]
            pub(super) fn choice(e: __m256i, f: __m256i, g: __m256i) -> __m256i {
                _mm256_xor_si256(g, _mm256_and_si256(e, _mm256_xor_si256(f, g)))
            }

            #[target_feature(enable = "avx2")]
            pub(super) fn majority(a: __m256i, b: __m256i, c: __m256i) -> __m256i {
                _mm256_xor_si256(b, _mm256_and_si256(_mm256_xor_si256(a, b), _mm256_xor_si256(b, c)))
            }
        }
    };
    (xors $name:ident, $rotate:ident, $third:ident, ($first:tt, $second:tt, $last:tt)) => {
        #[target_feature(enable = "avx2")]
        pub(super) fn $name(x: __m256i) -> __m256i {
            xor3(
                define_words!(call $rotate, $first, x),
                define_words!(call $rotate, $second, x),
                define_words!(call $third, $last, x),
            )
        }
    };
    (call $function:ident, [$right:literal $left:literal], $x:ident) => { $function::<$right, $left>($x) };
}
define_words!(words_32, u32, _mm256_add_epi32, _mm256_slli_epi32, _mm256_srli_epi32, _mm256_set1_epi32,
    ([2 30], [13 19], [22 10]) ([6 26], [11 21], [25 7]) ([7 25], [18 14], [3 0]) ([17 15], [19 13], [10 0]));
define_words!(words_64, u64, _mm256_add_epi64, _mm256_slli_epi64, _mm256_srli_epi64, _mm256_set1_epi64x,
    ([28 36], [34 30], [39 25]) ([14 50], [18 46], [41 23]) ([1 63], [8 56], [7 0]) ([19 45], [61 3], [6 0]));
