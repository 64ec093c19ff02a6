//! Why there is no value.

use ddi::text::Text;
use openssl::error::ErrorStack;
use std::io;
use thiserror::Error;

/// Why there is no value.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// A file can't be read to its end.
    #[error("reading {name}")]
    Read {
        /// Its name.
        name: Text,
        /// What the system says.
        source: io::Error,
    },
    /// The format counts sizes in 32 bits; systemd-stub gives up all files of the archive then.
    #[error("{name} is {size} bytes; systemd-stub loads only files below 4 GiB")]
    TooLarge {
        /// Its name.
        name: Text,
        /// Its size in bytes.
        size: u64,
    },
    /// OpenSSL can't hash.
    #[error("hashing")]
    Digest(#[from] ErrorStack),
}
