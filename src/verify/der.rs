//! Distinguished Encoding Rules, as much of them as PKCS#7 needs (ITU-T X.690, clauses 8 and 10).
//!
//! Definite lengths only, in their shortest form: OpenSSL would also read other encodings, and what it
//! reads more than this is not accepted here.
#![deny(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

use thiserror::Error;

/// Why bytes aren't the element that is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DerError {
    /// The element ends after the bytes do.
    #[error("element is cut short")]
    Truncated,
    /// A length in more than four bytes, or not in its shortest form.
    #[error("length is not in its shortest definite form")]
    Length,
    /// Another element than expected.
    #[error("element of type {found:#04x} where {expected:#04x} is expected")]
    Tag {
        /// Identifier octet found.
        found: u8,
        /// Identifier octet expected.
        expected: u8,
    },
    /// Bytes after the last element.
    #[error("{found} bytes follow the last element")]
    Trailing {
        /// How many.
        found: usize,
    },
}

pub(super) const INTEGER: u8 = 0x02;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
/// `[0]`, constructed.
pub(super) const CONTEXT_0: u8 = 0xa0;
/// `[1]`, constructed.
pub(super) const CONTEXT_1: u8 = 0xa1;

/// One element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    /// Identifier, length and content together.
    pub(super) whole: &'a [u8],
}

/// Reads elements one after the other.
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

    /// The next element, which must be of type `expected`.
    pub(super) fn expect(&mut self, expected: u8) -> Result<Element<'a>, DerError> {
        let element = self.next()?;
        if element.tag == expected { Ok(element) } else { Err(DerError::Tag { found: element.tag, expected }) }
    }

    /// The content of the next element if it is of type `tag`; else nothing is read.
    pub(super) fn optional(&mut self, tag: u8) -> Result<Option<Element<'a>>, DerError> {
        if self.rest.first() == Some(&tag) { self.next().map(Some) } else { Ok(None) }
    }

    /// Goes into the next element, which must be of type `expected`.
    pub(super) fn enter(&mut self, expected: u8) -> Result<Reader<'a>, DerError> {
        self.expect(expected).map(|element| Reader::new(element.content))
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
        assert_eq!(read(&[&[4, 0x81, 0x80][..], &[0; 0x80]].concat()), Ok(0x80));
    }
}
