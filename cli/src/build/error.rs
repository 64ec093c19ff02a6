//! Why a source can't be read.

use ddi::text::{Message, Text};
use std::error::Error;
use std::io;
use thiserror::Error;

/// Why a source can't be read.
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
    /// Other bytes than its name says.
    #[error("{blob} has the digest {found}: it was damaged or replaced")]
    Digest {
        /// The digest by which it was named
        blob: String,
        /// The digest of what came
        found: String,
    },
    /// More or less bytes than its descriptor says.
    #[error("{blob} has {found} bytes where {expected} were announced")]
    Size {
        /// The digest by which it was named
        blob: String,
        /// Bytes that came
        found: u64,
        /// Bytes that were announced
        expected: u64,
    },
    /// More than is allowed.
    #[error("{what} has more than {limit} bytes; if that is meant, allow it with --max-size")]
    TooLarge {
        /// What it is
        what: String,
        /// The limit in bytes
        limit: u64,
    },
    /// Layers that each would do, and are too much together.
    #[error("the layers have more than {limit} bytes together; if that is meant, allow it with --max-size")]
    LayersTooLarge {
        /// The limit in bytes
        limit: u64,
    },
    /// Compressed in a way that is not read.
    #[error("{what} is compressed with {algorithm}; that is not read here: compress it with gzip or zstd")]
    Compression {
        /// What it is
        what: String,
        /// How
        algorithm: &'static str,
    },
    /// A document that can't be understood.
    #[error("{what} can't be understood: {cause}")]
    Document {
        /// What it is
        what: String,
        /// Why
        cause: String,
    },
    /// A part that should be there.
    #[error("there is no {what}")]
    Missing {
        /// What it is
        what: String,
    },
    /// Several images to choose from.
    #[error("there are several images: name one of {} behind the source and a colon", names.join(", "))]
    Ambiguous {
        /// Their names
        names: Vec<String>,
    },
    /// No image of this name.
    #[error("there is no image {wanted}; there is {}", if names.is_empty() { "none with a name".to_owned() } else { names.join(", ") })]
    NoSuchImage {
        /// What was asked for
        wanted: String,
        /// What there is
        names: Vec<String>,
    },
    /// No image for these machines.
    #[error(
        "there is no image for linux/{wanted}; there are {}",
        if found.is_empty() { "none that say what they are for".to_owned() } else { format!("{}: take one with --arch", found.join(", ")) }
    )]
    NoSuchPlatform {
        /// Go's name of the architecture
        wanted: String,
        /// Platforms that there are
        found: Vec<String>,
    },
    /// An image for these machines that is named and isn't there.
    #[error(
        "the image for linux/{wanted} is named in the index and is not there; {}",
        if found.is_empty() { "nor is another one".to_owned() } else { format!("there are {}: take one with --arch, or save the image with all of them", found.join(", ")) }
    )]
    PlatformElsewhere {
        /// Go's name of the architecture
        wanted: String,
        /// Platforms that are there
        found: Vec<String>,
    },
    /// A layer in a form that is not read.
    #[error("layer {digest} is {media_type}: {cause}")]
    Layer {
        /// Its digest
        digest: String,
        /// Its media type
        media_type: String,
        /// Why it can't be read
        cause: &'static str,
    },
    /// No container service answers.
    #[error("no Docker or Podman service answers at {}", tried.join(", "))]
    NoDaemon {
        /// Sockets
        tried: Vec<String>,
    },
    /// A container service that isn't asked here.
    #[error(
        "DOCKER_HOST is {host}, and only a service at unix://PATH is asked here: unset it, name a registry with docker://, or \
         save the image to an archive"
    )]
    DaemonAddress {
        /// What the environment says
        host: String,
    },
    /// The container service said no.
    #[error("the service at {socket} says: {message}")]
    Daemon {
        /// Its socket
        socket: String,
        /// HTTP status
        status: u16,
        /// Its words
        message: Text,
    },
    /// The registry said no.
    #[error("{registry}: {message}{}", if *denied { "; log in with `skopeo login` or `docker login`" } else { "" })]
    Registry {
        /// Its name
        registry: String,
        /// Its words
        message: Message,
        /// Whether it is a question of credentials
        denied: bool,
    },
    /// Credentials that can't be used.
    #[error("reading credentials for {registry}: {cause}")]
    Credentials {
        /// The registry's name
        registry: String,
        /// Why
        cause: String,
    },
    /// Not in the service, and no registry was named.
    #[error("{daemon}; a registry is asked only where it is named: docker://{name}")]
    OnlyService {
        /// The full name of the image
        name: String,
        /// Why the service has none
        daemon: Box<SourceError>,
    },
    /// A file that is no source.
    #[error("{file} is a file, and no archive with an image in it: {cause}")]
    NoArchive {
        /// Its name
        file: String,
        /// Why
        cause: String,
    },
}

impl SourceError {
    /// For `map_err`: what was done when the system failed.
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |error| Self::Io { what, error }
    }

    /// Whether the image may be found elsewhere.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::NoDaemon { .. } | Self::Daemon { status: 404, .. })
    }
}

/// What led to an error of HTTP, the nearest first.
pub(super) fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(error.source(), |&cause| cause.source())
}

/// The error with what led to it: reqwest leaves that out.
pub(super) fn with_causes(error: &reqwest::Error) -> String {
    causes(error).fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
