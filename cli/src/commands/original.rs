//! An image that is to be installed: one open file, from verifying it to the last byte that is copied.

use super::machine::{Machine, class_of};
use anyhow::{Context, Result};
use ddi::Class;
use ddi::io::FileSource;
use ddi::verity::RootHash;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use sextant::reason::{Reason, Refusal};
use sextant::verify::Candidate;
use sextant::verify::{Examined, Findings, HeldImage, VerifiedImage};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// An open image. Its path is looked up no second time, but to notice that another file is there.
#[derive(Debug)]
pub(super) struct Original {
    path: PathBuf,
    /// Name of the file.
    file: String,
    holding: HeldImage<Examined>,
    /// What was verified; `None` where verification was overridden.
    root_hash: Option<RootHash>,
}

impl Original {
    /// The image at `path` that was verified, with the file that was.
    pub(super) fn verified(path: &Path, image: VerifiedImage<Examined>) -> Result<Self> {
        Ok(Self::verified_as(path, &file_name(path)?, image))
    }

    /// The same under another name than it has.
    pub(super) fn verified_as(path: &Path, file: &str, image: VerifiedImage<Examined>) -> Self {
        let root_hash = Some(image.root_hash().clone());
        Self { path: path.to_owned(), file: file.to_owned(), holding: image.into_held_image(), root_hash }
    }

    /// The image at `path`, whatever it is, as long as it is a regular file with the name of an extension.
    pub(super) fn unverified(path: &Path) -> Result<Self> {
        Self::unverified_as(path, &file_name(path)?)
    }

    /// The same under another name than it has.
    pub(super) fn unverified_as(path: &Path, file: &str) -> Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
        let opened = open(path, flags, Mode::empty()).map(File::from)?;
        let candidate = Candidate::from_file(opened, file.as_ref(), class_of(Path::new(file)))?;
        let holding = HeldImage::in_place(candidate);
        Ok(Self { path: path.to_owned(), file: file.to_owned(), holding, root_hash: None })
    }

    /// Where it was found.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Name of the file.
    pub(super) fn file(&self) -> &str {
        &self.file
    }

    pub(super) fn class(&self) -> Class {
        self.holding.class()
    }

    pub(super) fn source(&self) -> &FileSource {
        self.holding.source()
    }

    /// Makes sure that the file was not changed since it was opened, and still is what its path leads to.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
        let opened = self.source().file().metadata().map(identity);
        match (opened, self.path.metadata().map(identity)) {
            (Ok(opened), Ok(now)) if opened == now => self.holding.check_unchanged(),
            (Ok(_), Ok(_)) => Err(changed("the file was replaced after it was opened")),
            (_, Err(error)) | (Err(error), _) => Err(changed(&format!("examining the opened file again: {error}"))),
        }
    }

    /// Verifies what was written, as the original was: the same rules, the same root hash. Where verification was
    /// overridden, it stays so. What is returned holds the written file with its stamp.
    pub(super) fn check_written(
        &self,
        machine: Option<&Machine>,
        written: &File,
    ) -> Result<HeldImage<Examined>, Refusal> {
        let written = written.try_clone().map_err(|error| Refusal::new(Reason::Unreadable, error))?;
        let candidate = Candidate::from_file(written, self.file.as_ref(), self.class())?;
        let Some(root_hash) = &self.root_hash else { return Ok(HeldImage::in_place(candidate)) };
        let machine = machine.ok_or_else(|| changed("the copy cannot be verified"))?;
        let image = machine.verify_open(candidate, &mut Findings::default())?;
        if image.root_hash() != root_hash {
            let found = image.root_hash();
            return Err(changed(&format!("root hash was {root_hash} when the file was verified, and is {found} now")));
        }
        Ok(image.into_held_image())
    }
}

fn changed(what: &str) -> Refusal {
    Refusal::new(Reason::Unreadable, what)
}

fn file_name(path: &Path) -> Result<String> {
    let name = path.file_name().and_then(|name| name.to_str());
    Ok(name.context("file name is not UTF-8")?.to_owned())
}
