//! Verification of the signature of a root hash against the trust anchors.

use super::UnknownSigner;
use super::cms::{self, Algorithm, AlgorithmIdentifier, CmsError, Digest, SignedData, SignerInfo, StrongDigest};
use super::der::{INTEGER, Reader, SEQUENCE, check_integer};
use crate::reason::{Reason, Refusal};
use crate::trust::{Anchor, Certificate, Revoked, TrustStore};
use ddi::Ddi;
use ddi::signature_partition::SignaturePartition;
use ddi::text::{Message, Text};
use ddi::verity::RootHash;
use openssl::error::ErrorStack;
use openssl::hash::{MessageDigest, hash};
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Public};
use openssl::sign::Verifier;
use std::time::SystemTime;
use thiserror::Error;

/// Minimum length of an RSA modulus in bits (NIST SP 800-131A).
const MIN_RSA_BITS: u32 = 2048;
/// Minimum length of the prime field of an elliptic curve in bits (NIST SP 800-131A requires 224; no curve between that
/// and 256 is in use).
const MIN_EC_BITS: u32 = 256;

/// Errors of verifying a signature.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The signature has an invalid structure.
    #[error(transparent)]
    Malformed(#[from] CmsError),
    /// A signer is not a trust anchor.
    #[error("{0}")]
    UnknownSigner(Box<UnknownSigner>),
    /// The signature has embedded data that no signature covers.
    #[error("the signature carries {what}, which it doesn't cover")]
    Baggage {
        /// Description of the data.
        what: Text,
    },
    /// A digest algorithm is too weak or unknown.
    #[error("the digest {found} is not one of SHA-256, SHA-384, SHA-512")]
    WeakDigest {
        /// Its name.
        found: Text,
    },
    /// A signature algorithm is too weak or unknown.
    #[error("the algorithm {found} is neither RSA (PKCS#1 v1.5) nor ECDSA")]
    WeakAlgorithm {
        /// Its name.
        found: Text,
    },
    /// A key is too short or of an unsupported kind.
    #[error(
        "the key of \"{signer}\" ({found}) is neither RSA with {MIN_RSA_BITS} bits or more nor ECDSA with {MIN_EC_BITS} or more"
    )]
    WeakKey {
        /// Subject of the certificate.
        signer: Text,
        /// Kind and length of the key.
        found: Text,
    },
    /// The signature covers something else, or is forged.
    #[error("the signature by \"{signer}\" does not fit the root hash {root_hash}")]
    Mismatch {
        /// Subject of the certificate.
        signer: Text,
        /// Expected root hash.
        root_hash: RootHash,
    },
    /// The signed attributes have the digest of something else.
    #[error("the signed attributes of \"{signer}\" name another digest than that of the root hash {root_hash}")]
    OtherDigest {
        /// Subject of the certificate.
        signer: Text,
        /// Expected root hash.
        root_hash: RootHash,
    },
    /// A signature value is not in its only valid form.
    #[error("the signature by \"{signer}\" is not {expected}")]
    Value {
        /// Subject of the certificate.
        signer: Text,
        /// Description of the expected form.
        expected: &'static str,
    },
    /// dbx revokes a signer.
    #[error("signer \"{signer}\" is revoked by dbx ({by})")]
    Revoked {
        /// Subject of the certificate.
        signer: Text,
        /// The way in which dbx identifies the signer.
        by: Text,
    },
    /// OpenSSL failed.
    #[error("OpenSSL: {0}")]
    OpenSsl(ErrorStack),
}

impl From<ErrorStack> for SignatureError {
    fn from(cause: ErrorStack) -> Self {
        Self::OpenSsl(cause)
    }
}

impl SignatureError {
    /// Returns the reason token.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Malformed(_)
            | Self::Baggage { .. }
            | Self::Mismatch { .. }
            | Self::OtherDigest { .. }
            | Self::Value { .. }
            | Self::OpenSsl(_) => Reason::BadSignature,
            Self::UnknownSigner(_) => Reason::UnknownSigner,
            Self::WeakDigest { .. } | Self::WeakAlgorithm { .. } | Self::WeakKey { .. } => Reason::WeakSignature,
            Self::Revoked { .. } => Reason::RevokedSigner,
        }
    }
}

impl SignatureError {
    /// The signer that isn't trusted, where that is the reason.
    #[must_use]
    pub fn unknown_signer(&self) -> Option<&UnknownSigner> {
        match self {
            Self::UnknownSigner(signer) => Some(signer),
            _ => None,
        }
    }
}

impl From<SignatureError> for Refusal {
    fn from(error: SignatureError) -> Self {
        Self::new(error.reason(), &error)
    }
}

/// A root hash that a trust anchor signed. Only [`SignedRoot::verify`] and [`SignedRoot::decide`] make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedRoot {
    root_hash: RootHash,
    signer: Anchor,
    signature: Vec<u8>,
}

impl SignedRoot {
    /// Parses and verifies the signature in a signature partition.
    ///
    /// # Errors
    /// [`SignatureError`] for the first rule that is broken.
    pub fn verify(claim: &SignaturePartition, trust: &TrustStore) -> Result<Self, SignatureError> {
        Self::decide(&claim.root_hash, &cms::parse(&claim.signature)?, trust)
    }

    /// Verifies a parsed signature.
    ///
    /// Every signer must be exactly one of the anchors. No chain is built, and neither expiry nor key usage is checked
    /// (as in systemd 257, `validate_signature_userspace`, so systemd accepts everything that is accepted here).
    ///
    /// The process that parsed the signature need not be trusted. The signed message is encoded here from
    /// `signed_data`, and OpenSSL only gets a digest, a signature value and an anchor's key.
    ///
    /// # Errors
    /// [`SignatureError`] for the first rule that is broken.
    pub fn decide(root_hash: &RootHash, signed_data: &SignedData, trust: &TrustStore) -> Result<Self, SignatureError> {
        signed_data.check()?;
        // systemd searches the files of verity.d in the order of their names.
        let mut anchors: Vec<&Anchor> = trust.anchors().iter().collect();
        anchors.sort_by_key(|anchor| anchor.file_name());
        let signers = signed_data
            .signers
            .iter()
            .map(|info| Ok((info, identify(info, &anchors, trust, signed_data)?)))
            .collect::<Result<Vec<_>, SignatureError>>()?;
        for announced in &signed_data.digests {
            strong(announced)?;
        }
        let signatures = signers
            .iter()
            .map(|(info, signer)| Signature::new(info, signer.certificate()))
            .collect::<Result<Vec<_>, _>>()?;
        check_baggage(signed_data, root_hash, trust)?;
        for signature in &signatures {
            signature.verify(root_hash)?;
        }
        let mut first = None;
        for (_, signer) in signers {
            match signer {
                Signer::Trusted(anchor) => first = first.or(Some(anchor)),
                Signer::Revoked(revoked) => {
                    let signer = revoked.certificate.subject().clone();
                    return Err(SignatureError::Revoked { signer, by: revoked.by.clone() });
                }
            }
        }
        let signer = first.ok_or(CmsError::NoSigner)?.clone();
        Ok(Self { root_hash: root_hash.clone(), signer, signature: signed_data.to_der() })
    }

    /// Returns the root hash.
    #[must_use]
    pub fn root_hash(&self) -> &RootHash {
        &self.root_hash
    }

    /// Returns the trust anchor that signed it, the first one of several.
    #[must_use]
    pub fn signer(&self) -> &Anchor {
        &self.signer
    }

    /// Returns the signature as DER, as the kernel expects it, too.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// Returns the warnings, which do not change the verdict.
    #[must_use]
    pub fn warnings(&self, claim: &SignaturePartition, now: SystemTime) -> Vec<Message> {
        let certificate = self.signer.certificate();
        let mut warnings = Vec::new();
        if certificate.expired_at(now) {
            let subject = certificate.subject();
            warnings.push(Message::new(format_args!("the certificate of signer \"{subject}\" has expired")));
        }
        let fingerprint = certificate.fingerprint().to_string();
        match &claim.certificate_fingerprint {
            None => warnings.push("the signature partition names no certificateFingerprint".into()),
            Some(found) if !found.eq_ignore_ascii_case(&fingerprint) => {
                let text = format_args!("certificateFingerprint is {found} where the signer's is {fingerprint}");
                warnings.push(Message::new(text));
            }
            Some(_) => {}
        }
        warnings
    }
}

/// An image whose root hash a trust anchor signed. Nothing else about it has been verified. Only [`SignedDdi::verify`]
/// and the pipeline make one.
///
/// ```compile_fail,E0451
/// fn claim(ddi: ddi::Ddi, root: sextant::verify::SignedRoot) -> sextant::verify::SignedDdi {
///     sextant::verify::SignedDdi { ddi, root }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedDdi {
    ddi: Ddi,
    root: SignedRoot,
}

impl SignedDdi {
    /// Parses and verifies the signature of an image.
    ///
    /// # Errors
    /// [`SignatureError`] for the first rule that is broken.
    pub fn verify(ddi: Ddi, trust: &TrustStore) -> Result<Self, SignatureError> {
        let root = SignedRoot::verify(ddi.claim(), trust)?;
        Ok(Self { ddi, root })
    }

    /// Verifies the parsed signature of an image as [`SignedRoot::decide`] does.
    ///
    /// # Errors
    /// [`SignatureError`] for the first rule that is broken.
    pub(super) fn decide(ddi: Ddi, signed_data: &SignedData, trust: &TrustStore) -> Result<Self, SignatureError> {
        let root = SignedRoot::decide(&ddi.claim().root_hash, signed_data, trust)?;
        Ok(Self { ddi, root })
    }

    /// Returns the image.
    #[must_use]
    pub fn ddi(&self) -> &Ddi {
        &self.ddi
    }

    /// Returns its signed root hash.
    #[must_use]
    pub fn root(&self) -> &SignedRoot {
        &self.root
    }

    /// Returns the warnings, which do not change the verdict.
    #[must_use]
    pub fn warnings(&self, now: SystemTime) -> Vec<Message> {
        self.root.warnings(self.ddi.claim(), now)
    }
}

enum Signer<'a> {
    Trusted(&'a Anchor),
    Revoked(&'a Revoked),
}

impl Signer<'_> {
    fn certificate(&self) -> &Certificate {
        match self {
            Self::Trusted(anchor) => anchor.certificate(),
            Self::Revoked(revoked) => &revoked.certificate,
        }
    }
}

/// Finds the certificate with which systemd verifies a signer.
fn identify<'a>(
    info: &SignerInfo,
    anchors: &[&'a Anchor],
    trust: &'a TrustStore,
    signed_data: &SignedData,
) -> Result<Signer<'a>, SignatureError> {
    let is_meant = |certificate: &Certificate| certificate.is_named(info.issuer.der(), &info.serial);
    if let Some(anchor) = anchors.iter().find(|anchor| is_meant(anchor.certificate())) {
        // OpenSSL ignores case, spaces and string types when it compares names (3.0, `X509_NAME_cmp`), and uses the
        // first matching certificate. Only anchors are compared in this way, not the names in the signature.
        let same = anchors.iter().find(|other| is_alike(anchor.certificate(), other.certificate()));
        return Ok(Signer::Trusted(same.unwrap_or(anchor)));
    }
    if let Some(revoked) = trust.revoked().iter().find(|revoked| is_meant(&revoked.certificate)) {
        return Ok(Signer::Revoked(revoked));
    }
    Err(SignatureError::UnknownSigner(Box::new(UnknownSigner::new(info, signed_data, trust))))
}

/// Returns whether OpenSSL considers issuer and serial number of two certificates equal.
fn is_alike(one: &Certificate, other: &Certificate) -> bool {
    let names = one.x509().issuer_name().try_cmp(other.x509().issuer_name());
    one.x509().serial_number() == other.x509().serial_number() && names.is_ok_and(std::cmp::Ordering::is_eq)
}

/// Checks the embedded data. OpenSSL ignores it, but an attacker could choose its bytes, so only data that is known
/// anyway is accepted.
fn check_baggage(signed_data: &SignedData, root_hash: &RootHash, trust: &TrustStore) -> Result<(), SignatureError> {
    if signed_data.content.as_ref().is_some_and(|content| **content != *root_hash.to_string().as_bytes()) {
        return Err(SignatureError::Baggage { what: "content other than the root hash".into() });
    }
    let trusted = trust.anchors().iter().map(Anchor::certificate);
    let known: Vec<&Certificate> = trusted.chain(trust.revoked().iter().map(|revoked| &revoked.certificate)).collect();
    match signed_data.certificates.iter().find(|der| !known.iter().any(|certificate| certificate.der() == &***der)) {
        None => Ok(()),
        Some(der) => {
            let subject = cms::CertificateNames::read(der).map_or("?".into(), |names| names.subject.to_text());
            let what = Text::new(format_args!("the certificate \"{subject}\", not among the trusted ones"));
            Err(SignatureError::Baggage { what })
        }
    }
}

/// Returns the digest algorithm if it is accepted.
fn strong(algorithm: &AlgorithmIdentifier) -> Result<MessageDigest, SignatureError> {
    match algorithm.digest() {
        Digest::Strong(StrongDigest::Sha256) => Ok(MessageDigest::sha256()),
        Digest::Strong(StrongDigest::Sha384) => Ok(MessageDigest::sha384()),
        Digest::Strong(StrongDigest::Sha512) => Ok(MessageDigest::sha512()),
        Digest::Other(found) => Err(SignatureError::WeakDigest { found }),
    }
}

/// A signature by a known key with accepted algorithms.
struct Signature<'a> {
    info: &'a SignerInfo,
    signer: &'a Text,
    digest: MessageDigest,
    key: PKey<Public>,
}

impl<'a> Signature<'a> {
    fn new(info: &'a SignerInfo, certificate: &'a Certificate) -> Result<Self, SignatureError> {
        let signer = certificate.subject();
        let digest = strong(&info.digest)?;
        if let Algorithm::Other(found) = info.algorithm.algorithm() {
            return Err(SignatureError::WeakAlgorithm { found });
        }
        let key = certificate.public_key()?;
        let found = match key.id() {
            Id::RSA if key.bits() >= MIN_RSA_BITS => return Ok(Self { info, signer, digest, key }),
            Id::EC if key.bits() >= MIN_EC_BITS => return Ok(Self { info, signer, digest, key }),
            Id::RSA => format!("RSA with {} bits", key.bits()),
            Id::EC => format!("ECDSA with {} bits", key.bits()),
            other => Nid::from_raw(other.as_raw()).short_name().unwrap_or("unknown kind").to_owned(),
        };
        Err(SignatureError::WeakKey { signer: signer.clone(), found: Text::new(found) })
    }

    fn verify(&self, root_hash: &RootHash) -> Result<(), SignatureError> {
        let signer = || self.signer.clone();
        let value: &[u8] = &self.info.value;
        let expected = match self.key.id() {
            Id::EC if !is_ecdsa_value(value) => Some("an ECDSA signature in DER"),
            Id::RSA if value.len() != self.key.size() => Some("as long as the RSA key"),
            _ => None,
        };
        if let Some(expected) = expected {
            return Err(SignatureError::Value { signer: signer(), expected });
        }
        // The content is the root hash in lower-case hexadecimal, without a newline.
        let content = root_hash.to_string();
        if let Some(found) = self.info.message_digest()
            && *found != *hash(self.digest, content.as_bytes())?
        {
            return Err(SignatureError::OtherDigest { signer: signer(), root_hash: root_hash.clone() });
        }
        let message = self.info.message(content.as_bytes());
        // An error also concerns the signature value: it may be a number that the key cannot produce.
        let fits = Verifier::new(self.digest, &self.key)?.verify_oneshot(value, &message);
        if fits.unwrap_or(false) {
            Ok(())
        } else {
            Err(SignatureError::Mismatch { signer: signer(), root_hash: root_hash.clone() })
        }
    }
}

/// Returns whether `value` is two positive integers in DER (RFC 3279, section 2.2.3).
fn is_ecdsa_value(value: &[u8]) -> bool {
    let numbers = Reader::new(value).only(SEQUENCE).and_then(|content| {
        let mut numbers = Reader::new(content);
        let pair = [numbers.expect(INTEGER)?.content, numbers.expect(INTEGER)?.content];
        numbers.finish()?;
        Ok(pair)
    });
    let is_positive = |number: &&[u8]| check_integer(number).is_ok() && number.first().is_some_and(|byte| *byte < 0x80);
    numbers.is_ok_and(|pair| pair.iter().all(is_positive))
}

#[cfg(test)]
#[path = "signature_tests.rs"]
mod tests;
