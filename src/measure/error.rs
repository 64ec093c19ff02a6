//! Errors of computing measurements.

use ddi::text::Text;
use openssl::error::ErrorStack;
use std::io;
use thiserror::Error;

/// Error of computing a measurement.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// A file can't be read to its end.
    #[error("reading {name}")]
    Read {
        /// Name of the file
        name: Text,
        /// Error of the system
        source: io::Error,
    },
    /// The archive stores sizes in 32 bits. systemd-stub skips all files of the archive then.
    #[error("{name} is {size} bytes; systemd-stub loads only files below 4 GiB")]
    TooLarge {
        /// Name of the file
        name: Text,
        /// Size of the file in bytes
        size: u64,
    },
    /// OpenSSL failed to hash.
    #[error("hashing")]
    Digest(#[from] ErrorStack),
}
