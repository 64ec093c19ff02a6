//! Why a file system can't be read.

use super::EntryKind;
use std::io;

/// Why a file system, or one path in it, can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesystemError {
    /// The source failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// No magic number that is known.
    #[error("neither erofs nor squashfs")]
    UnknownFilesystem,
    /// Written by some tool, mounted by no kernel.
    #[error("{what} is supported by no kernel")]
    UnsupportedByKernel {
        /// The format.
        what: &'static str,
    },
    /// Valid perhaps, but not read here.
    #[error("{what} {value:#x} is not supported")]
    Unsupported {
        /// The field.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// A structure contradicts itself, its neighbours or the size of the file system.
    #[error("{what} at offset {offset} is corrupt")]
    Corrupt {
        /// The structure.
        what: &'static str,
        /// Where it is, in bytes from the beginning of the file system.
        offset: u64,
    },
    /// Compressed data that can't be decompressed.
    #[error("{codec} data at offset {offset} is corrupt")]
    Compressed {
        /// The compression.
        codec: &'static str,
        /// Where the data is, in bytes from the beginning of the file system.
        offset: u64,
    },
    /// Only absurd or hostile structures need so much reading.
    #[error("more than {limit} bytes of work")]
    TooMuchWork {
        /// The limit in bytes.
        limit: u64,
    },
    /// A file larger than was asked for.
    #[error("{size} bytes, the limit is {limit}")]
    TooLarge {
        /// Bytes of the file.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A directory with more entries than are listed.
    #[error("more than {limit} entries")]
    TooManyEntries {
        /// The limit.
        limit: usize,
    },
    /// A component of the path that should be a directory.
    #[error("{found}; expected a directory")]
    NotADirectory {
        /// What it is.
        found: EntryKind,
    },
    /// Something else where a file was to be read.
    #[error("{found}; expected a regular file")]
    NotAFile {
        /// What it is.
        found: EntryKind,
    },
    /// A path that takes too many steps, probably because symbolic links go in a circle.
    #[error("the path takes more than {limit} steps")]
    TooManySteps {
        /// The limit.
        limit: usize,
    },
}

impl FilesystemError {
    /// Whether the cause is the path that was asked for: the file system itself may be fine.
    #[must_use]
    pub fn is_about_path(&self) -> bool {
        matches!(
            self,
            Self::TooLarge { .. }
                | Self::TooManyEntries { .. }
                | Self::NotADirectory { .. }
                | Self::NotAFile { .. }
                | Self::TooManySteps { .. }
        )
    }

    /// For `map_err` and `ok_or`: a corrupt structure.
    pub(super) fn corrupt(what: &'static str, offset: u64) -> Self {
        Self::Corrupt { what, offset }
    }
}
