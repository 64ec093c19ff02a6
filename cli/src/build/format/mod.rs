//! File systems for extensions, made of trees.

mod erofs;
mod squashfs;

use super::tree::{FileTree, Time};
use ddi::text::Text;
use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;

/// Which file system, and how it is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Squashfs 4.0, written in this process.
    Squashfs(Compression),
    /// Erofs, written by `mkfs.erofs` 1.8 or newer.
    Erofs(Compression),
}

/// How contents are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compression {
    /// The algorithm
    pub algorithm: Algorithm,
    /// How hard it tries; `None` for what is usual
    pub level: Option<u8>,
}

/// Algorithms that the kernel can undo in one format or the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Not at all.
    None,
    /// DEFLATE, called `gzip` with squashfs and `deflate` with erofs.
    Deflate,
    /// LZ4
    Lz4,
    /// LZ4, compressed with more effort
    Lz4hc,
    /// LZMA
    Lzma,
    /// Zstandard
    Zstd,
}

impl Compression {
    /// Without a level.
    #[must_use]
    pub const fn of(algorithm: Algorithm) -> Self {
        Self { algorithm, level: None }
    }
}

impl FromStr for Compression {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, level) = match text.split_once(':') {
            Some((name, level)) => (name, Some(level)),
            None => (text, None),
        };
        let (algorithm, most) = match name {
            "none" => (Algorithm::None, 0),
            "gzip" | "deflate" => (Algorithm::Deflate, 9),
            "lz4" => (Algorithm::Lz4, 0),
            "lz4hc" => (Algorithm::Lz4hc, 12),
            "lzma" => (Algorithm::Lzma, 9),
            "zstd" => (Algorithm::Zstd, 22),
            _ => return Err("write zstd, gzip, deflate, lz4, lz4hc, lzma or none, with a level behind a colon".into()),
        };
        let level = match level {
            None => None,
            Some(level) => {
                let number = level.parse::<u8>().ok().filter(|number| (1..=most).contains(number));
                let wrong = || {
                    if most == 0 {
                        format!("{name} has no levels")
                    } else {
                        format!("levels of {name} are 1 to {most}")
                    }
                };
                Some(number.ok_or_else(wrong)?)
            }
        };
        Ok(Self { algorithm, level })
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Deflate => "deflate",
            Self::Lz4 => "lz4",
            Self::Lz4hc => "lz4hc",
            Self::Lzma => "lzma",
            Self::Zstd => "zstd",
        })
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Squashfs(_) => "squashfs",
            Self::Erofs(_) => "erofs",
        })
    }
}

/// Why a file system can't be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// Something about a file that the format has no place for.
    #[error("{0}, which squashfs as it is written here can't keep; erofs can: --format erofs")]
    CannotKeep(Unfit),
    /// The tree needs erofs, and no program is there that makes it.
    #[error("{unfit}, which only erofs keeps; {cause}; install erofs-utils 1.8 or newer")]
    NeedsErofs {
        /// What squashfs has no place for
        unfit: Unfit,
        /// Why erofs can't be made
        cause: String,
    },
    /// An algorithm of the other format.
    #[error("{format} can't be compressed with {algorithm} here; there is {choice}")]
    Compression {
        /// The format
        format: &'static str,
        /// What was asked for
        algorithm: Algorithm,
        /// What can be had
        choice: &'static str,
    },
    /// No program that makes the format.
    #[error("{0}; install erofs-utils 1.8 or newer, or build with --format squashfs, which needs no program")]
    NoTool(String),
    /// The program failed.
    #[error("mkfs.erofs: {0}")]
    Tool(String),
    /// The library failed.
    #[error("writing squashfs: {0}")]
    Squashfs(String),
    /// Reading a file's content, or writing.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Something about a file that squashfs, as it is written here, has no place for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// The file
    pub path: Text,
    /// What would be lost
    pub what: String,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{} has {}", self.path, self.what)
    }
}

impl Format {
    /// Returns squashfs with this compression; by default with Zstandard.
    #[must_use]
    pub fn squashfs(compression: Option<Compression>) -> Self {
        Self::Squashfs(compression.unwrap_or(Compression::of(Algorithm::Zstd)))
    }

    /// Returns erofs with this compression; by default with one that all kernels can read that are in use: of those that
    /// know erofs, many know no other algorithm.
    #[must_use]
    pub fn erofs(compression: Option<Compression>) -> Self {
        Self::Erofs(compression.unwrap_or(Compression::of(Algorithm::Lz4hc)))
    }

    /// Returns squashfs, or erofs if `tree` has something that squashfs has no place for, and then a remark that says what
    /// that is. Only the tree decides, never which programs there are: one source has one format everywhere.
    ///
    /// # Errors
    /// [`FormatError::NeedsErofs`]
    pub fn for_tree(tree: &FileTree, compression: Option<Compression>) -> Result<(Self, Option<String>), FormatError> {
        let Err(unfit) = squashfs::check_tree(tree) else { return Ok((Self::squashfs(compression), None)) };
        match erofs::Tool::find() {
            Ok(_) => {
                let remark = format!("made an erofs: {unfit}, which squashfs as it is written here can't keep");
                Ok((Self::erofs(compression), Some(remark)))
            }
            Err(FormatError::NoTool(cause)) => Err(FormatError::NeedsErofs { unfit, cause }),
            Err(error) => Err(error),
        }
    }

    /// Whether it can be written here, before work begins.
    ///
    /// # Errors
    /// [`FormatError::NoTool`], [`FormatError::Compression`].
    pub fn check(self) -> Result<(), FormatError> {
        match self {
            Self::Squashfs(compression) => squashfs::check(compression),
            Self::Erofs(_) => erofs::Tool::find().map(drop),
        }
    }

    /// Writes `tree` as a file system to a new file at `path`. `time` is when it is said to have been made, `uuid` its
    /// UUID where it has one; nothing else decides about the bytes but the tree, this format, and for erofs the version of
    /// `mkfs.erofs`. `progress` is told of each piece of content in bytes. Returns remarks for people.
    ///
    /// # Errors
    /// [`FormatError`]; what is at `path` is then of no use.
    pub fn write(
        self,
        tree: &FileTree,
        path: &Path,
        time: Time,
        uuid: [u8; 16],
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<String>, FormatError> {
        match self {
            Self::Squashfs(compression) => squashfs::write(tree, compression, path, time, progress),
            Self::Erofs(compression) => {
                erofs::write(tree, compression, path, time, uuid, progress).map(|()| Vec::new())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn compressions_are_named_with_an_optional_level() {
        let parse = Compression::from_str;
        assert_eq!(parse("zstd"), Ok(Compression::of(Algorithm::Zstd)));
        assert_eq!(parse("gzip:9"), Ok(Compression { algorithm: Algorithm::Deflate, level: Some(9) }));
        assert_eq!(parse("zstd:23"), Err("levels of zstd are 1 to 22".into()));
        assert_eq!(parse("none:1"), Err("none has no levels".into()));
        assert!(parse("brotli").is_err() && parse("").is_err() && parse("zstd:").is_err() && parse("zstd:0").is_err());
    }
}
