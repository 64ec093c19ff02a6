//! Errors of reading sources.

use ddi::text::{Message, Text};
use std::error::Error;
use std::io;
use thiserror::Error;

/// Error of reading a source.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SourceError {
    /// Reading or spooling failed.
    #[error("{what}: {error}")]
    Io {
        /// What was done
        what: String,
        /// What the system said
        error: io::Error,
    },
    /// The data does not have the digest by which it is named.
    #[error("digest mismatch: expected {blob}, found {found}; the data was damaged or replaced")]
    Digest {
        /// Expected digest, which names the data
        blob: String,
        /// Digest of the data
        found: String,
    },
    /// The size differs from that in the descriptor.
    #[error("{blob} is {found} bytes; its descriptor says {expected}")]
    Size {
        /// Digest that names the data
        blob: String,
        /// Size in bytes; of a download the least that it can be
        found: u64,
        /// Size in the descriptor, in bytes
        expected: u64,
    },
    /// One blob or file is larger than the limit.
    #[error("{what} is larger than {limit} bytes; raise the limit with --max-size")]
    TooLarge {
        /// What it is
        what: String,
        /// The limit in bytes
        limit: u64,
    },
    /// All layers together are larger than the limit, although no single one is.
    #[error("the layers together are larger than {limit} bytes; raise the limit with --max-size")]
    LayersTooLarge {
        /// The limit in bytes
        limit: u64,
    },
    /// The compression is not supported.
    #[error("{what} is compressed with {algorithm}, which is not supported; use gzip or zstd")]
    Compression {
        /// What it is
        what: String,
        /// Name of the algorithm
        algorithm: &'static str,
    },
    /// A document or archive is malformed, or exceeds a bound.
    #[error("parsing {what}: {cause}")]
    Document {
        /// What it is
        what: String,
        /// Why
        cause: String,
    },
    /// A required part is missing.
    #[error("no {what}")]
    Missing {
        /// What it is
        what: String,
    },
    /// Several images to choose from.
    #[error("source contains several images; append a colon and one of these names: {}", names.join(", "))]
    Ambiguous {
        /// Their names
        names: Vec<String>,
    },
    /// No image of this name.
    #[error("no image {wanted}; available: {}", if names.is_empty() { "only images without a name".to_owned() } else { names.join(", ") })]
    NoSuchImage {
        /// Requested name
        wanted: String,
        /// Names of the images in the source
        names: Vec<String>,
    },
    /// No image for the requested architecture.
    #[error(
    "no image for linux/{wanted}; available: {}",
    if found.is_empty() { "only images without a platform".to_owned() } else { format!("{} (select one with --arch)", found.join(", ")) }
    )]
    NoSuchPlatform {
        /// Go's name of the architecture
        wanted: String,
        /// Platforms of the images in the source
        found: Vec<String>,
    },
    /// The index lists an image for the requested architecture, and the source does not contain it.
    #[error(
    "the index lists an image for linux/{wanted}, but the source does not contain it; available: {}",
    if found.is_empty() { "none".to_owned() } else { format!("{} (select one with --arch, or save the image with all platforms)", found.join(", ")) }
    )]
    PlatformElsewhere {
        /// Go's name of the architecture
        wanted: String,
        /// Platforms of the images in the source
        found: Vec<String>,
    },
    /// A layer of an unsupported kind.
    #[error("layer {digest} has media type {media_type}: {cause}")]
    Layer {
        /// Its digest
        digest: String,
        /// Its media type
        media_type: String,
        /// What is not supported
        cause: &'static str,
    },
    /// No container service answers.
    #[error("no Docker or Podman service answers at {}", tried.join(", "))]
    NoDaemon {
        /// Sockets that were tried
        tried: Vec<String>,
    },
    /// `DOCKER_HOST` names something other than a Unix socket.
    #[error(
        "DOCKER_HOST is {host}; only unix://PATH is supported: unset it, use a registry with docker://, or save the image to an \
    archive"
    )]
    DaemonAddress {
        /// Value of the variable
        host: String,
    },
    /// The container service answered with an error.
    #[error("service at {socket} answered: {message}")]
    Daemon {
        /// Path of its socket
        socket: String,
        /// HTTP status, which decides whether the image may be elsewhere
        status: u16,
        /// Message of the service
        message: Text,
    },
    /// The registry answered with an error, or can't be reached.
    #[error("{registry}: {message}{}", if *denied { "; log in with `skopeo login` or `docker login`" } else { "" })]
    Registry {
        /// Full name of the image
        registry: String,
        /// Message of the registry
        message: Message,
        /// Whether other credentials could help
        denied: bool,
    },
    /// The credentials can't be used.
    #[error("reading credentials for {registry}: {cause}")]
    Credentials {
        /// The registry's name
        registry: String,
        /// Why
        cause: String,
    },
    /// The service does not have the image, and the source does not name a registry.
    #[error("{daemon}; to use a registry, write docker://{name}")]
    OnlyService {
        /// Full name of the image
        name: String,
        /// Answer of the service
        daemon: Box<SourceError>,
    },
    /// A file that contains no image.
    #[error("{file} is not an archive of an image: {cause}")]
    NoArchive {
        /// Path of the file
        file: String,
        /// Why
        cause: String,
    },
}

impl SourceError {
    /// Returns a function for `map_err` that adds what was done, such as `reading a.tar`.
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |error| Self::Io { what, error }
    }

    /// Returns whether the service is missing or does not have the image, so that it may be found elsewhere.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::NoDaemon { .. } | Self::Daemon { status: 404, .. })
    }
}

/// Returns the causes of an HTTP error, the nearest first.
pub(super) fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(error.source(), |&cause| cause.source())
}

/// Formats an HTTP error with its causes, which `Display` of reqwest leaves out.
pub(super) fn with_causes(error: &reqwest::Error) -> String {
    causes(error).fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
