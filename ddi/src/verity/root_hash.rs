//! The root hash: the digest that a signature covers and that covers everything else.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

use thiserror::Error;

use super::HashAlgorithm;
use crate::bytes;

/// Errors of parsing a root hash.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RootHashError {
    /// The length is neither that of a SHA-256 digest nor that of a SHA-512 digest.
    #[error("root hash of {found} bytes is neither SHA-256 (32 bytes) nor SHA-512 (64 bytes)")]
    Size {
        /// Length in bytes.
        found: usize,
    },
    /// The length of the text is not that of a digest in hexadecimal.
    #[error("root hash of {found} characters is neither SHA-256 (64 characters) nor SHA-512 (128 characters)")]
    TextLength {
        /// Length of the text in bytes.
        found: usize,
    },
    /// A byte is not one of `0`–`9` and `a`–`f`.
    #[error("byte {byte:#04x} at position {position} of the root hash is not a lower-case hexadecimal digit")]
    Digit {
        /// Offset in the text, from 0.
        position: usize,
        /// Value of the byte.
        byte: u8,
    },
}

/// The digest of the top block of a hash tree, 32 bytes (SHA-256) or 64 bytes (SHA-512).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RootHash(Vec<u8>);

impl RootHash {
    /// Makes a root hash from the bytes of a digest.
    ///
    /// # Errors
    /// [`RootHashError::Size`] if no supported algorithm has digests of this length.
    pub fn from_bytes(digest: &[u8]) -> Result<Self, RootHashError> {
        if HashAlgorithm::ALL.iter().any(|algorithm| algorithm.digest_size() == digest.len()) {
            Ok(Self(digest.to_vec()))
        } else {
            Err(RootHashError::Size { found: digest.len() })
        }
    }

    /// Parses 64 or 128 lower-case hexadecimal digits and nothing else.
    ///
    /// Upper case is refused: the signature covers the text (systemd's `verity_settings_load` and
    /// `validate_signature_userspace`), so a root hash must have exactly one text form.
    ///
    /// # Errors
    /// [`RootHashError::TextLength`] or [`RootHashError::Digit`].
    pub fn from_hex(text: &str) -> Result<Self, RootHashError> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if !rest.is_empty() || !HashAlgorithm::ALL.iter().any(|algorithm| algorithm.digest_size() == pairs.len()) {
            return Err(RootHashError::TextLength { found: text.len() });
        }
        let mut nibbles = text.bytes().enumerate().map(|(position, byte)| match byte {
            b'0'..=b'9' => Ok(byte.wrapping_sub(b'0')),
            b'a'..=b'f' => Ok(byte.wrapping_sub(b'a').wrapping_add(10)),
            _ => Err(RootHashError::Digit { position, byte }),
        });
        let mut digest = Vec::with_capacity(pairs.len());
        while let (Some(high), Some(low)) = (nibbles.next(), nibbles.next()) {
            digest.push(high? << 4 | low?);
        }
        Ok(Self(digest))
    }

    /// Returns the digest, 32 or 64 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns whether the length is that of a digest of `algorithm`.
    #[must_use]
    pub fn fits(&self, algorithm: HashAlgorithm) -> bool {
        self.0.len() == algorithm.digest_size()
    }
}

impl Serialize for RootHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RootHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_hex(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl fmt::Display for RootHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bytes::hex(&self.0))
    }
}

impl fmt::Debug for RootHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RootHash({self})")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn hex_goes_in_and_comes_out_unchanged() {
        for text in ["0123456789abcdef".repeat(4), "fedcba9876543210".repeat(8)] {
            let root = RootHash::from_hex(&text).unwrap();
            assert_eq!(root.to_string(), text);
            assert_eq!(RootHash::from_bytes(root.as_bytes()), Ok(root));
        }
    }

    #[test]
    fn only_lower_case_hex_of_the_right_length_is_taken() {
        let good = "ab".repeat(32);
        for length in [0, 1, 63, 65, 66, 126, 127, 129] {
            let text = "a".repeat(length);
            assert_eq!(RootHash::from_hex(&text), Err(RootHashError::TextLength { found: length }));
        }
        for (position, bad) in [(0, "A"), (1, "g"), (40, " "), (63, "\n"), (62, "/"), (7, ":"), (8, "`")] {
            let mut text = good.clone();
            text.replace_range(position..=position, bad);
            let byte = bad.as_bytes()[0];
            assert_eq!(RootHash::from_hex(&text), Err(RootHashError::Digit { position, byte }));
        }
        // The two bytes of one letter are two wrong digits.
        assert!(matches!(RootHash::from_hex(&"é".repeat(32)), Err(RootHashError::Digit { position: 0, .. })));
    }

    #[test]
    fn the_length_decides_the_algorithm() {
        for algorithm in HashAlgorithm::ALL {
            let root = RootHash::from_bytes(&vec![7; algorithm.digest_size()]).unwrap();
            for other in HashAlgorithm::ALL {
                assert_eq!(root.fits(other), other == algorithm);
            }
        }
        for found in [0, 20, 31, 33, 48, 65] {
            assert_eq!(RootHash::from_bytes(&vec![0; found]), Err(RootHashError::Size { found }));
        }
    }
}
