//! What byte strings and texts are read with: little-endian numbers without a way past their end, hexadecimal, ends,
//! booleans.

/// The `N` bytes of `bytes` from `offset` on, `None` past the end.
#[must_use]
pub fn array<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk().copied()
}

/// A little-endian 16-bit number.
pub fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    array(bytes, offset).map(u16::from_le_bytes)
}

/// A little-endian 32-bit number.
pub fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    array(bytes, offset).map(u32::from_le_bytes)
}

/// A little-endian 64-bit number.
pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    array(bytes, offset).map(u64::from_le_bytes)
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len().saturating_mul(2)), |mut text, byte| {
        text.extend([byte >> 4, byte & 15].iter().filter_map(|nibble| char::from_digit(u32::from(*nibble), 16)));
        text
    })
}

/// `text` without `suffix`, whichever case that has there (ASCII); `None` where it ends otherwise.
#[must_use]
pub fn strip_suffix_ignore_case<'a>(text: &'a str, suffix: &str) -> Option<&'a str> {
    let (stem, end) = text.split_at_checked(text.len().checked_sub(suffix.len())?)?;
    end.eq_ignore_ascii_case(suffix).then_some(stem)
}

/// A boolean as systemd reads it (257, `src/basic/parse-util.c`, `parse_boolean`); `None` for anything else.
#[must_use]
pub fn boolean(text: &[u8]) -> Option<bool> {
    let is = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word.as_bytes()));
    if is(&["1", "yes", "y", "true", "t", "on"]) {
        Some(true)
    } else if is(&["0", "no", "n", "false", "f", "off"]) {
        Some(false)
    } else {
        None
    }
}
