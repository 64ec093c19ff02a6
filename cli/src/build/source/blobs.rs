//! Finds the image that an index leads to, and checks blobs against their digests.

use super::document::{self, MAX_LEN};
use super::{Options, SourceError, Spool};
use ddi::io::ReadAt;
use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest};

/// Maximum depth of indexes within indexes.
const MAX_DEPTH: usize = 4;

/// Maximum number of layers of one image, twice that of container engines.
pub(super) const MAX_LAYERS: usize = 256;

/// A source of blobs.
pub(super) trait Blobs {
    /// Returns a manifest or index, not checked yet.
    fn manifest(&mut self, descriptor: &Descriptor) -> Result<Spool, SourceError>;

    /// Returns any other blob, not checked yet.
    fn blob(&mut self, descriptor: &Descriptor) -> Result<Spool, SourceError>;

    /// Returns whether this blob is available; `true` where only a request could tell.
    fn has(&self, _: &Descriptor) -> bool {
        true
    }

    /// Returns whether all blobs are on this machine.
    fn are_here(&self) -> bool {
        true
    }
}

/// Checks size and digest of a blob, and returns it.
pub(super) fn checked(spool: Spool, descriptor: &Descriptor) -> Result<Spool, SourceError> {
    let blob = descriptor.digest().to_string();
    if spool.len() != descriptor.size() {
        return Err(SourceError::Size { blob, found: spool.len(), expected: descriptor.size() });
    }
    document::check_digest(&spool, &blob)?;
    Ok(spool)
}

/// Manifest and configuration of an image.
pub(super) struct Found {
    pub(super) layers: Vec<Descriptor>,
    pub(super) configuration: ImageConfiguration,
}

/// Follows `descriptor`, a manifest or an index, to the image for the requested architecture.
pub(super) fn find(blobs: &mut dyn Blobs, descriptor: Descriptor, options: &Options) -> Result<Found, SourceError> {
    let mut descriptor = descriptor;
    for _ in 0..MAX_DEPTH {
        let what = format!("manifest {}", descriptor.digest());
        if descriptor.size() > MAX_LEN {
            return Err(SourceError::Document { what, cause: format!("larger than {MAX_LEN} bytes") });
        }
        let content = document::bytes(&checked(blobs.manifest(&descriptor)?, &descriptor)?, &what)?;
        // The document itself tells an index from a manifest; old ones have no media type.
        let shape: serde_json::Map<String, serde_json::Value> = document::parse(&content, &what)?;
        if !shape.contains_key("manifests") {
            return image(blobs, &document::parse_go(&content, &what, &["/layers"])?);
        }
        descriptor = choose(blobs, &index(&content, &what)?, options)?;
    }
    Err(SourceError::Document { what: "index".into(), cause: format!("indexes are nested more than {MAX_DEPTH} deep") })
}

/// Parses an index.
pub(super) fn index(content: &[u8], what: &str) -> Result<ImageIndex, SourceError> {
    document::parse_go(content, what, &["/manifests"])
}

fn image(blobs: &mut dyn Blobs, manifest: &ImageManifest) -> Result<Found, SourceError> {
    let descriptor = manifest.config();
    let what = format!("configuration {}", descriptor.digest());
    if descriptor.size() > MAX_LEN {
        return Err(SourceError::Document { what, cause: format!("larger than {MAX_LEN} bytes") });
    }
    let spool = checked(blobs.blob(descriptor)?, descriptor)?;
    let configuration = document::parse_go(&document::bytes(&spool, &what)?, &what, &["/rootfs/diff_ids"])?;
    let layers = manifest.layers().clone();
    if layers.len() > MAX_LAYERS {
        let cause = format!("{} layers; the limit is {MAX_LAYERS}", layers.len());
        return Err(SourceError::Document { what: "manifest".into(), cause });
    }
    Ok(Found { layers, configuration })
}

/// Maximum number of entries without a platform whose configuration is read.
const MAX_ASKED: usize = 32;

/// Selects the entry of an index for the requested architecture. If an entry has no platform, that in the configuration of its
/// image counts, as in containerd (`core/images/image.go`, `Manifest`).
pub(super) fn choose(blobs: &mut dyn Blobs, index: &ImageIndex, options: &Options) -> Result<Descriptor, SourceError> {
    let wanted = options.go_architecture();
    let entries = index.manifests();
    if let [only] = entries.as_slice()
        && only.platform().is_none()
    {
        return Ok(only.clone());
    }
    if entries.is_empty() {
        return Err(SourceError::Missing { what: "image in the index".into() });
    }
    let mut known: Vec<(Platform, &Descriptor)> = Vec::new();
    let mut asked = 0_usize;
    for entry in entries {
        let said = entry.platform().as_ref();
        let said = said.map(|it| Platform {
            os: it.os().to_string(),
            architecture: it.architecture().to_string(),
            variant: it.variant().clone(),
        });
        if said.is_none() {
            asked = asked.saturating_add(1);
        }
        let platform = match said {
            Some(platform) => Some(platform),
            None if asked <= MAX_ASKED => configured(blobs, entry),
            None => None,
        };
        // In an index, attestations are entries with the platform `unknown`.
        known.extend(platform.filter(|platform| platform.os != "unknown").map(|platform| (platform, entry)));
    }
    let fits = |platform: &Platform| platform.os == "linux" && Some(platform.architecture.as_str()) == wanted;
    let wanted = || wanted.unwrap_or("an unknown architecture").to_owned();
    // Entries without a platform for the same architecture may be different images.
    let fitting: Vec<&Descriptor> = known.iter().filter(|(it, _)| fits(it)).map(|(_, entry)| *entry).collect();
    if fitting.len() > 1 && fitting.iter().any(|entry| entry.platform().is_none()) {
        let names = fitting.iter().map(|entry| entry.digest().to_string()).collect();
        return Err(SourceError::Ambiguous { names });
    }
    let shown = |all: &[&(Platform, &Descriptor)]| all.iter().map(|(platform, _)| platform.to_string()).collect();
    match fitting.first() {
        Some(entry) if blobs.has(entry) => Ok((*entry).clone()),
        Some(_) => {
            let there: Vec<_> = known.iter().filter(|(_, entry)| blobs.has(entry)).collect();
            Err(SourceError::PlatformElsewhere { wanted: wanted(), found: shown(&there) })
        }
        None => Err(SourceError::NoSuchPlatform { wanted: wanted(), found: shown(&known.iter().collect::<Vec<_>>()) }),
    }
}

/// Platform of an image, as Go names its parts.
struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

/// Reads the platform in the configuration of the image that an entry names; `None` if that image is missing or unreadable.
fn configured(blobs: &mut dyn Blobs, entry: &Descriptor) -> Option<Platform> {
    if entry.size() > MAX_LEN || !blobs.has(entry) {
        return None;
    }
    let what = format!("manifest {}", entry.digest());
    let content = document::bytes(&checked(blobs.manifest(entry).ok()?, entry).ok()?, &what).ok()?;
    let manifest: ImageManifest = document::parse_go(&content, &what, &["/layers"]).ok()?;
    let Found { configuration, .. } = image(blobs, &manifest).ok()?;
    Some(Platform {
        os: configuration.os().to_string(),
        architecture: configuration.architecture().to_string(),
        variant: configuration.variant().clone(),
    })
}
