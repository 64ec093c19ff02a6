//! Extended headers of tar archives (POSIX.1-2024, pax, "pax Extended Header").
//!
//! Read here because values are binary: a file capability may contain a newline, at which a reader that goes by lines
//! gives up.
#![deny(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

use super::Time;

/// Most bytes of one extended header. A hundred attributes of usual size have a few KiB, the longest path 4.
pub(super) const MAX_LEN: u64 = 1 << 20;

/// Most records of one extended header: files with holes may have two for each piece of data.
const MAX_RECORDS: usize = 16_384;

/// An extended header that can't be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PaxError {
    /// Not `LENGTH KEYWORD=VALUE\n`.
    #[error("the record at byte {offset} of the extended header is malformed")]
    Record {
        /// Where in the header's data
        offset: usize,
    },
    /// More than [`MAX_RECORDS`].
    #[error("the extended header has more than {MAX_RECORDS} records")]
    TooMany,
    /// A value that should be a number and isn't.
    #[error("{keyword} of the extended header is no number that can be used")]
    Number {
        /// Its keyword
        keyword: &'static str,
    },
}

/// Keyword and value.
pub(super) type Record<'a> = (&'a [u8], &'a [u8]);

/// The records in the order in which they stand.
///
/// # Errors
/// [`PaxError::Record`], [`PaxError::TooMany`]
pub(super) fn records(data: &[u8]) -> Result<Vec<Record<'_>>, PaxError> {
    let mut found = Vec::new();
    let mut rest = data;
    while !rest.is_empty() {
        let offset = data.len().saturating_sub(rest.len());
        let (keyword, value, next) = record(rest).ok_or(PaxError::Record { offset })?;
        if found.len() >= MAX_RECORDS {
            return Err(PaxError::TooMany);
        }
        found.push((keyword, value));
        rest = next;
    }
    Ok(found)
}

/// The first record, and what follows it.
fn record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = data.iter().take(12).position(|byte| *byte == b' ')?;
    let len = decimal(data.get(..space)?)?;
    let (record, rest) = data.split_at_checked(usize::try_from(len).ok()?)?;
    let body = record.get(space.checked_add(1)?..)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|byte| *byte == b'=').filter(|at| *at > 0)?;
    let (keyword, value) = body.split_at_checked(equals)?;
    (!keyword.contains(&0)).then_some(())?;
    Some((keyword, value.get(1..)?, rest))
}

/// A number without sign.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    (!text.is_empty() && text.iter().all(u8::is_ascii_digit)).then_some(())?;
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Seconds with a fraction; digits beyond nanoseconds are cut off.
pub(super) fn time(text: &[u8]) -> Option<Time> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let whole = i64::try_from(decimal(parts.next()?)?).ok()?;
    let fraction = parts.next().unwrap_or_default();
    fraction.iter().all(u8::is_ascii_digit).then_some(())?;
    let digits: Vec<u8> = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9).collect();
    let nanoseconds = u32::try_from(decimal(&digits)?).ok()?;
    Some(match (negative, nanoseconds) {
        (false, nanoseconds) => Time { seconds: whole, nanoseconds },
        (true, 0) => Time::from_seconds(whole.checked_neg()?),
        // Half a second before -1 is a second and a half before 1970: -2 and a half forward.
        (true, part) => {
            Time { seconds: whole.checked_neg()?.checked_sub(1)?, nanoseconds: 1_000_000_000_u32.checked_sub(part)? }
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values_may_hold_any_byte() {
        let data = b"30 mtime=1350244992.023960108\n21 SCHILY.xattr.a=\n\0\n5 k=\n";
        let found = records(data).unwrap();
        let expected: [(&[u8], &[u8]); 3] =
            [(b"mtime", b"1350244992.023960108"), (b"SCHILY.xattr.a", b"\n\0"), (b"k", b"")];
        assert_eq!(found, expected);
    }

    #[test]
    fn malformed_records_are_refused_where_they_stand() {
        let record = |data: &[u8]| records(data).unwrap_err();
        for data in [
            &b"5 a=b\n"[..],
            b"7 a=b\n",
            b"x a=b\n",
            b"6 a=b ",
            b"5 =b\n",
            b"6 a b\n",
            b"6",
            b"99999999999999999999 a=b\n",
            b"0 a=b\n",
        ] {
            assert_eq!(record(data), PaxError::Record { offset: 0 }, "{}", String::from_utf8_lossy(data));
        }
        assert_eq!(record(b"6 a=b\n7 a=b\n"), PaxError::Record { offset: 6 });
    }

    #[test]
    fn times_before_1970_count_their_fraction_forward() {
        assert_eq!(time(b"1.5"), Some(Time { seconds: 1, nanoseconds: 500_000_000 }));
        assert_eq!(time(b"-1.25"), Some(Time { seconds: -2, nanoseconds: 750_000_000 }));
        assert_eq!(time(b"-3"), Some(Time::from_seconds(-3)));
        assert_eq!(time(b"7.1234567899"), Some(Time { seconds: 7, nanoseconds: 123_456_789 }));
        for text in [&b""[..], b".", b"-", b"1.x", b"1e3", b"99999999999999999999"] {
            assert_eq!(time(text), None, "{}", String::from_utf8_lossy(text));
        }
    }
}
