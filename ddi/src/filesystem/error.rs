//! Errors of reading a file system.

use super::EntryKind;
use std::io;

/// Errors of reading a file system or a path in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesystemError {
    /// Reading the source failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The magic number is unknown.
    #[error("neither erofs nor squashfs")]
    UnknownFilesystem,
    /// No kernel can mount this variant of the format, although there are tools that write it.
    #[error("{what} is supported by no kernel")]
    UnsupportedByKernel {
        /// Name of the variant.
        what: &'static str,
    },
    /// A field has a value that this reader does not support. The image may be valid.
    #[error("{what} {value:#x} is not supported")]
    Unsupported {
        /// Name of the field.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// A structure contradicts itself, other structures or the size of the file system.
    #[error("{what} at offset {offset} is corrupt")]
    Corrupt {
        /// Name of the structure.
        what: &'static str,
        /// Its offset in the file system, in bytes.
        offset: u64,
    },
    /// Compressed data is invalid.
    #[error("{codec} data at offset {offset} is corrupt")]
    Compressed {
        /// Name of the compression.
        codec: &'static str,
        /// Offset of the data in the file system, in bytes.
        offset: u64,
    },
    /// The limit on the work is reached. Only absurd or hostile structures need so much.
    #[error("more than {limit} bytes of work")]
    TooMuchWork {
        /// The limit in bytes.
        limit: u64,
    },
    /// A file is larger than requested.
    #[error("{size} bytes, the limit is {limit}")]
    TooLarge {
        /// Size of the file in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A directory has more entries than a listing can have.
    #[error("more than {limit} entries")]
    TooManyEntries {
        /// The limit.
        limit: usize,
    },
    /// A component of the path is not a directory.
    #[error("{found}; expected a directory")]
    NotADirectory {
        /// Type of the component.
        found: EntryKind,
    },
    /// The path is not a regular file.
    #[error("{found}; expected a regular file")]
    NotAFile {
        /// Type of the file.
        found: EntryKind,
    },
    /// The path has too many components, probably because of a loop of symbolic links.
    #[error("the path takes more than {limit} steps")]
    TooManySteps {
        /// The limit.
        limit: usize,
    },
}

impl FilesystemError {
    /// Returns whether the cause is the requested path. The file system itself may be valid.
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

    /// Makes the error for a corrupt structure.
    pub(super) fn corrupt(what: &'static str, offset: u64) -> Self {
        Self::Corrupt { what, offset }
    }
}
