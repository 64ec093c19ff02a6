//! Why bytes are no signature that is accepted.

use super::{AttributeKind, MAX_SIZE};
use crate::verify::der::DerError;
use ddi::text::Text;
use thiserror::Error;

/// Why bytes are no such signature.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CmsError {
    /// More bytes than are read.
    #[error("signature of {found} bytes is larger than {MAX_SIZE}")]
    TooLarge {
        /// Bytes found.
        found: usize,
    },
    /// Not DER, or not of the right structure.
    #[error("the signature is not a PKCS#7 structure in DER: {place}: {error}")]
    Der {
        /// What was being read.
        place: &'static str,
        /// What is wrong with it.
        error: DerError,
    },
    /// Some other PKCS#7 content.
    #[error("the signature is not PKCS#7 signed data")]
    NotSignedData,
    /// The signature is about something else than plain data.
    #[error("the signature covers something else than plain data")]
    NotData,
    /// No signer.
    #[error("the signature has no signer")]
    NoSigner,
    /// A signer that PKCS#7, and so systemd, can't identify.
    #[error("a signer is named by the identifier of its key; sign with issuer and serial number instead")]
    KeyIdentifier,
    /// A version that doesn't belong to such a structure.
    #[error("the version of the {0} is not 1")]
    Version(&'static str),
    /// More of something than is looked at.
    #[error("the signature has more than {limit} {what}")]
    TooMany {
        /// What.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// A part with more bytes than are looked at.
    #[error("{what} of {found} bytes is larger than {limit}")]
    TooLong {
        /// Which.
        what: &'static str,
        /// Bytes found.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// Something twice.
    #[error("the signature has the same {0} twice")]
    Twice(&'static str),
    /// A set that isn't sorted.
    #[error("the {0} are not in the order of DER")]
    Order(&'static str),
    /// The digests that are announced aren't those of the signers.
    #[error("the announced digest algorithms are not those of the signers")]
    Announced,
    /// Something that no signature covers.
    #[error("the signature carries {0}, which nothing signs")]
    Baggage(&'static str),
    /// A signed attribute that verifiers don't need.
    #[error("signed attribute {0} is not one that signers of root hashes write")]
    UnknownAttribute(Text),
    /// A signed attribute with another value than it can have.
    #[error("the signed attribute {kind} {problem}")]
    Attribute {
        /// Which.
        kind: AttributeKind,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Bytes that reading lost.
    #[error("the signature is not in the only form that DER has for it")]
    Unaccounted,
}

/// Says where a fault was found.
pub(super) fn at(place: &'static str) -> impl Fn(DerError) -> CmsError {
    move |error| CmsError::Der { place, error }
}
