//! Fetches images from registries (OCI Distribution Specification).

mod http;

use super::blobs::{self, Blobs};
use super::credentials::{self, Login};
use super::document::MAX_LEN;
use super::image::StoredImage;
use super::unpack::Sink;
use super::{Options, SourceError, Spool};
use http::{Failure, Http, Request};
use oci_spec::distribution::Reference;
use oci_spec::image::{Descriptor, Digest, MediaType};
use std::str::FromStr;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Maximum number of attempts after transient failures.
const ATTEMPTS: u32 = 3;

/// Media types that a name may stand for.
const MANIFESTS: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// A registry, and an image's name in it.
pub(super) struct Registry {
    runtime: Runtime,
    http: Http,
    name: Reference,
    options: Options,
    /// The manifest or index of the name, so that it is fetched once.
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
        let host = name.resolve_registry();
        // Loopback traffic can't be read by others; Docker allows it without TLS too.
        let scheme = if is_loopback(host) { "http" } else { "https" };
        let login = credentials::find(host, options)?;
        let http = Http::new(scheme, host, name.repository(), login).map_err(|failure| refused(&name, failure))?;
        let registry = Self { runtime, http, name, options: options.clone(), first: None };
        registry.again(|| registry.runtime.block_on(registry.http.log_in()))?;
        Ok(registry)
    }

    /// Fetches the manifest or index that the name stands for.
    fn resolve(&mut self) -> Result<Descriptor, SourceError> {
        let reference = self.name.digest().or(self.name.tag()).unwrap_or("latest").to_owned();
        let content = self.pull_manifest(&reference)?;
        let digest = match self.name.digest() {
            Some(digest) => digest.to_owned(),
            // Computed here: a tag promises no digest.
            None => format!("sha256:{}", ddi::bytes::hex(&openssl::sha::sha256(&content))),
        };
        let wrong =
            |error: oci_spec::OciSpecError| SourceError::Document { what: digest.clone(), cause: error.to_string() };
        let parsed = Digest::from_str(&digest).map_err(wrong)?;
        let descriptor = Descriptor::new(MediaType::ImageManifest, content.len() as u64, parsed);
        let spool = self.spool(&format!("manifest {digest}"), &content)?;
        self.first = Some((descriptor.clone(), spool));
        Ok(descriptor)
    }

    fn pull_manifest(&self, reference: &str) -> Result<Vec<u8>, SourceError> {
        let path = format!("{}/manifests/{reference}", self.name.repository());
        let request = Request { path, accept: &MANIFESTS, is_document: true };
        self.again(|| {
            self.runtime.block_on(async {
                let answer = self.http.get(&request).await?;
                http::document(answer, "manifest", MAX_LEN).await
            })
        })
    }

    fn spool(&self, what: &str, content: &[u8]) -> Result<Spool, SourceError> {
        let mut sink = Sink::new(what, &self.options)?;
        sink.write(content)?;
        sink.finish()
    }

    /// Repeats `work` after a transient failure.
    fn again<T>(&self, work: impl Fn() -> Result<T, Failure>) -> Result<T, SourceError> {
        let mut attempt = 1;
        loop {
            match work() {
                Ok(value) => return Ok(value),
                Err(failure) if attempt < ATTEMPTS && failure.transient => {
                    std::thread::sleep(Duration::from_millis(500) * attempt);
                    attempt += 1;
                }
                Err(failure) => return Err(refused(&self.name, failure)),
            }
        }
    }
}

fn refused(name: &Reference, failure: Failure) -> SourceError {
    let Failure { message, denied, .. } = failure;
    SourceError::Registry { registry: name.whole(), message, denied }
}

impl Blobs for Registry {
    fn are_here(&self) -> bool {
        false
    }

    fn manifest(&mut self, descriptor: &Descriptor) -> Result<Spool, SourceError> {
        if let Some((first, spool)) = &self.first
            && first.digest() == descriptor.digest()
        {
            return Ok(spool.clone());
        }
        let content = self.pull_manifest(descriptor.digest().as_ref())?;
        self.spool(&format!("manifest {}", descriptor.digest()), &content)
    }

    fn blob(&mut self, descriptor: &Descriptor) -> Result<Spool, SourceError> {
        let digest = descriptor.digest().to_string();
        let what = format!("blob {digest}");
        let path = format!("{}/blobs/{digest}", self.name.repository());
        let request = Request { path, accept: &[], is_document: false };
        let mut answer = self.again(|| self.runtime.block_on(self.http.get(&request)))?;
        // Reading stops after the size in the descriptor.
        let limit = descriptor.size().min(self.options.max_size);
        let mut sink = Sink::new(&what, &Options { max_size: limit, ..self.options.clone() })?;
        let total = Some(descriptor.size());
        loop {
            let piece = self.runtime.block_on(answer.chunk());
            let piece = piece.map_err(|error| refused(&self.name, Failure::of(&error)))?;
            let Some(piece) = piece else { return sink.finish() };
            sink.write(&piece).map_err(|error| match error {
                SourceError::TooLarge { .. } if limit < self.options.max_size => {
                    SourceError::Size { blob: digest.clone(), found: limit + 1, expected: descriptor.size() }
                }
                error => error,
            })?;
            (self.options.progress)("fetching", total, piece.len() as u64);
        }
    }
}

/// Returns whether a registry is on this machine.
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
