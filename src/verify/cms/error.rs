//! Errors of parsing a signature.

use super::{AttributeKind, MAX_SIZE};
use crate::verify::der::DerError;
use ddi::text::Text;
use thiserror::Error;

/// Errors of parsing a signature.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CmsError {
    /// The signature is larger than [`MAX_SIZE`].
    #[error("signature of {found} bytes is larger than {MAX_SIZE}")]
    TooLarge {
        /// Size in bytes.
        found: usize,
    },
    /// The bytes are not DER, or have another structure.
    #[error("the signature is not a PKCS#7 structure in DER: {place}: {error}")]
    Der {
        /// Part of the structure.
        place: &'static str,
        /// Error of the parser.
        error: DerError,
    },
    /// The PKCS#7 content is not signed data.
    #[error("the signature is not PKCS#7 signed data")]
    NotSignedData,
    /// The signature covers something else than plain data.
    #[error("the signature covers something else than plain data")]
    NotData,
    /// The signature has no signer.
    #[error("the signature has no signer")]
    NoSigner,
    /// A signer is identified by its key, which PKCS#7, and so systemd, does not support.
    #[error("a signer is named by the identifier of its key; sign with issuer and serial number instead")]
    KeyIdentifier,
    /// A version does not match the structure.
    #[error("the version of the {0} is not 1")]
    Version(&'static str),
    /// There are more items than are accepted.
    #[error("the signature has more than {limit} {what}")]
    TooMany {
        /// Name of the items.
        what: &'static str,
        /// Maximum number.
        limit: usize,
    },
    /// A part is longer than is accepted.
    #[error("{what} of {found} bytes is larger than {limit}")]
    TooLong {
        /// Name of the part.
        what: &'static str,
        /// Length in bytes.
        found: usize,
        /// Maximum length in bytes.
        limit: usize,
    },
    /// An item occurs twice.
    #[error("the signature has the same {0} twice")]
    Twice(&'static str),
    /// A set is not sorted.
    #[error("the {0} are not in the order of DER")]
    Order(&'static str),
    /// The announced digest algorithms are not those of the signers.
    #[error("the announced digest algorithms are not those of the signers")]
    Announced,
    /// The signature has a part that no signature covers.
    #[error("the signature carries {0}, which nothing signs")]
    Baggage(&'static str),
    /// A signed attribute has an unknown kind.
    #[error("signed attribute {0} is not one that signers of root hashes write")]
    UnknownAttribute(Text),
    /// A signed attribute has an invalid value.
    #[error("the signed attribute {kind} {problem}")]
    Attribute {
        /// Kind of the attribute.
        kind: AttributeKind,
        /// Description of the fault.
        problem: &'static str,
    },
    /// The parsed data does not encode to the same bytes.
    #[error("the signature is not in the only form that DER has for it")]
    Unaccounted,
}

/// Returns a conversion of errors that adds the part of the structure.
pub(super) fn at(place: &'static str) -> impl Fn(DerError) -> CmsError {
    move |error| CmsError::Der { place, error }
}
