//! The signature partition: JSON with a root hash and its PKCS#7 signature, padded with NULs
//! (Discoverable Partitions Specification, "Verity Signature"; systemd 257, `dissected_image_load_verity_sig_partition`).

use crate::octets::Octets;
use crate::verity::{RootHash, RootHashError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Largest partition that systemd reads, in bytes.
pub const MAX_SIZE: u64 = 4 * 1024 * 1024;

/// Why the partition isn't accepted.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SignaturePartitionError {
    /// More bytes than systemd reads.
    #[error("signature partition of {found} bytes is larger than {MAX_SIZE}")]
    TooLarge {
        /// Its length.
        found: u64,
    },
    /// Something else than NULs after the first NUL.
    #[error("byte {offset}, after the end of the text, is not zero")]
    AfterEnd {
        /// Where in the partition.
        offset: usize,
    },
    /// Not UTF-8.
    #[error("the text is not UTF-8 from byte {offset} on")]
    Utf8 {
        /// Where in the partition.
        offset: usize,
    },
    /// A backslash: there is nothing to escape in digests and base64, and much to hide behind it.
    #[error("byte {offset} of the text is a backslash")]
    Escape {
        /// Where in the partition.
        offset: usize,
    },
    /// Not JSON, a field missing, twice or unknown.
    #[error("the text is not the expected JSON object: {0}")]
    Json(serde_json::Error),
    /// The root hash isn't one.
    #[error("rootHash: {0}")]
    RootHash(RootHashError),
    /// The signature isn't base64.
    #[error("signature: {0}")]
    Base64(base64::DecodeError),
    /// The signature is empty.
    #[error("signature: no bytes")]
    Empty,
    /// The fingerprint isn't even a digest.
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

/// What the partition says. Nothing in it is believed before the signature is verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignaturePartition {
    /// The root hash that the signature is about.
    pub root_hash: RootHash,
    /// The PKCS#7 signature, DER.
    pub signature: Octets,
    /// Fingerprint of the signer's certificate: a hint that nobody verifies.
    pub certificate_fingerprint: Option<String>,
}

/// Members that nobody knows are refused, not ignored: they would be room for bytes that nothing signs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Json {
    root_hash: String,
    #[serde(default)]
    certificate_fingerprint: Option<String>,
    signature: String,
}

/// Reads the content of a signature partition.
///
/// # Errors
/// [`SignaturePartitionError`]
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
    // A wrong fingerprint is worth a warning only, but free text would be room for anything.
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
