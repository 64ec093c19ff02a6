//! Parses extended headers of tar archives (POSIX.1-2024, pax, "pax Extended Header").
//!
//! Values are binary. A file capability may contain a newline, which parsers that split into lines can't read.

use super::Time;

/// Maximum size of an extended header in bytes. A hundred usual attributes need a few KiB, the longest path 4 KiB.
pub(super) const MAX_LEN: u64 = 1 << 20;

/// Maximum number of records of an extended header. Files with holes may have two for each piece of data.
const MAX_RECORDS: usize = 16_384;

/// Error of an extended header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PaxError {
    /// Not `LENGTH KEYWORD=VALUE\n`.
    #[error("record at byte {offset} of the extended header is malformed")]
    Record {
        /// Offset in the data of the header
        offset: usize,
    },
    /// More than [`MAX_RECORDS`].
    #[error("extended header has more than {MAX_RECORDS} records")]
    TooMany,
    /// A text contains a NUL, which would end it in C.
    #[error("{keyword} in the extended header contains a NUL byte")]
    Nul {
        /// Its keyword
        keyword: &'static str,
    },
    /// A value is not a number, or out of range.
    #[error("{keyword} in the extended header is not a valid number")]
    Number {
        /// Its keyword
        keyword: &'static str,
    },
}

/// Keywords of texts, which must not contain a NUL.
const TEXTS: [&str; 4] = ["path", "linkpath", "uname", "gname"];

/// Keyword and value.
pub(super) type Record<'a> = (&'a [u8], &'a [u8]);

/// Parses the records in their order.
///
/// # Errors
/// [`PaxError::Record`], [`PaxError::Nul`], [`PaxError::TooMany`]
pub(super) fn records(data: &[u8]) -> Result<Vec<Record<'_>>, PaxError> {
    let mut found = Vec::new();
    let mut pieces = 0_usize;
    let mut rest = data;
    while !rest.is_empty() {
        let offset = data.len().saturating_sub(rest.len());
        let (keyword, value, next) = record(rest).ok_or(PaxError::Record { offset })?;
        if found.len() >= MAX_RECORDS {
            return Err(PaxError::TooMany);
        }
        let is_text = TEXTS.into_iter().find(|text| text.as_bytes() == keyword);
        if let Some(keyword) = is_text.filter(|_| value.contains(&0)) {
            return Err(PaxError::Nul { keyword });
        }
        // A sparse map is a list of pairs of records, or one record with commas. A comma in a pair would change the map.
        let piece = [&b"GNU.sparse.offset"[..], b"GNU.sparse.numbytes"];
        if piece.contains(&keyword) {
            let expected = piece.get(pieces % 2);
            if expected != Some(&keyword) || value.contains(&b',') {
                return Err(PaxError::Record { offset });
            }
            pieces = pieces.saturating_add(1);
        }
        found.push((keyword, value));
        rest = next;
    }
    Ok(found)
}

/// Splits off the first record.
fn record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = data.iter().position(|byte| *byte == b' ')?;
    let len = integer(data.get(..space)?)?;
    let (record, rest) = data.split_at_checked(usize::try_from(len).ok()?)?;
    let body = record.get(space.checked_add(1)?..)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|byte| *byte == b'=').filter(|at| *at > 0)?;
    let (keyword, value) = body.split_at_checked(equals)?;
    let value = value.get(1..)?;
    (!keyword.contains(&0)).then_some(())?;
    Some((keyword, value, rest))
}

/// Parses decimal digits with an optional sign.
pub(super) fn integer(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Parses a number that is not negative.
pub(super) fn unsigned(text: &[u8]) -> Option<u64> {
    integer(text).and_then(|number| u64::try_from(number).ok())
}

/// Keywords of numbers and times. A record without a value cancels them.
const NUMBERS: [&str; 3] = ["size", "uid", "gid"];
const TIMES: [&str; 3] = ["mtime", "atime", "ctime"];

/// Checks all numbers and times, unused ones too.
///
/// # Errors
/// [`PaxError::Number`]
pub(super) fn check(records: &[(Vec<u8>, Vec<u8>)]) -> Result<(), PaxError> {
    let is = |keyword: &'static str, reads: &dyn Fn(&[u8]) -> bool| match last(records, keyword) {
        Some(value) if !reads(value) => Err(PaxError::Number { keyword }),
        _ => Ok(()),
    };
    NUMBERS.iter().try_for_each(|keyword| is(keyword, &|value| integer(value).is_some()))?;
    TIMES.iter().try_for_each(|keyword| is(keyword, &|value| time(value).is_some()))
}

/// Returns the value of the last record with this keyword; `None` if it is empty.
pub(super) fn last<'r>(records: &'r [(Vec<u8>, Vec<u8>)], keyword: &str) -> Option<&'r [u8]> {
    let found = records.iter().rev().find(|(found, _)| found == keyword.as_bytes());
    found.map(|(_, value)| value.as_slice()).filter(|value| !value.is_empty())
}

/// Parses seconds with a fraction. Digits beyond nanoseconds are ignored.
pub(super) fn time(text: &[u8]) -> Option<Time> {
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let whole = integer(parts.next()?)?;
    let fraction = parts.next().unwrap_or_default();
    fraction.iter().all(u8::is_ascii_digit).then_some(())?;
    let digits: Vec<u8> = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9).collect();
    let nanoseconds = u32::try_from(integer(&digits)?).ok()?;
    Some(match (text.starts_with(b"-"), nanoseconds) {
        // -1.5 is 1.5 seconds before 1970: -2 seconds and 0.5 seconds forward.
        (true, part @ 1..) => {
            Time { seconds: whole.saturating_sub(1), nanoseconds: 1_000_000_000_u32.checked_sub(part)? }
        }
        (_, nanoseconds) => Time { seconds: whole, nanoseconds },
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

    /// As Go has them (`archive/tar`, `TestParsePAXRecord`, `TestParsePAXTime`).
    #[test]
    fn numbers_may_have_a_sign_and_zeros_before_them() {
        for text in [&b"6 k=v\n"[..], b"+7 k=v\n", b"000000000000000023 k=v\n"] {
            assert_eq!(records(text), Ok(vec![(&b"k"[..], &b"v"[..])]), "{}", String::from_utf8_lossy(text));
        }
        assert_eq!(integer(b"+12"), Some(12));
        assert_eq!(integer(b"-12"), Some(-12));
        assert_eq!(time(b"+5.5"), Some(Time { seconds: 5, nanoseconds: 500_000_000 }));
        assert_eq!(time(b"5."), Some(Time::from_seconds(5)));
        assert_eq!(time(b"-0.5"), Some(Time { seconds: -1, nanoseconds: 500_000_000 }));
        for text in [&b""[..], b"+", b"1_0", b"0x1", b" 1", b"9223372036854775808"] {
            assert_eq!(integer(text), None, "{}", String::from_utf8_lossy(text));
        }
        assert_eq!(unsigned(b"-1"), None);
    }

    #[test]
    fn pieces_come_in_pairs() {
        let pair = b"23 GNU.sparse.offset=0\n25 GNU.sparse.numbytes=7\n";
        assert_eq!(records(pair).unwrap().len(), 2);
        for text in [&b"25 GNU.sparse.numbytes=7\n"[..], b"23 GNU.sparse.offset=0\n23 GNU.sparse.offset=0\n"] {
            assert!(records(text).is_err(), "{}", String::from_utf8_lossy(text));
        }
        assert!(records(b"25 GNU.sparse.offset=0,1\n").is_err());
    }

    #[test]
    fn text_has_no_nul() {
        for keyword in ["path", "linkpath", "uname", "gname"] {
            let body = format!(" {keyword}=a\0b\n");
            let text = format!("{}{body}", body.len() + 2);
            assert_eq!(records(text.as_bytes()), Err(PaxError::Nul { keyword }), "{keyword}");
        }
        assert!(records(b"11 user=a\0\n").is_ok());
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
