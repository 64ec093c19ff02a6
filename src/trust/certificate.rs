//! X.509 certificates and the properties that trust decisions need.
#![deny(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

use super::deferred::Deferred;
use crate::firmware::signature_list::TbsDigest;
use crate::sys;
use ddi::bytes::hex;
use ddi::text::Text;
use openssl::bn::BigNumContext;
use openssl::ec::PointConversionForm;
use openssl::error::ErrorStack;
use openssl::hash::{MessageDigest, hash};
use openssl::pkey::{PKey, Public};
use openssl::sha::Sha256;
use openssl::x509::X509;
use std::fmt;
use std::time::SystemTime;
use thiserror::Error;
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo, X509Certificate};
use x509_parser::public_key::PublicKey;

/// Maximum size of a certificate in bytes.
const MAX_CERTIFICATE: usize = 64 * 1024;

/// SHA-256 of a certificate's DER encoding, which identifies it in reports.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Computes the fingerprint of any bytes, which need not be a certificate.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        // `sha256` would look the algorithm up in tables, which are made first: a million instructions.
        let mut hasher = Sha256::new();
        hasher.update(der);
        Self(hasher.finish())
    }

    /// Returns the digest.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Errors of reading a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The certificate is larger than any real one.
    #[error("certificate of {found} bytes is larger than {MAX_CERTIFICATE}")]
    TooLarge {
        /// Size in bytes.
        found: usize,
    },
    /// The bytes are not DER, or not a certificate.
    #[error("not a DER certificate: {message}")]
    Malformed {
        /// Message of the parser.
        message: Text,
    },
    /// The certificate is followed by other bytes.
    #[error("{found} bytes follow the certificate")]
    Trailing {
        /// Number of these bytes.
        found: usize,
    },
    /// The file of the certificate cannot be read.
    #[error("reading the certificate: {message}")]
    Unreadable {
        /// Error of the system call.
        message: Text,
    },
    /// The file has no certificate between PEM markers.
    #[error("no PEM certificate (systemd reads only PEM from files named *.crt)")]
    NotPem,
}

/// Identity of a public key, independent of its encoding.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct KeyId(Vec<u8>);

impl KeyId {
    /// Returns the identity of the key in a `SubjectPublicKeyInfo`: the modulus of an RSA key, the point of an elliptic
    /// curve key, else the bytes.
    pub(super) fn of(info: &[u8]) -> Self {
        if let Some(key) = Self::usual(info) {
            return key;
        }
        let key = PKey::public_key_from_der(info).ok();
        Self(key.and_then(|key| Self::number(&key)).unwrap_or_else(|| info.to_vec()))
    }

    /// Returns the same without OpenSSL, which takes a million instructions for it: for RSA keys and for uncompressed
    /// points of the size that a curve of TLS or TPM has.
    fn usual(info: &[u8]) -> Option<Self> {
        let (rest, info) = SubjectPublicKeyInfo::from_der(info).ok()?;
        if !rest.is_empty() {
            return None;
        }
        match info.parsed().ok()? {
            PublicKey::RSA(key) => {
                let zeros = key.modulus.iter().take_while(|byte| **byte == 0).count();
                let modulus = key.modulus.get(zeros..).filter(|modulus| !modulus.is_empty())?;
                Some(Self(modulus.to_vec()))
            }
            PublicKey::EC(point) => {
                let is_usual = |point: &&[u8]| matches!((point.first(), point.len()), (Some(4), 65 | 97 | 133));
                Some(point.data()).filter(is_usual).map(|point| Self(point.to_vec()))
            }
            _ => None,
        }
    }

    fn number(key: &PKey<Public>) -> Option<Vec<u8>> {
        if let Ok(rsa) = key.rsa() {
            return Some(rsa.n().to_vec());
        }
        let key = key.ec_key().ok()?;
        let mut context = BigNumContext::new().ok()?;
        key.public_key().to_bytes(key.group(), PointConversionForm::UNCOMPRESSED, &mut context).ok()
    }
}

/// A parsed certificate.
#[derive(Clone)]
pub struct Certificate {
    encoding: Deferred,
    subject: Text,
    issuer: Vec<u8>,
    serial: Vec<u8>,
    tbs: Vec<u8>,
    key: KeyId,
    not_after: i64,
    fingerprint: Fingerprint,
}

impl Certificate {
    /// Parses a DER certificate.
    ///
    /// # Errors
    /// [`CertificateError`] unless both parsers (x509-parser for the fields, OpenSSL for the encoding) accept it.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        Self::read(der, || Deferred::from_der(der))
    }

    /// Parses an encoding that OpenSSL has parsed already.
    ///
    /// # Errors
    /// As [`Certificate::from_der`].
    pub(super) fn of(encoding: &Deferred) -> Result<Self, CertificateError> {
        Self::read(encoding.der(), || Ok(encoding.clone()))
    }

    fn read(der: &[u8], encoding: impl FnOnce() -> Result<Deferred, ErrorStack>) -> Result<Self, CertificateError> {
        if der.len() > MAX_CERTIFICATE {
            return Err(CertificateError::TooLarge { found: der.len() });
        }
        let malformed = |message: &dyn fmt::Display| CertificateError::Malformed { message: Text::new(message) };
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|error| malformed(&error))?;
        if !rest.is_empty() {
            return Err(CertificateError::Trailing { found: rest.len() });
        }
        let encoding = encoding().map_err(|error| malformed(&error))?;
        // systemd gets the certificate as OpenSSL encodes it. In parts that no signature covers, OpenSSL can write an
        // encoding that it cannot read again. Images of that signer would then be staged here and refused by systemd.
        if encoding.outline().to_der().ok().as_deref() != Some(der) {
            return Err(malformed(&"OpenSSL would write it in another way"));
        }
        Ok(Self {
            subject: Text::new(parsed.subject()),
            issuer: parsed.issuer().as_raw().to_vec(),
            serial: parsed.raw_serial().to_vec(),
            tbs: parsed.tbs_certificate.as_ref().to_vec(),
            key: KeyId::of(parsed.public_key().raw),
            not_after: parsed.validity().not_after.timestamp(),
            fingerprint: Fingerprint::of(der),
            encoding,
        })
    }

    /// Parses the first certificate of a PEM text, as systemd does with the files of `verity.d` (systemd 257,
    /// `validate_signature_userspace`, which calls `PEM_read_X509` once per file).
    ///
    /// # Errors
    /// [`CertificateError::NotPem`] if there is none, else those of [`Certificate::from_der`].
    pub fn from_pem(text: &[u8]) -> Result<Self, CertificateError> {
        let x509 = sys::openssl::certificate_from_pem(text).map_err(|_| CertificateError::NotPem)?;
        let der = x509.to_der().map_err(|_| CertificateError::NotPem)?;
        Self::from_der(&der)
    }

    /// Returns the DER encoding.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        self.encoding.der()
    }

    /// Returns the certificate as an OpenSSL object for names, serial number and encoding. It has no public key: its
    /// `public_key` and `issued` fail, see [`Certificate::public_key`].
    #[must_use]
    pub fn x509(&self) -> &X509 {
        self.encoding.outline()
    }

    /// Returns the encoding, from which the certificate can be had with its public key.
    pub(super) fn encoding(&self) -> &Deferred {
        &self.encoding
    }

    /// Returns the public key.
    ///
    /// # Errors
    /// Those of OpenSSL, for a key that it cannot decode.
    pub fn public_key(&self) -> Result<PKey<Public>, ErrorStack> {
        self.encoding.complete()?.public_key()
    }

    /// Returns the subject as text.
    #[must_use]
    pub fn subject(&self) -> &Text {
        &self.subject
    }

    /// Returns the serial number in hexadecimal.
    #[must_use]
    pub fn serial(&self) -> String {
        hex(&self.serial)
    }

    /// Returns the SHA-256 digest of the DER encoding.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Returns whether the certificate has this issuer (DER of the name) and serial number (content of the integer), by
    /// which PKCS#7 identifies a signer.
    #[must_use]
    pub fn is_named(&self, issuer: &[u8], serial: &[u8]) -> bool {
        self.issuer == issuer && self.serial == serial
    }

    /// Returns the `TBSCertificate`, the part that the issuer signed.
    #[must_use]
    pub(super) fn tbs(&self) -> &[u8] {
        &self.tbs
    }

    /// Returns the identity of the public key.
    #[must_use]
    pub(super) fn key(&self) -> &KeyId {
        &self.key
    }

    /// Computes the digest of the `TBSCertificate`, by which dbx may revoke a certificate.
    #[must_use]
    pub fn tbs_digest(&self, digest: TbsDigest) -> Option<Vec<u8>> {
        let algorithm = match digest {
            TbsDigest::Sha256 => MessageDigest::sha256(),
            TbsDigest::Sha384 => MessageDigest::sha384(),
            TbsDigest::Sha512 => MessageDigest::sha512(),
        };
        hash(algorithm, &self.tbs).ok().map(|bytes| bytes.to_vec())
    }

    /// When it expires, in seconds since 1970 (UTC).
    #[must_use]
    pub fn not_after(&self) -> i64 {
        self.not_after
    }

    /// Returns whether the certificate's validity ended before `now`.
    #[must_use]
    pub fn expired_at(&self, now: SystemTime) -> bool {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
        i64::try_from(now).unwrap_or(i64::MAX) > self.not_after
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.der() == other.der()
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({} {})", self.subject, self.fingerprint)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use openssl::ec::{EcGroup, EcKey};
    use openssl::nid::Nid;
    use openssl::rsa::Rsa;

    #[test]
    fn a_usual_key_is_identified_as_openssl_does() {
        let rsa = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let mut keys = vec![rsa.public_key_to_der().unwrap()];
        for curve in [Nid::X9_62_PRIME256V1, Nid::SECP384R1, Nid::SECP521R1] {
            let key = EcKey::generate(&EcGroup::from_curve_name(curve).unwrap()).unwrap();
            keys.push(PKey::from_ec_key(key).unwrap().public_key_to_der().unwrap());
        }
        for info in &keys {
            let number = KeyId::number(&PKey::public_key_from_der(info).unwrap()).unwrap();
            assert_eq!(KeyId::usual(info), Some(KeyId(number)));
        }
        let ed25519 = PKey::generate_ed25519().unwrap().public_key_to_der().unwrap();
        assert_eq!(KeyId::usual(&ed25519), None);
    }
}
