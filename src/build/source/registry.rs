//! Images in registries (OCI Distribution Specification).

use super::blobs::{self, Blobs};
use super::document::MAX_LEN;
use super::image::StoredImage;
use super::unpack::Sink;
use super::{Options, SourceError, Spool, credentials};
use futures_util::StreamExt;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::manifest::{
    IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE,
};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use oci_spec::image::{Descriptor, Digest, MediaType};
use std::str::FromStr;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Without a byte for so long a transfer is given up.
const SILENCE: Duration = Duration::from_mins(1);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(20);
/// Attempts for what may go away by itself.
const ATTEMPTS: u32 = 3;

/// Kinds of documents that a name may stand for.
const MANIFESTS: [&str; 4] =
    [OCI_IMAGE_INDEX_MEDIA_TYPE, IMAGE_MANIFEST_LIST_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE];

/// A registry, and an image's name in it.
pub(super) struct Registry {
    runtime: Runtime,
    client: Client,
    name: Reference,
    auth: RegistryAuth,
    options: Options,
    /// What the name stands for, so that it is fetched once.
    first: Option<(Descriptor, Spool)>,
}

pub(super) fn open(name: &str, options: &Options) -> Result<StoredImage<Registry>, SourceError> {
    let mut registry = Registry::connect(name, options)?;
    let descriptor = registry.resolve()?;
    let found = blobs::find(&mut registry, descriptor, options)?;
    Ok(StoredImage::new(registry, found, options))
}

impl Registry {
    fn connect(name: &str, options: &Options) -> Result<Self, SourceError> {
        let wrong =
            |cause: &dyn std::fmt::Display| SourceError::Document { what: name.to_owned(), cause: cause.to_string() };
        let name = Reference::from_str(name).map_err(|error| wrong(&error))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(SourceError::io("starting the runtime"))?;
        let registry = name.resolve_registry();
        // Nobody can listen in on this machine itself; Docker takes it for safe as well.
        let protocol = if is_loopback(registry) { ClientProtocol::Http } else { ClientProtocol::Https };
        let config = ClientConfig {
            protocol,
            read_timeout: Some(SILENCE),
            connect_timeout: Some(CONNECT),
            platform_resolver: None,
            ..ClientConfig::default()
        };
        let client = Client::try_from(config).map_err(|error| wrong(&error))?;
        let auth = credentials::find(registry, options)?;
        Ok(Self { runtime, client, name, auth, options: options.clone(), first: None })
    }

    /// What the name stands for now.
    fn resolve(&mut self) -> Result<Descriptor, SourceError> {
        let name = self.name.clone();
        let content = self.pull_manifest(&name)?;
        let digest = match name.digest() {
            Some(digest) => digest.to_owned(),
            // The digest of what came; a tag promises nothing else.
            None => format!("sha256:{}", crate::bytes::hex(&openssl::sha::sha256(&content))),
        };
        let wrong =
            |error: oci_spec::OciSpecError| SourceError::Document { what: digest.clone(), cause: error.to_string() };
        let parsed = Digest::from_str(&digest).map_err(wrong)?;
        let descriptor = Descriptor::new(MediaType::ImageManifest, content.len() as u64, parsed);
        let spool = self.spool(&format!("manifest {digest}"), &content)?;
        self.first = Some((descriptor.clone(), spool));
        Ok(descriptor)
    }

    fn pull_manifest(&self, name: &Reference) -> Result<Vec<u8>, SourceError> {
        let pulled = self.again(|| {
            self.runtime.block_on(async {
                self.client.auth(name, &self.auth, oci_client::RegistryOperation::Pull).await?;
                self.client.pull_manifest_raw(name, &self.auth, &MANIFESTS).await
            })
        })?;
        let (content, _) = pulled;
        if content.len() as u64 > MAX_LEN {
            let cause = format!("it has more than {MAX_LEN} bytes");
            return Err(SourceError::Document { what: format!("manifest of {name}"), cause });
        }
        Ok(content.to_vec())
    }

    fn spool(&self, what: &str, content: &[u8]) -> Result<Spool, SourceError> {
        let mut sink = Sink::new(what, &self.options)?;
        sink.write(content)?;
        sink.finish()
    }

    /// Tries again what may succeed a moment later.
    fn again<T>(&self, work: impl Fn() -> Result<T, OciDistributionError>) -> Result<T, SourceError> {
        let mut attempt = 1;
        loop {
            match work() {
                Ok(value) => return Ok(value),
                Err(error) if attempt < ATTEMPTS && is_transient(&error) => {
                    std::thread::sleep(Duration::from_millis(500) * attempt);
                    attempt += 1;
                }
                Err(error) => return Err(self.refused(&error)),
            }
        }
    }

    fn refused(&self, error: &OciDistributionError) -> SourceError {
        let denied = match error {
            OciDistributionError::AuthenticationFailure(_) | OciDistributionError::UnauthorizedError { .. } => true,
            OciDistributionError::ServerError { code, .. } => matches!(code, 401 | 403),
            OciDistributionError::RegistryError { envelope, .. } => {
                let text = envelope.to_string().to_ascii_uppercase();
                text.contains("UNAUTHORIZED") || text.contains("DENIED")
            }
            _ => false,
        };
        let mut message = error.to_string();
        // The client's errors keep the cause to themselves.
        let mut cause = std::error::Error::source(error);
        while let Some(inner) = cause {
            let text = inner.to_string();
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            cause = inner.source();
        }
        SourceError::Registry { registry: self.name.whole(), message: crate::reason::printable(&message), denied }
    }
}

impl Blobs for Registry {
    fn manifest(&mut self, descriptor: &Descriptor) -> Result<Spool, SourceError> {
        if let Some((first, spool)) = &self.first
            && first.digest() == descriptor.digest()
        {
            return Ok(spool.clone());
        }
        let name = self.name.clone_with_digest(descriptor.digest().to_string());
        let content = self.pull_manifest(&name)?;
        self.spool(&format!("manifest {}", descriptor.digest()), &content)
    }

    fn blob(&mut self, descriptor: &Descriptor) -> Result<Spool, SourceError> {
        let digest = descriptor.digest().to_string();
        let what = format!("blob {digest}");
        let stream = self.again(|| self.runtime.block_on(self.client.pull_blob_stream(&self.name, digest.as_str())))?;
        let mut stream = stream.stream;
        // Nobody is listened to for longer than what was announced.
        let limit = descriptor.size().min(self.options.max_size);
        let mut sink = Sink::new(&what, &Options { max_size: limit, ..self.options.clone() })?;
        let total = Some(descriptor.size());
        while let Some(piece) = self.runtime.block_on(stream.next()) {
            let piece = piece.map_err(SourceError::io(format!("fetching {what}")))?;
            sink.write(&piece).map_err(|error| match error {
                SourceError::TooLarge { .. } if limit < self.options.max_size => {
                    SourceError::Size { blob: digest.clone(), found: limit + 1, expected: descriptor.size() }
                }
                error => error,
            })?;
            (self.options.progress)("fetching", total, piece.len() as u64);
        }
        sink.finish()
    }
}

fn is_transient(error: &OciDistributionError) -> bool {
    match error {
        OciDistributionError::RequestError(error) => error.is_connect() || error.is_timeout(),
        OciDistributionError::ServerError { code, .. } => *code >= 500 || *code == 429,
        _ => false,
    }
}

/// Whether a registry is on this machine.
fn is_loopback(registry: &str) -> bool {
    let host = match registry.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => registry,
    };
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_spoken_to_without_tls() {
        for registry in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.1.2.3", "[::1]:5000"] {
            assert!(is_loopback(registry), "{registry}");
        }
        for registry in ["localhost.example.com", "example.com:5000", "127.0.0.1.example.com", "10.0.0.1:5000", "[::2]"]
        {
            assert!(!is_loopback(registry), "{registry}");
        }
    }
}
