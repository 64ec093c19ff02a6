//! The .xz container (`doc/xz-file-format.txt` of XZ Utils) as squashfs uses it: one stream, one block.
//!
//! Checksums are not compared, because the hash tree has verified the data.

use super::{up_to, window};
use crate::bytes::u32_at;
use lzma_rust2::Lzma2Reader;
use lzma_rust2::filter::bcj::BcjReader;

const MAGIC: [u8; 6] = [0xfd, b'7', b'z', b'X', b'Z', 0];
const STREAM_HEADER: usize = 12;

/// ID of the LZMA2 filter.
const LZMA2: u64 = 0x21;

/// Decompresses at most the first `max` bytes of `input`'s content.
pub(super) fn decode(input: &[u8], max: usize) -> Option<Vec<u8>> {
    if !input.starts_with(&MAGIC) {
        return None;
    }
    let block = input.get(STREAM_HEADER..)?;
    // A size of 0 marks the index: there is no block and no data.
    let size = usize::from(*block.first()?).checked_add(1)?.checked_mul(4)?;
    if size == 4 {
        return Some(Vec::new());
    }
    let (header, data) = block.split_at_checked(size)?;
    let flags = *header.get(1)?;
    let mut fields = header.get(2..)?;
    // Reserved bits must be zero. There are at most two filters: the kernel allows one before LZMA2.
    if flags & 0x3e != 0 {
        return None;
    }
    if flags & 0x40 != 0 {
        number(&mut fields)?;
    }
    if flags & 0x80 != 0 {
        number(&mut fields)?;
    }
    let branch = if flags & 1 != 0 {
        let (id, properties) = filter(&mut fields)?;
        Some((id, if properties.is_empty() { 0 } else { usize::try_from(u32_at(properties, 0)?).ok()? }))
    } else {
        None
    };
    let (id, properties) = filter(&mut fields)?;
    if id != LZMA2 || properties.len() != 1 {
        return None;
    }
    // No match refers to bytes before the beginning of the output, whatever the dictionary size.
    let lzma = Lzma2Reader::new(data, window(max)?, None);
    match branch {
        None => up_to(lzma, max),
        Some((0x04, start)) => up_to(BcjReader::new_x86(lzma, start), max),
        Some((0x05, start)) => up_to(BcjReader::new_ppc(lzma, start), max),
        Some((0x06, start)) => up_to(BcjReader::new_ia64(lzma, start), max),
        Some((0x07, start)) => up_to(BcjReader::new_arm(lzma, start), max),
        Some((0x08, start)) => up_to(BcjReader::new_arm_thumb(lzma, start), max),
        Some((0x09, start)) => up_to(BcjReader::new_sparc(lzma, start), max),
        Some((0x0a, start)) => up_to(BcjReader::new_arm64(lzma, start), max),
        Some((0x0b, start)) => up_to(BcjReader::new_riscv(lzma, start), max),
        Some(_) => None,
    }
}

/// Reads ID and properties of a filter.
fn filter<'a>(fields: &mut &'a [u8]) -> Option<(u64, &'a [u8])> {
    let id = number(fields)?;
    let size = usize::try_from(number(fields)?).ok()?;
    let (properties, rest) = fields.split_at_checked(size)?;
    *fields = rest;
    Some((id, properties))
}

/// Reads a number of variable length: at most 9 bytes of 7 bits, least significant first.
fn number(fields: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..63_u32).step_by(7) {
        let (byte, rest) = fields.split_first()?;
        *fields = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
