//! The files of the initrd in a UKI, or of an initrd by itself.

use super::{Archive, ArchiveError};
use crate::measure::{StubError, sections};
use ddi::io::{ReadAt, Window};
use std::io;
use thiserror::Error;

/// Why the initrd in a file can't be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InitrdError {
    /// Reading failed.
    #[error("reading the file")]
    Io(#[from] io::Error),
    /// Its headers.
    #[error(transparent)]
    Pe(#[from] StubError),
    /// A UKI without an initrd.
    #[error("EFI program has no .initrd section")]
    NoInitrd,
    /// A UKI that ends within its initrd.
    #[error(".initrd section exceeds the file")]
    Cut,
    /// The archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

/// Whether a file begins as EFI programs do.
///
/// # Errors
/// Where it can't be read.
pub fn is_program(source: &dyn ReadAt) -> io::Result<bool> {
    let mut magic = [0; 2];
    if source.len() >= 2 {
        source.read_exact_at(&mut magic, 0)?;
    }
    Ok(magic == *b"MZ")
}

/// Reads the files of a UKI's initrd, or of an initrd by itself.
///
/// Of a UKI with several profiles the initrd of the first one is read, which all others share unless they bring their own
/// (systemd-stub(7), "profiles").
///
/// # Errors
/// [`InitrdError`]
pub fn read_initrd(source: &dyn ReadAt) -> Result<Archive, InitrdError> {
    let mut archive = Archive::default();
    read_initrd_into(source, &mut archive)?;
    Ok(archive)
}

/// The same, into `archive`, which has what was read before an error.
///
/// # Errors
/// [`InitrdError`]
pub fn read_initrd_into(source: &dyn ReadAt, archive: &mut Archive) -> Result<(), InitrdError> {
    if !is_program(source)? {
        return Ok(archive.add(source)?);
    }
    let sections = sections(source)?;
    let base = sections.iter().take_while(|section| section.name() != b".profile");
    let mut initrds = base.filter(|section| section.name() == b".initrd").peekable();
    if initrds.peek().is_none() {
        return Err(InitrdError::NoInitrd);
    }
    for section in initrds {
        let window = Window::new(source, section.start, section.len).ok_or(InitrdError::Cut)?;
        archive.add(&window)?;
    }
    Ok(())
}
