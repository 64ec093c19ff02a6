//! Opens OCI layouts (OCI Image Format Specification, `image-layout.md`).

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

/// Annotation with the name of an image.
const NAME: &str = "org.opencontainers.image.ref.name";

/// A layout in a directory. Files are opened below it, and never through a link.
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

/// Returns the path of a blob in a layout.
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

    fn has(&self, descriptor: &Descriptor) -> bool {
        self.file(&blob_path(descriptor)).is_ok()
    }
}

pub(super) fn open(path: &Path, tag: Option<&str>, options: &Options) -> Result<StoredImage<Directory>, SourceError> {
    let mut directory = Directory::open(path).map_err(SourceError::io(format!("opening {}", path.display())))?;
    let index = document::bytes(&directory.file("index.json")?, "index.json")?;
    let descriptor = pick(&mut directory, &blobs::index(&index, "index.json")?, tag, options)?;
    let found = blobs::find(&mut directory, descriptor, options)?;
    Ok(StoredImage::new(directory, found, options))
}

/// Selects the image of this name or digest in a layout, or the only one.
pub(super) fn pick(
    blobs: &mut dyn Blobs,
    index: &ImageIndex,
    tag: Option<&str>,
    options: &Options,
) -> Result<Descriptor, SourceError> {
    let name = |entry: &Descriptor| entry.annotations().as_ref().and_then(|notes| notes.get(NAME)).cloned();
    // An entry without a name is shown by its digest.
    let called = |entry: &Descriptor| name(entry).unwrap_or_else(|| entry.digest().to_string());
    let names = || index.manifests().iter().map(called).collect::<Vec<_>>();
    match (tag, index.manifests().as_slice()) {
        (_, []) => Err(SourceError::Missing { what: "image in index.json".into() }),
        (Some(tag), entries) => {
            let fitting: Vec<&Descriptor> =
                entries.iter().filter(|entry| name(entry).as_deref() == Some(tag)).collect();
            match fitting.as_slice() {
                [only] => Ok((*only).clone()),
                [] => {
                    let found = entries.iter().find(|entry| entry.digest().to_string() == tag);
                    found.cloned().ok_or_else(|| SourceError::NoSuchImage { wanted: tag.to_owned(), names: names() })
                }
                // An image for several platforms has one entry of the same name for each.
                several => {
                    let mut same = index.clone();
                    same.set_manifests(several.iter().copied().cloned().collect());
                    choose_or_say(blobs, &same, options, names)
                }
            }
        }
        (None, [only]) => Ok(only.clone()),
        // The entries of one image for several architectures may be in the outermost index.
        (None, entries) if entries.iter().all(|entry| name(entry).is_none() || entry.platform().is_some()) => {
            choose_or_say(blobs, index, options, names)
        }
        (None, _) => Err(SourceError::Ambiguous { names: names() }),
    }
}

/// Selects the entry for the requested architecture. If no entry has a platform, they are different images, and the choice is
/// ambiguous.
fn choose_or_say(
    blobs: &mut dyn Blobs,
    index: &ImageIndex,
    options: &Options,
    names: impl FnOnce() -> Vec<String>,
) -> Result<Descriptor, SourceError> {
    let found = blobs::choose(blobs, index, options);
    let without = index.manifests().iter().filter(|entry| entry.platform().is_none()).count();
    match found {
        Err(SourceError::NoSuchPlatform { found, .. }) if found.is_empty() && without > 0 => {
            Err(SourceError::Ambiguous { names: names() })
        }
        found => found,
    }
}
