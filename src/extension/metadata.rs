//! Files of an image that systemd reads before it merges anything.
//!
//! For every image that it finds, `systemd-sysext` reads what a system would say of itself, whether or not that is merged
//! (systemd 254, 257 and 262, `src/sysext/sysext.c`, `image_discover_and_read_metadata`; `src/shared/discover-image.c`,
//! `image_read_metadata`; `src/shared/dissect-image.c`, `dissected_image_acquire_metadata`). A child opens each file, links
//! followed inside the image, with `O_RDONLY|O_CLOEXEC|O_NOCTTY`, and copies it into a pipe to its end. One image decides over
//! all of them there:
//!
//! - a FIFO blocks the child in `open`, its parent in `read`, and the boot with them, for the unit has no timeout;
//! - a directory is opened, can't be read (`EISDIR`), and the whole merge fails. A damaged file does the same;
//! - of `etc/hostname` and `etc/machine-id` the parent reads a line and closes the pipe. A child that isn't done by then is
//!   killed by `SIGPIPE`, and the whole merge fails: seen with files of 65,535 bytes and more;
//! - anything but "not there" on the way to `os-release`, such as a link to itself or a file called `etc`, fails the whole
//!   merge as well (`src/basic/os-util.c`, `open_os_release_at`, called by `dissected_image_mount`);
//! - devices (`MS_NODEV`) and sockets (`ENXIO`) are passed over. No extension needs them there: they are refused too.
#![deny(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

use super::LookupError;
use super::lookup::locate;
use ddi::Class;
use ddi::filesystem::{EntryKind, FilesystemError, Tree};
use ddi::text::Text;
use ddi::{ExtensionName, ReleaseFile};

/// What is opened under a fixed name, and the largest file that passes. `usr/lib/os-release` is read too, and is not there:
/// see [`refuse_os_release`](super::refuse_os_release).
const FIXED: [(&str, usize); 6] = [
    ("etc/hostname", MAX_LINE),
    ("etc/machine-id", MAX_LINE),
    ("etc/machine-info", ReleaseFile::MAX_LEN),
    ("etc/os-release", ReleaseFile::MAX_LEN),
    ("etc/initrd-release", ReleaseFile::MAX_LEN),
    ("usr/lib/initrd-release", ReleaseFile::MAX_LEN),
];

/// Largest file in bytes of which only a line is read: it gets into a pipe in one piece.
const MAX_LINE: usize = 4096;

/// Refuses an extension in which systemd would find something else than a small regular file, or nothing, under one of the
/// names that it reads before it merges. The release file of the other class is one of them.
///
/// # Errors
/// [`LookupError::OddMetadata`] or [`LookupError::UnreadableMetadata`].
pub fn refuse_odd_metadata(filesystem: &dyn Tree, class: Class, name: &ExtensionName) -> Result<(), LookupError> {
    for (path, limit) in FIXED {
        refuse_odd(filesystem, path, limit)?;
    }
    let other = match class {
        Class::Sysext => Class::Confext,
        Class::Confext => Class::Sysext,
    };
    match locate(filesystem, other, name) {
        Ok(path) => refuse_odd(filesystem, &path, ReleaseFile::MAX_LEN),
        // Then systemd reads none.
        Err(LookupError::Missing { .. } | LookupError::Ambiguous { .. }) => Ok(()),
        Err(LookupError::Filesystem { path, error }) => Err(unreadable(&path)(error)),
        Err(error) => Err(error),
    }
}

fn refuse_odd(filesystem: &dyn Tree, path: &str, limit: usize) -> Result<(), LookupError> {
    match filesystem.entry(path).map_err(unreadable(path))? {
        None => Ok(()),
        Some(EntryKind::File) => filesystem.read_file(path, limit).map(drop).map_err(unreadable(path)),
        Some(found) => Err(LookupError::OddMetadata { path: Text::new(path), found }),
    }
}

fn unreadable(path: &str) -> impl FnOnce(FilesystemError) -> LookupError {
    let path = Text::new(path);
    move |error| LookupError::UnreadableMetadata { path, error }
}
