//! Blobs by their digest, and the image that an index leads to.

use super::document::{self, MAX_LEN};
use super::{Options, SourceError, Spool};
use crate::io::ReadAt;
use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest};

/// Indexes within indexes.
const MAX_DEPTH: usize = 4;

/// Most layers of one image; container engines stop at half of it.
pub(super) const MAX_LAYERS: usize = 256;

/// Where blobs can be had.
pub(super) trait Blobs {
    /// A manifest or index, not checked yet.
    fn manifest(&mut self, descriptor: &Descriptor) -> Result<Spool, SourceError>;

    /// Any other blob, not checked yet.
    fn blob(&mut self, descriptor: &Descriptor) -> Result<Spool, SourceError>;

    /// Whether they are on this machine.
    fn are_here(&self) -> bool {
        true
    }
}

/// A blob of which size and digest have been checked.
pub(super) fn checked(spool: Spool, descriptor: &Descriptor) -> Result<Spool, SourceError> {
    let blob = descriptor.digest().to_string();
    if spool.len() != descriptor.size() {
        return Err(SourceError::Size { blob, found: spool.len(), expected: descriptor.size() });
    }
    document::check_digest(&spool, &blob)?;
    Ok(spool)
}

/// What is known of an image before its layers are looked at.
pub(super) struct Found {
    pub(super) layers: Vec<Descriptor>,
    pub(super) configuration: ImageConfiguration,
}

/// Follows `descriptor`, a manifest or an index, to the image for the architecture that is wanted.
pub(super) fn find(blobs: &mut dyn Blobs, descriptor: Descriptor, options: &Options) -> Result<Found, SourceError> {
    let mut descriptor = descriptor;
    for _ in 0..MAX_DEPTH {
        let what = format!("manifest {}", descriptor.digest());
        if descriptor.size() > MAX_LEN {
            return Err(SourceError::Document { what, cause: format!("it has more than {MAX_LEN} bytes") });
        }
        let content = document::bytes(&checked(blobs.manifest(&descriptor)?, &descriptor)?, &what)?;
        // What it is stands in the document itself; the media type may be missing in old ones.
        let shape: Shape = document::parse(&content, &what)?;
        if shape.manifests.is_none() {
            return image(blobs, &document::parse(&content, &what)?);
        }
        let index: ImageIndex = document::parse(&content, &what)?;
        descriptor = choose(&index, options)?;
    }
    Err(SourceError::Document {
        what: "index".into(),
        cause: format!("more than {MAX_DEPTH} of them lie within each other"),
    })
}

#[derive(serde::Deserialize)]
struct Shape {
    manifests: Option<serde::de::IgnoredAny>,
}

fn image(blobs: &mut dyn Blobs, manifest: &ImageManifest) -> Result<Found, SourceError> {
    let descriptor = manifest.config();
    let what = format!("configuration {}", descriptor.digest());
    if descriptor.size() > MAX_LEN {
        return Err(SourceError::Document { what, cause: format!("it has more than {MAX_LEN} bytes") });
    }
    let spool = checked(blobs.blob(descriptor)?, descriptor)?;
    let configuration = document::parse(&document::bytes(&spool, &what)?, &what)?;
    let layers = manifest.layers().clone();
    if layers.len() > MAX_LAYERS {
        let cause = format!("it has {} layers, the most is {MAX_LAYERS}", layers.len());
        return Err(SourceError::Document { what: "manifest".into(), cause });
    }
    Ok(Found { layers, configuration })
}

/// The one entry of an index for the architecture that is wanted.
pub(super) fn choose(index: &ImageIndex, options: &Options) -> Result<Descriptor, SourceError> {
    let wanted = options.go_architecture();
    let entries = index.manifests();
    if let [only] = entries.as_slice()
        && only.platform().is_none()
    {
        return Ok(only.clone());
    }
    let platform = |entry: &Descriptor| {
        entry.platform().as_ref().map(|it| (it.os().to_string(), it.architecture().to_string(), it.variant().clone()))
    };
    let fitting = entries
        .iter()
        .find(|entry| platform(entry).is_some_and(|(os, found, _)| os == "linux" && Some(found.as_str()) == wanted));
    fitting.cloned().ok_or_else(|| {
        let show = |(os, architecture, variant): (String, String, Option<String>)| {
            let variant = variant.map(|variant| format!("/{variant}")).unwrap_or_default();
            format!("{os}/{architecture}{variant}")
        };
        // Attestations stand in an index as images of no platform.
        let known = entries.iter().filter_map(platform).filter(|(os, ..)| os != "unknown");
        SourceError::NoSuchPlatform {
            wanted: wanted.unwrap_or("an unknown architecture").to_owned(),
            found: known.map(show).collect(),
        }
    })
}
