//! Reads the marks that overlayfs and fuse-overlayfs set in extended attributes of an upper directory.
//!
//! Engines keep layers in such directories, and some leave the marks in the archives that they make (moby/moby#47962,
//! containers/storage#1847, moby/buildkit#5478, opencontainers/umoci#354). A mark that refers to lower layers is applied to them,
//! or reported if there are none. Other marks have no meaning outside of their directory, and are dropped, as umoci and stacker
//! do. (The kernel's `Documentation/filesystems/overlayfs.rst`; fuse-overlayfs, `main.c`.)

use std::collections::BTreeMap;

/// Prefixes of the marks.
const PREFIXES: [&[u8]; 3] = [b"trusted.overlay.", b"user.overlay.", b"user.fuseoverlayfs."];

/// Marks an escaped attribute of an overlay within an overlay, which belongs to the files.
const ESCAPE: &[u8] = b"overlay.";

/// Marks that refer to lower layers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Notes {
    /// The directory hides its content in lower layers.
    pub(super) opaque: bool,
    /// The directory has the content that lower layers have at this path, absolute or relative to its parent.
    pub(super) redirect: Option<Vec<u8>>,
    /// The file has the content of the file in a lower layer.
    pub(super) metacopy: bool,
    /// The file is a whiteout.
    pub(super) whiteout: bool,
}

impl Notes {
    /// Removes all marks from `attributes`, and returns those that refer to lower layers.
    pub(super) fn take(attributes: &mut BTreeMap<Vec<u8>, Vec<u8>>) -> Self {
        let mut notes = Self::default();
        attributes.retain(|name, value| {
            let Some(note) = PREFIXES.iter().find_map(|prefix| name.strip_prefix(*prefix)) else { return true };
            if note.starts_with(ESCAPE) {
                return true;
            }
            match note {
                // The value `x` only says that the directory contains whiteouts.
                b"opaque" => notes.opaque |= value.first() == Some(&b'y'),
                b"redirect" if !value.is_empty() => notes.redirect = Some(value.clone()),
                b"metacopy" => notes.metacopy = true,
                b"whiteout" => notes.whiteout = true,
                _ => {}
            }
            false
        });
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_told_from_attributes() {
        let pairs: [(&str, &[u8]); 9] = [
            ("user.note", b"x"),
            ("trusted.overlayfs", b"x"),
            ("trusted.overlay.overlay.opaque", b"y"),
            ("user.overlay.origin", b""),
            ("user.overlay.impure", b"y"),
            ("user.fuseoverlayfs.origin", b"x"),
            ("trusted.overlay.opaque", b"y"),
            ("user.overlay.redirect", b"/usr/old"),
            ("trusted.overlay.metacopy", b""),
        ];
        let mut attributes: BTreeMap<Vec<u8>, Vec<u8>> =
            pairs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect();
        let redirect = Some(b"/usr/old".to_vec());
        assert_eq!(Notes::take(&mut attributes), Notes { opaque: true, redirect, metacopy: true, whiteout: false });
        let left: Vec<_> = attributes.keys().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        assert_eq!(left, ["trusted.overlay.overlay.opaque", "trusted.overlayfs", "user.note"]);
        for (value, opaque) in [(&b"y"[..], true), (b"x", false), (b"", false), (b"n", false)] {
            for prefix in ["trusted.overlay", "user.overlay", "user.fuseoverlayfs"] {
                let name = format!("{prefix}.opaque").into_bytes();
                let notes = Notes::take(&mut BTreeMap::from([(name, value.to_vec())]));
                assert_eq!(notes.opaque, opaque, "{prefix} {value:?}");
            }
        }
    }
}
