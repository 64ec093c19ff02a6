//! LZ4 blocks (`doc/lz4_Block_format.md` of the LZ4 project).
//!
//! Implemented here, because erofs needs only the beginning of a block, and no crate can stop in the middle of one.

/// Decompresses at most the first `max` bytes of `input`'s content.
pub(super) fn decode(mut input: &[u8], max: usize) -> Option<Vec<u8>> {
    let mut output = Vec::with_capacity(max.min(input.len().saturating_mul(4)));
    while output.len() < max {
        let token = take(&mut input)?;
        let literals = length(&mut input, token >> 4)?.min(max.saturating_sub(output.len()));
        let (bytes, rest) = input.split_at_checked(literals)?;
        output.extend_from_slice(bytes);
        input = rest;
        // The last sequence has no match.
        if input.is_empty() || output.len() >= max {
            break;
        }
        let distance = usize::from(u16::from_le_bytes([take(&mut input)?, take(&mut input)?]));
        let count = length(&mut input, token & 15)?.saturating_add(4);
        copy_match(&mut output, distance, count, max)?;
    }
    Some(output)
}

/// Repeats `count` bytes from `distance` bytes before the end of `output`, until `output` has `max` bytes. The source
/// may overlap with the bytes that are written.
pub(super) fn copy_match(output: &mut Vec<u8>, distance: usize, count: usize, max: usize) -> Option<()> {
    if distance == 0 {
        return None;
    }
    let mut from = output.len().checked_sub(distance)?;
    for _ in 0..count.min(max.saturating_sub(output.len())) {
        output.push(*output.get(from)?);
        from = from.checked_add(1)?;
    }
    Some(())
}

fn take(input: &mut &[u8]) -> Option<u8> {
    let (byte, rest) = input.split_first()?;
    *input = rest;
    Some(*byte)
}

fn length(input: &mut &[u8], nibble: u8) -> Option<usize> {
    let mut length = usize::from(nibble);
    if nibble == 15 {
        loop {
            let byte = take(input)?;
            length = length.checked_add(usize::from(byte))?;
            if byte != 255 {
                break;
            }
        }
    }
    Some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_overlapping_matches() {
        // "ab", then 7 bytes from distance 2, then "c".
        let block = [0x23, b'a', b'b', 2, 0, 0x10, b'c'];
        assert_eq!(decode(&block, 100).as_deref(), Some(b"ababababac".get(..10).unwrap_or_default()));
        for len in 0..10 {
            assert_eq!(decode(&block, len).map(|bytes| bytes.len()), Some(len));
        }
    }

    #[test]
    fn long_lengths() {
        let mut block = vec![0xf0, 255, 0];
        block.extend([7; 270]);
        assert_eq!(decode(&block, 1000), Some(vec![7; 270]));
    }

    #[test]
    fn nothing_outside_the_block_is_read() {
        assert_eq!(decode(&[0x20, b'a'], 10), None);
        assert_eq!(decode(&[0x10, b'a', 2, 0, 0], 10), None);
        assert_eq!(decode(&[0x10, b'a', 0, 0, 0], 10), None);
        assert_eq!(decode(&[0xf0, 255], 10), None);
    }
}
