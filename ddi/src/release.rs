//! Parser of files in the format of os-release(5), compatible with systemd.
//!
//! The grammar is that of systemd 257 (`src/basic/env-file.c`, `parse_env_file_internal`), which is wider than the one
//! in os-release(5): a value may mix quoted and bare text and continue on the next line, a comment begins with `#` or
//! `;`, and a backslash escapes.

use std::collections::BTreeMap;

/// Errors of [`ReleaseFile::parse`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// The file is larger than [`ReleaseFile::MAX_LEN`].
    #[error("{found} bytes of release file, the limit is {limit}", limit = ReleaseFile::MAX_LEN)]
    TooLong {
        /// Length of the file in bytes.
        found: usize,
    },
    /// The file has a NUL byte. systemd refuses the whole file (`src/basic/fileio.c`, `read_full_stream_full`).
    #[error("NUL byte at offset {offset}")]
    Nul {
        /// Offset in the file, in bytes.
        offset: usize,
    },
    /// An assignment is not UTF-8. systemd refuses the whole file (`check_utf8ness_and_warn`).
    #[error("the assignment that ends on line {line} is not UTF-8")]
    NotUtf8 {
        /// Line number, from 1.
        line: usize,
    },
}

/// The assignments of a release file. Each key occurs once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReleaseFile {
    pairs: BTreeMap<String, String>,
}

impl ReleaseFile {
    /// Maximum size of a file in bytes. Real ones have a few hundred; systemd would read 64 MiB.
    pub const MAX_LEN: usize = 64 * 1024;

    /// Parses a file. Lines without `=` are ignored. If a key is assigned several times, the last value counts.
    ///
    /// # Errors
    /// [`ReleaseError`] if systemd refuses the file too, or if it is larger than [`ReleaseFile::MAX_LEN`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ReleaseError> {
        if bytes.len() > Self::MAX_LEN {
            return Err(ReleaseError::TooLong { found: bytes.len() });
        }
        if let Some(offset) = bytes.iter().position(|byte| *byte == 0) {
            return Err(ReleaseError::Nul { offset });
        }
        let mut parser = Parser::default();
        for byte in bytes {
            parser.take(*byte)?;
        }
        parser.finish()
    }

    /// Returns the value of `key`, which is empty after an assignment of nothing.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs.get(key).map(String::as_str)
    }

    /// Returns the value of `key` if it is not empty. Most rules of systemd do not distinguish an empty value from
    /// none.
    #[must_use]
    pub fn get_non_empty(&self, key: &str) -> Option<&str> {
        self.get(key).filter(|value| !value.is_empty())
    }

    /// Returns whether there are no assignments.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Iterates over all assignments, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    BeforeKey,
    Key,
    BeforeValue,
    Value,
    ValueEscape,
    SingleQuoted,
    DoubleQuoted,
    DoubleQuotedEscape,
    Comment,
    CommentEscape,
}

/// Bytes of a key or value, and the offset from which all of them are white space.
#[derive(Default)]
struct Text {
    bytes: Vec<u8>,
    blank_from: Option<usize>,
}

impl Text {
    fn push(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    /// Appends an unquoted byte. White space at the end will be trimmed.
    fn push_bare(&mut self, byte: u8) {
        if !is_blank(byte) {
            self.blank_from = None;
        } else if self.blank_from.is_none() {
            self.blank_from = Some(self.bytes.len());
        }
        self.push(byte);
    }

    fn trimmed(mut self) -> Vec<u8> {
        if let Some(end) = self.blank_from {
            self.bytes.truncate(end);
        }
        self.bytes
    }
}

#[derive(Default)]
struct Parser {
    file: ReleaseFile,
    state: State,
    key: Text,
    value: Text,
    line: usize,
}

impl Parser {
    fn take(&mut self, byte: u8) -> Result<(), ReleaseError> {
        let ends_line = is_newline(byte);
        if ends_line && byte == b'\n' {
            self.line = self.line.saturating_add(1);
        }
        self.state = match self.state {
            State::BeforeKey if matches!(byte, b'#' | b';') => State::Comment,
            State::BeforeKey if is_blank(byte) => State::BeforeKey,
            State::BeforeKey => {
                self.key = Text::default();
                self.key.push(byte);
                State::Key
            }
            State::Key if ends_line => State::BeforeKey,
            State::Key if byte == b'=' => {
                self.value = Text::default();
                State::BeforeValue
            }
            State::Key => {
                self.key.push_bare(byte);
                State::Key
            }
            // Unquoted text at the very end loses its trailing white space. Quoted text never does.
            State::BeforeValue if ends_line => {
                self.value.blank_from = None;
                self.assign()?;
                State::BeforeKey
            }
            State::BeforeValue => match byte {
                b'\'' => State::SingleQuoted,
                b'"' => State::DoubleQuoted,
                b'\\' => State::ValueEscape,
                byte if is_blank(byte) => State::BeforeValue,
                byte => {
                    self.value.push(byte);
                    State::Value
                }
            },
            State::Value if ends_line => {
                self.assign()?;
                State::BeforeKey
            }
            State::Value if byte == b'\\' => {
                self.value.blank_from = None;
                State::ValueEscape
            }
            State::Value => {
                self.value.push_bare(byte);
                State::Value
            }
            State::ValueEscape => {
                if !ends_line {
                    self.value.push(byte);
                }
                State::Value
            }
            State::SingleQuoted if byte == b'\'' => State::BeforeValue,
            State::DoubleQuoted if byte == b'"' => State::BeforeValue,
            State::DoubleQuoted if byte == b'\\' => State::DoubleQuotedEscape,
            quoted @ (State::SingleQuoted | State::DoubleQuoted) => {
                self.value.push(byte);
                quoted
            }
            State::DoubleQuotedEscape => {
                match byte {
                    b'"' | b'\\' | b'`' | b'$' => self.value.push(byte),
                    b'\n' => {}
                    other => {
                        self.value.push(b'\\');
                        self.value.push(other);
                    }
                }
                State::DoubleQuoted
            }
            State::Comment if byte == b'\\' => State::CommentEscape,
            State::Comment | State::CommentEscape if ends_line => State::BeforeKey,
            State::Comment | State::CommentEscape => State::Comment,
        };
        Ok(())
    }

    fn finish(mut self) -> Result<ReleaseFile, ReleaseError> {
        match self.state {
            State::BeforeKey | State::Key | State::Comment | State::CommentEscape => {}
            State::Value => self.assign()?,
            State::BeforeValue
            | State::ValueEscape
            | State::SingleQuoted
            | State::DoubleQuoted
            | State::DoubleQuotedEscape => {
                self.value.blank_from = None;
                self.assign()?;
            }
        }
        Ok(self.file)
    }

    fn assign(&mut self) -> Result<(), ReleaseError> {
        let not_utf8 = |_| ReleaseError::NotUtf8 { line: self.line.max(1) };
        let key = String::from_utf8(std::mem::take(&mut self.key).trimmed()).map_err(not_utf8)?;
        let value = String::from_utf8(std::mem::take(&mut self.value).trimmed()).map_err(not_utf8)?;
        self.file.pairs.insert(key, value);
        Ok(())
    }
}

fn is_newline(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        ReleaseFile::parse(text.as_bytes()).unwrap().pairs.into_iter().collect()
    }

    fn value(text: &str) -> String {
        ReleaseFile::parse(text.as_bytes()).unwrap().get("A").unwrap().to_owned()
    }

    #[test]
    fn assignments_comments_and_blank_lines() {
        let text = "\n# c\n; c\n  ID = debian \t\nVERSION_ID=\"13\"\n\nno assignment\nEMPTY=\nLAST='x y'";
        let expected = [("EMPTY", ""), ("ID", "debian"), ("LAST", "x y"), ("VERSION_ID", "13")];
        assert_eq!(pairs(text), expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert!(ReleaseFile::parse(b"# only a comment").unwrap().is_empty());
    }

    #[test]
    fn quotes_and_escapes() {
        assert_eq!(value(r#"A="a\"b\$c\`d\\e\nf""#), r#"a"b$c`d\e\nf"#);
        assert_eq!(value(r"A='a\'b"), r"a\b");
        assert_eq!(value(r"A=a\ b\\c"), r"a b\c");
        assert_eq!(value("A=\"a\"b'c'"), "ab'c'");
        assert_eq!(value("A=\"a \" 'b' "), "a b");
        assert_eq!(value("A=a\\ "), "a ");
        assert_eq!(value("A=\"open"), "open");
    }

    #[test]
    fn a_value_goes_on_where_its_line_end_is_escaped_or_quoted() {
        assert_eq!(value("A=a\\\nb"), "ab");
        assert_eq!(value("A=\"a\\\nb\nc\""), "ab\nc");
    }

    #[test]
    fn an_escaped_line_end_does_not_lengthen_a_comment() {
        assert_eq!(value("# c \\\nA=x"), "x");
    }

    #[test]
    fn carriage_returns_end_lines_too() {
        let text = "ID=a\r\nA=b\r\n";
        assert_eq!(pairs(text), [("A", "b"), ("ID", "a")].map(|(k, v)| (k.to_owned(), v.to_owned())));
    }

    #[test]
    fn the_last_assignment_counts() {
        assert_eq!(pairs("A=1\nB=2\nA=\n"), [("A", ""), ("B", "2")].map(|(k, v)| (k.to_owned(), v.to_owned())));
    }

    #[test]
    fn what_systemd_does_not_read_is_an_error() {
        assert_eq!(ReleaseFile::parse(b"A=b\0"), Err(ReleaseError::Nul { offset: 3 }));
        assert_eq!(ReleaseFile::parse(b"A=b\nB=\xff\n"), Err(ReleaseError::NotUtf8 { line: 2 }));
        let long = vec![b'#'; ReleaseFile::MAX_LEN + 1];
        assert_eq!(ReleaseFile::parse(&long), Err(ReleaseError::TooLong { found: long.len() }));
    }
}
