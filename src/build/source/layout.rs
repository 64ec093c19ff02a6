//! OCI layouts (OCI Image Format Specification, `image-layout.md`).

use super::blobs::{self, Blobs};
use super::document;
use super::image::StoredImage;
use super::{Options, SourceError, Spool};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;
use oci_spec::image::{Descriptor, ImageIndex};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// The annotation with an image's name in a layout.
const NAME: &str = "org.opencontainers.image.ref.name";

/// A layout in a directory. Files are opened below it and through no link.
pub(super) struct Directory {
    directory: OwnedFd,
}

impl Directory {
    fn open(path: &Path) -> io::Result<Self> {
        let directory = File::open(path)?;
        if !directory.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self { directory: directory.into() })
    }

    fn file(&self, name: &str) -> Result<Spool, SourceError> {
        let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let how = OpenHow::new().flags(flags).resolve(resolve).mode(Mode::empty());
        let wrap = || SourceError::io(format!("opening {name}"));
        let file = openat2(self.directory.as_fd(), name, how).map_err(|error| wrap()(error.into()))?;
        let file = File::from(file);
        if !file.metadata().map_err(wrap())?.is_file() {
            return Err(wrap()(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
        }
        Spool::new(file).map_err(wrap())
    }
}

/// Where the blob of a digest is in a layout.
pub(super) fn blob_path(descriptor: &Descriptor) -> String {
    let digest = descriptor.digest();
    format!("blobs/{}/{}", digest.algorithm(), digest.digest())
}

impl Blobs for Directory {
    fn manifest(&mut self, descriptor: &Descriptor) -> Result<Spool, SourceError> {
        self.blob(descriptor)
    }

    fn blob(&mut self, descriptor: &Descriptor) -> Result<Spool, SourceError> {
        self.file(&blob_path(descriptor))
    }
}

pub(super) fn open(path: &Path, tag: Option<&str>, options: &Options) -> Result<StoredImage<Directory>, SourceError> {
    let mut directory = Directory::open(path).map_err(SourceError::io(format!("opening {}", path.display())))?;
    let index = document::bytes(&directory.file("index.json")?, "index.json")?;
    let descriptor = pick(&document::parse(&index, "index.json")?, tag, options)?;
    let found = blobs::find(&mut directory, descriptor, options)?;
    Ok(StoredImage::new(directory, found, options))
}

/// The image of this name in a layout, or the only one.
pub(super) fn pick(index: &ImageIndex, tag: Option<&str>, options: &Options) -> Result<Descriptor, SourceError> {
    let name = |entry: &Descriptor| entry.annotations().as_ref().and_then(|notes| notes.get(NAME)).cloned();
    let names = || index.manifests().iter().filter_map(name).collect::<Vec<_>>();
    match (tag, index.manifests().as_slice()) {
        (Some(tag), entries) => {
            let found = entries.iter().find(|entry| name(entry).as_deref() == Some(tag));
            found.cloned().ok_or_else(|| SourceError::NoSuchImage { wanted: tag.to_owned(), names: names() })
        }
        (None, [only]) => Ok(only.clone()),
        (None, []) => Err(SourceError::Missing { what: "image in index.json".into() }),
        // One image for several architectures may be laid out without an index of its own.
        (None, entries) if entries.iter().all(|entry| entry.platform().is_some()) => blobs::choose(index, options),
        (None, _) => Err(SourceError::Ambiguous { names: names() }),
    }
}
