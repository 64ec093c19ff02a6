//! The signature partition: a signed root hash (Discoverable Partitions Specification, "Verity").

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

/// Length of the partition in bytes (`VERITY_SIG_SIZE` of systemd 257's `src/repart/repart.c`).
/// A longer signature gets a longer partition.
pub const SIGNATURE_PARTITION_SIZE: usize = 16 * 1024;

/// Why a root hash can't be signed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SignError {
    /// Key and certificate aren't a pair.
    #[error("the private key does not belong to the certificate")]
    KeyMismatch,
    /// OpenSSL refused.
    #[error("OpenSSL: {0}")]
    OpenSsl(ErrorStack),
}

impl From<ErrorStack> for SignError {
    fn from(cause: ErrorStack) -> Self {
        Self::OpenSsl(cause)
    }
}

/// Who signs.
#[derive(Clone, Copy)]
pub struct Signer<'a> {
    /// The private key.
    pub key: &'a PKeyRef<Private>,
    /// The certificate that it belongs to.
    pub certificate: &'a X509Ref,
}

impl Signer<'_> {
    /// A detached PKCS#7 signature, DER, over the lower-case hexadecimal root hash without newline, with
    /// the flags of systemd 257's `sign_verity_roothash()`: no signed attributes, so no time either, and
    /// the certificate embedded.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn sign(&self, root_hash: &RootHash) -> Result<Vec<u8>, SignError> {
        // OpenSSL notices too, but says it in a way that nobody understands.
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

/// What `certificateFingerprint` holds: SHA-256 of the certificate's DER, lower-case hexadecimal.
///
/// # Errors
/// Where OpenSSL can't encode the certificate.
pub fn fingerprint(certificate: &X509Ref) -> Result<String, SignError> {
    Ok(hex(&certificate.digest(MessageDigest::sha256())?))
}

/// The JSON text, with its members in the order in which `systemd-repart` writes them.
#[must_use]
pub fn signature_json(root_hash: &RootHash, fingerprint: &str, pkcs7: &[u8]) -> String {
    let signature = STANDARD.encode(pkcs7);
    format!(r#"{{"rootHash":"{root_hash}","certificateFingerprint":"{fingerprint}","signature":"{signature}"}}"#)
}

/// `text` padded with NULs, at least one, to [`SIGNATURE_PARTITION_SIZE`] or the next multiple of 4 KiB.
#[must_use]
pub fn signature_partition(text: &[u8]) -> Vec<u8> {
    let mut bytes = text.to_vec();
    let len = bytes.len().saturating_add(1).next_multiple_of(4096).max(SIGNATURE_PARTITION_SIZE);
    bytes.resize(len, 0);
    bytes
}
