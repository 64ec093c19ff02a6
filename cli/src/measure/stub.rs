//! What systemd-stub takes from where.

use crate::esp::{self, GLOBAL};
use ddi::Class;
use ddi::bytes::{array, u16_at, u32_at};
use ddi::io::ReadAt;
use std::io;
use thiserror::Error;

/// Where extensions of one class lie, and where they appear in the initrd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// What they extend.
    pub class: Class,
    /// The directory on the partition, for all boot entries; `None` for the one beside the UKI.
    pub global: Option<&'static str>,
    /// The directory in the initrd, without a leading slash.
    pub directory: &'static str,
}

/// In the order in which they are measured.
pub const PLACES: [Place; 4] = [
    Place { class: Class::Sysext, global: None, directory: ".extra/sysext" },
    Place { class: Class::Sysext, global: Some(GLOBAL), directory: ".extra/global_sysext" },
    Place { class: Class::Confext, global: None, directory: ".extra/confext" },
    Place { class: Class::Confext, global: Some(GLOBAL), directory: ".extra/global_confext" },
];

/// Longest name that is taken, in characters.
const MAX_NAME: usize = 255;

/// Whether systemd-stub takes a regular file of this name as one of `class`.
#[must_use]
pub fn is_taken(name: &str, class: Class) -> bool {
    let fits = esp::item(name, 0).is_some_and(|item| item.enabled && item.class == class);
    fits && !name.starts_with('.') && name.is_ascii() && name.len() <= MAX_NAME
}

/// Largest note that a stub leaves about itself, in bytes.
const MAX_NOTE: u64 = 4096;
/// Sections that are looked at. UKIs have some twenty.
const MAX_SECTIONS: u16 = 96;
const PE_OFFSET: u64 = 0x3c;
const FILE_HEADER: usize = 24;
const SECTION_HEADER: usize = 40;

/// Why the version of the stub is unknown.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StubError {
    /// It can't be read, or ends within a header.
    #[error("reading its headers")]
    Read(#[from] io::Error),
    /// Not a PE program.
    #[error("not an EFI program")]
    NotPe,
    /// No section `.sdmagic` with the words of systemd-stub.
    #[error("no version note of systemd-stub")]
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
    /// Its name without NULs at the end.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.name.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

/// The sections of a PE program such as a UKI, in their order; the first 96 of them. They may lie outside of the file.
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
        // In the file a section is padded; tools that don't know its length in memory leave that zero.
        let len = match (number(8), number(16)) {
            (0, in_file) => in_file,
            (in_memory, in_file) => in_memory.min(in_file),
        };
        sections.push(Section { name: array(&section, 0).unwrap_or_default(), start: number(20), len });
    }
    Ok(sections)
}

/// The version that systemd-stub notes in a UKI, such as `257.13-1~deb13u1`: `#### LoaderInfo: systemd-stub VERSION ####` in
/// the section `.sdmagic` (systemd 257, `src/boot/stub.c`).
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
