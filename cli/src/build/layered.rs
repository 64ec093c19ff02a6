//! A container image, as what takes its layers sees it.

use super::{SourceError, Spool};

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

    /// Whether all layers are on this machine, so that looking into one costs no transfer.
    fn is_here(&self) -> bool {
        true
    }
}
