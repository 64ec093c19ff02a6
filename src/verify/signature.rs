//! The signature of a root hash, against the trust anchors.

use super::pkcs7::{self, Algorithm, Digest, Pkcs7Error, SignedData, SignerInfo};
use crate::bytes::hex;
use crate::image::signature_partition::SignaturePartition;
use crate::reason::{Reason, Refusal, printable};
use crate::trust::{Anchor, Certificate, Revoked, TrustStore};
use crate::verity::RootHash;
use openssl::error::ErrorStack;
use openssl::pkcs7::{Pkcs7, Pkcs7Flags};
use openssl::pkey::Id;
use openssl::stack::Stack;
use openssl::x509::X509;
use openssl::x509::store::X509StoreBuilder;
use std::time::SystemTime;
use thiserror::Error;
use x509_parser::prelude::{FromDer, X509Name};

/// Shortest RSA modulus that is accepted, in bits (NIST SP 800-131A).
const MIN_RSA_BITS: u32 = 2048;
/// Shortest prime field of an elliptic curve that is accepted, in bits (NIST SP 800-131A asks for 224;
/// no curve between that and 256 is in use).
const MIN_EC_BITS: u32 = 256;

/// Why a signature isn't accepted.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// It isn't PKCS#7.
    #[error(transparent)]
    Malformed(#[from] Pkcs7Error),
    /// Somebody signed whom nobody trusts.
    #[error("signer \"{signer}\" is not among the {trusted} trusted certificates")]
    UnknownSigner {
        /// Subject of the certificate that was sent along, else issuer and serial number.
        signer: String,
        /// How many are trusted.
        trusted: usize,
    },
    /// Something beside the signatures that no signature covers.
    #[error("the signature carries {what}, which it doesn't cover")]
    Baggage {
        /// What it is.
        what: String,
    },
    /// A digest that isn't accepted.
    #[error("the digest {found} is not one of SHA-256, SHA-384, SHA-512")]
    WeakDigest {
        /// Its name.
        found: String,
    },
    /// A signature algorithm that isn't accepted.
    #[error("the algorithm {found} is neither RSA (PKCS#1 v1.5) nor ECDSA")]
    WeakAlgorithm {
        /// Its name.
        found: String,
    },
    /// A key that is too short or of another kind.
    #[error(
        "the key of \"{signer}\" ({found}) is neither RSA with {MIN_RSA_BITS} bits or more nor ECDSA with {MIN_EC_BITS} or more"
    )]
    WeakKey {
        /// Subject of the certificate.
        signer: String,
        /// Kind and length.
        found: String,
    },
    /// The signature is about something else, or forged.
    #[error("the signature by \"{signer}\" does not fit the root hash {root_hash}{cause}")]
    Mismatch {
        /// Subject of the certificate.
        signer: String,
        /// What should have been signed.
        root_hash: RootHash,
        /// What OpenSSL said, if anything.
        cause: String,
    },
    /// dbx revokes a signer.
    #[error("signer \"{signer}\" is revoked by dbx ({by})")]
    Revoked {
        /// Subject of the certificate.
        signer: String,
        /// How dbx names it.
        by: String,
    },
    /// OpenSSL can't do its work.
    #[error("OpenSSL: {0}")]
    OpenSsl(#[from] ErrorStack),
}

impl SignatureError {
    /// The rule that was broken.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Malformed(_) | Self::Baggage { .. } | Self::Mismatch { .. } | Self::OpenSsl(_) => {
                Reason::BadSignature
            }
            Self::UnknownSigner { .. } => Reason::UnknownSigner,
            Self::WeakDigest { .. } | Self::WeakAlgorithm { .. } | Self::WeakKey { .. } => Reason::WeakSignature,
            Self::Revoked { .. } => Reason::RevokedSigner,
        }
    }
}

impl From<SignatureError> for Refusal {
    fn from(error: SignatureError) -> Self {
        Self::new(error.reason(), &error)
    }
}

/// A root hash that a trusted certificate signed. Only [`SignedRoot::verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedRoot {
    root_hash: RootHash,
    signer: Anchor,
    signature: Vec<u8>,
}

impl SignedRoot {
    /// Verifies what a signature partition claims.
    ///
    /// Every signer must be one of the anchors exactly; no chain is built, and neither expiry nor key
    /// usage is looked at (as in systemd 257, `validate_signature_userspace`, so that whatever passes
    /// here passes there).
    ///
    /// # Errors
    /// [`SignatureError`]: the first rule that is broken.
    pub fn verify(claim: &SignaturePartition, trust: &TrustStore) -> Result<Self, SignatureError> {
        let signed_data = pkcs7::parse(&claim.signature)?;
        // systemd searches the files of verity.d in the order of their names.
        let mut anchors: Vec<&Anchor> = trust.anchors().iter().collect();
        anchors.sort_by_key(|anchor| anchor.file_name());
        let signers = signed_data
            .signers
            .iter()
            .map(|info| identify(info, &anchors, trust, &signed_data))
            .collect::<Result<Vec<_>, _>>()?;
        if let Some(Digest::Other(found)) = signed_data.digests.iter().find(|digest| **digest != Digest::Strong) {
            return Err(SignatureError::WeakDigest { found: found.clone() });
        }
        for (info, signer) in signed_data.signers.iter().zip(&signers) {
            check_strength(info, signer.certificate())?;
        }
        check_baggage(&signed_data, claim, trust)?;
        let first = signers.first().ok_or(Pkcs7Error::NoSigner)?;
        check_signature(claim, &anchors, trust.revoked(), first.certificate().subject())?;
        if let Some(Signer::Revoked(revoked)) = signers.iter().find(|signer| matches!(signer, Signer::Revoked(_))) {
            let signer = revoked.certificate.subject().to_owned();
            return Err(SignatureError::Revoked { signer, by: revoked.by.clone() });
        }
        match first {
            Signer::Trusted(anchor) => Ok(Self {
                root_hash: claim.root_hash.clone(),
                signer: (*anchor).clone(),
                signature: claim.signature.clone(),
            }),
            Signer::Revoked(_) => Err(Pkcs7Error::NoSigner.into()),
        }
    }

    /// The root hash.
    #[must_use]
    pub fn root_hash(&self) -> &RootHash {
        &self.root_hash
    }

    /// Who signed it; the first, where several did.
    #[must_use]
    pub fn signer(&self) -> &Anchor {
        &self.signer
    }

    /// The signature, DER, as the kernel wants to see it too.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// What a person should know though it changes nothing.
    #[must_use]
    pub fn warnings(&self, claim: &SignaturePartition, now: SystemTime) -> Vec<String> {
        let certificate = self.signer.certificate();
        let mut warnings = Vec::new();
        if certificate.expired_at(now) {
            warnings.push(format!("the certificate of signer \"{}\" has expired", certificate.subject()));
        }
        let fingerprint = certificate.fingerprint().to_string();
        match &claim.certificate_fingerprint {
            None => warnings.push("the signature partition names no certificateFingerprint".to_owned()),
            Some(found) if !found.eq_ignore_ascii_case(&fingerprint) => {
                warnings.push(format!("certificateFingerprint is {found} where the signer's is {fingerprint}"));
            }
            Some(_) => {}
        }
        warnings
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

fn identify<'a>(
    info: &SignerInfo<'_>,
    anchors: &[&'a Anchor],
    trust: &'a TrustStore,
    signed_data: &SignedData<'_>,
) -> Result<Signer<'a>, SignatureError> {
    let is_meant = |certificate: &Certificate| certificate.is_named(info.issuer, info.serial);
    if let Some(anchor) = anchors.iter().find(|anchor| is_meant(anchor.certificate())) {
        return Ok(Signer::Trusted(anchor));
    }
    if let Some(revoked) = trust.revoked().iter().find(|revoked| is_meant(&revoked.certificate)) {
        return Ok(Signer::Revoked(revoked));
    }
    let sent = signed_data.certificates.iter().filter_map(|der| Certificate::from_der(der).ok());
    let signer = sent.into_iter().find(is_meant).map_or_else(
        || {
            let issuer = X509Name::from_der(info.issuer).map_or_else(|_| "?".to_owned(), |(_, name)| name.to_string());
            let serial = info.serial.get(..20).unwrap_or(info.serial);
            printable(&format!("serial {} of {issuer}", hex(serial))).chars().take(256).collect()
        },
        |certificate| certificate.subject().to_owned(),
    );
    Err(SignatureError::UnknownSigner { signer, trusted: anchors.len() })
}

/// OpenSSL overlooks what is sent along beside the signatures. To us it is room for bytes of an attacker's
/// choice, so it may say nothing that isn't known anyway.
fn check_baggage(
    signed_data: &SignedData<'_>,
    claim: &SignaturePartition,
    trust: &TrustStore,
) -> Result<(), SignatureError> {
    if signed_data.content.is_some_and(|content| content != claim.root_hash.to_string().as_bytes()) {
        return Err(SignatureError::Baggage { what: "content other than the root hash".to_owned() });
    }
    let trusted = trust.anchors().iter().map(Anchor::certificate);
    let known: Vec<&Certificate> = trusted.chain(trust.revoked().iter().map(|revoked| &revoked.certificate)).collect();
    match signed_data.certificates.iter().find(|der| !known.iter().any(|certificate| certificate.der() == **der)) {
        None => Ok(()),
        Some(der) => {
            let subject =
                Certificate::from_der(der).map_or_else(|_| "?".to_owned(), |stray| stray.subject().to_owned());
            Err(SignatureError::Baggage { what: format!("the certificate \"{subject}\", not among the trusted ones") })
        }
    }
}

fn check_strength(info: &SignerInfo<'_>, certificate: &Certificate) -> Result<(), SignatureError> {
    if let Digest::Other(found) = &info.digest {
        return Err(SignatureError::WeakDigest { found: found.clone() });
    }
    if let Algorithm::Other(found) = &info.algorithm {
        return Err(SignatureError::WeakAlgorithm { found: found.clone() });
    }
    let key = certificate.x509().public_key()?;
    let found = match key.id() {
        Id::RSA if key.bits() >= MIN_RSA_BITS => return Ok(()),
        Id::EC if key.bits() >= MIN_EC_BITS => return Ok(()),
        Id::RSA => format!("RSA with {} bits", key.bits()),
        Id::EC => format!("ECDSA with {} bits", key.bits()),
        other => other.as_raw_name(),
    };
    Err(SignatureError::WeakKey { signer: certificate.subject().to_owned(), found })
}

/// The short name of a kind of key that isn't accepted.
trait RawName {
    fn as_raw_name(&self) -> String;
}

impl RawName for Id {
    fn as_raw_name(&self) -> String {
        openssl::nid::Nid::from_raw(self.as_raw()).short_name().unwrap_or("unknown kind").to_owned()
    }
}

fn check_signature(
    claim: &SignaturePartition,
    anchors: &[&Anchor],
    revoked: &[Revoked],
    signer: &str,
) -> Result<(), SignatureError> {
    let mut certificates: Stack<X509> = Stack::new()?;
    let known = anchors.iter().map(|anchor| anchor.certificate()).chain(revoked.iter().map(|one| &one.certificate));
    for certificate in known {
        certificates.push(certificate.x509().clone())?;
    }
    let store = X509StoreBuilder::new()?.build();
    // The content is the root hash in lower-case hexadecimal, without a newline.
    let content = claim.root_hash.to_string();
    let verified = Pkcs7::from_der(&claim.signature).and_then(|signature| {
        let flags = Pkcs7Flags::NOINTERN | Pkcs7Flags::NOVERIFY;
        signature.verify(&certificates, &store, Some(content.as_bytes()), None, flags)
    });
    verified.map_err(|errors| {
        let cause = errors.errors().first().and_then(openssl::error::Error::reason);
        SignatureError::Mismatch {
            signer: signer.to_owned(),
            root_hash: claim.root_hash.clone(),
            cause: cause.map(|cause| format!(": {cause}")).unwrap_or_default(),
        }
    })
}
