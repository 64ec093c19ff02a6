//! Images whose manifest and configuration have been read.

use super::blobs::{Blobs, Found, checked};
use super::document::check_digest;
use super::unpack::unpack;
use super::unpacked::Unpacked;
use super::{LayeredImage, Options, SourceError, Spool};
use oci_spec::image::{Descriptor, ImageConfiguration};

/// An image whose layers are blobs.
pub(super) struct StoredImage<B> {
    blobs: B,
    layers: Vec<Descriptor>,
    configuration: ImageConfiguration,
    options: Options,
    architecture: String,
    unpacked: Unpacked,
}

impl<B: Blobs> StoredImage<B> {
    pub(super) fn new(blobs: B, found: Found, options: &Options) -> Self {
        let Found { layers, configuration } = found;
        let architecture = configuration.architecture().to_string();
        let unpacked = Unpacked::new(layers.len(), options);
        Self { blobs, layers, configuration, options: options.clone(), architecture, unpacked }
    }
}

impl<B: Blobs> LayeredImage for StoredImage<B> {
    fn count(&self) -> usize {
        self.unpacked.count()
    }

    fn layer(&mut self, index: usize) -> Result<Spool, SourceError> {
        let Self { blobs, layers, configuration, options, unpacked, .. } = self;
        unpacked.layer(index, |left| {
            let missing = || SourceError::Missing { what: format!("layer {}", index.saturating_add(1)) };
            let descriptor = layers.get(index).ok_or_else(missing)?;
            let spool = unpack_layer(blobs, descriptor, &Options { max_size: left, ..options.clone() })?;
            if let Some(diff_id) = configuration.rootfs().diff_ids().get(index) {
                check_digest(&spool, diff_id)?;
            }
            Ok(spool)
        })
    }

    fn architecture(&self) -> Option<&str> {
        Some(&self.architecture).filter(|name| !name.is_empty()).map(String::as_str)
    }

    fn is_here(&self) -> bool {
        self.blobs.are_here()
    }
}

fn unpack_layer(blobs: &mut dyn Blobs, descriptor: &Descriptor, options: &Options) -> Result<Spool, SourceError> {
    let digest = descriptor.digest().to_string();
    let media_type = descriptor.media_type().to_string();
    let refuse = |cause| SourceError::Layer { digest: digest.clone(), media_type: media_type.clone(), cause };
    if media_type.contains("encrypted") {
        return Err(refuse("encrypted layers are not supported"));
    }
    if media_type.contains("foreign") || media_type.contains("nondistributable") {
        return Err(refuse("layers that must not be distributed are not supported"));
    }
    let packed = checked(blobs.blob(descriptor)?, descriptor)?;
    unpack(&packed, &format!("layer {digest}"), options)
}
