//! A certificate as OpenSSL has it, whose public key is decoded when it is needed.
//!
//! Decoding a key takes OpenSSL 3.0 a million instructions. A machine trusts several certificates, and one or two of them
//! have signed its extensions.

use crate::sys;
use openssl::error::ErrorStack;
use openssl::x509::X509;
use std::sync::OnceLock;

/// An encoding that OpenSSL can parse.
#[derive(Debug, Clone)]
pub(super) struct Deferred {
    der: Vec<u8>,
    outline: X509,
    complete: OnceLock<X509>,
}

impl Deferred {
    /// Parses the certificate at the start of `der`.
    ///
    /// # Errors
    /// Those of OpenSSL.
    pub(super) fn from_der(der: &[u8]) -> Result<Self, ErrorStack> {
        let outline = sys::openssl::certificate_from_der(der)?;
        Ok(Self { der: der.to_vec(), outline, complete: OnceLock::new() })
    }

    /// Returns the bytes that were parsed.
    pub(super) fn der(&self) -> &[u8] {
        &self.der
    }

    /// Returns the certificate without its public key.
    pub(super) fn outline(&self) -> &X509 {
        &self.outline
    }

    /// Returns the certificate with its public key, which is decoded once.
    ///
    /// # Errors
    /// Those of OpenSSL. A key that it cannot decode is an error only when the key is taken.
    pub(super) fn complete(&self) -> Result<&X509, ErrorStack> {
        if let Some(complete) = self.complete.get() {
            return Ok(complete);
        }
        let complete = X509::from_der(&self.der)?;
        Ok(self.complete.get_or_init(|| complete))
    }
}
