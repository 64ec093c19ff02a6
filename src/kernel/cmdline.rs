//! The switches about verity on the kernel's command line. A UKI's signature covers it, and its switches can only make
//! the rules stricter.

use ddi::bytes::boolean;

/// The switch of systemd (256 and later) that permits only the kernel to verify signatures (kernel-command-line(7)).
pub(super) const ALLOW_USERSPACE: &str = "systemd.allow_userspace_verity";

/// Characters that separate words (`src/fundamental/string-util-fundamental.h`, `WHITESPACE`).
const SEPARATORS: [char; 4] = [' ', '\t', '\n', '\r'];

/// Returns whether only the kernel may verify signatures, by systemd's rules: the last value counts, the word without
/// value is ignored, `-` equals `_`, and an invalid boolean means yes (systemd 257, `src/basic/proc-cmdline.c`,
/// `proc_cmdline_get_key`; `src/shared/dissect-image.c`, `validate_signature_userspace`).
#[must_use]
pub fn only_kernel_verifies(cmdline: &str) -> bool {
    let value = |word: &String| {
        let (key, value) = word.split_once('=')?;
        (key.replace('-', "_") == ALLOW_USERSPACE).then(|| boolean(value.as_bytes()))
    };
    words(cmdline).iter().filter_map(value).next_back().is_some_and(|said| said != Some(true))
}

/// Returns whether the last value of the switch `key` is a valid boolean and false. The spelling of the key must be
/// exact, as in the conditions of systemd's units (systemd 262, `units/systemd-sysext.service.in`).
#[must_use]
pub fn is_off(cmdline: &str, key: &str) -> bool {
    let words = words(cmdline);
    let mut values = words.iter().filter_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    values.next_back().is_some_and(|value| boolean(value.as_bytes()) == Some(false))
}

/// Splits a command line into words. Quotes of both kinds keep spaces in a word and are removed, even in the middle of
/// it. An unclosed quote extends to the end. A backslash has no special meaning (systemd 257,
/// `src/basic/proc-cmdline.c`, `proc_cmdline_strv_internal`: `EXTRACT_UNQUOTE|EXTRACT_RELAX|EXTRACT_RETAIN_ESCAPE`;
/// `src/basic/extract-word.c`, `extract_first_word`).
#[must_use]
pub fn words(cmdline: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for character in cmdline.chars() {
        if quote == Some(character) {
            quote = None;
        } else if quote.is_none() && matches!(character, '"' | '\'') {
            quote = Some(character);
            word.get_or_insert_default();
        } else if quote.is_none() && SEPARATORS.contains(&character) {
            words.extend(word.take());
        } else {
            word.get_or_insert_default().push(character);
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_systemd_takes_for_words() {
        for (text, expected) in [
            ("", &[] as &[&str]),
            (" \t a\r\nb ", &["a", "b"]),
            ("a\"b c\"d 'e \"f' \"\" ''", &["ab cd", "e \"f", "", ""]),
            ("a 'b c", &["a", "b c"]),
            ("a\\ b \"c\\\" d", &["a\\", "b", "c\\", "d"]),
            ("a\u{b}b\u{c}c\u{a0}d", &["a\u{b}b\u{c}c\u{a0}d"]),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
    }

    #[test]
    fn a_switch_is_off_by_its_last_value() {
        for (text, expected) in [
            ("", false),
            ("quiet systemd.sysext=0", true),
            ("systemd.sysext=0 systemd.sysext=1", false),
            ("systemd.sysext=1 \"systemd.sysext=no\"", true),
            ("systemd.sysext", false),
            ("systemd.sysext=maybe", false),
            ("rd.systemd.sysext=0 xsystemd.sysext=0 systemd.sysextra=0", false),
        ] {
            assert_eq!(is_off(text, "systemd.sysext"), expected, "{text}");
        }
    }

    #[test]
    fn whatever_is_no_clear_yes_leaves_the_say_to_the_kernel() {
        for text in [
            "quiet systemd.allow_userspace_verity=0 rw",
            "systemd.allow_userspace_verity systemd.allow_userspace_verity=\"No\"",
            "systemd.allow_userspace_verity=0 systemd.allow_userspace_verity",
            "systemd.allow-userspace-verity=off",
            "\"systemd.allow_userspace_verity=0\"",
            "systemd.allow_userspace_verity=1 systemd.allow_userspace_verity=maybe",
            "systemd.allow_userspace_verity=",
            "systemd.allow_userspace_verity=0 note=\"x systemd.allow_userspace_verity=1 y\"",
            "systemd.allow_userspace_verity='1 0'",
            "systemd.allow_userspace_verity=0 'x systemd.allow_userspace_verity=1",
            "systemd.allow_userspace_verity=0\u{c} systemd.allow_userspace_verity=0\n",
            "note=\\\" x\" systemd.allow_userspace_verity=0",
        ] {
            assert!(only_kernel_verifies(text), "{text}");
        }
        for text in [
            "",
            "systemd.allow_userspace_verity",
            "systemd.allow_userspace_verity=1",
            "systemd.allow_userspace_verity=0 systemd.allow_userspace_verity=on",
            "systemd.allow_userspace_verity_not=0",
            "xsystemd.allow_userspace_verity=0",
            "note=\"x systemd.allow_userspace_verity=0\"",
            "note='\" systemd.allow_userspace_verity=0 '",
            "note=\" systemd.allow_userspace_verity=0",
            "systemd.allow_userspace_verity=0 systemd.allow_'userspace'_verity=\"1\"",
        ] {
            assert!(!only_kernel_verifies(text), "{text}");
        }
    }
}
