//! Reads PCRs of the machine's TPM.

use super::bank::{Bank, Values};
use ddi::text::Text;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use thiserror::Error;

/// The first TPM (kernel Documentation/ABI/stable/sysfs-class-tpm).
pub const TPM: &str = "/sys/class/tpm/tpm0";
/// Its event log as the firmware handed it over (kernel `Documentation/security/tpm/tpm_event_log.rst`).
pub const EVENT_LOG: &str = "/sys/kernel/security/tpm0/binary_bios_measurements";

/// Longest value that is read, in bytes: SHA-512 in hexadecimal, and a newline.
const MAX_VALUE: u64 = 129;

/// Error of reading a PCR.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TpmError {
    /// It can't be read.
    #[error("reading {path}")]
    Read {
        /// The file.
        path: Text,
        /// Error of the system.
        source: io::Error,
    },
    /// The content is no value of that bank.
    #[error("{path} is not a PCR value")]
    NotValue {
        /// The file.
        path: Text,
    },
}

/// Reads a PCR in all banks that the TPM has, from `pcr-<BANK>/<PCR>` below `directory`. No value is present if there is no TPM,
/// or if the kernel (before 5.12) does not show values.
///
/// # Errors
/// [`TpmError`]
pub fn read_pcr(directory: &Path, pcr: u32) -> Result<Values, TpmError> {
    let mut values = Values::default();
    for bank in Bank::ALL {
        let file = directory.join(format!("pcr-{bank}/{pcr}"));
        let path = Text::from_os(file.as_os_str());
        let mut text = String::new();
        match File::open(&file).and_then(|file| file.take(MAX_VALUE).read_to_string(&mut text)) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => continue,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(TpmError::NotValue { path }),
            Err(source) => return Err(TpmError::Read { path, source }),
        }
        let value = bank.parse(text.trim()).ok_or(TpmError::NotValue { path })?;
        values.set(bank, value);
    }
    Ok(values)
}
