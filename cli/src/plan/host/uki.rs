//! Reads the root file system in the initrd of a UKI, as Kairos has it.
#![deny(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

use super::{Archive, ArchiveError, Host};
use crate::measure::{StubError, sections};
use ddi::io::{ReadAt, Window};
use std::io;
use thiserror::Error;

/// Error of reading the root of a host from a file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RootError {
    /// Reading failed.
    #[error("reading the file")]
    Io(#[from] io::Error),
    /// The headers are malformed.
    #[error(transparent)]
    Pe(#[from] StubError),
    /// A UKI without an initrd.
    #[error("EFI program has no .initrd section")]
    NoInitrd,
    /// A UKI that ends within its initrd.
    #[error(".initrd section exceeds the file")]
    Cut,
    /// The initrd can't be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// An initrd that mounts the root from elsewhere.
    #[error(
        "initrd has no usr/lib/os-release, or has etc/initrd-release: it mounts the root of the host from elsewhere; \
         name a directory with that root"
    )]
    NotRoot,
}

/// Reads the files of a UKI's initrd, or of an initrd by itself.
///
/// For a UKI with several profiles, this is the initrd of the first one, which profiles without their own share (systemd-stub(7),
/// "profiles").
///
/// # Errors
/// [`RootError`], also if the initrd is not the root of a host.
pub fn read_initrd(source: &dyn ReadAt) -> Result<Archive, RootError> {
    let mut archive = Archive::default();
    let mut magic = [0; 2];
    if source.len() >= 2 {
        source.read_exact_at(&mut magic, 0)?;
    }
    if magic == *b"MZ" {
        let sections = sections(source)?;
        let base = sections.iter().take_while(|section| section.name() != b".profile");
        let mut initrds = base.filter(|section| section.name() == b".initrd").peekable();
        if initrds.peek().is_none() {
            return Err(RootError::NoInitrd);
        }
        for section in initrds {
            let window = Window::new(source, section.start, section.len).ok_or(RootError::Cut)?;
            archive.add(&window)?;
        }
    } else {
        archive.add(source)?;
    }
    // systemd recognizes an initrd by this file (`src/basic/initrd-util.c`).
    let has = |path: &[u8]| Ok::<_, io::Error>(archive.entry(path)?.is_some());
    if has(b"etc/initrd-release")? || !has(b"usr/lib/os-release")? {
        return Err(RootError::NotRoot);
    }
    Ok(archive)
}
