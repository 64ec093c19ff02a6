//! LZO1X streams (the kernel's `Documentation/staging/lzo.rst`).
//!
//! Implemented here, because the available crates have the GPL as licence or no limit on their output.

use super::lz4::copy_match;

/// Decompresses at most the first `max` bytes of `input`'s content. An end of `input` before the end marker is an
/// error, unless `max` was reached.
pub(super) fn decode(input: &[u8], max: usize) -> Option<Vec<u8>> {
    let mut stream = Stream { input };
    let mut output = Vec::with_capacity(max.min(input.len().saturating_mul(4)));
    // Number of literals that the last instruction copied: 0 to 3, or 4 for 4 and more.
    let mut state = 0_usize;
    match stream.input.first()? {
        first @ 18.. => {
            let count = usize::from(first.checked_sub(17)?);
            stream.byte()?;
            stream.literals(&mut output, count, max)?;
            state = count.min(4);
        }
        // 17 marks a variant (run length encoding) that squashfs does not use. 16 would repeat bytes, and there are
        // none yet.
        16 | 17 => return None,
        _ => {}
    }
    while output.len() < max {
        let instruction = stream.byte()?;
        let code = usize::from(instruction);
        let (distance, count, literals) = match instruction {
            0..=15 if state == 0 => {
                let count = stream.length(code, 15)?.checked_add(3)?;
                stream.literals(&mut output, count, max)?;
                state = 4;
                continue;
            }
            0..=15 => {
                let high = usize::from(stream.byte()?) << 2;
                let (base, count) = if state == 4 { (2049_usize, 3) } else { (1, 2) };
                (base.checked_add(high)?.checked_add(code >> 2)?, count, code & 3)
            }
            16..=31 => {
                let count = stream.length(code & 7, 7)?.checked_add(2)?;
                let low = stream.pair()?;
                let distance = ((code & 8) << 11).checked_add(low >> 2)?;
                if distance == 0 {
                    return Some(output);
                }
                (distance.checked_add(16384)?, count, low & 3)
            }
            32..=63 => {
                let count = stream.length(code & 31, 31)?.checked_add(2)?;
                let low = stream.pair()?;
                ((low >> 2).checked_add(1)?, count, low & 3)
            }
            64.. => {
                let high = usize::from(stream.byte()?) << 3;
                let count = (code >> 5).checked_add(1)?;
                (high.checked_add((code >> 2) & 7)?.checked_add(1)?, count, code & 3)
            }
        };
        copy_match(&mut output, distance, count, max)?;
        stream.literals(&mut output, literals, max)?;
        state = literals;
    }
    Some(output)
}

struct Stream<'a> {
    input: &'a [u8],
}

impl Stream<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.input.split_first()?;
        self.input = rest;
        Some(*byte)
    }

    fn pair(&mut self) -> Option<usize> {
        Some(usize::from(u16::from_le_bytes([self.byte()?, self.byte()?])))
    }

    /// Reads a length. Zero in the instruction's `bits` means that it is `full` plus the following bytes.
    fn length(&mut self, bits: usize, full: usize) -> Option<usize> {
        if bits != 0 {
            return Some(bits);
        }
        let mut length = full;
        loop {
            match self.byte()? {
                0 => length = length.checked_add(255)?,
                byte => return length.checked_add(usize::from(byte)),
            }
        }
    }

    fn literals(&mut self, output: &mut Vec<u8>, count: usize, max: usize) -> Option<()> {
        let (bytes, rest) = self.input.split_at_checked(count.min(max.saturating_sub(output.len())))?;
        output.extend_from_slice(bytes);
        self.input = rest;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: [u8; 3] = [0x11, 0, 0];

    #[test]
    fn literals_matches_and_the_end() {
        // 4 literals, 5 bytes from distance 4 and 1 literal.
        let mut stream = vec![21, b'a', b'b', b'c', b'd', 0x80 | (3 << 2) | 1, 0, b'!'];
        stream.extend(END);
        assert_eq!(decode(&stream, 100).as_deref(), Some(b"abcdabcda!".as_slice()));
        for len in 0..=10 {
            assert_eq!(decode(&stream, len).map(|bytes| bytes.len()), Some(len));
        }
    }

    #[test]
    fn nothing_outside_the_stream_is_read() {
        assert_eq!(decode(&[], 10), None);
        assert_eq!(decode(&[21, b'a'], 10), None);
        assert_eq!(decode(&[18, b'a', 0x40 | (7 << 2), 9, 0x11, 0, 0], 10), None);
        assert_eq!(decode(&[18, b'a'], 10), None, "without an end marker");
        assert_eq!(decode(&END, 10), None);
    }
}
