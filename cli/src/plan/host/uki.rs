//! The root file system that a UKI or an initrd holds, as it does on machines of Kairos.
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

/// Why a file is no root of a host.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RootError {
    /// Reading failed.
    #[error("reading it")]
    Io(#[from] io::Error),
    /// Its headers.
    #[error(transparent)]
    Pe(#[from] StubError),
    /// A UKI without an initrd.
    #[error("it is an EFI program without an .initrd section")]
    NoInitrd,
    /// A UKI that ends within its initrd.
    #[error("its .initrd section lies beyond its end")]
    Cut,
    /// The archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// An initrd that mounts the root from elsewhere.
    #[error(
        "its initrd has no usr/lib/os-release, or has etc/initrd-release: it mounts the root of the host from elsewhere; \
         name a directory with that root"
    )]
    NotRoot,
}

/// Reads the files of a UKI's initrd, or of an initrd by itself.
///
/// Of a UKI with several profiles the initrd of the first one is read, which all others share unless they bring their own
/// (systemd-stub(7), "profiles").
///
/// # Errors
/// [`RootError`], also for an initrd that isn't the root of a host.
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
    // By the first file systemd tells an initrd from a host (`src/basic/initrd-util.c`).
    let has = |path: &[u8]| Ok::<_, io::Error>(archive.entry(path)?.is_some());
    if has(b"etc/initrd-release")? || !has(b"usr/lib/os-release")? {
        return Err(RootError::NotRoot);
    }
    Ok(archive)
}
