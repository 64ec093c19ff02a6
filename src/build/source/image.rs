//! An image of which manifest and configuration have been read.

use super::blobs::{Blobs, Found, checked};
use super::document::check_digest;
use super::unpack::unpack;
use super::{LayeredImage, Options, SourceError, Spool};
use oci_spec::image::{Descriptor, ImageConfiguration};

/// An image whose layers are blobs.
pub(super) struct StoredImage<B> {
    blobs: B,
    layers: Vec<Descriptor>,
    configuration: ImageConfiguration,
    options: Options,
    architecture: String,
    /// Layers that have been unpacked: some are asked for twice.
    ready: Vec<Option<Spool>>,
}

impl<B: Blobs> StoredImage<B> {
    pub(super) fn new(blobs: B, found: Found, options: &Options) -> Self {
        let Found { layers, configuration } = found;
        let architecture = configuration.architecture().to_string();
        let ready = vec![None; layers.len()];
        Self { blobs, layers, configuration, options: options.clone(), architecture, ready }
    }
}

impl<B: Blobs> LayeredImage for StoredImage<B> {
    fn count(&self) -> usize {
        self.layers.len()
    }

    fn layer(&mut self, index: usize) -> Result<Spool, SourceError> {
        if let Some(ready) = self.ready.get(index).and_then(Clone::clone) {
            return Ok(ready);
        }
        let missing = || SourceError::Missing { what: format!("layer {}", index + 1) };
        let descriptor = self.layers.get(index).ok_or_else(missing)?;
        let digest = descriptor.digest().to_string();
        let media_type = descriptor.media_type().to_string();
        let refuse = |cause| SourceError::Layer { digest: digest.clone(), media_type: media_type.clone(), cause };
        if media_type.contains("encrypted") {
            return Err(refuse("it is encrypted, and nothing here has the key"));
        }
        if media_type.contains("foreign") || media_type.contains("nondistributable") {
            return Err(refuse("it is kept elsewhere and must not be distributed"));
        }
        let packed = checked(self.blobs.blob(descriptor)?, descriptor)?;
        let spool = unpack(&packed, &format!("layer {digest}"), &self.options)?;
        if let Some(diff_id) = self.configuration.rootfs().diff_ids().get(index) {
            check_digest(&spool, diff_id)?;
        }
        if let Some(slot) = self.ready.get_mut(index) {
            *slot = Some(spool.clone());
        }
        Ok(spool)
    }

    fn architecture(&self) -> Option<&str> {
        Some(&self.architecture).filter(|name| !name.is_empty()).map(String::as_str)
    }
}
