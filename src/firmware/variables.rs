//! Where the firmware's variables are read from: the running machine, or a directory that looks like efivarfs.

use efivar::efi::Variable;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Where Linux shows the variables (kernel Documentation/filesystems/efivarfs.rst).
pub const EFIVARFS: &str = "/sys/firmware/efi/efivars";
/// Largest variable that is read, in bytes. Firmware keeps all variables together in some hundred KiB.
const MAX_VARIABLE: u64 = 1 << 20;
/// efivarfs puts the attributes in front of the data, in bytes.
const ATTRIBUTES: usize = 4;

/// The variables that sextant reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Name {
    /// Platform key.
    Pk,
    /// Key exchange keys.
    Kek,
    /// Allowed signers and images.
    Db,
    /// Revoked signers and images.
    Dbx,
    /// 1 while the firmware verifies what it boots.
    SecureBoot,
    /// 1 while anybody may enrol a platform key.
    SetupMode,
    /// 1 while the firmware records violations instead of enforcing.
    AuditMode,
    /// 1 when the mode can't be left without a platform key.
    DeployedMode,
    /// Entry that systemd-boot started (systemd, Boot Loader Interface).
    LoaderEntrySelected,
    /// Path of the UKI that systemd-stub was loaded from (systemd, Boot Loader Interface).
    StubImageIdentifier,
    /// Partition that the boot loader was started from (systemd, Boot Loader Interface).
    LoaderDevicePartUuid,
}

/// `EFI_GLOBAL_VARIABLE` (UEFI specification 2.10, section 3.3).
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// `EFI_IMAGE_SECURITY_DATABASE_GUID` (UEFI specification 2.10, section 32.6.1).
const SECURITY_DATABASE: &str = "d719b2cb-3d3a-4596-a3bc-dad00e67656f";
/// systemd's Boot Loader Interface.
const LOADER: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

impl Name {
    const fn parts(self) -> (&'static str, &'static str) {
        match self {
            Self::Pk => ("PK", GLOBAL),
            Self::Kek => ("KEK", GLOBAL),
            Self::Db => ("db", SECURITY_DATABASE),
            Self::Dbx => ("dbx", SECURITY_DATABASE),
            Self::SecureBoot => ("SecureBoot", GLOBAL),
            Self::SetupMode => ("SetupMode", GLOBAL),
            Self::AuditMode => ("AuditMode", GLOBAL),
            Self::DeployedMode => ("DeployedMode", GLOBAL),
            Self::LoaderEntrySelected => ("LoaderEntrySelected", LOADER),
            Self::StubImageIdentifier => ("StubImageIdentifier", LOADER),
            Self::LoaderDevicePartUuid => ("LoaderDevicePartUUID", LOADER),
        }
    }

    /// Name of the file in efivarfs.
    #[must_use]
    pub fn file_name(self) -> String {
        let (name, vendor) = self.parts();
        format!("{name}-{vendor}")
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.parts().0)
    }
}

/// Why a variable that is there can't be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VariableError {
    /// The operating system refuses.
    #[error("reading variable {name}: {source}")]
    Io {
        /// The variable.
        name: Name,
        /// What the system said.
        source: io::Error,
    },
    /// The `efivar` crate refuses.
    #[error("reading variable {name}: {message}")]
    System {
        /// The variable.
        name: Name,
        /// What the crate said.
        message: String,
    },
    /// Not even attribute bytes, or more data than firmware can store.
    #[error(
        "reading variable {name}: {found} bytes where {ATTRIBUTES} attribute bytes and at most 1 MiB of data are expected"
    )]
    Size {
        /// The variable.
        name: Name,
        /// Bytes found.
        found: u64,
    },
}

/// A set of firmware variables.
pub trait Variables {
    /// The data of a variable without its attributes; `None` where the firmware has no such variable.
    ///
    /// # Errors
    /// [`VariableError`] where it is there and can't be read: that is never the same as absent.
    fn read(&self, name: Name) -> Result<Option<Vec<u8>>, VariableError>;
    /// Whether there is a firmware with variables at all.
    fn available(&self) -> bool;
}

/// The running machine's variables.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemVariables;

impl Variables for SystemVariables {
    fn read(&self, name: Name) -> Result<Option<Vec<u8>>, VariableError> {
        if !self.available() {
            return Ok(None);
        }
        let variable: Variable = name
            .file_name()
            .parse()
            .map_err(|error: efivar::Error| VariableError::System { name, message: error.to_string() })?;
        match efivar::system().read(&variable) {
            Ok((data, _attributes)) => Ok(Some(data)),
            Err(efivar::Error::VarNotFound { .. }) => Ok(None),
            Err(efivar::Error::VarUnknownError { error, .. }) => Err(VariableError::Io { name, source: error }),
            Err(error) => Err(VariableError::System { name, message: error.to_string() }),
        }
    }

    fn available(&self) -> bool {
        DirectoryVariables::new(EFIVARFS).available()
    }
}

/// Variables in the form that efivarfs shows them in, below any directory.
#[derive(Debug, Clone)]
pub struct DirectoryVariables {
    directory: PathBuf,
}

impl DirectoryVariables {
    /// Reads from `directory`, which need not exist.
    pub fn new(directory: impl AsRef<Path>) -> Self {
        Self { directory: directory.as_ref().to_owned() }
    }
}

impl Variables for DirectoryVariables {
    fn read(&self, name: Name) -> Result<Option<Vec<u8>>, VariableError> {
        let io = |source| VariableError::Io { name, source };
        let file = match File::open(self.directory.join(name.file_name())) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(error)),
        };
        if !file.metadata().map_err(io)?.is_file() {
            return Err(io(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
        }
        let mut content = Vec::new();
        file.take(MAX_VARIABLE + 1).read_to_end(&mut content).map_err(io)?;
        let found = content.len() as u64;
        if found > MAX_VARIABLE || content.len() < ATTRIBUTES {
            return Err(VariableError::Size { name, found });
        }
        Ok(Some(content.split_off(ATTRIBUTES)))
    }

    /// A directory without a single entry is what a machine without EFI shows.
    fn available(&self) -> bool {
        self.directory.read_dir().is_ok_and(|mut entries| entries.next().is_some())
    }
}

/// A machine without firmware variables.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoVariables;

impl Variables for NoVariables {
    fn read(&self, _: Name) -> Result<Option<Vec<u8>>, VariableError> {
        Ok(None)
    }

    fn available(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    #[test]
    fn absent_empty_and_broken_variables_are_three_different_things() {
        let dir = tempfile::tempdir().unwrap();
        let variables = DirectoryVariables::new(dir.path());
        assert!(!variables.available());
        assert!(variables.read(Name::Db).unwrap().is_none());
        fs::write(dir.path().join(Name::Db.file_name()), [7, 0, 0, 0]).unwrap();
        assert_eq!(variables.read(Name::Db).unwrap(), Some(Vec::new()));
        assert!(variables.available());
        fs::write(dir.path().join(Name::Dbx.file_name()), [7, 0, 0]).unwrap();
        assert!(matches!(variables.read(Name::Dbx), Err(VariableError::Size { name: Name::Dbx, found: 3 })));
        fs::create_dir(dir.path().join(Name::Pk.file_name())).unwrap();
        assert!(matches!(variables.read(Name::Pk), Err(VariableError::Io { name: Name::Pk, .. })));
    }

    #[test]
    fn a_variable_larger_than_firmware_stores_is_not_read_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let file = File::create(dir.path().join(Name::Db.file_name())).unwrap();
        file.set_len(1 << 40).unwrap();
        assert!(matches!(
            DirectoryVariables::new(dir.path()).read(Name::Db),
            Err(VariableError::Size { name: Name::Db, .. })
        ));
    }
}
