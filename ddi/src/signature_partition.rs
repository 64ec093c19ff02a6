//! Parser of the signature partition: JSON with a root hash and its PKCS#7 signature, padded with NULs (Discoverable
//! Partitions Specification, "Verity Signature"; systemd 257, `dissected_image_load_verity_sig_partition`).

use crate::octets::Octets;
use crate::verity::{RootHash, RootHashError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Size in bytes of the largest signature partition that systemd reads.
pub const MAX_SIZE: u64 = 4 * 1024 * 1024;

/// Errors of [`parse`].
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SignaturePartitionError {
    /// The partition is larger than [`MAX_SIZE`].
    #[error("signature partition of {found} bytes is larger than {MAX_SIZE}")]
    TooLarge {
        /// Length of the partition in bytes.
        found: u64,
    },
    /// A byte after the first NUL is not NUL.
    #[error("byte {offset}, after the end of the text, is not zero")]
    AfterEnd {
        /// Offset in the partition, in bytes.
        offset: usize,
    },
    /// The text is not UTF-8.
    #[error("the text is not UTF-8 from byte {offset} on")]
    Utf8 {
        /// Offset in the partition, in bytes.
        offset: usize,
    },
    /// The text has a backslash. Digests and base64 need no escapes, and an escape could disguise other text.
    #[error("byte {offset} of the text is a backslash")]
    Escape {
        /// Offset in the partition, in bytes.
        offset: usize,
    },
    /// The text is not JSON, or a member is missing, repeated or unknown.
    #[error("the text is not the expected JSON object: {0}")]
    Json(serde_json::Error),
    /// `rootHash` is not a root hash.
    #[error("rootHash: {0}")]
    RootHash(RootHashError),
    /// `signature` is not base64.
    #[error("signature: {0}")]
    Base64(base64::DecodeError),
    /// `signature` is empty.
    #[error("signature: no bytes")]
    Empty,
    /// `certificateFingerprint` is not a SHA-256 digest.
    #[error("certificateFingerprint: not a SHA-256 digest in lower-case hexadecimal")]
    Fingerprint,
}

impl From<base64::DecodeError> for SignaturePartitionError {
    fn from(cause: base64::DecodeError) -> Self {
        Self::Base64(cause)
    }
}

impl From<RootHashError> for SignaturePartitionError {
    fn from(cause: RootHashError) -> Self {
        Self::RootHash(cause)
    }
}

impl From<serde_json::Error> for SignaturePartitionError {
    fn from(cause: serde_json::Error) -> Self {
        Self::Json(cause)
    }
}

/// The content of a signature partition. It is untrusted until the signature is verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignaturePartition {
    /// The root hash that the signature covers.
    pub root_hash: RootHash,
    /// The PKCS#7 signature as DER.
    pub signature: Octets,
    /// SHA-256 fingerprint of the signer's certificate, a hint that decides nothing.
    pub certificate_fingerprint: Option<String>,
}

/// The JSON object. Unknown members are errors, because they could hold arbitrary unsigned bytes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Json {
    root_hash: String,
    #[serde(default)]
    certificate_fingerprint: Option<String>,
    signature: String,
}

/// Parses the content of a signature partition.
///
/// # Errors
/// [`SignaturePartitionError`] for the first fault.
pub fn parse(partition: &[u8]) -> Result<SignaturePartition, SignaturePartitionError> {
    let length = u64::try_from(partition.len()).unwrap_or(u64::MAX);
    if length > MAX_SIZE {
        return Err(SignaturePartitionError::TooLarge { found: length });
    }
    let end = partition.iter().position(|byte| *byte == 0).unwrap_or(partition.len());
    if let Some(offset) = partition.iter().enumerate().skip(end).find(|(_, byte)| **byte != 0).map(|(offset, _)| offset)
    {
        return Err(SignaturePartitionError::AfterEnd { offset });
    }
    let text = std::str::from_utf8(partition.get(..end).unwrap_or_default())
        .map_err(|error| SignaturePartitionError::Utf8 { offset: error.valid_up_to() })?;
    if let Some(offset) = text.find('\\') {
        return Err(SignaturePartitionError::Escape { offset });
    }
    let json: Json = serde_json::from_str(text)?;
    let signature = STANDARD.decode(&json.signature)?;
    if signature.is_empty() {
        return Err(SignaturePartitionError::Empty);
    }
    // A wrong fingerprint only causes a warning. Other text is an error, because it could hold arbitrary unsigned
    // bytes.
    let is_digest =
        |text: &String| text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !json.certificate_fingerprint.as_ref().is_none_or(is_digest) {
        return Err(SignaturePartitionError::Fingerprint);
    }
    Ok(SignaturePartition {
        root_hash: RootHash::from_hex(&json.root_hash)?,
        signature: signature.into(),
        certificate_fingerprint: json.certificate_fingerprint,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn text(members: &str) -> Vec<u8> {
        let mut bytes = members.as_bytes().to_vec();
        bytes.resize(4096, 0);
        bytes
    }

    fn good() -> String {
        format!(
            r#"{{"rootHash":"{}","certificateFingerprint":"{}","signature":"MAA="}}"#,
            "ab".repeat(32),
            "ca".repeat(32)
        )
    }

    #[test]
    fn reads_what_systemd_repart_writes() {
        let parsed = parse(&text(&good())).unwrap();
        assert_eq!(parsed.root_hash.to_string(), "ab".repeat(32));
        assert_eq!(*parsed.signature, [0x30, 0]);
        assert_eq!(parsed.certificate_fingerprint, Some("ca".repeat(32)));
        let without = good().replace(&format!(r#""certificateFingerprint":"{}","#, "ca".repeat(32)), "");
        assert_eq!(parse(&text(&without)).unwrap().certificate_fingerprint, None);
    }

    #[test]
    fn every_way_to_be_malformed_is_told_apart() {
        use SignaturePartitionError as E;
        let mut junk = text(&good());
        junk[4000] = 1;
        assert!(matches!(parse(&junk), Err(E::AfterEnd { offset: 4000 })));
        assert!(matches!(parse(&text("")), Err(E::Json(_))));
        assert!(matches!(parse(&text("[]")), Err(E::Json(_))));
        assert!(matches!(parse(&text(&format!("{} x", good()))), Err(E::Json(_))));
        assert!(matches!(parse(&text(&good().replacen("caca", "ca\u{1}ca", 1))), Err(E::Json(_))));
        assert!(matches!(parse(&text(&good().replace("\"signature\"", "\"x\":1,\"signature\""))), Err(E::Json(_))));
        assert!(matches!(
            parse(&text(&good().replace("\"signature\"", "\"signature\":\"AA==\",\"signature\""))),
            Err(E::Json(_))
        ));
        assert!(matches!(parse(&text(&good().replace("abab", "ABAB"))), Err(E::RootHash(_))));
        assert!(matches!(parse(&text(&good().replace("abab", "ab"))), Err(E::RootHash(_))));
        assert!(matches!(parse(&text(&good().replace("MAA=", "MA\\nA="))), Err(E::Escape { .. })));
        assert!(matches!(parse(&text(&good().replace("MAA=", "MAB="))), Err(E::Base64(_))));
        assert!(matches!(parse(&text(&good().replace("MAA=", ""))), Err(E::Empty)));
        for fingerprint in ["CACA", "Promise", "ca"] {
            assert!(matches!(parse(&text(&good().replacen("caca", fingerprint, 1))), Err(E::Fingerprint)));
        }
        assert!(matches!(parse(b"{\xff"), Err(E::Utf8 { offset: 1 })));
        assert!(matches!(parse(&vec![b' '; 4 * 1024 * 1024 + 1]), Err(E::TooLarge { found: 4_194_305 })));
    }
}
