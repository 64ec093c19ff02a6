//! Bounded and escaped text from outside, safe for every terminal, log and document.
//!
//! An attacker may have chosen every byte of a file name on the partition, a member of the signature partition, a
//! certificate's subject, a firmware variable, a registry's answer or a line of a report. [`Text`] holds such bytes
//! from where they enter the program. [`Message`] is a sentence that may quote several of them. One writer makes both,
//! and escapes and bounds everything that is formatted into it, so callers cannot forget it.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::ffi::OsStr;
use std::fmt::{self, Display, Write};
use std::os::unix::ffi::OsStrExt;

/// Text from outside, such as a file name or a certificate's subject: escaped, and at most [`Text::LIMIT`] bytes
/// followed by a marker with the original length.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Text(String);

impl Text {
    /// Maximum length in bytes of the escaped text, without the marker.
    pub const LIMIT: usize = 512;

    /// Escapes and bounds the `Display` output of `text`.
    pub fn new(text: impl Display) -> Self {
        Self(escape(Self::LIMIT, format_args!("{text}")))
    }

    /// Escapes and bounds bytes that should be UTF-8. Bytes that are not become `\xNN`.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(escape(Self::LIMIT, format_args!("{}", Lossless(bytes))))
    }

    /// Escapes and bounds a file name.
    #[must_use]
    pub fn from_os(name: &OsStr) -> Self {
        Self::from_bytes(name.as_bytes())
    }

    /// Returns the escaped text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A sentence for people that may quote text from outside: escaped, and at most [`Message::LIMIT`] bytes followed by a
/// marker with the original length.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Message(String);

impl Message {
    /// Maximum length in bytes of the escaped text, without the marker.
    pub const LIMIT: usize = 2048;

    /// Escapes and bounds the `Display` output of `text`.
    pub fn new(text: impl Display) -> Self {
        Self(escape(Self::LIMIT, format_args!("{text}")))
    }

    /// Returns the escaped text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Implements the common traits of both types.
macro_rules! escaped_string {
    ($($name:ident)*) => {$(
        impl Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        /// Formats the text in quotation marks, as messages show names.
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.0 == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.0 == *other
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self::new(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        /// Escapes and bounds the text again, because its writer is unknown.
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Ok(Self(read_back(Self::LIMIT, &text)))
            }
        }
    )*};
}

escaped_string!(Text Message);

/// Maximum length in bytes of a marker in text that is read back.
const MARKER_ROOM: usize = 32;

fn escape(limit: usize, text: fmt::Arguments<'_>) -> String {
    let mut writer = Escaping { out: String::new(), limit, len: 0, full: false };
    // The writer never fails, and an error of the formatted value does not matter here.
    let _ = writer.write_fmt(text);
    let Escaping { mut out, len, full, .. } = writer;
    if full {
        let _ = write!(out, "… ({len} bytes)");
    }
    out
}

/// Escapes and bounds text that may be output of [`escape`]. Text with a marker stays the same, however often it is
/// read back.
fn read_back(limit: usize, text: &str) -> String {
    let mut writer = Escaping { out: String::new(), limit: limit.saturating_add(MARKER_ROOM), len: 0, full: false };
    let _ = writer.write_str(text);
    if writer.full { escape(limit, format_args!("{text}")) } else { writer.out }
}

/// A writer that keeps escaped text up to `limit` and counts all bytes.
struct Escaping {
    out: String,
    limit: usize,
    /// Bytes written, before escaping.
    len: u64,
    full: bool,
}

impl Write for Escaping {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.len = self.len.saturating_add(u64::try_from(text.len()).unwrap_or(u64::MAX));
        if self.full {
            return Ok(());
        }
        for character in text.chars() {
            let before = self.out.len();
            if is_invisible(character) {
                self.out.extend(character.escape_default());
            } else {
                self.out.push(character);
            }
            if self.out.len() > self.limit {
                self.out.truncate(before);
                self.full = true;
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Displays bytes as text, and each byte that is not UTF-8 as `\xNN`.
struct Lossless<'a>(&'a [u8]);

impl Display for Lossless<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            f.write_str(chunk.valid())?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// A JSON document with JSON's escapes for all characters that can't be seen but line ends, which are between its strings only. A
/// program reads the same document, and a terminal shows what is in it.
#[must_use]
pub fn json_visible(document: &str) -> String {
    let mut out = String::with_capacity(document.len());
    for character in document.chars() {
        if character != '\n' && is_invisible(character) {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(character);
        }
    }
    out
}

/// Returns whether a character moves the cursor, starts a line, changes the direction of the text around it, or is
/// invisible: general categories Cc, Cf, Zl and Zp, noncharacters, and letters that are defined as blank (Unicode 16.0,
/// `DerivedGeneralCategory.txt`; Unicode Standard Annex 9 for the bidirectional ones).
#[must_use]
pub fn is_invisible(character: char) -> bool {
    character.is_control()
        || is_noncharacter(character)
        || matches!(
            character,
            '\u{ad}'
                | '\u{600}'..='\u{605}'
                | '\u{61c}'
                | '\u{6dd}'
                | '\u{70f}'
                | '\u{890}'..='\u{891}'
                | '\u{8e2}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{110bd}'
                | '\u{110cd}'
                | '\u{13430}'..='\u{1343f}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// Returns whether a code point is a noncharacter (Unicode 16.0, section 23.7).
#[must_use]
pub fn is_noncharacter(character: char) -> bool {
    u32::from(character) & 0xfffe == 0xfffe || matches!(character, '\u{fdd0}'..='\u{fdef}')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_name_cannot_forge_a_line_move_the_cursor_or_turn_the_direction() {
        assert_eq!(Text::new("a\nb\u{1b}[2Jc\u{202e}d\u{9b}e\u{fffe}"), "a\\nb\\u{1b}[2Jc\\u{202e}d\\u{9b}e\\u{fffe}");
        assert_eq!(Text::new("müsli 日本語"), "müsli 日本語");
        assert_eq!(format!("{:?}", Text::new("a name")), "\"a name\"");
        assert_eq!(Text::from_bytes(b"a\xff\xc3("), "a\\xff\\xc3(");
    }

    #[test]
    fn long_text_is_cut_and_its_true_length_is_told() {
        let text = Text::new("\u{7f}".repeat(4 << 20));
        assert!(text.as_str().len() <= Text::LIMIT + 32, "{}", text.as_str().len());
        assert!(text.as_str().ends_with("… (4194304 bytes)"), "{text}");
        let whole = "x".repeat(Text::LIMIT);
        assert_eq!(Text::new(&whole), whole.as_str());
        // Several pieces are bounded and counted together.
        let message = Message::new(format_args!("{} and {}", "y".repeat(3000), "z".repeat(3000)));
        assert!(message.as_str().ends_with("… (6005 bytes)"), "{message}");
    }

    #[test]
    fn a_character_is_kept_whole_or_not_at_all() {
        let text = Text::new("ä".repeat(400));
        assert!(text.as_str().starts_with(&"ä".repeat(256)) && text.as_str().ends_with("… (800 bytes)"));
        let text = Text::new(format_args!("{}\u{1b}", "x".repeat(Text::LIMIT - 3)));
        assert!(!text.as_str().contains('\\'), "{text}");
    }

    #[test]
    fn what_is_read_back_is_what_was_written() {
        for text in
            ["plain", "a\nb\u{1b}", &"\u{1b}".repeat(1000), &"x".repeat(3000), &"y".repeat(540), &"\u{1b}z".repeat(90)]
        {
            let once = Message::new(text);
            let json = serde_json::to_string(&once).unwrap();
            assert_eq!(serde_json::from_str::<Message>(&json).unwrap(), once);
            // Text from other writers may have any length, and changes only at the first reading.
            let foreign = serde_json::to_string(text).unwrap();
            let read: Text = serde_json::from_str(&foreign).unwrap();
            let json = serde_json::to_string(&read).unwrap();
            assert_eq!(serde_json::from_str::<Text>(&json).unwrap(), read);
        }
    }
}
