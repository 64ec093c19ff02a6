//! The rounds of SHA-2 over vectors with one message in each lane.

/// Processes one block of each lane: updates `$state` with the words of the block in `$words`.
///
/// Calls functions that are in scope where it is used, all of which work on each word of a vector: `splat`, `add`,
/// `choice`, `majority`, and the functions of FIPS 180-4, sections 4.1.2 and 4.1.3: `large0`, `large1` (Σ), `small0`,
/// `small1` (σ).
///
/// Sixteen rounds are unrolled, so that words and variables stay in registers if there are enough.
macro_rules! compress_block {
    ($state:ident, $words:ident, $constants:ident) => {{
        let before = $state;
        let ([first, later @ ..], _) = $constants.as_chunks::<16>() else { return };
        $crate::verity::sha2::vectors::sixteen_rounds!(
            $state, $words, first, false: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        for constants in later {
            $crate::verity::sha2::vectors::sixteen_rounds!(
                $state, $words, constants, true: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        }
        for (variable, before) in $state.iter_mut().zip(before) {
            *variable = add(*variable, before);
        }
    }};
}

/// Sixteen rounds of [`compress_block`]. `$schedule` says whether the words are those of the message or computed from
/// the sixteen before them.
macro_rules! sixteen_rounds {
    ($state:ident, $words:ident, $constants:expr, $schedule:literal: $($round:literal)*) => {
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = $state;
        $(
            if $schedule {
                let sum = add($words[$round], $words[($round + 9) % 16]);
                let smalls = add(small0($words[($round + 1) % 16]), small1($words[($round + 14) % 16]));
                $words[$round] = add(sum, smalls);
            }
            let input = add($words[$round], add(h, splat($constants[$round])));
            let first = add(add(input, choice(e, f, g)), large1(e));
            let second = add(large0(a), majority(a, b, c));
            (h, g, f, e) = (g, f, e, add(d, first));
            (d, c, b, a) = (c, b, a, add(first, second));
        )*
        $state = [a, b, c, d, e, f, g, h];
    };
}

pub(super) use {compress_block, sixteen_rounds};

/// Order of the bytes of big-endian words of 32 bits in 16 bytes.
pub(super) const SWAP_32: [u8; 16] = [3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12];
/// Order of the bytes of big-endian words of 64 bits in 16 bytes.
pub(super) const SWAP_64: [u8; 16] = [7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8];
