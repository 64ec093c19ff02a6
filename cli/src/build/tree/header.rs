//! A header of a tar archive, and what it says of a member.

use super::pax::{self, PaxError};
use std::io;
use std::ops::Range;
use tar::{EntryType, Header};

/// Bytes of a block; headers are one, data is padded to whole ones.
pub(super) const BLOCK: u64 = 512;

/// Most headers, extended ones included, in all layers of an image: four for each node of the largest tree.
pub const MAX_HEADERS: u64 = 4_000_000;
/// Most members of an archive of images. Each blob of an image is one.
pub(super) const MAX_PARTS: usize = 65_536;
/// Most bytes that their names and the targets of links have together.
pub(super) const MAX_NAMES: usize = 16 << 20;

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
    /// An extended header that is too long.
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
pub(super) const TYPE: usize = 156;

/// Where the numbers of a header are.
pub(super) const MODE: Range<usize> = 100..108;
pub(super) const UID: Range<usize> = 108..116;
pub(super) const GID: Range<usize> = 116..124;
pub(super) const SIZE: Range<usize> = 124..136;
pub(super) const MTIME: Range<usize> = 136..148;
pub(super) const CHECKSUM: Range<usize> = 148..156;
pub(super) const DEVICE_MAJOR: Range<usize> = 329..337;
pub(super) const DEVICE_MINOR: Range<usize> = 337..345;

/// Forms of headers, which differ in what follows the fields that all have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
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
    pub(super) fn of(header: &Header) -> Self {
        let is = |range: Range<usize>, magic: &[u8]| header.as_bytes().get(range) == Some(magic);
        if is(257..263, b"ustar\0") {
            return if is(508..512, b"tar\0") { Self::Star } else { Self::Ustar };
        }
        if is(257..265, b"ustar  \0") { Self::Gnu } else { Self::Old }
    }
}

/// The field of a header that should be a number and is none. Go reads no archive with one in it, even if nothing is made of
/// the field.
pub(super) fn broken_number(header: &Header) -> Option<&'static str> {
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
pub(super) fn octal(field: &[u8]) -> Option<i64> {
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
pub(super) fn path_of(header: &Header) -> Vec<u8> {
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
