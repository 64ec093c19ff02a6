//! Opens the source of an extension: a directory, or the layers of a container image.
//!
//! No data of an image is used before its digest has been checked: a manifest is named by its digest, and names its
//! configuration and layers by theirs. Layers are kept in temporary files without a name, never in memory.

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

/// Callback for progress: what is being fetched, its size in bytes if known, and the bytes since the last call.
pub type Progress = Rc<dyn Fn(&str, Option<u64>, u64)>;

/// Options for reading a source.
#[derive(Clone)]
pub struct Options {
    /// Architecture of the image to select; that of this machine if `None`
    pub architecture: Option<Architecture>,
    /// Maximum size of one blob, and of all unpacked layers together, in bytes
    pub max_size: u64,
    /// File with credentials for registries, in place of the usual ones
    pub authfile: Option<PathBuf>,
    /// Directory for temporary files, which have no names
    pub temporary: PathBuf,
    /// Called for bytes that come from a registry or service
    pub progress: Progress,
}

impl Options {
    /// Returns Go's name of the requested architecture, that of this machine by default; `None` if it has no name.
    fn go_architecture(&self) -> Option<&'static str> {
        let wanted = self.architecture.or_else(Architecture::native)?;
        Some(wanted.go_name().unwrap_or(wanted.systemd_name()))
    }
}

/// An opened source.
pub enum Opened {
    /// A directory of the host.
    Directory(PathBuf),
    /// A container image.
    Image(Box<dyn LayeredImage>),
}

/// Opens the source that `reference` names.
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
