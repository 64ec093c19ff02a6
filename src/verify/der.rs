//! The subset of the Distinguished Encoding Rules that CMS needs (ITU-T X.690, clauses 8 and 10).
//!
//! Only definite lengths in their shortest form, and identifiers of one byte. OpenSSL also accepts other encodings,
//! which are refused here. The parser does not recurse.
#![deny(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

use thiserror::Error;

/// Maximum nesting of elements in a part whose structure is not parsed. An ESS signing certificate with a general name
/// has 12 levels.
const MAX_DEPTH: usize = 16;
/// Maximum number of elements in such a part. The S/MIME capabilities that OpenSSL 3.0 writes have 21.
const MAX_ELEMENTS: usize = 512;

/// Errors of parsing an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DerError {
    /// The bytes end before the element.
    #[error("element is cut short")]
    Truncated,
    /// A length has more than four bytes, or is not in its shortest form.
    #[error("length is not in its shortest definite form")]
    Length,
    /// An element has another type than expected.
    #[error("element of type {found:#04x} where {expected:#04x} is expected")]
    Tag {
        /// Its identifier octet.
        found: u8,
        /// The expected identifier octet.
        expected: u8,
    },
    /// The element is not DER: an identifier of several bytes, the end marker of BER, or a string in pieces.
    #[error("element of type {found:#04x}, which DER does not have")]
    NotDer {
        /// Its identifier octet.
        found: u8,
    },
    /// A value has an encoding that DER does not permit.
    #[error("{0} is not in its only form")]
    Value(&'static str),
    /// Bytes follow the last element.
    #[error("{found} bytes follow the last element")]
    Trailing {
        /// Number of bytes.
        found: usize,
    },
    /// The nesting is deeper than in any real signature.
    #[error("elements are nested more than {MAX_DEPTH} deep")]
    Deep,
    /// There are more elements than in any real signature.
    #[error("there are more than {MAX_ELEMENTS} elements")]
    Many,
}

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const NULL: u8 = 0x05;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const UTC_TIME: u8 = 0x17;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
/// `[0]`, constructed.
pub(super) const CONTEXT_0: u8 = 0xa0;
/// `[1]`, constructed.
pub(super) const CONTEXT_1: u8 = 0xa1;

/// Bits of an identifier octet: the class, the flag of a constructed element, and the number that marks a longer
/// identifier.
const CLASS: u8 = 0xc0;
const CONSTRUCTED: u8 = 0x20;
const LONG_NUMBER: u8 = 0x1f;

/// An element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    /// Identifier, length and content.
    pub(super) whole: &'a [u8],
}

impl Element<'_> {
    fn is_constructed(&self) -> bool {
        self.tag & CONSTRUCTED != 0
    }

    /// Checks the rules for the universal types that occur in signatures and names.
    fn check(&self) -> Result<(), DerError> {
        if self.tag & CLASS != 0 {
            return Ok(());
        }
        match (self.tag, self.content) {
            (0 | 0x10 | 0x11, _) => Err(DerError::NotDer { found: self.tag }),
            (SEQUENCE | SET, _) => Ok(()),
            (tag, _) if self.is_constructed() => Err(DerError::NotDer { found: tag }),
            (BOOLEAN, [0 | 0xff]) | (NULL, []) => Ok(()),
            (BOOLEAN, _) => Err(DerError::Value("a boolean")),
            (NULL, _) => Err(DerError::Value("a NULL")),
            (INTEGER, content) => check_integer(content),
            (OBJECT_IDENTIFIER, content) => check_identifier(content),
            (BIT_STRING, content) => check_bits(content),
            _ => Ok(()),
        }
    }
}

/// Checks that an integer has the minimum number of bytes (clause 8.3.2).
pub(super) fn check_integer(content: &[u8]) -> Result<(), DerError> {
    match content {
        [] | [0, 0..=0x7f, ..] | [0xff, 0x80..=0xff, ..] => Err(DerError::Value("an integer")),
        _ => Ok(()),
    }
}

/// Checks that the numbers of an object identifier are complete and have the minimum number of bytes (clause 8.19.2).
pub(super) fn check_identifier(content: &[u8]) -> Result<(), DerError> {
    let starts =
        |at: usize| at.checked_sub(1).and_then(|before| content.get(before)).is_none_or(|byte| byte & 0x80 == 0);
    let padded = content.iter().enumerate().any(|(at, byte)| *byte == 0x80 && starts(at));
    let ends = content.last().is_some_and(|byte| byte & 0x80 == 0);
    if ends && !padded { Ok(()) } else { Err(DerError::Value("an object identifier")) }
}

/// Checks that the unused bits of a bit string are zero (clause 11.2.1).
fn check_bits(content: &[u8]) -> Result<(), DerError> {
    let good = match content {
        [0] => true,
        [unused @ 0..=7, .., last] => last.trailing_zeros() >= u32::from(*unused),
        _ => false,
    };
    if good { Ok(()) } else { Err(DerError::Value("a bit string")) }
}

/// Checks that `bytes` are elements with definite lengths, at all levels.
pub(super) fn check_nested(bytes: &[u8]) -> Result<(), DerError> {
    let mut open = vec![Reader::new(bytes)];
    let mut count = 0_usize;
    while let Some(reader) = open.last_mut() {
        if reader.is_empty() {
            open.pop();
            continue;
        }
        let element = reader.next()?;
        element.check()?;
        count = count.saturating_add(1);
        if count > MAX_ELEMENTS {
            return Err(DerError::Many);
        }
        if element.is_constructed() {
            if open.len() == MAX_DEPTH {
                return Err(DerError::Deep);
            }
            open.push(Reader::new(element.content));
        }
    }
    Ok(())
}

/// Encodes an element with the concatenated `parts` as content.
pub(super) fn element<'a>(tag: u8, parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let content = parts.into_iter().fold(Vec::new(), |mut content, part| {
        content.extend_from_slice(part);
        content
    });
    let digits: Vec<u8> = content.len().to_be_bytes().into_iter().skip_while(|digit| *digit == 0).collect();
    let mut out = vec![tag];
    match *digits.as_slice() {
        [] => out.push(0),
        [short @ 0..=0x7f] => out.push(short),
        // A length has at most eight digits.
        _ => out.push(u8::try_from(digits.len()).unwrap_or(0x7f) | 0x80),
    }
    if content.len() > 0x7f {
        out.extend(digits);
    }
    out.extend(content);
    out
}

/// A reader of consecutive elements.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn finish(self) -> Result<(), DerError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DerError::Trailing { found: self.rest.len() }) }
    }

    pub(super) fn next(&mut self) -> Result<Element<'a>, DerError> {
        let (&tag, after_tag) = self.rest.split_first().ok_or(DerError::Truncated)?;
        if tag & LONG_NUMBER == LONG_NUMBER {
            return Err(DerError::NotDer { found: tag });
        }
        let (&first, after_first) = after_tag.split_first().ok_or(DerError::Truncated)?;
        let (length, body) = match first {
            0..=0x7f => (usize::from(first), after_first),
            0x81..=0x84 => {
                let (digits, body) =
                    after_first.split_at_checked(usize::from(first & 0x7f)).ok_or(DerError::Truncated)?;
                let length = digits.iter().fold(0_u64, |sum, digit| (sum << 8) | u64::from(*digit));
                if digits.first() == Some(&0) || length < 0x80 {
                    return Err(DerError::Length);
                }
                (usize::try_from(length).map_err(|_| DerError::Length)?, body)
            }
            _ => return Err(DerError::Length),
        };
        let (content, rest) = body.split_at_checked(length).ok_or(DerError::Truncated)?;
        let consumed = self.rest.len().saturating_sub(rest.len());
        let whole = self.rest.get(..consumed).unwrap_or_default();
        self.rest = rest;
        Ok(Element { tag, content, whole })
    }

    /// Reads the next element, which must have the type `expected`.
    pub(super) fn expect(&mut self, expected: u8) -> Result<Element<'a>, DerError> {
        let element = self.next()?;
        if element.tag == expected { Ok(element) } else { Err(DerError::Tag { found: element.tag, expected }) }
    }

    /// Reads the next element if it has the type `tag`.
    pub(super) fn optional(&mut self, tag: u8) -> Result<Option<Element<'a>>, DerError> {
        if self.rest.first() == Some(&tag) { self.next().map(Some) } else { Ok(None) }
    }

    /// Returns a reader of the content of the next element, which must have the type `expected`.
    pub(super) fn enter(&mut self, expected: u8) -> Result<Reader<'a>, DerError> {
        self.expect(expected).map(|element| Reader::new(element.content))
    }

    /// Returns the content of the only element, which must have the type `expected`.
    pub(super) fn only(mut self, expected: u8) -> Result<&'a [u8], DerError> {
        let element = self.expect(expected)?;
        self.finish()?;
        Ok(element.content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_shortest_definite_length_is_read() {
        let read = |bytes: &[u8]| Reader::new(bytes).next().map(|element| element.content.len());
        assert_eq!(read(&[4, 0]), Ok(0));
        assert_eq!(read(&[4, 2, 1, 1]), Ok(2));
        assert_eq!(read(&[4, 2, 1]), Err(DerError::Truncated));
        assert_eq!(read(&[4]), Err(DerError::Truncated));
        assert_eq!(read(&[]), Err(DerError::Truncated));
        assert_eq!(read(&[4, 0x80, 1, 0, 0]), Err(DerError::Length));
        assert_eq!(read(&[4, 0x81, 1, 1]), Err(DerError::Length));
        assert_eq!(read(&[4, 0x82, 0, 0x80]), Err(DerError::Length));
        assert_eq!(read(&[4, 0x85, 1, 1, 1, 1, 1]), Err(DerError::Length));
        assert_eq!(read(&[4, 0x84, 0xff, 0xff, 0xff, 0xff]), Err(DerError::Truncated));
        assert_eq!(read(&[0x3f, 0x81, 1, 0]), Err(DerError::NotDer { found: 0x3f }));
        assert_eq!(read(&[&[4, 0x81, 0x80][..], &[0; 0x80]].concat()), Ok(0x80));
    }

    #[test]
    fn what_is_written_is_read_again() {
        for length in [0, 1, 0x7f, 0x80, 0xff, 0x100, 70_000] {
            let content = vec![7; length];
            let bytes = element(OCTET_STRING, [content.as_slice()]);
            assert_eq!(Reader::new(&bytes).only(OCTET_STRING), Ok(content.as_slice()), "{length}");
        }
        assert_eq!(element(SEQUENCE, [&[5, 0][..], &[5, 0]]), [0x30, 4, 5, 0, 5, 0]);
    }

    #[test]
    fn what_nests_is_der_on_every_level() {
        let inside = |content: &[u8]| check_nested(&element(SEQUENCE, [element(SET, [content]).as_slice()]));
        for good in [
            &[][..],
            &[2, 1, 0],
            &[2, 2, 0, 0x80],
            &[1, 1, 0xff],
            &[5, 0],
            &[6, 3, 0x2a, 0x86, 0x48],
            &[3, 1, 0],
            &[3, 2, 3, 0xf8],
            &[0x80, 1, 1],
            &[0x17, 0],
        ] {
            assert_eq!(inside(good), Ok(()), "{good:02x?}");
        }
        let number = Err(DerError::Value("an integer"));
        assert_eq!(inside(&[2, 0]), number);
        assert_eq!(inside(&[2, 2, 0, 0x7f]), number);
        assert_eq!(inside(&[2, 2, 0xff, 0x80]), number);
        for wrong in [&[6, 0][..], &[6, 1, 0x86], &[6, 2, 0x80, 1], &[6, 3, 0x2a, 0x80, 1]] {
            assert_eq!(inside(wrong), Err(DerError::Value("an object identifier")), "{wrong:02x?}");
        }
        for wrong in [&[3, 0][..], &[3, 1, 1], &[3, 2, 8, 0], &[3, 2, 4, 0xf8]] {
            assert_eq!(inside(wrong), Err(DerError::Value("a bit string")), "{wrong:02x?}");
        }
        assert_eq!(inside(&[1, 1, 1]), Err(DerError::Value("a boolean")));
        assert_eq!(inside(&[5, 1, 0]), Err(DerError::Value("a NULL")));
        assert_eq!(inside(&[0, 0]), Err(DerError::NotDer { found: 0 }));
        assert_eq!(inside(&[0x24, 3, 4, 1, 0]), Err(DerError::NotDer { found: 0x24 }));
        assert_eq!(inside(&[0x30, 0x80, 0, 0]), Err(DerError::Length));
        let deep = |depth| check_nested(&(0..depth).fold(Vec::new(), |inner, _| element(SEQUENCE, [inner.as_slice()])));
        assert_eq!(deep(15), Ok(()));
        assert_eq!(deep(2000), Err(DerError::Deep));
        assert_eq!(check_nested(&[5, 0].repeat(MAX_ELEMENTS)), Ok(()));
        assert_eq!(check_nested(&[5, 0].repeat(MAX_ELEMENTS + 1)), Err(DerError::Many));
    }
}
