//! Signing keys and their certificates.

use super::store::{Ask, KeyProvider, StoreError};
use ddi::signature_partition;
use ddi::text::Text;
use ddi::verity::RootHash;
use ddi::write::{SignError, Signer, fingerprint, signature_json, signature_partition};
use openssl::error::ErrorStack;
use openssl::pkcs12::Pkcs12;
use openssl::pkey::{Id, PKey, Private};
use openssl::x509::X509;
use sextant::firmware::signature_list::SignatureDatabase;
use sextant::trust::{Offer, SealedFile, Source, TrustStore};
use sextant::verify::SignedRoot;
use std::fmt;
use std::io;
use thiserror::Error;

/// Longest passphrase in bytes (OpenSSL's `PEM_BUFSIZE`).
pub const MAX_PASSPHRASE: usize = 1024;

const PEM_BEGIN: &[u8] = b"-----BEGIN ";

/// Keys whose signatures a boot accepts (SECURITY.md). Others are refused before any work begins.
const ACCEPTED: &str =
    "supported keys: RSA of 2048 bits or more (PKCS#1 v1.5), ECDSA on P-256, P-384 or P-521, in PEM or DER";

/// Error of loading a signing key or its certificate.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The data is not a private key.
    #[error("not a private key: {0}; {ACCEPTED}")]
    Key(String),
    /// The key has an algorithm whose signatures no boot accepts.
    #[error("every boot rejects signatures of {0} keys; {ACCEPTED}")]
    Kind(&'static str),
    /// The key is encrypted, and no passphrase could be read.
    #[error("key is encrypted: {0}")]
    Passphrase(io::Error),
    /// The passphrase is wrong.
    #[error("passphrase is wrong")]
    WrongPassphrase,
    /// The data is not a certificate, or not one that can be a trust anchor.
    #[error("no usable certificate: {0}")]
    Certificate(String),
    /// Key and certificate are not a pair, or signing failed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// A boot rejects a signature of this key.
    #[error("every boot rejects signatures of this key: {0}")]
    Refused(String),
    /// The provider has no such key or certificate.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Private keys of one source. [`SigningKey::pair`] selects the one that belongs to the certificate.
pub struct PrivateKeys {
    keys: Vec<PKey<Private>>,
    /// Must be dropped after the keys.
    provider: Option<KeyProvider>,
}

impl fmt::Debug for PrivateKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKeys").field("provider", &self.provider).finish_non_exhaustive()
    }
}

impl PrivateKeys {
    /// Reads a private key out of a file: PEM or DER, PKCS#8, encrypted or not, or the older forms for RSA and EC. A PEM file
    /// may have certificates too. `passphrase` is asked only if the key is encrypted, and fills its buffer.
    ///
    /// # Errors
    /// [`KeyError`]
    pub fn read(bytes: &[u8], passphrase: &mut Ask<'_>) -> Result<Self, KeyError> {
        let mut asked = None;
        let mut ask = |buf: &mut [u8]| {
            let result = passphrase(buf);
            let count = result.as_ref().copied().unwrap_or(0);
            asked = Some(result.map(drop));
            Ok(count)
        };
        let read = if is_pem(bytes) {
            PKey::private_key_from_pem_callback(bytes, &mut ask)
        } else {
            PKey::private_key_from_der(bytes).or_else(|_| PKey::private_key_from_pkcs8_callback(bytes, &mut ask))
        };
        match (read, asked) {
            (Ok(key), _) => Ok(Self { keys: vec![key], provider: None }),
            (Err(_), Some(Err(error))) => Err(KeyError::Passphrase(error)),
            (Err(_), Some(Ok(()))) => Err(KeyError::WrongPassphrase),
            (Err(error), None) => Err(KeyError::Key(what_else(bytes).unwrap_or_else(|| words(&error)))),
        }
    }

    /// Loads the private keys that `uri` names from `provider`. `ask` is called for PINs and passphrases.
    ///
    /// # Errors
    /// [`KeyError::Store`]
    pub fn of_provider(provider: KeyProvider, uri: &str, ask: &mut Ask<'_>) -> Result<Self, KeyError> {
        let keys = provider.keys(uri, ask)?;
        Ok(Self { keys, provider: Some(provider) })
    }
}

/// Certificates of one source. [`SigningKey::pair`] selects the one that belongs to the key.
#[derive(Debug)]
pub struct Certificates(Vec<X509>);

impl Certificates {
    /// Reads the certificates of a file in PEM or DER. Other PEM blocks are ignored.
    ///
    /// # Errors
    /// [`KeyError::Certificate`], also where there is none.
    pub fn read(bytes: &[u8]) -> Result<Self, KeyError> {
        let read = if is_pem(bytes) { X509::stack_from_pem(bytes) } else { X509::from_der(bytes).map(|it| vec![it]) };
        let none = || what_else(bytes).unwrap_or_else(|| "file contains none; expected PEM or DER".to_owned());
        match read {
            Ok(found) if found.is_empty() => Err(KeyError::Certificate(none())),
            Ok(found) => Ok(Self(found)),
            Err(error) => Err(KeyError::Certificate(
                what_else(bytes).unwrap_or_else(|| format!("{}; expected PEM or DER", words(&error))),
            )),
        }
    }

    /// Loads the certificates that `uri` names from `provider`. `ask` is called for PINs and passphrases.
    ///
    /// # Errors
    /// [`KeyError::Store`]
    pub fn of_provider(provider: &KeyProvider, uri: &str, ask: &mut Ask<'_>) -> Result<Self, KeyError> {
        Ok(Self(provider.certificates(uri, ask)?))
    }

    /// Returns the first certificate: of a chain, that of the holder.
    ///
    /// # Errors
    /// [`KeyError::Certificate`] where there is none.
    pub fn first(&self) -> Result<&X509, KeyError> {
        self.0.first().ok_or_else(|| KeyError::Certificate("source contains none".to_owned()))
    }
}

/// A private key and its certificate, tested with a trial signature.
pub struct SigningKey {
    key: PKey<Private>,
    certificate: X509,
    /// Must be dropped after the key.
    _provider: Option<KeyProvider>,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("subject", &self.certificate.subject_name()).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Selects the key and certificate that belong together, and tests them with a trial signature.
    ///
    /// # Errors
    /// [`KeyError`], also if no two of them belong together, or if a boot would reject their signature.
    pub fn pair(keys: PrivateKeys, certificates: Certificates) -> Result<Self, KeyError> {
        // Bound in this order, the keys are dropped before the provider on an early return.
        let PrivateKeys { provider, mut keys } = keys;
        if let Some(kind) = keys.first().filter(|_| keys.len() == 1).and_then(unusable) {
            return Err(KeyError::Kind(kind));
        }
        let fits = |certificate: &X509| {
            let public = certificate.public_key().ok()?;
            keys.iter().position(|key| public.public_eq(key))
        };
        let found = certificates.0.into_iter().find_map(|certificate| Some((fits(&certificate)?, certificate)));
        let (number, certificate) = found.ok_or(SignError::KeyMismatch)?;
        let signing = Self { key: keys.swap_remove(number), certificate, _provider: provider };
        if let Some(kind) = unusable(&signing.key) {
            return Err(KeyError::Kind(kind));
        }
        signing.try_out()?;
        Ok(signing)
    }

    /// Returns the pair as [`ddi::write::Parts::sign`] takes it.
    #[must_use]
    pub fn signer(&self) -> Signer<'_> {
        Signer { key: &self.key, certificate: &self.certificate }
    }

    /// Returns the certificate of the key.
    #[must_use]
    pub fn certificate(&self) -> &X509 {
        &self.certificate
    }

    /// Signs a root hash of zeros, and verifies the signature as a boot with this trust anchor does.
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

/// Returns a trust store with this certificate as its only trust anchor.
///
/// # Errors
/// [`KeyError::Certificate`] if a boot would ignore the certificate.
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

/// Returns the name of the key's algorithm if no boot accepts its signatures.
fn unusable(key: &PKey<Private>) -> Option<&'static str> {
    Some(match key.id() {
        Id::ED25519 => "Ed25519",
        Id::ED448 => "Ed448",
        Id::RSA_PSS => "RSA-PSS",
        Id::DSA => "DSA",
        Id::X25519 | Id::X448 => "X25519 and X448",
        _ => return None,
    })
}

/// Returns whether a file has a PEM block (RFC 7468).
fn is_pem(bytes: &[u8]) -> bool {
    bytes.windows(PEM_BEGIN.len()).any(|window| window == PEM_BEGIN)
}

/// Describes a file of another format that is often mistaken for a key or certificate, and how to convert it.
fn what_else(bytes: &[u8]) -> Option<String> {
    if !is_pem(bytes) {
        let is_container = Pkcs12::from_der(bytes).is_ok();
        let advice = "file is a PKCS#12 container: unpack it with `openssl pkcs12 -in FILE -out KEY.pem`";
        return is_container.then(|| advice.to_owned());
    }
    let text = String::from_utf8_lossy(bytes);
    let (label, _) = text.split_once("-----BEGIN ")?.1.split_once("-----")?;
    Some(match label {
        "OPENSSH PRIVATE KEY" => {
            "file is an OpenSSH key: convert a copy of it with `ssh-keygen -p -m PKCS8 -f COPY`".to_owned()
        }
        "EC PARAMETERS" => return None,
        label => format!("file has a PEM block with the label {}", Text::new(label)),
    })
}

/// Returns the first reason of an OpenSSL error, without its numbers.
fn words(error: &ErrorStack) -> String {
    let reasons: Vec<_> = error.errors().iter().filter_map(openssl::error::Error::reason).collect();
    reasons.first().map_or_else(|| "file has no such PEM block".to_owned(), |reason| (*reason).to_owned())
}
