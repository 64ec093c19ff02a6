//! How sources are named on the command line: the transports of containers-transports(5).

use std::path::{Path, PathBuf};
use thiserror::Error;

/// A source.
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
    /// A bare REF: the service first, then the registry
    Anywhere(String),
}

/// A name that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReferenceError {
    /// Nothing behind the transport.
    #[error("nothing is named behind {0}")]
    Empty(&'static str),
    /// Not the name of an image.
    #[error("{name:?} is neither a directory nor the name of an image: {cause}")]
    Name {
        /// What was given
        name: String,
        /// Why
        cause: String,
    },
}

impl Reference {
    /// Reads a source's name. Only for a bare one the file system is looked at: whether there is such a directory.
    ///
    /// # Errors
    /// [`ReferenceError`]
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let path = |rest: &str, transport| match rest {
            "" => Err(ReferenceError::Empty(transport)),
            rest => Ok(PathBuf::from(rest)),
        };
        // A file's name can't have a colon in these transports, as in containers-transports(5).
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
            _ if Path::new(text).is_dir() => Ok(Self::Directory(PathBuf::from(text))),
            _ => Ok(Self::Anywhere(image_name(text)?)),
        }
    }
}

/// The full name of an image, completed as Docker does: `docker.io`, `library/`, `latest`.
fn image_name(name: &str) -> Result<String, ReferenceError> {
    let wrong = |cause: String| ReferenceError::Name { name: name.to_owned(), cause };
    // What begins so is a path, and the file isn't there.
    if name.starts_with(['/', '.']) {
        return Err(wrong("there is no such directory".to_owned()));
    }
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
        assert_eq!(parse("localhost:5000/a/k3s:1.30"), Reference::Anywhere(name));
        let digest = format!("registry.example.com/a@sha256:{}", "a".repeat(64));
        assert_eq!(parse(&digest), Reference::Anywhere(digest.clone()));
    }

    #[test]
    fn names_that_mean_nothing_are_refused() {
        for text in ["", "oci:", "docker://", "./absent", "/absent/dir", "Upper/Case", "a b", "k3s:", "docker-daemon:"]
        {
            assert!(Reference::parse(text).is_err(), "{text}: {:?}", Reference::parse(text));
        }
    }
}
