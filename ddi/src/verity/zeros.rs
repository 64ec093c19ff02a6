//! Search for bytes that are not zero, in areas that no digest covers.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::indexing_slicing,
    reason = "positions in a source, which has no more than 2^63 bytes, and in a buffer of fixed size"
)]

use std::io;

use crate::io::ReadAt;

/// Number of bytes read at once. They fit into the second-level cache.
const CHUNK: u64 = 128 * 1024;

/// Returns the offset of the first byte of `source` at or after `from` that is not zero. Returns `None` if there is
/// none.
///
/// Reads pieces of 128 KiB.
///
/// # Errors
/// Errors of [`ReadAt::read_exact_at`].
pub fn first_nonzero(source: &dyn ReadAt, from: u64) -> io::Result<Option<u64>> {
    first_nonzero_within(source, from, source.len())
}

/// Searches as [`first_nonzero`] does, before byte `end`.
pub(super) fn first_nonzero_within(source: &dyn ReadAt, from: u64, end: u64) -> io::Result<Option<u64>> {
    let mut position = from;
    let mut buffer = Vec::new();
    while position < end {
        let len = (end - position).min(CHUNK);
        buffer.resize(usize::try_from(len).map_err(io::Error::other)?, 0);
        source.read_exact_at(&mut buffer, position)?;
        if let Some(offset) = first_nonzero_in(&buffer) {
            return Ok(Some(position + offset as u64));
        }
        position += len;
    }
    Ok(None)
}

fn first_nonzero_in(bytes: &[u8]) -> Option<usize> {
    // Compilers vectorize a sum of whole runs, because it has no early exit.
    const RUN: usize = 256;
    let run = bytes.chunks(RUN).position(|run| run.iter().fold(0, |sum, byte| sum | byte) != 0)?;
    let start = run * RUN;
    bytes.get(start..)?.iter().position(|byte| *byte != 0).map(|offset| start + offset)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_is_found_wherever_it_is() {
        let len = 3 * usize::try_from(CHUNK).unwrap() + 5;
        let mut bytes = vec![0; len];
        assert_eq!(first_nonzero(&bytes, 0).unwrap(), None);
        for position in [len - 1, 2 * 128 * 1024, 128 * 1024 + 300, 128 * 1024 - 1, 257, 255, 1, 0] {
            bytes[position] = 1;
            assert_eq!(first_nonzero(&bytes, 0).unwrap(), Some(position as u64));
            assert_eq!(first_nonzero(&bytes, position as u64).unwrap(), Some(position as u64));
        }
        assert_eq!(first_nonzero(&bytes, 2).unwrap(), Some(255));
    }

    #[test]
    fn nothing_is_read_past_the_end() {
        let bytes = vec![1_u8; 10];
        assert_eq!(first_nonzero(&bytes, 10).unwrap(), None);
        assert_eq!(first_nonzero(&bytes, 11).unwrap(), None);
        assert_eq!(first_nonzero(&bytes, u64::MAX).unwrap(), None);
    }
}
