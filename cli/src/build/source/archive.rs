//! Archives that contain images. Nothing is extracted: members are found by their exact names.

use super::blobs::{self, Blobs};
use super::image::StoredImage;
use super::layout::{blob_path, pick};
use super::unpack::unpack;
use super::{Options, SourceError, Spool, document};
use crate::build::tree::archive_members;
use oci_spec::image::Descriptor;
use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

/// Maximum number of links to follow from one member to another.
const MAX_LINKS: usize = 8;

/// Members of an archive by name.
pub(super) struct Index {
    files: HashMap<String, Spool>,
    links: HashMap<String, String>,
}

impl Index {
    /// Opens an archive, decompresses it if necessary, and indexes its members.
    pub(super) fn open(path: &Path, options: &Options) -> Result<Self, SourceError> {
        let shown = path.display().to_string();
        let wrap = || SourceError::io(format!("opening {shown}"));
        let file = File::open(path).map_err(wrap())?;
        if !file.metadata().map_err(wrap())?.is_file() {
            return Err(wrap()(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a regular file")));
        }
        Self::of(&Spool::new(file).map_err(wrap())?, &shown, options)
    }

    /// Indexes an open archive. `shown` names it in errors.
    pub(super) fn of(spool: &Spool, shown: &str, options: &Options) -> Result<Self, SourceError> {
        let spool = unpack(spool, shown, options)?;
        let members = archive_members(&spool)
            .map_err(|error| SourceError::Document { what: shown.to_owned(), cause: error.to_string() })?;
        let mut index = Self { files: HashMap::new(), links: HashMap::new() };
        for member in members {
            let Some(name) = clean(&member.path) else { continue };
            match (member.content, member.link) {
                (Some(content), _) => {
                    index.files.insert(name, content);
                }
                // A symbolic link is relative to where it is, a hard link to the archive.
                (None, Some((target, true))) => {
                    let parent = name.rsplit_once('/').map_or("", |(parent, _)| parent);
                    if let Some(target) = clean(&format!("{parent}/{target}")) {
                        index.links.insert(name, target);
                    }
                }
                (None, Some((target, false))) => {
                    if let Some(target) = clean(&target) {
                        index.links.insert(name, target);
                    }
                }
                (None, None) => {}
            }
        }
        Ok(index)
    }

    /// Returns the file of this name, following links to other members.
    pub(super) fn file(&self, name: &str) -> Option<Spool> {
        let mut name = clean(name)?;
        for _ in 0..MAX_LINKS {
            if let Some(file) = self.files.get(&name) {
                return Some(file.clone());
            }
            name = self.links.get(&name)?.clone();
        }
        None
    }

    pub(super) fn need(&self, name: &str) -> Result<Spool, SourceError> {
        self.file(name).ok_or_else(|| SourceError::Missing { what: format!("{name} in the archive") })
    }
}

/// Resolves `.` and `..` in the name of a member; `None` if it leads out of the archive.
fn clean(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            parts.pop()?;
        } else {
            parts.push(part);
        }
    }
    Some(parts.join("/"))
}

impl Blobs for Index {
    fn manifest(&mut self, descriptor: &Descriptor) -> Result<Spool, SourceError> {
        self.blob(descriptor)
    }

    fn blob(&mut self, descriptor: &Descriptor) -> Result<Spool, SourceError> {
        self.need(&blob_path(descriptor))
    }

    fn has(&self, descriptor: &Descriptor) -> bool {
        self.file(&blob_path(descriptor)).is_some()
    }
}

pub(super) fn open_layout(
    path: &Path,
    tag: Option<&str>,
    options: &Options,
) -> Result<StoredImage<Index>, SourceError> {
    layout(Index::open(path, options)?, tag, options)
}

/// Opens the image of an archive that is an OCI layout.
pub(super) fn layout(
    mut index: Index,
    tag: Option<&str>,
    options: &Options,
) -> Result<StoredImage<Index>, SourceError> {
    let content = document::bytes(&index.need("index.json")?, "index.json")?;
    let parsed = blobs::index(&content, "index.json")?;
    let descriptor = pick(&mut index, &parsed, tag, options)?;
    let found = blobs::find(&mut index, descriptor, options)?;
    Ok(StoredImage::new(index, found, options))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_never_lead_out_of_the_archive() {
        assert_eq!(clean("./a//b/../c").as_deref(), Some("a/c"));
        assert_eq!(clean("/a").as_deref(), Some("a"));
        assert_eq!(clean("a/../../b"), None);
        assert_eq!(clean("../etc/passwd"), None);
    }
}
