//! Directories on disks with extensions, in addition to those that the firmware's stub has loaded.

use crate::firmware::entry::BootEntry;
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Maximum length of a path in bytes.
const MAX_LEN: usize = 255;
/// Maximum number of directories.
const MAX_DIRECTORIES: usize = 64;

/// Errors of the path of such a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// The path is not absolute, or has empty, `.` or `..` components.
    #[error("not an absolute path without empty, \".\" and \"..\" components")]
    NotAbsolute,
    /// The path is longer than 255 bytes.
    #[error("longer than {MAX_LEN} bytes")]
    TooLong,
    /// The path is in a file system of the kernel, in `/run`, or in `/.extra`.
    #[error("not on a disk: below /run, /proc, /sys, /dev or /.extra")]
    NoDisk,
}

/// The coverage: how much of an image is verified before it is staged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verify {
    /// Every byte.
    #[default]
    Full,
    /// The signature, the whole hash tree, and all that decisions depend on. dm-verity verifies the rest when it is read.
    OnRead,
}

impl Verify {
    /// Returns the token in the configuration and in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::OnRead => "on-read",
        }
    }
}

/// A directory that is searched for extensions.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    /// Its path.
    #[serde(deserialize_with = "path")]
    pub directory: String,
    /// Boot entries to which the directory applies, `None` for all.
    #[serde(default)]
    pub entries: Option<Vec<String>>,
    /// Coverage for the images in the directory.
    #[serde(default)]
    pub verify: Verify,
}

impl Directory {
    /// Returns whether the directory applies to the boot entry.
    #[must_use]
    pub fn is_for(&self, entry: &BootEntry) -> bool {
        self.entries.as_ref().is_none_or(|entries| entry.matched_by(entries).is_some())
    }
}

/// The directories of a configuration, in the order of the search.
#[derive(Debug, Default)]
pub(super) struct Directories(Vec<Directory>);

/// There are too many directories.
#[derive(Debug, Clone, Copy, Error)]
#[error("more than {MAX_DIRECTORIES} directories")]
pub(super) struct TooManyDirectories;

impl Directories {
    fn new(list: Vec<Directory>) -> Result<Self, TooManyDirectories> {
        if list.len() > MAX_DIRECTORIES { Err(TooManyDirectories) } else { Ok(Self(list)) }
    }

    /// Appends those of a later file. What earlier ones say of the same directory does not count.
    pub(super) fn combine(&mut self, Self(later): Self) -> Result<(), TooManyDirectories> {
        let mut list = std::mem::take(&mut self.0);
        list.retain(|directory| later.iter().all(|other| other.directory != directory.directory));
        list.extend(later);
        *self = Self::new(list)?;
        Ok(())
    }
}

impl From<Directories> for Vec<Directory> {
    fn from(Directories(list): Directories) -> Self {
        list
    }
}

impl<'de> Deserialize<'de> for Directories {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Vec::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// Checks a path.
///
/// # Errors
/// [`DirectoryError`]
fn check(path: &str) -> Result<(), DirectoryError> {
    let mut components = path.strip_prefix('/').ok_or(DirectoryError::NotAbsolute)?.split('/');
    if components.clone().any(|component| matches!(component, "" | "." | "..")) || path.contains('\0') {
        return Err(DirectoryError::NotAbsolute);
    }
    if path.len() > MAX_LEN {
        return Err(DirectoryError::TooLong);
    }
    match components.next() {
        Some("run" | "proc" | "sys" | "dev" | ".extra") => Err(DirectoryError::NoDisk),
        _ => Ok(()),
    }
}

fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    check(&text).map_err(de::Error::custom)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_a_plain_path_on_a_disk() {
        for path in ["/var/lib/kairos/extensions/active", "/data", "/running"] {
            assert_eq!(check(path), Ok(()), "{path}");
        }
        for path in ["", "data", "/", "/data/", "/data//x", "/data/../etc", "/./data"] {
            assert_eq!(check(path), Err(DirectoryError::NotAbsolute), "{path}");
        }
        for path in ["/run/extensions", "/run", "/.extra/sysext", "/proc/1/root"] {
            assert_eq!(check(path), Err(DirectoryError::NoDisk), "{path}");
        }
        assert_eq!(check(&format!("/{}", "a".repeat(254))), Ok(()));
        assert_eq!(check(&format!("/{}", "a".repeat(255))), Err(DirectoryError::TooLong));
    }
}
