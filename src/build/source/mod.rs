//! Where the tree of an extension comes from: images of containers, layer by layer.

mod spool;

pub use spool::{Spool, SpoolReader};

use std::io;
use thiserror::Error;

/// Why a source can't be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SourceError {
    /// Reading or spooling failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A container image whose layers can be had one by one, each only when it is asked for.
pub trait LayeredImage {
    /// How many layers there are; the first is the lowest.
    fn count(&self) -> usize;

    /// Layer `index`, counted from 0, as an uncompressed tar archive.
    ///
    /// # Errors
    /// What kept it from being fetched, checked against its digest, or unpacked within the limits.
    fn layer(&mut self, index: usize) -> Result<Spool, SourceError>;

    /// What the image's configuration says it is for, in Go's names (`amd64`, `arm64`, `riscv64`).
    fn architecture(&self) -> Option<&str>;
}
