//! Search for the release file of an extension in its file system.
//!
//! As in systemd 257: `src/basic/os-util.c`, `open_extension_release_at`, and `src/shared/extension-util.c`,
//! `extension_has_forbidden_content`, which `src/shared/dissect-image.c`, `dissected_image_mount`, calls.

use crate::reason::Reason;
use ddi::Class;
use ddi::bytes::boolean;
use ddi::filesystem::{EntryKind, FilesystemError, Tree};
use ddi::image_name_is_valid;
use ddi::text::Text;
use ddi::{ExtensionName, ReleaseError, ReleaseFile};

/// Attribute of a release file. With the value `false` the file may be used for an image of another name.
const STRICT_ATTRIBUTE: &str = "user.extension-release.strict";

/// Prefix of the names of release files.
const RELEASE_PREFIX: &str = "extension-release.";

/// A release file that was found and parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundRelease {
    /// Path in the file system of the extension, without a leading slash.
    pub path: String,
    /// Content.
    pub file: ReleaseFile,
}

impl FoundRelease {
    /// The name that the release file is for: with the whole file system, the signature covers it.
    #[must_use]
    pub fn name(&self) -> &str {
        let (_, file) = self.path.rsplit_once('/').unwrap_or_default();
        file.strip_prefix(RELEASE_PREFIX).unwrap_or_default()
    }
}

/// Errors of the checks in this module and its siblings.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// The file system cannot be read.
    #[error("{path}: {error}")]
    Filesystem {
        /// Path that was read.
        path: String,
        /// Error of the file system.
        error: FilesystemError,
    },
    /// There is no release file for this name, and none that may be used for other names.
    #[error("there is no {path}")]
    Missing {
        /// Expected path.
        path: String,
    },
    /// There is no release file for this name, and two that may be used for other names.
    #[error("there is no {path}, and {first} and {second} are ambiguous")]
    Ambiguous {
        /// Expected path.
        path: String,
        /// Suffix of the first file's name.
        first: String,
        /// Suffix of the second file's name.
        second: String,
    },
    /// The release file is a directory or device.
    #[error("{path} is {found} and not a regular file")]
    NotAFile {
        /// Path of the file.
        path: String,
        /// Type of the file.
        found: EntryKind,
    },
    /// The release file cannot be parsed.
    #[error("{path}: {error}")]
    Malformed {
        /// Path of the file.
        path: String,
        /// Error of the parser.
        error: ReleaseError,
    },
    /// A release file could block systemd, or lead it to another file, after the merge.
    #[error("{path} is {found}, which may lead to another file when systemd reads it again after the merge")]
    OddRelease {
        /// Path of the file.
        path: Text,
        /// Type of the file.
        found: EntryKind,
    },
    /// A file that systemd reads before a merge is not a regular file.
    #[error("{path} is {found}; expected a regular file, which systemd reads before the merge")]
    OddMetadata {
        /// Path of the file.
        path: Text,
        /// Type of the file.
        found: EntryKind,
    },
    /// A file that systemd reads before a merge cannot be read.
    #[error("{path}, which systemd reads before it merges: {error}")]
    UnreadableMetadata {
        /// Path of the file.
        path: Text,
        /// Error of the file system.
        error: FilesystemError,
    },
    /// A hierarchy has a name that is reserved for systemd.
    #[error("it contains {path}, which systemd reserves for its own records")]
    Reserved {
        /// Path of the file.
        path: Text,
    },
    /// A hierarchy is a link whose target has a path that is too long.
    #[error("{path} is a link to a path of {found} bytes; the limit is {limit}")]
    LongDetour {
        /// Path of the hierarchy.
        path: Text,
        /// Length of the target in bytes.
        found: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A hierarchy, or a directory above one, is not a directory.
    #[error("{path} is {found}; expected a directory")]
    NotADirectory {
        /// Path of the file.
        path: String,
        /// Type of the file.
        found: EntryKind,
    },
    /// The extension has an os-release file, which would override the host's.
    #[error("it contains {path}")]
    ContainsOsRelease {
        /// Path of the file.
        path: &'static str,
    },
}

impl LookupError {
    /// Returns the reason token.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Filesystem { error: FilesystemError::Io(_), .. }
            | Self::UnreadableMetadata { error: FilesystemError::Io(_), .. } => Reason::Unreadable,
            Self::Filesystem { error, .. } if error.is_about_path() => Reason::WrongExtensionRelease,
            Self::UnreadableMetadata { error, .. } if error.is_about_path() => Reason::BadMetadata,
            Self::Filesystem { .. } | Self::UnreadableMetadata { .. } => Reason::NotMountable,
            Self::ContainsOsRelease { .. } => Reason::ContainsOsRelease,
            Self::OddMetadata { .. } => Reason::BadMetadata,
            Self::NotADirectory { .. } | Self::Reserved { .. } | Self::LongDetour { .. } => Reason::BadHierarchy,
            Self::Missing { .. }
            | Self::Ambiguous { .. }
            | Self::NotAFile { .. }
            | Self::OddRelease { .. }
            | Self::Malformed { .. } => Reason::WrongExtensionRelease,
        }
    }

    pub(super) fn reading(path: &str) -> impl FnOnce(FilesystemError) -> Self {
        let path = path.to_owned();
        move |error| Self::Filesystem { path, error }
    }
}

/// Finds and parses the release file of extension `name`.
///
/// It is the file of exactly this name. If there is none, it is the only file in its directory that systemd would use
/// instead: with the name without version, or marked by the extended attribute `user.extension-release.strict` with a
/// false value.
///
/// # Errors
/// [`LookupError`]. Several candidates are an error, because systemd then gives up the whole merge.
pub fn find_release(filesystem: &dyn Tree, class: Class, name: &ExtensionName) -> Result<FoundRelease, LookupError> {
    // systemd looks for the release file of a sysext in every image first, and gives up the whole merge for any error
    // but a missing file.
    if class == Class::Confext {
        match locate(filesystem, Class::Sysext, name) {
            Ok(_) | Err(LookupError::Missing { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let path = locate(filesystem, class, name)?;
    match filesystem.entry(&path).map_err(LookupError::reading(&path))? {
        Some(EntryKind::File) => {}
        Some(found) => return Err(LookupError::NotAFile { path, found }),
        None => return Err(LookupError::Missing { path }),
    }
    refuse_odd_releases(filesystem, class)?;
    let bytes = filesystem
        .read_file(&path, ReleaseFile::MAX_LEN)
        .map_err(LookupError::reading(&path))?
        .ok_or_else(|| LookupError::Missing { path: path.clone() })?;
    let file = ReleaseFile::parse(&bytes).map_err(|error| LookupError::Malformed { path: path.clone(), error })?;
    Ok(FoundRelease { path, file })
}

/// Refuses an extension that would override the host's os-release file.
///
/// systemd skips an image of either class with `usr/lib/os-release`. This function is stricter in two ways: it refuses
/// a dangling symbolic link, which would hide the host's file as well, and `etc/os-release` in a confext, which is
/// merged into `/etc`.
///
/// # Errors
/// [`LookupError::ContainsOsRelease`], or [`LookupError::Filesystem`].
pub fn refuse_os_release(filesystem: &dyn Tree, class: Class) -> Result<(), LookupError> {
    refuse_in(filesystem, "usr/lib", "usr/lib/os-release")?;
    match class {
        Class::Sysext => Ok(()),
        Class::Confext => refuse_in(filesystem, "etc", "etc/os-release"),
    }
}

/// Refuses an extension unless all of its release files are regular files, or links to another release file in the same
/// directory, and the directories above them are not links.
///
/// Before the merge systemd follows links inside the image. After the merge it reads the release file of each extension
/// again, through the merged system, to decide whether to reload the manager. A file that one extension has under the
/// name of another is then read instead, and a link may lead to a file of the host. A FIFO or a terminal would block
/// systemd (systemd 257, `src/sysext/sysext.c`, `need_reload`; 262, `get_extension_release_metadata`).
fn refuse_odd_releases(filesystem: &dyn Tree, class: Class) -> Result<(), LookupError> {
    let directory = class.release_directory();
    let odd = |path: String, found| Err(LookupError::OddRelease { path: Text::new(path), found });
    let mut above = String::new();
    for part in directory.split('/') {
        let path = format!("{above}{part}");
        match filesystem.entry_nofollow(&above, part).map_err(LookupError::reading(&path))? {
            Some(EntryKind::Directory) | None => above = path + "/",
            Some(found) => return odd(path, found),
        }
    }
    let reading = || LookupError::reading(directory);
    for entry in filesystem.list(directory).map_err(reading())?.unwrap_or_default() {
        let name = entry.name.to_string_lossy();
        if entry.kind == EntryKind::File || !name.starts_with(RELEASE_PREFIX) {
            continue;
        }
        // The target of such a link is checked in this loop, too. The name of a release file is always UTF-8.
        let target = filesystem.link_target(directory, &name).map_err(reading())?;
        if !target.is_some_and(|target| target.starts_with(RELEASE_PREFIX.as_bytes()) && !target.contains(&b'/')) {
            return odd(format!("{directory}/{name}"), entry.kind);
        }
    }
    Ok(())
}

fn refuse_in(filesystem: &dyn Tree, directory: &'static str, path: &'static str) -> Result<(), LookupError> {
    // The last link is not followed, so that a dangling one is found.
    match filesystem.entry_nofollow(directory, "os-release").map_err(LookupError::reading(path))? {
        Some(_) => Err(LookupError::ContainsOsRelease { path }),
        None => Ok(()),
    }
}

/// Returns the path of the release file that systemd would open.
pub(super) fn locate(filesystem: &dyn Tree, class: Class, name: &ExtensionName) -> Result<String, LookupError> {
    let directory = class.release_directory();
    let exact = format!("{directory}/extension-release.{name}");
    if filesystem.entry(&exact).map_err(LookupError::reading(&exact))?.is_some() {
        return Ok(exact);
    }
    let missing = || LookupError::Missing { path: exact.clone() };
    let base = name.base().ok_or_else(missing)?;
    let entries = filesystem.list(directory).map_err(LookupError::reading(directory))?.ok_or_else(missing)?;
    let mut found: Option<String> = None;
    for entry in entries.iter().filter(|entry| entry.kind == EntryKind::File) {
        let name = entry.name.to_str().and_then(|name| name.strip_prefix(RELEASE_PREFIX));
        let Some(suffix) = name.filter(|name| image_name_is_valid(name)) else { continue };
        let path = format!("{directory}/extension-release.{suffix}");
        if suffix != base && !is_lenient(filesystem, &path)? {
            continue;
        }
        if let Some(first) = found {
            return Err(LookupError::Ambiguous { path: exact, first, second: suffix.to_owned() });
        }
        found = Some(suffix.to_owned());
    }
    found.map(|suffix| format!("{directory}/extension-release.{suffix}")).ok_or_else(missing)
}

/// Returns whether a release file may be used for images of other names. An attribute with an invalid value means no,
/// as in systemd.
fn is_lenient(filesystem: &dyn Tree, path: &str) -> Result<bool, LookupError> {
    let value = filesystem.xattr(path, STRICT_ATTRIBUTE).map_err(LookupError::reading(path))?;
    Ok(value.is_some_and(|value| {
        // systemd reads the value as a C string.
        let text = value.split(|byte| *byte == 0).next().unwrap_or_default();
        boolean(text) == Some(false)
    }))
}
