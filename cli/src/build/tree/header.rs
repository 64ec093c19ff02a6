//! Reads headers of tar archives.

use super::pax::{self, PaxError};
use std::io;
use std::ops::Range;
use tar::{EntryType, Header};

/// Size of a block in bytes. A header is one block; data is padded to whole blocks.
pub(super) const BLOCK: u64 = 512;

/// Maximum number of headers, extended ones included, in all layers of an image: four for each node of the largest tree.
pub const MAX_HEADERS: u64 = 4_000_000;
/// Maximum number of members of an archive of images. Each blob of an image is one.
pub(super) const MAX_PARTS: usize = 65_536;
/// Maximum size of their names and the targets of links together, in bytes.
pub(super) const MAX_NAMES: usize = 16 << 20;

/// Error of reading an archive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// Reading failed.
    #[error("reading the archive: {0}")]
    Io(io::Error),
    /// A header is missing or malformed.
    #[error("no valid header at byte {offset}: {cause}")]
    Header {
        /// Offset in the archive
        offset: u64,
        /// What is wrong with the header
        cause: String,
    },
    /// The data of a member is incomplete.
    #[error("archive ends within the member at byte {offset}")]
    Truncated {
        /// Where in the archive
        offset: u64,
    },
    /// An extended header that is too long.
    #[error("extended header at byte {offset} is {found} bytes; the limit is {max}", max = pax::MAX_LEN)]
    TooLong {
        /// Where in the archive
        offset: u64,
        /// Bytes
        found: u64,
    },
    /// More headers than [`MAX_HEADERS`].
    #[error("all layers together have more than {MAX_HEADERS} headers")]
    TooMany,
    /// More than 65536 members or 16 MiB of names.
    #[error("not an archive of images: more than {MAX_PARTS} members, or more than {MAX_NAMES} bytes of names")]
    TooManyParts,
    /// An extended header is malformed.
    #[error("member at byte {offset}: {error}")]
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

/// A member with its extended headers.
#[derive(Debug)]
pub(super) struct Member {
    /// Header of the member itself.
    pub(super) header: Header,
    /// Offset of that header in the archive.
    pub(super) offset: u64,
    /// Path, unchanged.
    pub(super) path: Vec<u8>,
    /// Target of a link.
    pub(super) link: Vec<u8>,
    /// Size of the data behind the header, in bytes.
    pub(super) size: u64,
    /// Records of the extended header.
    pub(super) pax: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Member {
    /// Returns the offset of the data in the archive.
    pub(super) fn data(&self) -> u64 {
        self.offset.saturating_add(BLOCK)
    }

    /// Returns the value of the last record with this keyword. An empty value cancels the record, so that the header counts.
    pub(super) fn record(&self, keyword: &str) -> Option<&[u8]> {
        pax::last(&self.pax, keyword)
    }

    /// Returns the number in the field of the header at `field`.
    pub(super) fn number(&self, field: Range<usize>) -> Option<i64> {
        numeric(self.header.as_bytes().get(field)?)
    }

    /// Returns major and minor number of a device; headers from before POSIX have none.
    pub(super) fn device(&self) -> Option<(i64, i64)> {
        if Form::of(&self.header) == Form::Old {
            return Some((0, 0));
        }
        Some((self.number(DEVICE_MAJOR)?, self.number(DEVICE_MINOR)?))
    }

    /// Returns the type. Before POSIX, a file whose name ends in a slash is a directory.
    pub(super) fn entry_type(&self) -> EntryType {
        let is_old = self.header.as_bytes().get(TYPE) == Some(&0);
        match self.header.entry_type() {
            EntryType::Regular if is_old && self.path.ends_with(b"/") => EntryType::Directory,
            EntryType::Continuous => EntryType::Regular,
            other => other,
        }
    }
}

/// Offset of a member's type in its header.
pub(super) const TYPE: usize = 156;

/// Ranges of the numbers in a header.
pub(super) const MODE: Range<usize> = 100..108;
pub(super) const UID: Range<usize> = 108..116;
pub(super) const GID: Range<usize> = 116..124;
pub(super) const SIZE: Range<usize> = 124..136;
pub(super) const MTIME: Range<usize> = 136..148;
pub(super) const CHECKSUM: Range<usize> = 148..156;
pub(super) const DEVICE_MAJOR: Range<usize> = 329..337;
pub(super) const DEVICE_MINOR: Range<usize> = 337..345;

/// Formats of headers, which differ behind the common fields.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Before POSIX: no further fields.
    Old,
    /// POSIX.
    Ustar,
    /// star: a shorter field for the path.
    Star,
    /// GNU tar: times in place of a part of the path.
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

/// Returns the name of the first field that should be a number and is not. Go refuses archives with such a field, even if it does
/// not use it.
pub(super) fn broken_number(header: &Header) -> Option<&'static str> {
    let common = [
        ("mode", MODE),
        ("owner", UID),
        ("group", GID),
        ("size", SIZE),
        ("time", MTIME),
        ("device", DEVICE_MAJOR),
        ("device", DEVICE_MINOR),
        ("access time", 476..488),
        ("change time", 488..500),
    ];
    let count = match Form::of(header) {
        Form::Old => 5,
        Form::Ustar | Form::Gnu => 7,
        Form::Star => 9,
    };
    let mut fields = common.into_iter().take(count);
    fields.find(|(_, field)| header.as_bytes().get(field.clone()).and_then(numeric).is_none()).map(|(name, _)| name)
}

/// Returns whether a header of this type has no data, whatever its size field says.
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

/// Parses a number as Go does (`archive/tar`, `parseNumeric`): binary in two's complement if the highest bit is set, else octal
/// digits with NULs and spaces around them. An empty field is 0.
pub(super) fn numeric(field: &[u8]) -> Option<i64> {
    if let [first, rest @ ..] = field
        && first & 0x80 != 0
    {
        // The highest bit only marks the format; the next one is the sign.
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

/// Parses octal digits with NULs and spaces around them.
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

/// Returns the path in a header. POSIX has a further field for a prefix, which star makes shorter. GNU tar has times in its
/// place, unless an old version of Go wrote the archive (golang/go#12594).
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
