//! Files with holes in tar archives: GNU's old format and the three versions of the pax format
//! (GNU tar's manual, "Storing Sparse Files").
#![deny(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

use super::Content;
use super::members::{ArchiveError, BLOCK, Member};
use super::pax::decimal;
use crate::build::source::Spool;
use ddi::io::ReadAt;
use std::io;
use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

/// Most pieces of data in one file. `tar` itself sees one every 512 bytes at worst.
const MAX_PARTS: usize = 1 << 20;

/// A map of holes that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("the map of its holes does not hold together")]
pub struct SparseError;

/// Bytes of further map blocks that follow the header at `offset`, if it is one of GNU's old sparse files.
pub(super) fn extension_blocks(archive: &Spool, offset: u64) -> Result<u64, ArchiveError> {
    let mut header = Header::new_old();
    archive.read_exact_at(header.as_mut_bytes(), offset)?;
    let Some(gnu) = header.as_gnu().filter(|_| header.entry_type() == EntryType::GNUSparse) else { return Ok(0) };
    let mut more = gnu.is_extended();
    let mut count = 0_u64;
    while more {
        let mut block = GnuExtSparseHeader::new();
        count = count.saturating_add(1);
        let place = offset.saturating_add(count.saturating_mul(BLOCK));
        archive.read_exact_at(block.as_mut_bytes(), place).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ArchiveError::Truncated { offset },
            _ => error.into(),
        })?;
        more = block.is_extended();
    }
    Ok(count.saturating_mul(BLOCK))
}

/// The content of a file with holes; `None` for one without.
///
/// # Errors
/// [`SparseError`], also where the archive can't be read there: its length has been checked.
pub(super) fn content(archive: &Spool, member: &Member) -> Result<Option<Content>, SparseError> {
    let (len, map, data) = if member.entry_type() == EntryType::GNUSparse {
        gnu(archive, member).ok_or(SparseError)?
    } else if let Some(map) = member.record("GNU.sparse.map") {
        let numbers = numbers(map.split(|byte| *byte == b',')).ok_or(SparseError)?;
        (real_size(member).ok_or(SparseError)?, numbers, (member.data(), member.size))
    } else if member.record("GNU.sparse.major") == Some(b"1") {
        in_data(archive, member).ok_or(SparseError)?
    } else if member.record("GNU.sparse.offset").is_some() {
        let wanted: [&[u8]; 2] = [b"GNU.sparse.offset", b"GNU.sparse.numbytes"];
        let values = member.pax.iter().filter(|(keyword, _)| wanted.contains(&keyword.as_slice()));
        let numbers = numbers(values.map(|(_, value)| value.as_slice())).ok_or(SparseError)?;
        (real_size(member).ok_or(SparseError)?, numbers, (member.data(), member.size))
    } else {
        return Ok(None);
    };
    parts(archive, len, &map, data).map(Some).ok_or(SparseError)
}

/// Length of the file, offsets and lengths of its pieces by turns, and where their data is in the archive.
type Map = (u64, Vec<u64>, (u64, u64));

fn gnu(archive: &Spool, member: &Member) -> Option<Map> {
    let header = member.header.as_gnu()?;
    let mut map = Vec::new();
    let mut take = |pieces: &[GnuSparseHeader]| -> Option<()> {
        for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
            map.extend([piece.offset().ok()?, piece.length().ok()?]);
        }
        (map.len() <= MAX_PARTS).then_some(())
    };
    take(&header.sparse)?;
    let mut more = header.is_extended();
    let mut place = member.data();
    while more {
        let mut block = GnuExtSparseHeader::new();
        archive.read_exact_at(block.as_mut_bytes(), place).ok()?;
        take(&block.sparse)?;
        more = block.is_extended();
        place = place.checked_add(BLOCK)?;
    }
    Some((header.real_size().ok()?, map, (place, member.size)))
}

/// Version 1.0: the map stands before the data, a number a line, padded to whole blocks.
fn in_data(archive: &Spool, member: &Member) -> Option<Map> {
    let mut numbers = Vec::new();
    let mut wanted = None;
    let mut line: Vec<u8> = Vec::new();
    let mut used = 0_u64;
    while wanted.is_none_or(|wanted| numbers.len() < wanted) {
        let mut block = [0; 512];
        archive.slice(member.data(), member.size)?.read_exact_at(&mut block, used).ok()?;
        used = used.checked_add(BLOCK)?;
        for byte in block {
            if wanted.is_some_and(|wanted| numbers.len() >= wanted) {
                break;
            }
            if byte != b'\n' {
                line.push(byte);
                (line.len() <= 20).then_some(())?;
                continue;
            }
            let number = decimal(&line)?;
            line.clear();
            match wanted {
                None => {
                    let count = usize::try_from(number).ok().filter(|count| *count <= MAX_PARTS)?;
                    wanted = Some(count.checked_mul(2)?);
                }
                Some(_) => numbers.push(number),
            }
        }
    }
    let data = (member.data().checked_add(used)?, member.size.checked_sub(used)?);
    Some((real_size(member)?, numbers, data))
}

fn real_size(member: &Member) -> Option<u64> {
    decimal(member.record("GNU.sparse.realsize").or_else(|| member.record("GNU.sparse.size"))?)
}

fn numbers<'a>(texts: impl Iterator<Item = &'a [u8]>) -> Option<Vec<u64>> {
    let found: Option<Vec<u64>> = texts.take(MAX_PARTS.saturating_add(1)).map(decimal).collect();
    found.filter(|found| found.len() <= MAX_PARTS && found.len() % 2 == 0)
}

fn parts(archive: &Spool, len: u64, map: &[u64], (mut place, mut left): (u64, u64)) -> Option<Content> {
    let mut parts = Vec::new();
    for piece in map.chunks_exact(2) {
        let [offset, size] = *piece else { return None };
        left = left.checked_sub(size)?;
        if size > 0 {
            parts.push((offset, archive.slice(place, size)?));
        }
        place = place.checked_add(size)?;
    }
    Content::sparse(len, parts)
}
