//! Access to the firmware's variables: of the running machine, or in a directory in the format of efivarfs.

use ddi::text::Text;
use efivar::efi::Variable;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{Mode, SFlag, fstatat};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Mount point of efivarfs (kernel Documentation/filesystems/efivarfs.rst).
pub const EFIVARFS: &str = "/sys/firmware/efi/efivars";
/// Maximum size in bytes of a variable that is read. Firmware has some hundred KiB for all variables together.
const MAX_VARIABLE: u64 = 1 << 20;
/// Size in bytes of the attributes, which efivarfs puts before the data.
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
    /// 1 if the firmware verifies what it boots.
    SecureBoot,
    /// 1 if a platform key can be enrolled without authorization.
    SetupMode,
    /// 1 if the firmware records violations instead of preventing them.
    AuditMode,
    /// 1 if the mode can only be left with the platform key.
    DeployedMode,
    /// The entry that systemd-boot started (systemd, Boot Loader Interface).
    LoaderEntrySelected,
    /// Path of the UKI from which systemd-stub was loaded (systemd, Boot Loader Interface).
    StubImageIdentifier,
    /// UUID of the partition from which the boot loader was started (systemd, Boot Loader Interface).
    LoaderDevicePartUuid,
}

/// `EFI_GLOBAL_VARIABLE` (UEFI specification 2.10, section 3.3).
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// `EFI_IMAGE_SECURITY_DATABASE_GUID` (UEFI specification 2.10, section 32.6.1).
const SECURITY_DATABASE: &str = "d719b2cb-3d3a-4596-a3bc-dad00e67656f";
/// Vendor GUID of systemd's Boot Loader Interface.
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

    /// Returns the name of the file in efivarfs.
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

/// Errors of reading the firmware's variables.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VariableError {
    /// The directory exists and cannot be opened or listed.
    #[error("listing the firmware variables in {}", directory.display())]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// Error of the system call.
        source: io::Error,
    },
    /// The kernel can access the firmware, but efivarfs is not mounted.
    #[error("efivarfs is not mounted on {EFIVARFS}")]
    NotMounted,
    /// The file of a variable cannot be read.
    #[error("reading variable {name}")]
    Io {
        /// The variable.
        name: Name,
        /// Error of the system call.
        source: io::Error,
    },
    /// The file of a variable is not a regular file. It could be a link or block.
    #[error("reading variable {name}: it is not a regular file")]
    NotRegular {
        /// The variable.
        name: Name,
    },
    /// The `efivar` crate reports another error.
    #[error("reading variable {name}: {message}")]
    System {
        /// The variable.
        name: Name,
        /// Message of the crate.
        message: Text,
    },
    /// The file is shorter than its attribute bytes, or larger than any variable.
    #[error("reading variable {name}: {found} bytes; expected {ATTRIBUTES} attribute bytes and at most 1 MiB of data")]
    Size {
        /// The variable.
        name: Name,
        /// Size of the file in bytes.
        found: u64,
    },
}

/// A set of firmware variables.
pub trait Variables {
    /// Reads the data of a variable without its attributes. Returns `None` if the variable does not exist.
    ///
    /// # Errors
    /// [`VariableError`] if it exists and cannot be read.
    fn read(&self, name: Name) -> Result<Option<Vec<u8>>, VariableError>;
    /// Returns whether there is a firmware with variables.
    ///
    /// # Errors
    /// [`VariableError`] if that is unknown.
    fn available(&self) -> Result<bool, VariableError>;
}

/// The variables of the running machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemVariables;

impl Variables for SystemVariables {
    fn read(&self, name: Name) -> Result<Option<Vec<u8>>, VariableError> {
        if !self.available()? {
            return Ok(None);
        }
        // The crate reads a file to its end, whatever it is, so type and size are checked before. It never uses the
        // kernel's older interface here (/sys/firmware/efi/vars, which truncates variables at 1024 bytes), because it
        // does that only if efivarfs is empty.
        if DirectoryVariables::new(EFIVARFS).open(name)?.is_none() {
            return Ok(None);
        }
        let system = |message: &dyn fmt::Display| VariableError::System { name, message: Text::new(message) };
        let variable: Variable = name.file_name().parse().map_err(|error: efivar::Error| system(&error))?;
        match efivar::system().read(&variable) {
            Ok((data, _attributes)) if data.len() as u64 <= MAX_VARIABLE => Ok(Some(data)),
            Ok((data, _attributes)) => Err(VariableError::Size { name, found: data.len() as u64 }),
            Err(efivar::Error::VarNotFound { .. }) => Ok(None),
            Err(efivar::Error::PermissionDenied { .. }) => {
                Err(VariableError::Io { name, source: io::ErrorKind::PermissionDenied.into() })
            }
            Err(efivar::Error::VarUnknownError { error, .. }) => Err(VariableError::Io { name, source: error }),
            Err(error) => Err(system(&error)),
        }
    }

    /// Returns whether there is a firmware. The directory exists if the kernel can access the firmware, and is empty
    /// until efivarfs is mounted on it, for which systemd needs modprobe. An empty directory therefore does not mean
    /// that there is no firmware.
    fn available(&self) -> Result<bool, VariableError> {
        match DirectoryVariables::new(EFIVARFS).is_empty()? {
            None => Ok(false),
            Some(true) => Err(VariableError::NotMounted),
            Some(false) => Ok(true),
        }
    }
}

/// Variables in a directory in the format of efivarfs.
#[derive(Debug, Clone)]
pub struct DirectoryVariables {
    directory: PathBuf,
}

impl DirectoryVariables {
    /// Reads from `directory`, which need not exist.
    pub fn new(directory: impl AsRef<Path>) -> Self {
        Self { directory: directory.as_ref().to_owned() }
    }

    /// Opens the directory. Returns `None` if it does not exist.
    fn open_directory(&self) -> Result<Option<OwnedFd>, VariableError> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        match open(&self.directory, flags, Mode::empty()) {
            Ok(directory) => Ok(Some(directory)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(self.error(errno)),
        }
    }

    /// Returns whether the directory is empty, `None` if it does not exist.
    fn is_empty(&self) -> Result<Option<bool>, VariableError> {
        let Some(directory) = self.open_directory()? else { return Ok(None) };
        let mut directory = Dir::from_fd(directory).map_err(|errno| self.error(errno))?;
        for entry in directory.iter() {
            let entry = entry.map_err(|errno| self.error(errno))?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                return Ok(Some(false));
            }
        }
        Ok(Some(true))
    }

    /// Opens the file of a variable after checking its size. Returns `None` if it does not exist. Links are not
    /// followed, and FIFOs do not block.
    fn open(&self, name: Name) -> Result<Option<File>, VariableError> {
        let Some(directory) = self.open_directory()? else { return Ok(None) };
        let io = |errno: Errno| VariableError::Io { name, source: errno.into() };
        let file_name = name.file_name();
        // The type is checked before opening, because opening some devices has side effects.
        match fstatat(&directory, file_name.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(status) if SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG => {}
            Ok(_) => return Err(VariableError::NotRegular { name }),
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(io(errno)),
        }
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
        let file = match openat(&directory, file_name.as_str(), flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(io(errno)),
        };
        let metadata = file.metadata().map_err(|source| VariableError::Io { name, source })?;
        if !metadata.is_file() {
            return Err(VariableError::NotRegular { name });
        }
        if metadata.len() > MAX_VARIABLE {
            return Err(VariableError::Size { name, found: metadata.len() });
        }
        Ok(Some(file))
    }

    fn error(&self, errno: Errno) -> VariableError {
        VariableError::Directory { directory: self.directory.clone(), source: errno.into() }
    }
}

impl Variables for DirectoryVariables {
    fn read(&self, name: Name) -> Result<Option<Vec<u8>>, VariableError> {
        let Some(file) = self.open(name)? else { return Ok(None) };
        let mut content = Vec::new();
        file.take(MAX_VARIABLE + 1).read_to_end(&mut content).map_err(|source| VariableError::Io { name, source })?;
        let found = content.len() as u64;
        if found > MAX_VARIABLE || content.len() < ATTRIBUTES {
            return Err(VariableError::Size { name, found });
        }
        Ok(Some(content.split_off(ATTRIBUTES)))
    }

    /// Returns whether the directory has any entry. On a machine without EFI it has none.
    fn available(&self) -> Result<bool, VariableError> {
        Ok(self.is_empty()? == Some(false))
    }
}

/// A machine without firmware variables.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoVariables;

impl Variables for NoVariables {
    fn read(&self, _: Name) -> Result<Option<Vec<u8>>, VariableError> {
        Ok(None)
    }

    fn available(&self) -> Result<bool, VariableError> {
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::error::Error;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn absent_empty_and_broken_variables_are_three_different_things() {
        let dir = tempfile::tempdir().unwrap();
        let variables = DirectoryVariables::new(dir.path());
        assert!(!variables.available().unwrap());
        assert!(variables.read(Name::Db).unwrap().is_none());
        fs::write(dir.path().join(Name::Db.file_name()), [7, 0, 0, 0]).unwrap();
        assert_eq!(variables.read(Name::Db).unwrap(), Some(Vec::new()));
        assert!(variables.available().unwrap());
        fs::write(dir.path().join(Name::Dbx.file_name()), [7, 0, 0]).unwrap();
        assert!(matches!(variables.read(Name::Dbx), Err(VariableError::Size { name: Name::Dbx, found: 3 })));
        fs::create_dir(dir.path().join(Name::Pk.file_name())).unwrap();
        assert!(matches!(variables.read(Name::Pk), Err(VariableError::NotRegular { name: Name::Pk })));
    }

    #[test]
    fn a_directory_that_cannot_be_listed_is_an_error_and_one_that_is_not_there_is_absent() {
        let dir = tempfile::tempdir().unwrap();
        let absent = DirectoryVariables::new(dir.path().join("absent"));
        assert!(!absent.available().unwrap());
        assert!(absent.read(Name::Dbx).unwrap().is_none());
        fs::write(dir.path().join("file"), "").unwrap();
        symlink("loop", dir.path().join("loop")).unwrap();
        for odd in ["file", "file/below", "loop"] {
            let variables = DirectoryVariables::new(dir.path().join(odd));
            assert!(matches!(variables.available(), Err(VariableError::Directory { .. })), "{odd}");
            let error = variables.read(Name::Dbx).unwrap_err();
            assert!(error.to_string().contains(odd) && error.source().is_some(), "{odd}: {error}");
        }
    }

    #[test]
    fn a_link_is_not_followed_and_a_fifo_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::NamedTempFile::new().unwrap();
        fs::write(outside.path(), [7, 0, 0, 0]).unwrap();
        symlink(outside.path(), dir.path().join(Name::Dbx.file_name())).unwrap();
        nix::unistd::mkfifo(&dir.path().join(Name::Db.file_name()), Mode::S_IRWXU).unwrap();
        symlink("nowhere", dir.path().join(Name::Kek.file_name())).unwrap();
        let variables = DirectoryVariables::new(dir.path());
        for name in [Name::Dbx, Name::Db, Name::Kek] {
            assert!(matches!(variables.read(name), Err(VariableError::NotRegular { .. })), "{name}");
        }
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
