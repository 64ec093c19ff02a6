//! Names of variants: `ENTRY.pcrlock` and `ENTRY@DIGEST.pcrlock`.

use std::fmt::Write;

/// Suffix of variants (systemd.pcrlock(5)).
pub(super) const SUFFIX: &str = ".pcrlock";

/// Returns the name of the variant with what the next boot of an entry measures.
pub(super) fn next(entry: &str) -> String {
    format!("{}{SUFFIX}", escape(entry))
}

/// Returns the name of another variant of an entry, with the first digits of its value.
pub(super) fn former(entry: &str, digits: &str) -> String {
    format!("{}@{digits}{SUFFIX}", escape(entry))
}

/// Splits the name of a variant into the entry, and the digits of another variant than that of the next boot. `None` if it is not
/// a name that [`next`] or [`former`] returns.
pub(super) fn parse(file: &str) -> Option<(String, Option<&str>)> {
    let stem = file.strip_suffix(SUFFIX)?;
    let (escaped, digits) = match stem.split_once('@') {
        Some((escaped, digits)) => (escaped, Some(digits)),
        None => (stem, None),
    };
    let entry = unescape(escaped)?;
    let is_it = match digits {
        Some(digits) => former(&entry, digits) == file && digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => next(&entry) == file,
    };
    (is_it && !entry.is_empty()).then_some((entry, digits))
}

/// Writes all bytes but letters, digits, `_`, `-`, and dots that do not begin the name as `%` and two digits.
fn escape(entry: &str) -> String {
    let mut escaped = String::new();
    for byte in entry.bytes() {
        let is_plain = byte.is_ascii_alphanumeric() || b"_-".contains(&byte) || (byte == b'.' && !escaped.is_empty());
        if is_plain {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

fn unescape(escaped: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = escaped;
    while let Some((plain, after)) = rest.split_once('%') {
        bytes.extend_from_slice(plain.as_bytes());
        let (digits, after) = after.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_name_means_one_entry(entry in "\\PC{1,40}", digits in "[0-9a-f]{16}") {
            for (file, expected) in [(next(&entry), None), (former(&entry, &digits), Some(digits.as_str()))] {
                prop_assert!(file.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/'));
                prop_assert!(!file.starts_with('.'));
                prop_assert_eq!(parse(&file), Some((entry.clone(), expected)));
            }
        }

        #[test]
        fn any_other_name_is_none_of_ours(file in "\\PC{0,20}(\\.pcrlock)?") {
            if let Some((entry, digits)) = parse(&file) {
                let written = digits.map_or_else(|| next(&entry), |digits| former(&entry, digits));
                prop_assert_eq!(written, file.clone());
            }
        }
    }

    #[test]
    fn names_are_readable_where_they_can_be() {
        assert_eq!(next("active"), "active.pcrlock");
        assert_eq!(next("fedora-6.12.4_x86.64"), "fedora-6.12.4_x86.64.pcrlock");
        assert_eq!(next("../a b"), "%2E.%2Fa%20b.pcrlock");
        for file in
            ["a b.pcrlock", "%61.pcrlock", "%2f.pcrlock", ".pcrlock", "a@.pcrlock.d", "a%2.pcrlock", "a@x.pcrlock"]
        {
            assert_eq!(parse(file), None, "{file}");
        }
    }
}
