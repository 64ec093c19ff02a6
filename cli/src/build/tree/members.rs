//! The members of a tar archive, with the headers that describe them taken together.
//!
//! Formats: POSIX.1-2024 pax (ustar and extended headers) and GNU tar ("Basic Tar Format" of its manual). Where they
//! leave a choice it is made as Go's `archive/tar` makes it, which all container engines use: what they see in a layer
//! and what is seen here has to be the same.
#![deny(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

use super::pax::{self, PaxError};
use crate::build::source::Spool;
use ddi::io::ReadAt;
use std::io;
use std::ops::Range;
use tar::{EntryType, Header};

/// Bytes of a block; headers are one, data is padded to whole ones.
pub(super) const BLOCK: u64 = 512;

/// Most headers, extended ones included, in all layers of an image: four for each node of the largest tree.
pub const MAX_HEADERS: u64 = 4_000_000;
/// Most members of an archive of images. Each blob of an image is one.
const MAX_PARTS: usize = 65_536;
/// Most bytes that their names and the targets of links have together.
const MAX_NAMES: usize = 16 << 20;

/// Why an archive can't be read on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// Reading failed.
    #[error("reading the archive: {0}")]
    Io(io::Error),
    /// No header where one has to be.
    #[error("there is no valid header at byte {offset}: {cause}")]
    Header {
        /// Where in the archive
        offset: u64,
        /// What is wrong with it
        cause: String,
    },
    /// The data of a member isn't all there.
    #[error("the archive ends within the member at byte {offset}")]
    Truncated {
        /// Where in the archive
        offset: u64,
    },
    /// An extended header that nobody needs so much of.
    #[error("the extended header at byte {offset} has {found} bytes, the most is {max}", max = pax::MAX_LEN)]
    TooLong {
        /// Where in the archive
        offset: u64,
        /// Bytes
        found: u64,
    },
    /// More headers than [`MAX_HEADERS`].
    #[error("the archives have more than {MAX_HEADERS} headers together")]
    TooMany,
    /// More or longer names than an archive of images has.
    #[error(
        "it has more than {MAX_PARTS} members, or more than {MAX_NAMES} bytes of names: it is no archive of images"
    )]
    TooManyParts,
    /// An extended header that can't be understood.
    #[error("the member at byte {offset}: {error}")]
    Pax {
        /// Where in the archive
        offset: u64,
        /// What is wrong with it
        error: PaxError,
    },
}

impl From<io::Error> for ArchiveError {
    fn from(cause: io::Error) -> Self {
        Self::Io(cause)
    }
}

/// A member, its extended headers included.
#[derive(Debug)]
pub(super) struct Member {
    /// Its own header.
    pub(super) header: Header,
    /// Where that is in the archive.
    pub(super) offset: u64,
    /// Its path, as it stands there.
    pub(super) path: Vec<u8>,
    /// Where a link leads.
    pub(super) link: Vec<u8>,
    /// Bytes of data that follow the header.
    pub(super) size: u64,
    /// The records of its extended header.
    pub(super) pax: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Member {
    /// Where its data begins.
    pub(super) fn data(&self) -> u64 {
        self.offset.saturating_add(BLOCK)
    }

    /// The value of the last record with this keyword. An empty one takes the record back: what the header says holds.
    pub(super) fn record(&self, keyword: &str) -> Option<&[u8]> {
        pax::last(&self.pax, keyword)
    }

    /// The number in the field of the header at `field`.
    pub(super) fn number(&self, field: Range<usize>) -> Option<i64> {
        numeric(self.header.as_bytes().get(field)?)
    }

    /// Major and minor number of a device; before POSIX there was no place for them.
    pub(super) fn device(&self) -> Option<(i64, i64)> {
        if Form::of(&self.header) == Form::Old {
            return Some((0, 0));
        }
        Some((self.number(DEVICE_MAJOR)?, self.number(DEVICE_MINOR)?))
    }

    /// What it is. Before POSIX a directory was a file whose name ends in a slash. Since then the type alone says it.
    pub(super) fn entry_type(&self) -> EntryType {
        let is_old = self.header.as_bytes().get(TYPE) == Some(&0);
        match self.header.entry_type() {
            EntryType::Regular if is_old && self.path.ends_with(b"/") => EntryType::Directory,
            EntryType::Continuous => EntryType::Regular,
            other => other,
        }
    }
}

/// Where the type of a member is in its header.
const TYPE: usize = 156;

/// Where the numbers of a header are.
pub(super) const MODE: Range<usize> = 100..108;
pub(super) const UID: Range<usize> = 108..116;
pub(super) const GID: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
pub(super) const MTIME: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
const DEVICE_MAJOR: Range<usize> = 329..337;
const DEVICE_MINOR: Range<usize> = 337..345;

/// Forms of headers, which differ in what follows the fields that all have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Before POSIX, with nothing there.
    Old,
    /// POSIX'.
    Ustar,
    /// star's, with less room for the path.
    Star,
    /// GNU tar's, with times in place of a part of the path.
    Gnu,
}

impl Form {
    fn of(header: &Header) -> Self {
        let is = |range: Range<usize>, magic: &[u8]| header.as_bytes().get(range) == Some(magic);
        if is(257..263, b"ustar\0") {
            return if is(508..512, b"tar\0") { Self::Star } else { Self::Ustar };
        }
        if is(257..265, b"ustar  \0") { Self::Gnu } else { Self::Old }
    }
}

/// The field of a header that should be a number and is none. Go reads no archive with one in it, even if nothing is made of
/// the field.
fn broken_number(header: &Header) -> Option<&'static str> {
    let common = [
        ("the mode", MODE),
        ("the owner", UID),
        ("the group", GID),
        ("the size", SIZE),
        ("the time", MTIME),
        ("the device", DEVICE_MAJOR),
        ("the device", DEVICE_MINOR),
        ("the time of access", 476..488),
        ("the time of change", 488..500),
    ];
    let count = match Form::of(header) {
        Form::Old => 5,
        Form::Ustar | Form::Gnu => 7,
        Form::Star => 9,
    };
    let mut fields = common.into_iter().take(count);
    fields.find(|(_, field)| header.as_bytes().get(field.clone()).and_then(numeric).is_none()).map(|(name, _)| name)
}

/// Whether no data follows a header of this type, whatever size stands there.
pub(super) fn has_no_data(kind: EntryType) -> bool {
    matches!(
        kind,
        EntryType::Link
            | EntryType::Symlink
            | EntryType::Char
            | EntryType::Block
            | EntryType::Directory
            | EntryType::Fifo
    )
}

/// A number of a header, as Go reads it (`archive/tar`, `parseNumeric`): with the highest bit set a binary one in two's
/// complement, else octal digits with NULs and spaces around them. An empty field is 0.
pub(super) fn numeric(field: &[u8]) -> Option<i64> {
    if let [first, rest @ ..] = field
        && first & 0x80 != 0
    {
        // The bit that marks it is no part of the number; the next one is its sign.
        let negative = first & 0x40 != 0;
        let first = if negative { *first } else { first & 0x7f };
        let mut value = if negative { -1_i64 } else { 0 };
        for byte in [first].iter().chain(rest) {
            value = value.checked_mul(256)?.checked_add(i64::from(*byte))?;
        }
        return Some(value);
    }
    octal(field)
}

/// Octal digits with NULs and spaces around them.
fn octal(field: &[u8]) -> Option<i64> {
    let is_padding = |byte: &u8| matches!(byte, 0 | b' ');
    let start = field.iter().position(|byte| !is_padding(byte)).unwrap_or(field.len());
    let end = field.iter().rposition(|byte| !is_padding(byte)).map_or(start, |at| at.saturating_add(1));
    let text = field.get(start..end)?.split(|byte| *byte == 0).next()?;
    let mut value = 0_u64;
    for byte in text {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 8)?;
        value = value.checked_mul(8)?.checked_add(u64::from(digit))?;
    }
    i64::try_from(value).ok()
}

/// The path in a header. POSIX puts what comes before a slash into a field of its own, of another length for star; GNU tar
/// has times in its place, unless an old version of Go wrote it (golang/go#12594).
fn path_of(header: &Header) -> Vec<u8> {
    let field = |range: Range<usize>| {
        let field = header.as_bytes().get(range).unwrap_or_default();
        field.split(|byte| *byte == 0).next().unwrap_or_default()
    };
    let is_time = |range: Range<usize>| {
        let field = header.as_bytes().get(range).unwrap_or_default();
        field.first() == Some(&0) || numeric(field).is_some()
    };
    let prefix = match Form::of(header) {
        Form::Star => field(345..476),
        Form::Ustar => field(345..500),
        Form::Gnu if !(is_time(345..357) && is_time(357..369)) => {
            Some(field(345..500)).filter(|it| it.is_ascii()).unwrap_or_default()
        }
        Form::Gnu | Form::Old => b"",
    };
    if prefix.is_empty() { field(0..100).to_vec() } else { [prefix, field(0..100)].join(&b'/') }
}

/// Goes through an archive.
pub(super) struct Members<'a> {
    archive: &'a Spool,
    position: u64,
    left: u64,
}

impl<'a> Members<'a> {
    /// Of which `left` headers may be read.
    pub(super) fn of(archive: &'a Spool, left: u64) -> Self {
        Self { archive, position: 0, left }
    }

    /// Headers that may still be read.
    pub(super) const fn left(&self) -> u64 {
        self.left
    }

    /// The next member; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Member>, ArchiveError> {
        let (mut records, mut long_path, mut long_link) = (Vec::new(), None, None);
        loop {
            let offset = self.position;
            let Some(header) = self.header()? else { return Ok(None) };
            self.left = self.left.checked_sub(1).ok_or(ArchiveError::TooMany)?;
            let fail = |cause: &str| ArchiveError::Header { offset, cause: cause.to_owned() };
            let kind = header.entry_type();
            let to_size = |size: i64| u64::try_from(size).map_err(|_| fail("its size is less than nothing"));
            let own = header.as_bytes().get(SIZE).and_then(numeric).unwrap_or_default();
            let own_size = if has_no_data(kind) { 0 } else { to_size(own)? };
            if matches!(
                kind,
                EntryType::XHeader | EntryType::XGlobalHeader | EntryType::GNULongName | EntryType::GNULongLink
            ) {
                let data = self.description(offset, own_size)?;
                let text = || data.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
                match kind {
                    EntryType::XHeader => {
                        let found = pax::records(&data).map_err(|error| ArchiveError::Pax { offset, error })?;
                        records = found.into_iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
                    }
                    EntryType::GNULongName => long_path = Some(text()),
                    EntryType::GNULongLink => long_link = Some(text()),
                    // What holds for all members is a comment in practice, and the engines ignore it. To Go it is a
                    // member of its own, for which what came before it was meant.
                    _ => {
                        pax::records(&data).map_err(|error| ArchiveError::Pax { offset, error })?;
                        (records, long_path, long_link) = (Vec::new(), None, None);
                    }
                }
                self.skip(offset, own_size)?;
                continue;
            }
            pax::check(&records).map_err(|error| ArchiveError::Pax { offset, error })?;
            let size = pax::last(&records, "size").and_then(pax::integer).unwrap_or(own);
            // Where GNU tar's headers and POSIX' are mixed, Go has the former win.
            let text = |long: Option<Vec<u8>>, keyword: &str| {
                long.filter(|text| !text.is_empty()).or_else(|| pax::last(&records, keyword).map(<[u8]>::to_vec))
            };
            let path = text(long_path, "path").unwrap_or_else(|| path_of(&header));
            let link = text(long_link, "linkpath");
            let link = link.or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned)).unwrap_or_default();
            let mut member = Member { header, offset, path, link, size: 0, pax: records };
            if !has_no_data(member.entry_type()) {
                member.size = to_size(size)?;
            }
            if let Some(name) = super::sparse::name(&member) {
                member.path = name;
            }
            self.skip(offset, member.size)?;
            return Ok(Some(member));
        }
    }

    /// The header at the position; `None` at the end of the archive, marked or not.
    fn header(&self) -> Result<Option<Header>, ArchiveError> {
        let offset = self.position;
        if offset >= self.archive.len() {
            return Ok(None);
        }
        let header = self.block(offset)?;
        let cause = |cause: String| ArchiveError::Header { offset, cause };
        let is_zero = |header: &Header| header.as_bytes().iter().all(|byte| *byte == 0);
        if is_zero(&header) {
            // Two of them mark the end, and nothing else may follow the first.
            let next = offset.saturating_add(BLOCK);
            if next < self.archive.len() && !is_zero(&self.block(next)?) {
                return Err(cause("it is one block of zeros, and the end of an archive has two".to_owned()));
            }
            return Ok(None);
        }
        // The checksum counts its own field as spaces. Old archivers counted bytes with a sign.
        let bytes =
            || header.as_bytes().iter().enumerate().map(|(at, byte)| if CHECKSUM.contains(&at) { &32 } else { byte });
        let sum: i64 = bytes().map(|byte| i64::from(*byte)).sum();
        let signed: i64 = bytes().map(|byte| i64::from(byte.cast_signed())).sum();
        let found = header.as_bytes().get(CHECKSUM).and_then(octal);
        let found = found.ok_or_else(|| cause("its checksum is no number".to_owned()))?;
        if found != sum && found != signed {
            return Err(cause(format!("its checksum is {found} where {sum} is needed")));
        }
        match broken_number(&header) {
            Some(field) => Err(cause(format!("{field} is no number"))),
            None => Ok(Some(header)),
        }
    }

    fn block(&self, offset: u64) -> Result<Header, ArchiveError> {
        let mut header = Header::new_old();
        match self.archive.read_exact_at(header.as_mut_bytes(), offset) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(ArchiveError::Truncated { offset }),
            result => Ok(result.map(|()| header)?),
        }
    }

    /// The data of an extended header.
    fn description(&self, offset: u64, size: u64) -> Result<Vec<u8>, ArchiveError> {
        let too_long = || ArchiveError::TooLong { offset, found: size };
        if size > pax::MAX_LEN {
            return Err(too_long());
        }
        let mut data = vec![0; usize::try_from(size).map_err(|_| too_long())?];
        match self.archive.read_exact_at(&mut data, offset.saturating_add(BLOCK)) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(ArchiveError::Truncated { offset }),
            result => Ok(result.map(|()| data)?),
        }
    }

    /// Goes on behind the member at `offset`. Blocks that only GNU's old sparse files have come before the data and
    /// aren't counted by its size.
    fn skip(&mut self, offset: u64, size: u64) -> Result<(), ArchiveError> {
        let truncated = || ArchiveError::Truncated { offset };
        let more = super::sparse::extension_blocks(self.archive, offset)?;
        let start = offset.checked_add(BLOCK).and_then(|start| start.checked_add(more)).ok_or_else(truncated)?;
        let end = start.checked_add(size).filter(|end| *end <= self.archive.len()).ok_or_else(truncated)?;
        self.position = end.checked_next_multiple_of(BLOCK).ok_or_else(truncated)?;
        Ok(())
    }
}

/// A file or link in an archive.
pub(in crate::build) struct ArchiveMember {
    /// Its path, as it stands there.
    pub(in crate::build) path: String,
    /// Its content, if it is a regular file.
    pub(in crate::build) content: Option<Spool>,
    /// Where it leads, if it is a link, and whether that is a symbolic one.
    pub(in crate::build) link: Option<(String, bool)>,
}

/// The files and links of an archive of images; what has no name in UTF-8 isn't one of its parts.
pub(in crate::build) fn archive_members(archive: &Spool) -> Result<Vec<ArchiveMember>, ArchiveError> {
    let mut found = Vec::new();
    let mut members = Members::of(archive, MAX_HEADERS);
    let mut names = 0_usize;
    while let Some(member) = members.next()? {
        names = names.saturating_add(member.path.len()).saturating_add(member.link.len());
        if found.len() >= MAX_PARTS || names > MAX_NAMES {
            return Err(ArchiveError::TooManyParts);
        }
        let Ok(path) = String::from_utf8(member.path.clone()) else { continue };
        let link = String::from_utf8_lossy(&member.link).into_owned();
        let (content, link) = match member.entry_type() {
            EntryType::Regular => (archive.slice(member.data(), member.size), None),
            EntryType::Symlink => (None, Some((link, true))),
            EntryType::Link => (None, Some((link, false))),
            _ => continue,
        };
        found.push(ArchiveMember { path, content, link });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write;

    fn spool(headers: &[Header]) -> Spool {
        let mut file = tempfile::tempfile().unwrap();
        for header in headers {
            file.write_all(header.as_bytes()).unwrap();
        }
        Spool::new(file).unwrap()
    }

    fn header(kind: EntryType, name: &str) -> Header {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_path(name).unwrap();
        header.set_size(0);
        header.set_cksum();
        header
    }

    /// As Go's `archive/tar` has them in `TestParseNumeric`; golang/go#12594, #21005 are about such fields.
    #[test]
    fn numbers_are_read_as_go_reads_them() {
        let long: [u8; 12] = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe];
        for (field, expected) in [
            (&b""[..], Some(0)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b" \0 \0", Some(0)),
            (b"0000000\0", Some(0)),
            (b"0000644\0", Some(0o644)),
            (b" 0000644 ", Some(0o644)),
            (b"\x00000644\0", Some(0o644)),
            (b"644\0junk", Some(0o644)),
            (b"00000128\0", None),
            (b"12 34\0", None),
            (b"-1\0", None),
            (b"+1\0", None),
            (b"1777777777777777777777", None),
            (b"\x80", Some(0)),
            (b"\x80\0\0", Some(0)),
            (b"\x80\0\0\x01", Some(1)),
            (b"\xbf", Some(0x3f)),
            (b"\xff", Some(-1)),
            (b"\xff\xff", Some(-1)),
            (b"\xff\xff\xff\xfe", Some(-2)),
            (&long, Some(-2)),
            (b"\x87\x76\xa2\x22\xeb\x8a\x72\x61", Some(537_795_476_381_659_745)),
            (b"\x80\0\0\0\x07\x76\xa2\x22\xeb\x8a\x72\x61", Some(537_795_476_381_659_745)),
            (b"\xf7\x76\xa2\x22\xeb\x8a\x72\x61", Some(-615_126_028_225_187_231)),
            (b"\x80\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
            (b"\x80\x80\0\0\0\0\0\0\0", None),
            (b"\xff\x80\0\0\0\0\0\0\0", Some(i64::MIN)),
            (b"\xff\x7f\xff\xff\xff\xff\xff\xff\xff", None),
        ] {
            assert_eq!(numeric(field), expected, "{field:02x?}");
        }
    }

    #[test]
    fn headers_are_counted_also_those_that_describe_nothing() {
        let archive = spool(&[
            header(EntryType::XGlobalHeader, "g"),
            header(EntryType::XGlobalHeader, "g"),
            header(EntryType::Fifo, "f"),
        ]);
        let mut members = Members::of(&archive, 3);
        assert_eq!(members.next().unwrap().unwrap().path, b"f");
        assert_eq!(members.left(), 0);
        assert!(members.next().unwrap().is_none());
        assert!(matches!(Members::of(&archive, 2).next(), Err(ArchiveError::TooMany)));
    }

    #[test]
    fn an_archive_of_images_has_names_of_usual_length() {
        let long = header(EntryType::Regular, &"n".repeat(99));
        let count = MAX_PARTS + 1;
        let archive = spool(&vec![long; count]);
        assert!(matches!(archive_members(&archive), Err(ArchiveError::TooManyParts)));
    }
}
