//! Measurements of extensions: what systemd-stub extends into the TPM, the event log, and the TPM's values.
//!
//! systemd-stub packs the extensions of each kind and place into one archive for the initrd, and extends the digest of
//! the whole archive into a PCR: system extensions into PCR 13, configuration extensions into PCR 12
//! (systemd-stub(7); systemd 257 and 262, `src/boot/stub.c`, `src/boot/cpio.c`). Nothing else is extended into PCR 13, so the files
//! determine its value. PCR 12 also contains the command line, credentials and more, so only its events can be predicted.
//!
//! systemd-stub measures before anything is verified: files that the agent rejects are measured too.

mod archive;
mod bank;
mod comparison;
mod error;
mod event_log;
mod place;
mod tpm;

pub use archive::Member;
pub use bank::{Bank, Digests, SEPARATOR, Values};
pub use comparison::{Expected, Matched, MatchedState, compare};
pub use error::ArchiveError;
pub use event_log::{Entry, EventLog, LogError, MAX_LOG};
pub use place::{CONFEXTS_SINCE, GLOBAL, OLD_PLACES, PLACES, Place, is_taken};
pub use tpm::{EVENT_LOG, TPM, TpmError, read_pcr};

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
        let members = place.chosen(members);
        if members.is_empty() {
            return Ok(None);
        }
        let (digests, size) = archive::measure(place.directory, &members)?;
        let files = members.iter().map(|member| Text::new(member.name)).collect();
        Ok(Some(Self { pcr: place.pcr(), directory: place.directory, files, size, digests }))
    }

    /// Returns what the event log has to contain for this event.
    #[must_use]
    pub fn expected(&self) -> Expected {
        let values = Bank::ALL.map(|bank| (bank, self.digests.of(bank).to_vec()));
        Expected { directory: self.directory, digests: values.into_iter().collect() }
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

/// Computes the digest of the archive of `members` in one bank, as [`Event::of`] does in all.
///
/// # Errors
/// [`ArchiveError`]
pub fn digest(bank: Bank, place: &Place, members: &[Member<'_>]) -> Result<Option<Vec<u8>>, ArchiveError> {
    let members = place.chosen(members);
    if members.is_empty() { Ok(None) } else { archive::digest(bank, place.directory, &members).map(Some) }
}

/// Returns the value of a PCR in one bank after events with `digests`, in their order. It is zero at power-on.
///
/// # Errors
/// [`ArchiveError`] if OpenSSL fails to hash.
pub fn replay<'d>(bank: Bank, digests: impl IntoIterator<Item = &'d [u8]>) -> Result<Vec<u8>, ArchiveError> {
    digests.into_iter().try_fold(bank.zero(), |value, digest| bank.extend(&value, digest))
}

/// Returns the PCR that extensions of a class are measured into.
#[must_use]
pub const fn pcr_of(class: Class) -> u32 {
    match class {
        Class::Sysext => SYSEXTS,
        Class::Confext => KERNEL_CONFIG,
    }
}
