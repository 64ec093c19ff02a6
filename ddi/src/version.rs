//! Comparison of extension names by version, which is systemd's merge order.

use std::cmp::Ordering;

/// Returns whether `byte` belongs to a segment or is a separator with a meaning. All other bytes only separate segments
/// (UAPI.10, "Version Format Specification").
const fn is_known(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'~' | b'-' | b'^' | b'.')
}

/// Compares names as systemd does before it merges: a greater name is above a smaller one in the overlay, so its files
/// override those of the smaller one (systemd 257, `src/sysext/sysext.c`, `merge_subprocess`, which sorts with
/// `strverscmp_improved` of `src/fundamental/string-util-fundamental.c`; UAPI.10).
///
/// Different names can be equal, such as `k3s_1.9` and `k3s_1.09`. systemd does not define the order of those.
#[must_use]
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        a = skip(a, |byte| !is_known(byte)).1;
        b = skip(b, |byte| !is_known(byte)).1;
        // `1~rc1` is older than `1`, whatever follows the `1`.
        if let Some(order) = marker(&mut a, &mut b, b'~') {
            return order;
        }
        if a.is_empty() || b.is_empty() {
            return b.is_empty().cmp(&a.is_empty());
        }
        for mark in [b'-', b'^', b'.'] {
            if let Some(order) = marker(&mut a, &mut b, mark) {
                return order;
            }
        }
        let is_number = |text: &[u8]| text.first().is_some_and(u8::is_ascii_digit);
        let order = if is_number(a) || is_number(b) {
            let ((a_digits, a_rest), (b_digits, b_rest)) =
                (skip(a, |byte| byte.is_ascii_digit()), skip(b, |byte| byte.is_ascii_digit()));
            (a, b) = (a_rest, b_rest);
            numbers(a_digits, b_digits)
        } else {
            let ((a_letters, a_rest), (b_letters, b_rest)) =
                (skip(a, |byte| byte.is_ascii_alphabetic()), skip(b, |byte| byte.is_ascii_alphabetic()));
            (a, b) = (a_rest, b_rest);
            a_letters.cmp(b_letters)
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// Removes `mark` from the start of both, or returns their order if only one of them starts with it: that one is
/// smaller.
fn marker(a: &mut &[u8], b: &mut &[u8], mark: u8) -> Option<Ordering> {
    let (a_rest, b_rest) = (a.strip_prefix(&[mark]), b.strip_prefix(&[mark]));
    let order = b_rest.is_some().cmp(&a_rest.is_some());
    if let (Some(a_rest), Some(b_rest)) = (a_rest, b_rest) {
        (*a, *b) = (a_rest, b_rest);
    }
    Some(order).filter(|order| order.is_ne())
}

/// Compares digits as numbers of any length. An empty string is smaller than all numbers.
fn numbers(a: &[u8], b: &[u8]) -> Ordering {
    let (a_zeros, b_zeros) = (skip(a, |byte| byte == b'0'), skip(b, |byte| byte == b'0'));
    let by_size = (!a.is_empty(), a_zeros.1.len()).cmp(&(!b.is_empty(), b_zeros.1.len()));
    by_size.then_with(|| a_zeros.1.cmp(b_zeros.1))
}

/// Splits `text` before its first byte for which `holds` is false.
fn skip(text: &[u8], holds: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let len = text.iter().position(|byte| !holds(*byte)).unwrap_or(text.len());
    text.split_at_checked(len).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;

    /// The order in the comment above `strverscmp_improved`, and typical names of extensions.
    #[test]
    fn the_order_is_that_of_the_specification() {
        let ascending = [
            "122.1",
            "123~rc1-1",
            "123",
            "123-a",
            "123-a.1",
            "123-1",
            "123-1.1",
            "123^post1",
            "123.a-1",
            "123.1-1",
            "123a-1",
            "124-1",
        ];
        for (at, a) in ascending.iter().enumerate() {
            for (other, b) in ascending.iter().enumerate() {
                assert_eq!(compare_versions(a, b), at.cmp(&other), "{a} {b}");
            }
        }
        assert_eq!(compare_versions("k3s_1.9", "k3s_1.10"), Ordering::Less);
        assert_eq!(compare_versions("k3s", "k3s_1"), Ordering::Less);
        assert_eq!(compare_versions("k3s_1.9", "k3s_1.09"), Ordering::Equal);
        assert_eq!(compare_versions("1_2", "1__2"), Ordering::Equal);
    }
}
