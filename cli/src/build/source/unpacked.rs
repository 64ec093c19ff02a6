//! Cache of unpacked layers.

use super::{Options, SourceError, Spool};
use ddi::io::ReadAt;

/// Keeps unpacked layers, because some are read twice, and bounds their total size.
pub(super) struct Unpacked {
    layers: Vec<Option<Spool>>,
    left: u64,
    limit: u64,
}

impl Unpacked {
    pub(super) fn new(count: usize, options: &Options) -> Self {
        Self { layers: vec![None; count], left: options.max_size, limit: options.max_size }
    }

    pub(super) fn count(&self) -> usize {
        self.layers.len()
    }

    /// Returns layer `index`. `unpack` makes it on first use, and gets the number of bytes that are left.
    pub(super) fn layer(
        &mut self,
        index: usize,
        unpack: impl FnOnce(u64) -> Result<Spool, SourceError>,
    ) -> Result<Spool, SourceError> {
        let slot = self.layers.get_mut(index);
        let slot = slot.ok_or_else(|| SourceError::Missing { what: format!("layer {}", index.saturating_add(1)) })?;
        if let Some(ready) = slot {
            return Ok(ready.clone());
        }
        let together = || SourceError::LayersTooLarge { limit: self.limit };
        let spool = unpack(self.left).map_err(|error| match error {
            SourceError::TooLarge { limit, .. } if limit < self.limit => together(),
            error => error,
        })?;
        self.left = self.left.checked_sub(spool.len()).ok_or_else(together)?;
        *slot = Some(spool.clone());
        Ok(spool)
    }
}
