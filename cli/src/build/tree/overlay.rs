//! What overlayfs and fuse-overlayfs note down in extended attributes of an upper directory.
//!
//! Engines keep layers in such directories, and some leave the notes in the archives that they make (moby/moby#47962,
//! containers/storage#1847, moby/buildkit#5478, opencontainers/umoci#354). Where a note says something about layers below it is
//! applied to those, and where there are none it is told; all others mean nothing outside of the directory that they were
//! made in, and are dropped, as umoci and stacker drop them. (The kernel's `Documentation/filesystems/overlayfs.rst`; fuse-overlayfs,
//! `main.c`.)

use std::collections::BTreeMap;

/// How names of notes begin.
const PREFIXES: [&[u8]; 3] = [b"trusted.overlay.", b"user.overlay.", b"user.fuseoverlayfs."];

/// Before a note that is meant for an overlay within an overlay, and belongs to the files here.
const ESCAPE: &[u8] = b"overlay.";

/// Notes that mean something.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Notes {
    /// A directory hides what lower layers have there.
    pub(super) opaque: bool,
    /// A directory has what lower layers have at this path, absolute or beside it.
    pub(super) redirect: Option<Vec<u8>>,
    /// A file has the content of one below.
    pub(super) metacopy: bool,
    /// A file stands for none.
    pub(super) whiteout: bool,
}

impl Notes {
    /// Takes all notes out of `attributes`.
    pub(super) fn take(attributes: &mut BTreeMap<Vec<u8>, Vec<u8>>) -> Self {
        let mut notes = Self::default();
        attributes.retain(|name, value| {
            let Some(note) = PREFIXES.iter().find_map(|prefix| name.strip_prefix(*prefix)) else { return true };
            if note.starts_with(ESCAPE) {
                return true;
            }
            match note {
                // With `x` it only says that there are whiteouts among the files.
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
