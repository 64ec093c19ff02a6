//! Predicts what systemd-stub measures of the extensions on an EFI system partition.
//!
//! systemd-stub packs the extensions of each kind and place into one archive for the initrd, and extends the digest of
//! the whole archive into a PCR: system extensions into PCR 13, configuration extensions into PCR 12
//! (systemd-stub(7); systemd 257 and 262, `src/boot/stub.c`, `src/boot/cpio.c`). Nothing else is extended into PCR 13, so the files
//! determine its value. PCR 12 also contains the command line, credentials and more, so only its events can be predicted.
//!
//! systemd-stub measures before anything is verified: files that the agent rejects are measured too.

mod archive;
mod bank;
mod error;
mod stub;

pub use archive::Member;
pub use bank::{Bank, Digests};
pub use error::ArchiveError;
pub use stub::{PLACES, Place, Section, StubError, is_taken, sections, stub_version};

use ddi::Class;
use ddi::text::Text;
use serde::Serialize;

/// PCR of system extensions (systemd 257, `src/fundamental/tpm2-pcr.h`, `TPM2_PCR_SYSEXTS`).
pub const SYSEXTS: u32 = 13;
/// PCR of the kernel's configuration, confexts among it (ibid., `TPM2_PCR_KERNEL_CONFIG`).
pub const KERNEL_CONFIG: u32 = 12;

/// Measurement of one archive into a PCR.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// 12 or 13.
    pub pcr: u32,
    /// The directory in the initrd to which the archive is unpacked.
    pub directory: &'static str,
    /// Names of the files, in the order of the archive.
    pub files: Vec<Text>,
    /// Size of the archive in bytes.
    pub size: u64,
    /// Digests of the archive.
    #[serde(flatten)]
    pub digests: Digests,
}

impl Event {
    /// Measures the files `members` of `place`. They are sorted, and files that systemd-stub skips are removed. `None` if no file is
    /// left, because nothing is measured then.
    ///
    /// # Errors
    /// [`ArchiveError`]
    pub fn of(place: &Place, members: &[Member<'_>]) -> Result<Option<Self>, ArchiveError> {
        let mut members: Vec<&Member<'_>> =
            members.iter().filter(|member| is_taken(member.name, place.class)).collect();
        if members.is_empty() {
            return Ok(None);
        }
        // systemd-stub compares UTF-16 units; for ASCII these order like bytes.
        members.sort_by_key(|member| member.name);
        let (digests, size) = archive::measure(place.directory, &members)?;
        let files = members.iter().map(|member| Text::new(member.name)).collect();
        let pcr = if place.class == Class::Sysext { SYSEXTS } else { KERNEL_CONFIG };
        Ok(Some(Self { pcr, directory: place.directory, files, size, digests }))
    }
}

/// Returns the value of PCR 13 after `events`, in the order of [`PLACES`]. It is zero at power-on.
///
/// # Errors
/// [`ArchiveError`] if OpenSSL fails to hash.
pub fn pcr_13(events: &[Event]) -> Result<Digests, ArchiveError> {
    let mut value = Digests::zero();
    for event in events.iter().filter(|event| event.pcr == SYSEXTS) {
        value = value.extended(&event.digests)?;
    }
    Ok(value)
}
