//! Writer of the signature partition: a signed root hash (Discoverable Partitions Specification, "Verity").

use crate::bytes::hex;
use crate::verity::RootHash;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkcs7::{Pkcs7, Pkcs7Flags};
use openssl::pkey::{PKeyRef, Private};
use openssl::stack::Stack;
use openssl::x509::X509Ref;
use std::fmt;
use thiserror::Error;

/// Length of the partition in bytes (`VERITY_SIG_SIZE` of systemd 257's `src/repart/repart.c`). A longer signature has
/// a longer partition.
pub const SIGNATURE_PARTITION_SIZE: usize = 16 * 1024;

/// Errors of signing a root hash.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SignError {
    /// Key and certificate are not a pair.
    #[error("the private key does not belong to the certificate")]
    KeyMismatch,
    /// OpenSSL failed.
    #[error("OpenSSL: {0}")]
    OpenSsl(ErrorStack),
}

impl From<ErrorStack> for SignError {
    fn from(cause: ErrorStack) -> Self {
        Self::OpenSsl(cause)
    }
}

/// A signing key and its certificate.
#[derive(Clone, Copy)]
pub struct Signer<'a> {
    /// The private key.
    pub key: &'a PKeyRef<Private>,
    /// The certificate of that key.
    pub certificate: &'a X509Ref,
}

impl Signer<'_> {
    /// Returns a detached PKCS#7 signature (DER) of the lower-case hexadecimal root hash without newline. The flags are
    /// those of systemd 257's `sign_verity_roothash()`: no signed attributes, and so no time, and an embedded
    /// certificate.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn sign(&self, root_hash: &RootHash) -> Result<Vec<u8>, SignError> {
        // OpenSSL detects this, too, but its message is hard to understand.
        if !self.certificate.public_key()?.public_eq(self.key) {
            return Err(SignError::KeyMismatch);
        }
        let flags = Pkcs7Flags::DETACHED | Pkcs7Flags::NOATTR | Pkcs7Flags::BINARY;
        let content = root_hash.to_string();
        Ok(Pkcs7::sign(self.certificate, self.key, &*Stack::new()?, content.as_bytes(), flags)?.to_der()?)
    }
}

impl fmt::Debug for Signer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("subject", &self.certificate.subject_name()).finish_non_exhaustive()
    }
}

/// Returns the value of `certificateFingerprint`: SHA-256 of the certificate's DER, in lower-case hexadecimal.
///
/// # Errors
/// If OpenSSL cannot encode the certificate.
pub fn fingerprint(certificate: &X509Ref) -> Result<String, SignError> {
    Ok(hex(&certificate.digest(MessageDigest::sha256())?))
}

/// Returns the JSON text, with its members in the order of `systemd-repart`.
#[must_use]
pub fn signature_json(root_hash: &RootHash, fingerprint: &str, pkcs7: &[u8]) -> String {
    let signature = STANDARD.encode(pkcs7);
    format!(r#"{{"rootHash":"{root_hash}","certificateFingerprint":"{fingerprint}","signature":"{signature}"}}"#)
}

/// Pads `text` with at least one NUL to [`SIGNATURE_PARTITION_SIZE`] or to the next multiple of 4 KiB.
#[must_use]
pub fn signature_partition(text: &[u8]) -> Vec<u8> {
    let mut bytes = text.to_vec();
    let len = bytes.len().saturating_add(1).next_multiple_of(4096).max(SIGNATURE_PARTITION_SIZE);
    bytes.resize(len, 0);
    bytes
}
