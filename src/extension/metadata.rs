//! Files of an image that systemd reads before a merge.
//!
//! For every image that it finds, `systemd-sysext` reads files that describe a system, whether or not the image will be
//! merged (systemd 254, 257 and 262, `src/sysext/sysext.c`, `image_discover_and_read_metadata`;
//! `src/shared/discover-image.c`, `image_read_metadata`; `src/shared/dissect-image.c`,
//! `dissected_image_acquire_metadata`). A child process opens each file with `O_RDONLY|O_CLOEXEC|O_NOCTTY`, follows
//! links inside the image, and copies the whole file into a pipe. One image can affect all others:
//!
//! - A FIFO blocks the child in `open`, its parent in `read`, and with them the boot, because the unit has no timeout.
//! - A directory can be opened but not read (`EISDIR`), and the whole merge fails. A damaged file has the same effect.
//! - Of `etc/hostname` and `etc/machine-id` the parent reads one line and closes the pipe. If the child has not
//!   finished by then, `SIGPIPE` kills it, and the whole merge fails. This was observed with files of 65,535 bytes and
//!   more.
//! - Any error but "not found" on the path to `os-release`, such as a link to itself or a file called `etc`, fails the
//!   whole merge (`src/basic/os-util.c`, `open_os_release_at`, called by `dissected_image_mount`).
//! - Devices (`MS_NODEV`) and sockets (`ENXIO`) are skipped. They are refused all the same, because no extension needs
//!   them there.

use super::LookupError;
use super::lookup::locate;
use ddi::Class;
use ddi::filesystem::{EntryKind, FilesystemError, Tree};
use ddi::text::Text;
use ddi::{ExtensionName, ReleaseFile};

/// Files with fixed names, and their maximum sizes in bytes. systemd also reads `usr/lib/os-release`, which
/// [`refuse_os_release`](super::refuse_os_release) refuses.
const FIXED: [(&str, usize); 6] = [
    ("etc/hostname", MAX_LINE),
    ("etc/machine-id", MAX_LINE),
    ("etc/machine-info", ReleaseFile::MAX_LEN),
    ("etc/os-release", ReleaseFile::MAX_LEN),
    ("etc/initrd-release", ReleaseFile::MAX_LEN),
    ("usr/lib/initrd-release", ReleaseFile::MAX_LEN),
];

/// Maximum size in bytes of a file of which only a line is read. It fits into a pipe.
const MAX_LINE: usize = 4096;

/// Refuses an extension in which one of the files that systemd reads before a merge exists and is not a small regular
/// file. The release file of the other class is one of these files.
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
        // systemd reads no release file then.
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
