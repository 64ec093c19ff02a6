//! The release file of an extension inside its file system.
//!
//! systemd 257: `src/basic/os-util.c`, `open_extension_release_at`, and `src/shared/extension-util.c`,
//! `extension_has_forbidden_content`, as `src/shared/dissect-image.c`, `dissected_image_mount`, calls them.
#![deny(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

use crate::reason::Reason;
use ddi::Class;
use ddi::bytes::boolean;
use ddi::filesystem::{EntryKind, FilesystemError, Tree};
use ddi::image_name_is_valid;
use ddi::text::Text;
use ddi::{ExtensionName, ReleaseError, ReleaseFile};

/// Says `false` on a release file that may be used for an image of another name.
const STRICT_ATTRIBUTE: &str = "user.extension-release.strict";

/// How names of release files begin.
const RELEASE_PREFIX: &str = "extension-release.";

/// A release file that was found and read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundRelease {
    /// Where it is in the file system of the extension, without a leading slash.
    pub path: String,
    /// What it says.
    pub file: ReleaseFile,
}

/// Why no usable release file was found.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// The file system can't be read.
    #[error("{path}: {error}")]
    Filesystem {
        /// What was looked for.
        path: String,
        /// Why it can't be read.
        error: FilesystemError,
    },
    /// No release file for this name, and none that may be used for another one.
    #[error("there is no {path}")]
    Missing {
        /// The path that fits the name.
        path: String,
    },
    /// None of this name, and two that systemd can't choose between.
    #[error("there is no {path}, and {first} and {second} are ambiguous")]
    Ambiguous {
        /// The path that fits the name.
        path: String,
        /// The end of a name in the same directory.
        first: String,
        /// Another one.
        second: String,
    },
    /// A directory or device where the file should be.
    #[error("{path} is {found} and not a regular file")]
    NotAFile {
        /// Its path.
        path: String,
        /// What it is.
        found: EntryKind,
    },
    /// The file can't be understood.
    #[error("{path}: {error}")]
    Malformed {
        /// Its path.
        path: String,
        /// What is wrong with it.
        error: ReleaseError,
    },
    /// Something that systemd may wait for, or that may lead to something else, once the extension is merged.
    #[error("{path} is {found}, which may lead to another file when systemd reads it again after the merge")]
    OddRelease {
        /// Its path.
        path: Text,
        /// What it is.
        found: EntryKind,
    },
    /// Something else where systemd reads a regular file before it merges.
    #[error("{path} is {found}; expected a regular file, which systemd reads before the merge")]
    OddMetadata {
        /// Its path.
        path: Text,
        /// What it is.
        found: EntryKind,
    },
    /// A file that systemd reads before it merges, and can't.
    #[error("{path}, which systemd reads before it merges: {error}")]
    UnreadableMetadata {
        /// Its path.
        path: Text,
        /// Why it can't be read.
        error: FilesystemError,
    },
    /// A name that is systemd's own inside a hierarchy.
    #[error("it contains {path}, which systemd reserves for its own records")]
    Reserved {
        /// Its path.
        path: Text,
    },
    /// A link in the place of a hierarchy whose target has a path without end, or too long a one.
    #[error("{path} is a link to a path of {found} bytes; the limit is {limit}")]
    LongDetour {
        /// The hierarchy.
        path: Text,
        /// Bytes of the path that it leads to.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// Something else where directories are merged.
    #[error("{path} is {found}; expected a directory")]
    NotADirectory {
        /// Its path.
        path: String,
        /// What it is.
        found: EntryKind,
    },
    /// The extension would change what the host says it is.
    #[error("it contains {path}")]
    ContainsOsRelease {
        /// Its path.
        path: &'static str,
    },
}

impl LookupError {
    /// The rule that the extension breaks.
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

/// Finds and reads the release file of extension `name`.
///
/// It is the file of exactly this name, or else the only other one in its directory which systemd
/// would take: called like the name without its version, or marked by the extended attribute
/// `user.extension-release.strict` with a false value.
///
/// # Errors
/// [`LookupError`]. Two files to choose from are an error, because then systemd merges nothing at all.
pub fn find_release(filesystem: &dyn Tree, class: Class, name: &ExtensionName) -> Result<FoundRelease, LookupError> {
    // systemd looks for a sysext in every image first, and gives up on everything if that fails
    // in another way than not finding one.
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

/// Refuses an extension that brings an os-release file into what it extends.
///
/// systemd skips an image of either class with `usr/lib/os-release`. Stricter than systemd in two ways:
/// a dangling symbolic link counts, since it would hide the host's file just as well, and so does
/// `etc/os-release` in a confext, which is what `/etc` is overlaid with.
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

/// Refuses what isn't a regular file among all release files of a class, and links on the way to them, but for one to a name
/// beside it.
///
/// Before the merge systemd follows links inside the image. After it, it reads the release file of each extension once more to
/// see whether the manager has to be reloaded, and then through the merged system. What one extension has under the name of
/// another is read there in its place, and a link may lead to the host's files. At a FIFO or a terminal systemd would wait
/// (systemd 257, `src/sysext/sysext.c`, `need_reload`; 262, `get_extension_release_metadata`).
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
        // All that a link to a name beside it can lead to is looked at here too. No release file has a name that isn't UTF-8.
        let target = filesystem.link_target(directory, &name).map_err(reading())?;
        if !target.is_some_and(|target| target.starts_with(RELEASE_PREFIX.as_bytes()) && !target.contains(&b'/')) {
            return odd(format!("{directory}/{name}"), entry.kind);
        }
    }
    Ok(())
}

fn refuse_in(filesystem: &dyn Tree, directory: &'static str, path: &'static str) -> Result<(), LookupError> {
    // Looked at without following the last link, so that a dangling one is seen.
    match filesystem.entry_nofollow(directory, "os-release").map_err(LookupError::reading(path))? {
        Some(_) => Err(LookupError::ContainsOsRelease { path }),
        None => Ok(()),
    }
}

/// The path of the file that systemd would open.
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

/// Whether a release file is marked as usable for other names. systemd takes an attribute that it
/// can't understand for a mark to the contrary.
fn is_lenient(filesystem: &dyn Tree, path: &str) -> Result<bool, LookupError> {
    let value = filesystem.xattr(path, STRICT_ATTRIBUTE).map_err(LookupError::reading(path))?;
    Ok(value.is_some_and(|value| {
        // It is a C string there.
        let text = value.split(|byte| *byte == 0).next().unwrap_or_default();
        boolean(text) == Some(false)
    }))
}
