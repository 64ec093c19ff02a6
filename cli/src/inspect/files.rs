//! Lists the files of an image.

use ddi::filesystem::{EntryKind, Node};
use ddi::text::Text;
use serde::Serialize;
use std::fmt::Write;

/// A file, directory or link.
#[derive(Debug, Serialize)]
pub struct FileRow {
    /// Path in the image, with a leading slash.
    pub path: Text,
    /// `file`, `directory`, `symlink`, or a kind that no extension should contain.
    pub kind: &'static str,
    /// Permissions as octal digits.
    pub mode: String,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size in bytes.
    pub size: u64,
    /// Target of a symbolic link.
    pub target: Option<Text>,
    #[serde(skip)]
    letters: String,
}

impl From<&Node> for FileRow {
    fn from(node: &Node) -> Self {
        let (kind, letter) = match node.kind {
            EntryKind::File => ("file", '-'),
            EntryKind::Directory => ("directory", 'd'),
            EntryKind::Symlink => ("symlink", 'l'),
            EntryKind::CharacterDevice => ("character-device", 'c'),
            EntryKind::BlockDevice => ("block-device", 'b'),
            EntryKind::Fifo => ("fifo", 'p'),
            EntryKind::Socket => ("socket", 's'),
        };
        Self {
            path: Text::from_bytes(&[b"/", node.path.as_slice()].concat()),
            kind,
            mode: format!("{:04o}", node.mode),
            uid: node.uid,
            gid: node.gid,
            size: node.size,
            target: node.target.as_deref().map(Text::from_bytes),
            letters: letters(letter, node.mode),
        }
    }
}

/// Formats a mode as `ls -l` does.
fn letters(kind: char, mode: u16) -> String {
    let mut text = String::from(kind);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (bits & 1 != 0, mode & special != 0) {
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// Formats the rows as text.
#[must_use]
pub fn list(rows: &[FileRow]) -> String {
    let width = |of: &dyn Fn(&FileRow) -> String| rows.iter().map(|row| of(row).len()).max().unwrap_or_default();
    let owner = |row: &FileRow| format!("{}:{}", row.uid, row.gid);
    let (owners, sizes) = (width(&owner), width(&|row| row.size.to_string()));
    let mut out = String::new();
    for row in rows {
        let target = row.target.as_ref().map(|target| format!(" -> {target}")).unwrap_or_default();
        let _ = writeln!(out, "{} {:<owners$} {:>sizes$} {}{target}", row.letters, owner(row), row.size, row.path);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::letters;

    #[test]
    fn modes_are_shown_as_ls_shows_them() {
        assert_eq!(letters('-', 0o755), "-rwxr-xr-x");
        assert_eq!(letters('-', 0o4711), "-rws--x--x");
        assert_eq!(letters('d', 0o1777), "drwxrwxrwt");
        assert_eq!(letters('-', 0o6000), "---S--S---");
        assert_eq!(letters('d', 0o1000), "d--------T");
    }
}
