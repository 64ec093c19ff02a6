//! Names of sources on the command line, with the transports of containers-transports(5).

use std::path::{Path, PathBuf};
use thiserror::Error;

/// Name of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// `dir:DIR`, or a directory's bare name
    Directory(PathBuf),
    /// `oci:DIR[:TAG]`
    Layout {
        /// The directory
        path: PathBuf,
        /// The image in it
        tag: Option<String>,
    },
    /// `oci-archive:FILE[:TAG]`
    LayoutArchive {
        /// The archive
        path: PathBuf,
        /// The image in it
        tag: Option<String>,
    },
    /// `docker-archive:FILE[:REF]`
    DockerArchive {
        /// The archive
        path: PathBuf,
        /// The image in it
        tag: Option<String>,
    },
    /// `docker-daemon:REF`
    Daemon(String),
    /// `docker://REF`
    Registry(String),
    /// Path of an existing file, without a transport
    File {
        /// The file
        path: PathBuf,
        /// The image in it
        tag: Option<String>,
    },
    /// `REF` with a tag or digest, without a transport: an image of the local service
    Service(String),
}

/// Error of a source's name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReferenceError {
    /// A transport without a path.
    #[error("no path after {0}")]
    Empty(&'static str),
    /// Neither a path nor a valid name of an image.
    #[error("{name:?} is neither an existing path nor a valid image name: {cause}")]
    Name {
        /// What was given
        name: String,
        /// Why
        cause: String,
    },
    /// A path of no file.
    #[error("no such file or directory")]
    NoPath,
    /// A name without transport and tag that is not an existing path: more likely a mistyped path than an image.
    #[error(
        "no file or directory {name:?}; for an image, write docker-daemon:{name} (local service) or docker://{name} (registry)"
    )]
    NotThere {
        /// What was given
        name: String,
    },
}

impl Reference {
    /// Parses the name of a source. Without a transport, an existing path of that name is the source.
    ///
    /// If there is no such path, the name has to have a tag or digest, and is an image of the local service. Docker completes
    /// every word to an image of Docker Hub, and takes `a.b/c` for one of a registry. With that rule a mistyped directory would
    /// become an extension of unknown origin, signed with the user's key.
    ///
    /// # Errors
    /// [`ReferenceError`]
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let path = |rest: &str, transport| match rest {
            "" => Err(ReferenceError::Empty(transport)),
            rest => Ok(PathBuf::from(rest)),
        };
        // In these transports the path can't contain a colon (containers-transports(5)).
        let tagged = |rest: &str, transport| {
            let (file, tag) = match rest.split_once(':') {
                Some((file, tag)) => (file, Some(tag.to_owned()).filter(|tag| !tag.is_empty())),
                None => (rest, None),
            };
            path(file, transport).map(|path| (path, tag))
        };
        if let Some(rest) = text.strip_prefix("docker://") {
            return Ok(Self::Registry(image_name(rest)?));
        }
        match text.split_once(':') {
            Some(("dir", rest)) => path(rest, "dir:").map(Self::Directory),
            Some(("oci", rest)) => tagged(rest, "oci:").map(|(path, tag)| Self::Layout { path, tag }),
            Some(("oci-archive", rest)) => {
                tagged(rest, "oci-archive:").map(|(path, tag)| Self::LayoutArchive { path, tag })
            }
            Some(("docker-archive", rest)) => {
                tagged(rest, "docker-archive:").map(|(path, tag)| Self::DockerArchive { path, tag })
            }
            Some(("docker-daemon", rest)) => Ok(Self::Daemon(image_name(rest)?)),
            _ => Self::bare(text),
        }
    }

    fn bare(text: &str) -> Result<Self, ReferenceError> {
        let path = Path::new(text);
        if path.is_dir() {
            // A layout has no files of an extension (OCI Image Format Specification, `image-layout.md`).
            let has = |name: &str| path.join(name).exists();
            let is_layout = has("oci-layout") && has("index.json") && !["usr", "opt", "etc"].into_iter().any(has);
            let path = path.to_owned();
            return Ok(if is_layout { Self::Layout { path, tag: None } } else { Self::Directory(path) });
        }
        if !text.is_empty() && path.exists() {
            return Ok(Self::File { path: path.to_owned(), tag: None });
        }
        if let Some((file, tag)) = text.split_once(':').filter(|(file, _)| Path::new(file).is_file()) {
            let tag = Some(tag.to_owned()).filter(|tag| !tag.is_empty());
            return Ok(Self::File { path: PathBuf::from(file), tag });
        }
        if text.starts_with(['/', '.']) {
            return Err(ReferenceError::NoPath);
        }
        let name = image_name(text)?;
        // A colon before the first slash belongs to the port of a registry.
        let rest = text.split_once('/').map_or(text, |(_, rest)| rest);
        if !rest.contains([':', '@']) {
            return Err(ReferenceError::NotThere { name: text.to_owned() });
        }
        Ok(Self::Service(name))
    }
}

/// Completes the name of an image as Docker does: `docker.io`, `library/`, `latest`.
fn image_name(name: &str) -> Result<String, ReferenceError> {
    let wrong = |cause: String| ReferenceError::Name { name: name.to_owned(), cause };
    name.parse::<oci_spec::distribution::Reference>()
        .map(|reference| reference.whole())
        .map_err(|error| wrong(error.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_transport_is_told_by_its_prefix() {
        let parse = |text| Reference::parse(text).unwrap();
        assert_eq!(parse("dir:/srv/a:b"), Reference::Directory("/srv/a:b".into()));
        assert_eq!(parse("/tmp"), Reference::Directory("/tmp".into()));
        let tag = || Some("1.2".to_owned());
        assert_eq!(parse("oci:a/b:1.2"), Reference::Layout { path: "a/b".into(), tag: tag() });
        assert_eq!(parse("oci-archive:a.tar"), Reference::LayoutArchive { path: "a.tar".into(), tag: None });
        let archive = Reference::DockerArchive { path: "a.tar".into(), tag: Some("k3s:1".into()) };
        assert_eq!(parse("docker-archive:a.tar:k3s:1"), archive);
        assert_eq!(parse("docker-daemon:k3s"), Reference::Daemon("docker.io/library/k3s:latest".into()));
        let name = "localhost:5000/a/k3s:1.30".to_owned();
        assert_eq!(parse("docker://localhost:5000/a/k3s:1.30"), Reference::Registry(name.clone()));
        assert_eq!(parse("localhost:5000/a/k3s:1.30"), Reference::Service(name));
        let digest = format!("registry.example.com/a@sha256:{}", "a".repeat(64));
        assert_eq!(parse(&digest), Reference::Service(digest.clone()));
        assert_eq!(parse("acme/k3s:1"), Reference::Service("docker.io/acme/k3s:1".into()));
        assert_eq!(parse("k3s:1"), Reference::Service("docker.io/library/k3s:1".into()));
    }

    #[test]
    fn a_bare_name_that_is_not_there_is_no_image_without_a_tag() {
        for text in ["tre", "oci.tar", "dist/tre", "registry.example.com/acme/k3s", "localhost:5000/k3s"] {
            let found = Reference::parse(text);
            assert!(matches!(&found, Err(ReferenceError::NotThere { .. })), "{text}: {found:?}");
        }
    }

    #[test]
    fn a_bare_name_that_is_there_is_that() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(path("oci.tar"), "").unwrap();
        let file = |tag: Option<&str>| Reference::File { path: path("oci.tar").into(), tag: tag.map(str::to_owned) };
        assert_eq!(Reference::parse(&path("oci.tar")).unwrap(), file(None));
        assert_eq!(Reference::parse(&path("oci.tar:1.2")).unwrap(), file(Some("1.2")));
        std::fs::create_dir(path("layout")).unwrap();
        std::fs::write(path("layout/oci-layout"), "").unwrap();
        std::fs::write(path("layout/index.json"), "").unwrap();
        let layout = Reference::Layout { path: path("layout").into(), tag: None };
        assert_eq!(Reference::parse(&path("layout")).unwrap(), layout);
        std::fs::create_dir(path("layout/usr")).unwrap();
        assert_eq!(Reference::parse(&path("layout")).unwrap(), Reference::Directory(path("layout").into()));
    }

    #[test]
    fn names_that_mean_nothing_are_refused() {
        for text in ["", "oci:", "docker://", "./absent", "/absent/dir", "Upper/Case", "a b", "k3s:", "docker-daemon:"]
        {
            assert!(Reference::parse(text).is_err(), "{text}: {:?}", Reference::parse(text));
        }
    }
}
