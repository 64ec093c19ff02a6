//! Writes trees as file systems.

mod erofs;
mod squashfs;

use super::tree::{FileTree, Time};
use ddi::text::Text;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;
use std::str::FromStr;

/// A file system and its compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Squashfs 4.0, written in this process.
    Squashfs(Compression),
    /// Erofs, written by `mkfs.erofs` 1.8 or newer.
    Erofs(Compression),
}

/// An algorithm and its level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compression {
    /// The algorithm
    pub algorithm: Algorithm,
    /// Level; `None` for the default of the algorithm
    pub level: Option<u8>,
}

/// Algorithms that the kernel can decompress in at least one of the formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// No compression.
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
    /// Returns an algorithm with its default level.
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
            _ => {
                return Err(
                    "expected zstd, gzip, deflate, lz4, lz4hc, lzma or none, with an optional level (zstd:19)".into()
                );
            }
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

/// Error of writing a file system.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// A file that can't be written to squashfs.
    #[error("{0}, which is not supported with squashfs; use --format erofs")]
    CannotKeep(Unfit),
    /// The tree requires erofs, which can't be written.
    #[error("{unfit}, which requires erofs; {cause}; install erofs-utils 1.8 or later")]
    NeedsErofs {
        /// First file that can't be written to squashfs
        unfit: Unfit,
        /// Why erofs can't be written
        cause: String,
    },
    /// An algorithm that is not supported with the format.
    #[error("compression {algorithm} is not supported with {format}; available: {choice}")]
    Compression {
        /// Name of the format
        format: &'static str,
        /// Requested algorithm
        algorithm: Algorithm,
        /// Supported algorithms
        choice: &'static str,
    },
    /// `mkfs.erofs` is missing or too old.
    #[error("{0}; install erofs-utils 1.8 or later, or use --format squashfs, which needs no program")]
    NoTool(String),
    /// `mkfs.erofs` failed.
    #[error("mkfs.erofs: {0}")]
    Tool(String),
    /// The library that writes squashfs failed.
    #[error("writing squashfs: {0}")]
    Squashfs(String),
    /// Reading the content of a file or writing failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A file that can't be written to squashfs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// Path of the file
    pub path: Text,
    /// What squashfs does not support, such as `the extended attribute user.x`
    pub what: String,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{} has {}", self.path, self.what)
    }
}

impl Format {
    /// Returns squashfs with this compression, Zstandard by default.
    #[must_use]
    pub fn squashfs(compression: Option<Compression>) -> Self {
        Self::Squashfs(compression.unwrap_or(Compression::of(Algorithm::Zstd)))
    }

    /// Returns erofs with this compression, LZ4 by default: every kernel with erofs can read it, and many support nothing else.
    #[must_use]
    pub fn erofs(compression: Option<Compression>) -> Self {
        Self::Erofs(compression.unwrap_or(Compression::of(Algorithm::Lz4hc)))
    }

    /// Returns squashfs, or erofs and a remark if `tree` contains a file that squashfs does not support. The decision does not
    /// depend on the installed programs, so that a source has the same format everywhere.
    ///
    /// # Errors
    /// [`FormatError::NeedsErofs`]
    pub fn for_tree(tree: &FileTree, compression: Option<Compression>) -> Result<(Self, Option<String>), FormatError> {
        let Err(unfit) = squashfs::check_tree(tree) else { return Ok((Self::squashfs(compression), None)) };
        match erofs::Tool::find() {
            Ok(_) => {
                let remark = format!("using erofs: {unfit}, which is not supported with squashfs");
                Ok((Self::erofs(compression), Some(remark)))
            }
            Err(FormatError::NoTool(cause)) => Err(FormatError::NeedsErofs { unfit, cause }),
            Err(error) => Err(error),
        }
    }

    /// Checks that the format can be written, before work begins.
    ///
    /// # Errors
    /// [`FormatError::NoTool`], [`FormatError::Compression`].
    pub fn check(self) -> Result<(), FormatError> {
        match self {
            Self::Squashfs(compression) => squashfs::check(compression),
            Self::Erofs(_) => erofs::Tool::find().map(drop),
        }
    }

    /// Returns the number of bytes that [`Self::write`] reports as progress.
    #[must_use]
    pub fn work(self, tree: &FileTree) -> u64 {
        match self {
            Self::Squashfs(_) => squashfs::work(tree),
            Self::Erofs(_) => erofs::work(tree),
        }
    }

    /// Writes `tree` as a file system at `place`. The bytes depend only on the tree, the format, `time`, `uuid` and, for erofs, the
    /// version of `mkfs.erofs`. `progress` is called with the length of each piece of content in bytes.
    ///
    /// # Errors
    /// [`FormatError`]; the file system is incomplete then.
    pub fn write(
        self,
        tree: &FileTree,
        place: Place<'_>,
        parameters: Parameters,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Written, FormatError> {
        match self {
            Self::Squashfs(compression) => squashfs::write(tree, compression, place, parameters, progress),
            Self::Erofs(compression) => erofs::write(tree, compression, place, parameters, progress),
        }
    }
}

/// Where a file system is written: into an existing file, which ends with it.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Path of the file
    pub path: &'a Path,
    /// Offset of the file system in bytes
    pub offset: u64,
}

impl Place<'_> {
    fn open(&self) -> io::Result<File> {
        File::options().read(true).write(true).open(self.path)
    }
}

/// What is not in the tree.
#[derive(Debug, Clone, Copy)]
pub struct Parameters {
    /// Creation time of the file system
    pub time: Time,
    /// UUID of the file system, if the format has one
    pub uuid: [u8; 16],
    /// Number of threads that compress, at least 1; see [`default_threads`]. The bytes do not depend on it.
    pub threads: usize,
}

/// A written file system.
#[derive(Debug)]
pub struct Written {
    /// Length in bytes
    pub len: u64,
    /// Remarks for the user
    pub remarks: Vec<String>,
}

/// Maximum number of threads. Each has some MiB of memory.
const MAX_THREADS: usize = 64;

/// Returns the number of threads for compression on this machine: one for each processor that the process may use, at most 64.
#[must_use]
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS)
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
