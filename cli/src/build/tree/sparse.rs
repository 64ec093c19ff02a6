//! Reads files with holes from tar archives: GNU's old format and the three versions of the pax format
//! (GNU tar's manual, "Storing Sparse Files").

use super::Content;
use super::header::{ArchiveError, BLOCK, Member, has_no_data, numeric};
use super::pax::{integer, unsigned};
use crate::build::Spool;
use ddi::io::ReadAt;
use std::io;
use tar::{EntryType, GnuExtSparseHeader, Header};

/// Maximum number of pieces of data of a file. `tar` writes at most one for each 512 bytes.
const MAX_PARTS: usize = 1 << 20;

/// Error of a sparse map.
#[derive(Debug, thiserror::Error)]
#[error("sparse map is inconsistent")]
pub struct SparseError;

/// Place of the map of a file with holes.
enum Place {
    /// In GNU's old header, and in further blocks behind it.
    Header,
    /// In records: versions 0.0 and 0.1.
    Records,
    /// Before the data: version 1.0.
    Data,
}

/// Finds the map of a member; `None` if it has none. Unknown versions are files without holes, as in Go.
fn place(member: &Member) -> Option<Place> {
    if member.entry_type() == EntryType::GNUSparse {
        return Some(Place::Header);
    }
    let record = |keyword| member.record(keyword).unwrap_or_default();
    match (record("GNU.sparse.major"), record("GNU.sparse.minor")) {
        (b"0", b"0" | b"1") => Some(Place::Records),
        (b"1", b"0") => Some(Place::Data),
        (b"", b"") if !map_of(member).is_empty() => Some(Place::Records),
        _ => None,
    }
}

/// Returns the map of the records: one record for each piece in version 0.0, one record for all later.
fn map_of(member: &Member) -> Vec<u8> {
    let wanted: [&[u8]; 2] = [b"GNU.sparse.offset", b"GNU.sparse.numbytes"];
    let pieces: Vec<&[u8]> = member
        .pax
        .iter()
        .filter(|(keyword, _)| wanted.contains(&keyword.as_slice()))
        .map(|(_, value)| value.as_slice())
        .collect();
    if pieces.is_empty() { member.record("GNU.sparse.map").unwrap_or_default().to_vec() } else { pieces.join(&b',') }
}

/// Returns the real path of a file with holes. Its header may have another one, for old versions of `tar`.
pub(super) fn name(member: &Member) -> Option<Vec<u8>> {
    match place(member)? {
        Place::Header => None,
        Place::Records | Place::Data => member.record("GNU.sparse.name").map(<[u8]>::to_vec),
    }
}

/// Checks that a member without data has no map.
///
/// # Errors
/// [`SparseError`]
pub(super) fn check(member: &Member) -> Result<(), SparseError> {
    if has_no_data(member.entry_type()) && place(member).is_some() { Err(SparseError) } else { Ok(()) }
}

/// Fields of GNU's old map in a header.
const OLD_MAP: std::ops::Range<usize> = 386..482;
const OLD_MORE: usize = 482;
const OLD_SIZE: std::ops::Range<usize> = 483..495;
/// Fields in a further block.
const NEXT_MAP: std::ops::Range<usize> = 0..504;
const NEXT_MORE: usize = 504;

/// Returns the size in bytes of the further map blocks behind the header at `offset`; 0 unless it is in GNU's old format.
pub(super) fn extension_blocks(archive: &Spool, offset: u64) -> Result<u64, ArchiveError> {
    let mut header = Header::new_old();
    archive.read_exact_at(header.as_mut_bytes(), offset)?;
    if header.as_gnu().is_none() || header.entry_type() != EntryType::GNUSparse {
        return Ok(0);
    }
    let mut more = header.as_bytes().get(OLD_MORE) != Some(&0);
    let mut count = 0_u64;
    while more {
        let mut block = GnuExtSparseHeader::new();
        count = count.saturating_add(1);
        let place = offset.saturating_add(count.saturating_mul(BLOCK));
        archive.read_exact_at(block.as_mut_bytes(), place).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ArchiveError::Truncated { offset },
            _ => error.into(),
        })?;
        more = block.as_bytes().get(NEXT_MORE) != Some(&0);
    }
    Ok(count.saturating_mul(BLOCK))
}

/// Returns the content of a file with holes; `None` if it has none.
///
/// # Errors
/// [`SparseError`], also if reading the archive fails.
pub(super) fn content(archive: &Spool, member: &Member) -> Result<Option<Content>, SparseError> {
    let map = match place(member) {
        None => return Ok(None),
        Some(Place::Header) => in_header(archive, member),
        Some(Place::Records) => in_records(member),
        Some(Place::Data) => in_data(archive, member),
    };
    let (len, map, data) = map.ok_or(SparseError)?;
    parts(archive, len, &map, data).map(Some).ok_or(SparseError)
}

/// Size of the file; offset and length of each piece, alternating; offset and length of their data in the archive.
type Map = (u64, Vec<u64>, (u64, u64));

fn in_header(archive: &Spool, member: &Member) -> Option<Map> {
    member.header.as_gnu()?;
    let unsigned = |field: &[u8]| numeric(field).and_then(|number| u64::try_from(number).ok());
    let mut map = Vec::new();
    let mut take = |pieces: &[u8]| -> Option<()> {
        // The first empty entry ends the list.
        for piece in pieces.chunks_exact(24).take_while(|piece| piece.first() != Some(&0)) {
            map.extend([unsigned(piece.get(..12)?)?, unsigned(piece.get(12..)?)?]);
        }
        (map.len() <= MAX_PARTS).then_some(())
    };
    let header = member.header.as_bytes();
    take(header.get(OLD_MAP)?)?;
    let mut more = header.get(OLD_MORE) != Some(&0);
    let mut place = member.data();
    while more {
        let mut block = GnuExtSparseHeader::new();
        archive.read_exact_at(block.as_mut_bytes(), place).ok()?;
        take(block.as_bytes().get(NEXT_MAP)?)?;
        more = block.as_bytes().get(NEXT_MORE) != Some(&0);
        place = place.checked_add(BLOCK)?;
    }
    Some((unsigned(header.get(OLD_SIZE)?)?, map, (place, member.size)))
}

fn in_records(member: &Member) -> Option<Map> {
    let text = map_of(member);
    let texts = text.split(|byte| *byte == b',').filter(|_| !text.is_empty());
    let numbers: Vec<u64> = texts.take(MAX_PARTS.saturating_add(1)).map(unsigned).collect::<Option<_>>()?;
    let count = usize::try_from(integer(member.record("GNU.sparse.numblocks")?)?).ok()?;
    let whole = numbers.len() <= MAX_PARTS && Some(numbers.len()) == count.checked_mul(2);
    whole.then_some((real_size(member)?, numbers, (member.data(), member.size)))
}

/// Reads a map before the data: one number per line, padded to whole blocks.
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
                (line.len() <= MAX_LINE).then_some(())?;
                continue;
            }
            let number = unsigned(&line)?;
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

/// Maximum number of characters of a number, leading zeros included.
const MAX_LINE: usize = 64;

/// Returns the size of the file, holes included. Without a record it is the size of the data.
fn real_size(member: &Member) -> Option<u64> {
    let record = member.record("GNU.sparse.size").or_else(|| member.record("GNU.sparse.realsize"));
    record.map_or(Some(member.size), unsigned)
}

fn parts(archive: &Spool, len: u64, map: &[u64], (mut place, mut left): (u64, u64)) -> Option<Content> {
    let mut parts = Vec::new();
    let mut end = 0_u64;
    for piece in map.chunks_exact(2) {
        let [offset, size] = *piece else { return None };
        (offset >= end).then_some(())?;
        end = offset.checked_add(size).filter(|end| *end <= len)?;
        left = left.checked_sub(size)?;
        if size > 0 {
            parts.push((offset, archive.slice(place, size)?));
        }
        place = place.checked_add(size)?;
    }
    // Data that belongs to no piece is invalid too.
    (left == 0).then_some(())?;
    Content::sparse(len, parts)
}
