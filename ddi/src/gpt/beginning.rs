//! The beginning of a file without a table, and sizes in words.

use crate::io::ReadAt;
use std::fmt;
use std::io;

/// Bytes at the beginning that tell what a file without a table is: a protective MBR and a header in sectors of 4096 bytes.
const BEGINNING: u64 = 8192;

/// What a file without a table begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Beginning {
    /// Nothing: it has no bytes.
    Empty,
    /// A protective MBR, and it ends before there is a header.
    Cut {
        /// Bytes of the file.
        found: u64,
    },
    /// Zeros, as far as they were looked at.
    Zeros {
        /// How many.
        looked_at: u64,
    },
    /// The magic number of something else.
    Other(&'static str),
    /// Anything.
    Unknown,
}

/// Magic numbers of what people take for an image, or get in its place: offset, bytes, and what it is.
const OTHERS: [(usize, &[u8], &str); 13] = [
    (0, b"hsqs", "a squashfs file system"),
    (1024, &[0xe2, 0xe1, 0xf5, 0xe0], "an erofs file system"),
    (0, &[0x1f, 0x8b], "compressed by gzip"),
    (0, &[0x28, 0xb5, 0x2f, 0xfd], "compressed by zstd"),
    (0, b"\xfd7zXZ\0", "compressed by xz"),
    (0, b"BZh", "compressed by bzip2"),
    (0, b"PK\x03\x04", "a zip archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"MZ", "an EFI program"),
    (0, b"\x7fELF", "an ELF program"),
    (0, b"<!DOCTYPE", "an HTML page"),
    (0, b"<html", "an HTML page"),
    (0, b"version https://git-lfs", "a Git LFS pointer"),
];

impl Beginning {
    /// Looks at the first bytes of `file`, which has no header of a table.
    pub(super) fn read(file: &dyn ReadAt) -> io::Result<Self> {
        let len = file.len().min(BEGINNING);
        let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
        file.read_exact_at(&mut bytes, 0)?;
        let is_other =
            |(offset, magic, _): &&(usize, &[u8], &str)| bytes.get(*offset..).is_some_and(|it| it.starts_with(magic));
        Ok(if bytes.is_empty() {
            Self::Empty
        } else if bytes.iter().all(|byte| *byte == 0) {
            Self::Zeros { looked_at: len }
        } else if let Some((_, _, what)) = OTHERS.iter().find(is_other) {
            Self::Other(what)
        } else if file.len() < BEGINNING && bytes.get(510..512) == Some(&[0x55, 0xaa]) && bytes.get(450) == Some(&0xee)
        {
            Self::Cut { found: len }
        } else {
            Self::Unknown
        })
    }
}

impl fmt::Display for Beginning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("incomplete copy: the file is empty (no GUID partition table)"),
            Self::Cut { found } => {
                write!(f, "incomplete copy: the file ends after {} (no GUID partition table)", Bytes(*found))
            }
            Self::Zeros { looked_at } => {
                write!(f, "incomplete copy: the first {} are zero (no GUID partition table)", Bytes(*looked_at))
            }
            Self::Other(what) => write!(f, "not a disk image: the file is {what} (no GUID partition table)"),
            Self::Unknown => f.write_str("no GUID partition table"),
        }
    }
}

/// A number of bytes as people say it: `7 bytes`, `16.4 kB`, `243 MB`. Units are powers of 1000.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes(pub(super) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(bytes) = *self;
        if bytes == 1 {
            return f.write_str("1 byte");
        }
        let Some((unit, size)) = [("GB", 1_000_000_000_u64), ("MB", 1_000_000), ("kB", 1000)]
            .into_iter()
            .find(|(_, size)| bytes >= size.saturating_mul(10))
        else {
            return write!(f, "{bytes} bytes");
        };
        // Three digits at least: 16.4 kB, 243 MB.
        let tenths = bytes.saturating_add(size / 20).checked_div(size / 10).unwrap_or_default();
        match (tenths / 10, tenths % 10) {
            (whole, tenth) if whole < 100 => write!(f, "{whole}.{tenth} {unit}"),
            _ => write!(f, "{} {unit}", bytes.saturating_add(size / 2).checked_div(size).unwrap_or_default()),
        }
    }
}

/// `243 MB, the file has 200 MB (243000000 and 200000000 bytes)`; only the bytes where they look alike in a larger unit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) described: u64,
    pub(super) found: u64,
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { described, found } = *self;
        let (long, short) = (Bytes(described).to_string(), Bytes(found).to_string());
        if long == short || (long.ends_with("bytes") && short.ends_with("bytes")) {
            write!(f, "{described} bytes, the file has {found} bytes")
        } else {
            write!(f, "{long}, the file has {short} ({described} and {found} bytes)")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_units_that_tell_them_apart() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (9_999, "9999 bytes"),
            (10_000, "10.0 kB"),
            (16_384, "16.4 kB"),
            (99_949, "99.9 kB"),
            (99_950, "100 kB"),
            (242_987_008, "243 MB"),
            (9_999_999, "10000 kB"),
            (12_345_678_901, "12.3 GB"),
            (u64::MAX, "18446744073 GB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
        let sizes = |described, found| Sizes { described, found }.to_string();
        assert_eq!(sizes(242_987_008, 200_000_000), "243 MB, the file has 200 MB (242987008 and 200000000 bytes)");
        assert_eq!(sizes(242_987_008, 242_986_496), "242987008 bytes, the file has 242986496 bytes");
        assert_eq!(sizes(1024, 1023), "1024 bytes, the file has 1023 bytes");
    }
}
