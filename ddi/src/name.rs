//! Names of extensions.

use crate::bytes::strip_suffix_ignore_case;
use crate::text::{is_invisible, is_noncharacter};
use std::fmt;

/// Suffixes that systemd removes from a file name to get the name (`src/basic/os-util.c`, `path_extract_image_name`),
/// longest first.
const FILE_SUFFIXES: [&str; 3] = [".sysext.raw", ".confext.raw", ".raw"];

/// Errors of [`ExtensionName::new`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name without suffix is empty.
    #[error("the name is empty")]
    Empty,
    /// The name is longer than [`ExtensionName::MAX_LEN`].
    #[error("the name has {found} bytes, the limit is {limit}", limit = ExtensionName::MAX_LEN)]
    TooLong {
        /// Length in bytes of UTF-8.
        found: usize,
    },
    /// The name begins with a dot, as do hidden files, `.`, `..` and temporary files (`.#`).
    #[error("the name begins with a dot")]
    LeadingDot,
    /// The name has a slash.
    #[error("the name contains a slash")]
    Slash,
    /// The name has a control character.
    #[error("the name contains the control character U+{:04X}", u32::from(*found))]
    Control {
        /// The first control character.
        found: char,
    },
    /// The name has a character that is invisible, changes the direction of the text around it, or is a noncharacter.
    /// systemd refuses only noncharacters (systemd 257, `src/basic/utf8.c`, `unichar_is_valid`).
    #[error("the name contains U+{:04X}, which is invisible", u32::from(*found))]
    Invisible {
        /// The first such character.
        found: char,
    },
    /// The name has a character with a meaning in mount options. The names of all extensions become one option of the
    /// overlay mount. systemd escapes these characters, but loses the escapes before it mounts, and the whole merge
    /// fails (systemd 257, `src/sysext/sysext.c`, `mount_overlayfs`; `src/shared/mount-util.c`, `mount_option_mangle`).
    #[error("the name contains {found:?}, which systemd cannot use in an overlay")]
    Special {
        /// The first such character.
        found: char,
    },
    /// The name ends in a suffix that systemd would remove: staged as `a.sysext.raw`, the extension `a.sysext` is `a`
    /// for systemd.
    #[error("the name ends in {suffix}, which systemd would read as part of the file suffix")]
    ClassSuffix {
        /// The suffix.
        suffix: &'static str,
    },
}

/// A valid name of an extension: the file name without `.sysext.raw` or `.confext.raw`.
///
/// The valid names are a subset of those that systemd accepts (`src/basic/os-util.c`, `image_name_is_valid`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExtensionName(String);

impl ExtensionName {
    /// Maximum length in bytes. File names with every prefix and suffix stay below the kernel's limit of 255.
    pub const MAX_LEN: usize = 128;

    /// Checks a name.
    ///
    /// # Errors
    /// [`NameError`] for the first rule that `name` breaks.
    pub fn new(name: &str) -> Result<Self, NameError> {
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.len() > Self::MAX_LEN {
            return Err(NameError::TooLong { found: name.len() });
        }
        if name.starts_with('.') {
            return Err(NameError::LeadingDot);
        }
        if name.contains('/') {
            return Err(NameError::Slash);
        }
        if let Some(found) = name.chars().find(|c| c.is_control()) {
            return Err(NameError::Control { found });
        }
        if let Some(found) = name.chars().find(|c| is_invisible(*c)) {
            return Err(NameError::Invisible { found });
        }
        if let Some(found) = name.chars().find(|c| matches!(c, ',' | ':' | '\\' | '"' | '\'')) {
            return Err(NameError::Special { found });
        }
        for suffix in [".sysext", ".confext"] {
            if strip_suffix_ignore_case(name, suffix).is_some() {
                return Err(NameError::ClassSuffix { suffix });
            }
        }
        Ok(Self(name.to_owned()))
    }

    /// Returns the name as a string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name without version: the part before the first `_` or `+` (`src/basic/os-util.c`,
    /// `path_extract_image_name`, systemd 254 and later). Returns `None` if that is not a valid name. systemd then
    /// accepts only a release file of exactly this name.
    #[must_use]
    pub fn base(&self) -> Option<&str> {
        let stem = FILE_SUFFIXES.iter().find_map(|suffix| self.0.strip_suffix(suffix)).unwrap_or(&self.0);
        stem.split(['_', '+']).next().filter(|base| image_name_is_valid(base))
    }
}

impl fmt::Display for ExtensionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns whether systemd accepts a name of a release file inside an image (`src/basic/os-util.c`,
/// `image_name_is_valid`; `src/basic/path-util.c`, `filename_is_valid`; `src/basic/utf8.c`, `utf8_is_valid`). This rule
/// is wider than [`ExtensionName::new`]. systemd ignores files with other names.
#[must_use]
pub fn image_name_is_valid(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && name != "."
        && name != ".."
        && !name.starts_with(".#")
        && !name.bytes().any(|byte| byte == b'/' || byte.is_ascii_control())
        && !name.chars().any(is_noncharacter)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_within_the_rules_are_taken_as_they_are() {
        for name in ["k3s", "good_1.2", "a+b", "mü sli", "a.raw", "x".repeat(128).as_str(), "a.sysext2", "-"] {
            assert_eq!(ExtensionName::new(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn each_rule_refuses_with_its_own_cause() {
        let error = |name: &str| ExtensionName::new(name).unwrap_err();
        assert_eq!(error(""), NameError::Empty);
        assert_eq!(error(&"ü".repeat(65)), NameError::TooLong { found: 130 });
        assert_eq!(error(".."), NameError::LeadingDot);
        assert_eq!(error(".#x"), NameError::LeadingDot);
        assert_eq!(error("a/b"), NameError::Slash);
        assert_eq!(error("a\0b"), NameError::Control { found: '\0' });
        assert_eq!(error("a\u{9b}b"), NameError::Control { found: '\u{9b}' });
        assert_eq!(error("a\u{7f}").to_string(), "the name contains the control character U+007F");
        for found in ['\u{fffe}', '\u{fdd0}', '\u{10ffff}', '\u{202e}', '\u{200b}', '\u{feff}', '\u{ad}', '\u{e0041}'] {
            assert_eq!(error(&format!("a{found}b")), NameError::Invisible { found });
        }
        assert!(image_name_is_valid("a\u{202e}b") && image_name_is_valid("a\u{85}b"), "systemd takes them");
        for name in ["a\u{fffe}", "a\u{fdef}", "a\u{1ffff}", "a\u{7f}", ".#a"] {
            assert!(!image_name_is_valid(name), "{name:?}");
        }
        assert_eq!(error("a.sysext"), NameError::ClassSuffix { suffix: ".sysext" });
        assert_eq!(error("a.CONFEXT"), NameError::ClassSuffix { suffix: ".confext" });
    }

    #[test]
    fn the_base_is_what_stands_before_the_version() {
        let base = |name: &str| ExtensionName::new(name).unwrap().base().map(str::to_owned);
        assert_eq!(base("k3s").as_deref(), Some("k3s"));
        assert_eq!(base("k3s_1.2+3").as_deref(), Some("k3s"));
        assert_eq!(base("k3s+1_2").as_deref(), Some("k3s"));
        assert_eq!(base("k3s-1.2").as_deref(), Some("k3s-1.2"));
        assert_eq!(base("k3s.raw").as_deref(), Some("k3s"));
        assert_eq!(base("_1.2"), None);
        assert_eq!(base("+"), None);
    }
}
