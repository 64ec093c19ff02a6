//! The key that signs, and its certificate.

use ddi::signature_partition;
use ddi::verity::RootHash;
use ddi::write::{Signer, fingerprint, signature_json, signature_partition};
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;
use sextant::firmware::signature_list::SignatureDatabase;
use sextant::trust::{Offer, SealedFile, Source, TrustStore};
use sextant::verify::SignedRoot;
use std::fmt;
use std::io;
use thiserror::Error;

/// Longest passphrase in bytes (OpenSSL's `PEM_BUFSIZE`).
pub const MAX_PASSPHRASE: usize = 1024;

/// Why nothing can be signed with a key and certificate.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The key isn't one.
    #[error("the private key can't be read as PEM: {0}")]
    Key(String),
    /// The key is encrypted, and there is no way to decrypt it.
    #[error("the private key is encrypted: {0}")]
    Passphrase(io::Error),
    /// The passphrase doesn't fit.
    #[error("the private key can't be decrypted: the passphrase is wrong")]
    WrongPassphrase,
    /// The certificate isn't one.
    #[error("the certificate can't be read as PEM: {0}")]
    Certificate(String),
    /// Key and certificate aren't a pair, or don't sign.
    #[error(transparent)]
    Sign(#[from] ddi::write::SignError),
    /// No machine would accept what they sign.
    #[error("every boot would refuse what this key signs: {0}")]
    Refused(String),
}

/// A private key with the certificate it belongs to, of which a signature has been made and accepted for trial.
pub struct SigningKey {
    key: PKey<Private>,
    certificate: X509,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("subject", &self.certificate.subject_name()).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Reads a private key (PEM: PKCS#8, encrypted or not, or the older forms for RSA and EC) and the first certificate of
    /// `certificate` (PEM). `passphrase` is asked only if the key is encrypted, and fills its buffer.
    ///
    /// # Errors
    /// [`KeyError`], also when the two aren't a pair or no boot would accept their signature.
    pub fn read(
        key: &[u8],
        certificate: &[u8],
        passphrase: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> Result<Self, KeyError> {
        let certificate = read_certificate(certificate)?;
        let mut asked = None;
        let read = PKey::private_key_from_pem_callback(key, |buf| {
            let result = passphrase(buf);
            let count = result.as_ref().copied().unwrap_or(0);
            asked = Some(result.map(drop));
            Ok(count)
        });
        let key = match (read, asked) {
            (Ok(key), _) => key,
            (Err(_), Some(Err(error))) => return Err(KeyError::Passphrase(error)),
            (Err(_), Some(Ok(()))) => return Err(KeyError::WrongPassphrase),
            (Err(error), None) => return Err(KeyError::Key(words(&error))),
        };
        let signing = Self { key, certificate };
        signing.try_out()?;
        Ok(signing)
    }

    /// For [`super::Parts::sign`].
    #[must_use]
    pub fn signer(&self) -> Signer<'_> {
        Signer { key: &self.key, certificate: &self.certificate }
    }

    /// The certificate.
    #[must_use]
    pub fn certificate(&self) -> &X509 {
        &self.certificate
    }

    /// Signs something, and looks whether a machine that trusts the certificate would accept it.
    fn try_out(&self) -> Result<(), KeyError> {
        let wrong = |error: &dyn fmt::Display| KeyError::Refused(error.to_string());
        let root_hash = RootHash::from_bytes(&[0; 32]).map_err(|error| wrong(&error))?;
        let pkcs7 = self.signer().sign(&root_hash)?;
        let text = signature_json(&root_hash, &fingerprint(&self.certificate)?, &pkcs7);
        let claim = signature_partition::parse(&signature_partition(text.as_bytes())).map_err(|error| wrong(&error))?;
        let trust = trust_in(&self.certificate)?;
        match SignedRoot::verify(&claim, &trust) {
            Ok(_) => Ok(()),
            Err(error) => Err(wrong(&format_args!("{error} ({})", error.reason()))),
        }
    }
}

/// The first certificate of a PEM file.
///
/// # Errors
/// [`KeyError::Certificate`]
pub fn read_certificate(pem: &[u8]) -> Result<X509, KeyError> {
    X509::from_pem(pem).map_err(|error| KeyError::Certificate(words(&error)))
}

/// Trust in one certificate and nobody else: that of the machine for which an image is made.
///
/// # Errors
/// [`KeyError::Certificate`] for one that no machine would take.
pub(super) fn trust_in(certificate: &X509) -> Result<TrustStore, KeyError> {
    let pem = certificate.to_pem().map_err(|error| KeyError::Certificate(words(&error)))?;
    let file = SealedFile { path: "certificate".to_owned(), content: Ok(pem) };
    let offers: Vec<Offer> = vec![file.offer(Source::File)];
    let trust = TrustStore::decide(offers, &SignatureDatabase::default());
    match trust.ignored().first() {
        Some(ignored) => Err(KeyError::Certificate(ignored.reason.to_string())),
        None => Ok(trust),
    }
}

/// What OpenSSL says, without its numbers.
fn words(error: &ErrorStack) -> String {
    let reasons: Vec<_> = error.errors().iter().filter_map(openssl::error::Error::reason).collect();
    reasons.first().map_or_else(|| "it has no such PEM block".to_owned(), |reason| (*reason).to_owned())
}
