//! Interface to the layers of a container image.

use super::{SourceError, Spool};

/// A container image whose layers are fetched one by one, on request.
pub trait LayeredImage {
    /// Returns the number of layers. Layer 0 is the lowest.
    fn count(&self) -> usize;

    /// Returns layer `index`, counted from 0, as an uncompressed tar archive.
    ///
    /// # Errors
    /// [`SourceError`] if fetching, checking the digest or unpacking within the limits fails.
    fn layer(&mut self, index: usize) -> Result<Spool, SourceError>;

    /// Returns the architecture in the image's configuration, as Go names it (`amd64`, `arm64`, `riscv64`).
    fn architecture(&self) -> Option<&str>;

    /// Returns whether all layers are on this machine, so that reading one downloads nothing.
    fn is_here(&self) -> bool {
        true
    }
}
