//! Markers with which overlayfs hides files of the host.

use std::fmt;

/// The extended attributes of a directory that are markers, without `trusted.`. Any value counts: of the two that the
/// kernel knows, one makes a directory opaque, the other makes it look for whiteouts among the attributes of files.
pub(super) const ATTRIBUTES: [(&[u8], Mask); 2] =
    [(b"overlay.opaque", Mask::Opaque), (b"overlay.redirect", Mask::Redirect)];

/// The kind of a marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// Hides everything that the host has in the directory.
    Opaque,
    /// Hides everything that the host has in the directory, and shows another directory of the host in its place.
    Redirect,
    /// Hides the file of that name.
    Whiteout,
}

impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Opaque => "is opaque (trusted.overlay.opaque) and would hide all that the host has there",
            Self::Redirect => "is redirected (trusted.overlay.redirect) and would hide what the host has there",
            Self::Whiteout => "is a whiteout (a character device 0:0) and would hide what the host has there",
        })
    }
}
