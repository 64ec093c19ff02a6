//! One X.509 certificate and what is asked of it.
#![deny(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

use crate::firmware::signature_list::TbsDigest;
use ddi::bytes::hex;
use ddi::text::Text;
use openssl::bn::BigNumContext;
use openssl::ec::PointConversionForm;
use openssl::hash::{MessageDigest, hash};
use openssl::pkey::{PKey, Public};
use openssl::x509::X509;
use std::fmt;
use std::time::SystemTime;
use thiserror::Error;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Largest certificate that is looked at, in bytes.
const MAX_CERTIFICATE: usize = 64 * 1024;

/// SHA-256 of a certificate's DER encoding: how reports name it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of any bytes, also of such as are no certificate.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        Self(openssl::sha::sha256(der))
    }

    /// The digest.
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

/// Why bytes are no certificate that can be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// More bytes than any real certificate has.
    #[error("certificate of {found} bytes is larger than {MAX_CERTIFICATE}")]
    TooLarge {
        /// Bytes found.
        found: usize,
    },
    /// Not DER, or not a certificate.
    #[error("not a DER certificate: {message}")]
    Malformed {
        /// What the parser said.
        message: Text,
    },
    /// Bytes after the certificate.
    #[error("{found} bytes follow the certificate")]
    Trailing {
        /// How many.
        found: usize,
    },
    /// The file that should hold it can't be read.
    #[error("reading the certificate: {message}")]
    Unreadable {
        /// What the system said.
        message: Text,
    },
    /// No certificate between PEM markers.
    #[error("no PEM certificate (systemd reads only PEM from files named *.crt)")]
    NotPem,
}

/// A public key, however it is written: equal for two certificates of one key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct KeyId(Vec<u8>);

impl KeyId {
    /// The key in a `SubjectPublicKeyInfo`: the modulus of an RSA key, the point of an elliptic curve, else the bytes.
    pub(super) fn of(info: &[u8]) -> Self {
        let key = PKey::public_key_from_der(info).ok();
        Self(key.and_then(|key| Self::number(&key)).unwrap_or_else(|| info.to_vec()))
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
    der: Vec<u8>,
    x509: X509,
    subject: Text,
    issuer: Vec<u8>,
    serial: Vec<u8>,
    tbs: Vec<u8>,
    key: KeyId,
    not_after: i64,
    fingerprint: Fingerprint,
}

impl Certificate {
    /// Reads a DER certificate.
    ///
    /// # Errors
    /// [`CertificateError`]; both parsers (x509-parser for the fields, OpenSSL for the key) must agree
    /// that it is one.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        if der.len() > MAX_CERTIFICATE {
            return Err(CertificateError::TooLarge { found: der.len() });
        }
        let malformed = |message: &dyn fmt::Display| CertificateError::Malformed { message: Text::new(message) };
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|error| malformed(&error))?;
        if !rest.is_empty() {
            return Err(CertificateError::Trailing { found: rest.len() });
        }
        let x509 = X509::from_der(der).map_err(|error| malformed(&error))?;
        // What systemd gets is what OpenSSL writes. Of a part that nothing signs it can write something that it
        // doesn't read itself; images of that signer would then be staged here and refused there.
        if x509.to_der().ok().as_deref() != Some(der) {
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
            der: der.to_vec(),
            x509,
        })
    }

    /// Reads the first certificate of a PEM text, as systemd does with the files of `verity.d`
    /// (systemd 257, `validate_signature_userspace`, which calls `PEM_read_X509` once a file).
    ///
    /// # Errors
    /// [`CertificateError::NotPem`] where there is none, else as [`Certificate::from_der`].
    pub fn from_pem(text: &[u8]) -> Result<Self, CertificateError> {
        let x509 = X509::from_pem(text).map_err(|_| CertificateError::NotPem)?;
        let der = x509.to_der().map_err(|_| CertificateError::NotPem)?;
        Self::from_der(&der)
    }

    /// The DER encoding.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The certificate in OpenSSL's form.
    #[must_use]
    pub fn x509(&self) -> &X509 {
        &self.x509
    }

    /// Subject as text.
    #[must_use]
    pub fn subject(&self) -> &Text {
        &self.subject
    }

    /// SHA-256 of the DER encoding.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Whether issuer and serial number, by which PKCS#7 names a signer, are those given (DER of the name,
    /// content of the integer).
    #[must_use]
    pub fn is_named(&self, issuer: &[u8], serial: &[u8]) -> bool {
        self.issuer == issuer && self.serial == serial
    }

    /// The `TBSCertificate`: the part that the issuer signed.
    #[must_use]
    pub(super) fn tbs(&self) -> &[u8] {
        &self.tbs
    }

    /// The public key.
    #[must_use]
    pub(super) fn key(&self) -> &KeyId {
        &self.key
    }

    /// Digest of the `TBSCertificate`, by which dbx may name a certificate.
    #[must_use]
    pub fn tbs_digest(&self, digest: TbsDigest) -> Option<Vec<u8>> {
        let algorithm = match digest {
            TbsDigest::Sha256 => MessageDigest::sha256(),
            TbsDigest::Sha384 => MessageDigest::sha384(),
            TbsDigest::Sha512 => MessageDigest::sha512(),
        };
        hash(algorithm, &self.tbs).ok().map(|bytes| bytes.to_vec())
    }

    /// Whether the certificate's last day lies before `now`.
    #[must_use]
    pub fn expired_at(&self, now: SystemTime) -> bool {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
        i64::try_from(now).unwrap_or(i64::MAX) > self.not_after
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({} {})", self.subject, self.fingerprint)
    }
}
