//! What makes overlayfs hide files of the host.

use std::fmt;

/// The attributes of a directory, without `trusted.`. Whatever the value: of the two that the kernel knows one makes a directory
/// opaque, and the other has it look for whiteouts among the attributes of files.
pub(super) const ATTRIBUTES: [(&[u8], Mask); 2] =
    [(b"overlay.opaque", Mask::Opaque), (b"overlay.redirect", Mask::Redirect)];

/// How files of the host are hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// All that the host has in a directory.
    Opaque,
    /// The same, and what it has in another one is shown in its place.
    Redirect,
    /// The file of that name.
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
