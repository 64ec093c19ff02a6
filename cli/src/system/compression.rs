//! How the parts of an initrd are compressed.

use serde::{Serialize, Serializer};
use std::fmt;

/// Bytes by which a compression is known.
pub const MAGIC_SIZE: usize = 6;

/// How a part of an initrd is compressed, as the kernel knows it by its first bytes (Linux 6.12, `lib/decompress.c`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// An archive by itself
    None,
    /// gzip
    Gzip,
    /// Zstandard
    Zstd,
    /// xz
    Xz,
    /// bzip2
    Bzip2,
    /// LZMA
    Lzma,
    /// LZO
    Lzo,
    /// LZ4, in the old form that the kernel takes
    Lz4,
}

impl Compression {
    /// The compression of what begins with these bytes; `None` if no initrd begins so.
    #[must_use]
    pub const fn of(magic: &[u8; MAGIC_SIZE]) -> Option<Self> {
        Some(match magic {
            [b'0', b'7', b'0', b'7', b'0', b'1' | b'2'] => Self::None,
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0] => Self::Xz,
            [b'B', b'Z', b'h', ..] => Self::Bzip2,
            [0x5d, 0, 0, ..] => Self::Lzma,
            [0x89, b'L', b'Z', b'O', ..] => Self::Lzo,
            [0x02, 0x21, 0x4c, 0x18, ..] => Self::Lz4,
            _ => return None,
        })
    }

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "Zstandard",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
            Self::Lzma => "LZMA",
            Self::Lzo => "LZO",
            Self::Lz4 => "LZ4",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Compression {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.as_str().to_ascii_lowercase())
    }
}
