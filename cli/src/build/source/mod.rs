//! Where the tree of an extension comes from: a directory, or an image of a container, layer by layer.
//!
//! Nothing of an image is believed before its digest has been computed: a manifest is named by one, and names its
//! configuration and layers by theirs. Blobs are never held in memory and never given names in the file system.

mod archive;
mod blobs;
mod credentials;
mod daemon;
mod docker;
mod document;
mod image;
mod layout;
mod reference;
mod registry;
mod unpack;
mod unpacked;

pub use super::{LayeredImage, SourceError, Spool, SpoolReader};
pub use reference::{Reference, ReferenceError};

use ddi::Architecture;
use std::path::PathBuf;
use std::rc::Rc;

/// Told what is being fetched, of how many bytes if that is known, and how many have come since it was told last.
pub type Progress = Rc<dyn Fn(&str, Option<u64>, u64)>;

/// How sources are read.
#[derive(Clone)]
pub struct Options {
    /// The image to take where there are several.
    pub architecture: Option<Architecture>,
    /// Most bytes that one blob may have, and all layers together once they are unpacked.
    pub max_size: u64,
    /// File with credentials for registries, before all others.
    pub authfile: Option<PathBuf>,
    /// Where blobs are spooled, in files without names.
    pub temporary: PathBuf,
    /// Who is told of bytes that come from elsewhere.
    pub progress: Progress,
}

impl Options {
    /// What Go calls the architecture that is wanted, this machine's unless another was named; `None` if it has no name.
    fn go_architecture(&self) -> Option<&'static str> {
        let wanted = self.architecture.or_else(Architecture::native)?;
        Some(wanted.go_name().unwrap_or(wanted.systemd_name()))
    }
}

/// A source that was found.
pub enum Opened {
    /// A directory of the host.
    Directory(PathBuf),
    /// An image.
    Image(Box<dyn LayeredImage>),
}

/// Opens what `reference` names.
///
/// # Errors
/// [`SourceError`]
pub fn open(reference: &Reference, options: &Options) -> Result<Opened, SourceError> {
    let image: Box<dyn LayeredImage> = match reference {
        Reference::Directory(path) => return Ok(Opened::Directory(path.clone())),
        Reference::Layout { path, tag } => Box::new(layout::open(path, tag.as_deref(), options)?),
        Reference::LayoutArchive { path, tag } => Box::new(archive::open_layout(path, tag.as_deref(), options)?),
        Reference::DockerArchive { path, tag } => docker::open(path, tag.as_deref(), options)?,
        Reference::Daemon(name) => daemon::open(name, options)?,
        Reference::File { path, tag } => docker::open_found(path, tag.as_deref(), options)?,
        Reference::Service(name) => daemon::open(name, options).map_err(|error| {
            if error.is_absent() {
                SourceError::OnlyService { name: name.clone(), daemon: Box::new(error) }
            } else {
                error
            }
        })?,
        Reference::Registry(name) => Box::new(registry::open(name, options)?),
    };
    Ok(Opened::Image(image))
}
