//! The version of systemd-stub in a UKI, and the sections of a UKI.

use ddi::bytes::{array, u16_at, u32_at};
use ddi::io::ReadAt;
use sextant::measure::{CONFEXTS_SINCE, OLD_PLACES, PLACES, Place};
use std::io;
use thiserror::Error;

/// Maximum size of the section with the version of the stub, in bytes.
const MAX_NOTE: u64 = 4096;
/// Maximum number of sections to read. UKIs have about twenty.
const MAX_SECTIONS: u16 = 96;
const PE_OFFSET: u64 = 0x3c;
const FILE_HEADER: usize = 24;
const SECTION_HEADER: usize = 40;

/// First version of systemd-stub that reads the directory for all boot entries (systemd-stub(7)).
const GLOBAL_SINCE: u32 = 258;

/// Error of reading the version of the stub.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StubError {
    /// It can't be read, or ends within a header.
    #[error("reading headers of the EFI program")]
    Read(#[from] io::Error),
    /// Not a PE program.
    #[error("not an EFI program")]
    NotPe,
    /// No section `.sdmagic` with the version of systemd-stub.
    #[error("EFI program contains no version of systemd-stub")]
    NoNote,
}

/// A section of a PE program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    name: [u8; 8],
    /// Offset of its first byte in the file.
    pub start: u64,
    /// Its length in bytes, without padding.
    pub len: u64,
}

impl Section {
    /// Returns the name without trailing NULs.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.name.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

/// Returns the first 96 sections of a PE program such as a UKI, in their order. Sections may exceed the file.
///
/// # Errors
/// [`StubError::Read`] and [`StubError::NotPe`]
pub fn sections(program: &dyn ReadAt) -> Result<Vec<Section>, StubError> {
    let mut dos = [0; 4];
    program.read_exact_at(&mut dos, PE_OFFSET)?;
    let start = u64::from(u32::from_le_bytes(dos));
    let mut header = [0; FILE_HEADER];
    program.read_exact_at(&mut header, start)?;
    if !header.starts_with(b"PE\0\0") {
        return Err(StubError::NotPe);
    }
    let (count, optional) = (u16_at(&header, 6).unwrap_or(0), u16_at(&header, 20).unwrap_or(0));
    let first = start.saturating_add(FILE_HEADER as u64).saturating_add(u64::from(optional));
    let mut sections = Vec::new();
    for number in 0..count.min(MAX_SECTIONS) {
        let mut section = [0; SECTION_HEADER];
        let offset = (SECTION_HEADER as u64).saturating_mul(u64::from(number));
        program.read_exact_at(&mut section, first.saturating_add(offset))?;
        let number = |offset| u64::from(u32_at(&section, offset).unwrap_or(0));
        // The size in the file includes padding. Some tools set the size in memory to zero.
        let len = match (number(8), number(16)) {
            (0, in_file) => in_file,
            (in_memory, in_file) => in_memory.min(in_file),
        };
        sections.push(Section { name: array(&section, 0).unwrap_or_default(), start: number(20), len });
    }
    Ok(sections)
}

/// Returns the version of systemd-stub in a UKI, such as `257.13-1~deb13u1`: `#### LoaderInfo: systemd-stub VERSION ####` in the
/// section `.sdmagic` (systemd 257, `src/boot/stub.c`).
///
/// # Errors
/// [`StubError`]
pub fn stub_version(uki: &dyn ReadAt) -> Result<String, StubError> {
    let sections = sections(uki)?;
    let section = sections.iter().find(|section| section.name() == b".sdmagic").ok_or(StubError::NoNote)?;
    let mut note = vec![0; usize::try_from(section.len.min(MAX_NOTE)).unwrap_or(0)];
    uki.read_exact_at(&mut note, section.start)?;
    let text = String::from_utf8_lossy(&note);
    let version = text.split("#### LoaderInfo: systemd-stub ").nth(1).and_then(|rest| rest.split(" ####").next());
    version.map(str::to_owned).ok_or(StubError::NoNote)
}

/// Returns whether a stub of this version reads the directory for all boot entries. `None` if the version is no number.
#[must_use]
pub fn reads_global(version: &str) -> Option<bool> {
    Some(major(version)? >= GLOBAL_SINCE)
}

/// Returns the places into which a stub of this version puts extensions, those for all boot entries included. If the version is
/// unknown or no number, they are those of the newest.
#[must_use]
pub fn places(version: Option<&str>) -> &'static [Place] {
    let is_old = version.and_then(major).is_some_and(|version| version < CONFEXTS_SINCE);
    if is_old { &OLD_PLACES } else { &PLACES }
}

fn major(version: &str) -> Option<u32> {
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
