//! A signer that the machine doesn't trust: what is said of it, and which trust anchor comes near.
//!
//! Whoever made the image chose every word of it. It is told to people and compared with what is trusted; nothing is decided
//! by it, and no key of it is used: it never becomes a [`Certificate`](crate::trust::Certificate).

use super::cms::{CertificateNames, SignedData, SignerInfo};
use crate::trust::{Anchor, Fingerprint, Source, TrustStore};
use ddi::text::{Message, Text};
use std::fmt;

/// Most trust anchors that a signer is compared with.
const COMPARED: usize = 64;

/// What an image says of a signer that the machine doesn't trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownSigner {
    issuer: Text,
    serial: Text,
    certificate: Option<Claimed>,
    /// How many certificates are trusted.
    anchors: usize,
    /// The trust anchor where there is only one.
    only: Option<(Text, Source)>,
    hint: Option<Hint>,
}

/// The certificate that was sent along.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Claimed {
    subject: Text,
    sha256: Fingerprint,
}

/// Why an operator may think that the signer is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Hint {
    /// Its certificate was offered as a trust anchor.
    Ignored { origin: Text, reason: Message },
    /// An anchor has the same key.
    SameKey { source: Source, sha256: Fingerprint },
    /// An anchor has the same subject.
    SameSubject { source: Source, sha256: Fingerprint },
    /// An anchor issued it, by its name.
    Issued { source: Source, sha256: Fingerprint },
}

impl UnknownSigner {
    /// Describes the signer `info` of `signed_data`, which is none of the anchors of `trust`.
    pub(super) fn new(info: &SignerInfo, signed_data: &SignedData, trust: &TrustStore) -> Self {
        let sent = signed_data.certificate_of(info);
        let certificate = sent
            .as_ref()
            .map(|(der, names)| Claimed { subject: names.subject.to_text(), sha256: Fingerprint::of(der) });
        let anchors = trust.anchors();
        let only = match anchors {
            [only] => Some((only.certificate().subject().clone(), only.source())),
            _ => None,
        };
        let ignored = certificate.as_ref().and_then(|claimed| {
            let found = trust.ignored().iter().find(|ignored| ignored.sha256 == Some(claimed.sha256))?;
            Some(Hint::Ignored { origin: found.origin.clone(), reason: found.reason.clone() })
        });
        Self {
            issuer: info.issuer.to_text(),
            serial: Text::new(&info.serial),
            hint: ignored.or_else(|| nearest(info, sent.as_ref().map(|(_, names)| names), anchors)),
            certificate,
            anchors: anchors.len(),
            only,
        }
    }

    /// The subject of the certificate that was sent along.
    #[must_use]
    pub fn subject(&self) -> Option<&Text> {
        self.certificate.as_ref().map(|claimed| &claimed.subject)
    }

    /// SHA-256 of that certificate. No trust anchor has this fingerprint.
    #[must_use]
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.certificate.as_ref().map(|claimed| claimed.sha256)
    }

    /// Its serial number in hexadecimal.
    #[must_use]
    pub fn serial(&self) -> &Text {
        &self.serial
    }

    /// Who issued it.
    #[must_use]
    pub fn issuer(&self) -> &Text {
        &self.issuer
    }
}

/// The trust anchor that comes nearest to a signer: one with its key, else one with its subject, else one with the name of its
/// issuer.
fn nearest(info: &SignerInfo, sent: Option<&CertificateNames>, anchors: &[Anchor]) -> Option<Hint> {
    let mut same_subject = None;
    let mut issued = None;
    for anchor in anchors.iter().take(COMPARED) {
        let Some(names) = CertificateNames::read(anchor.certificate().der()) else { continue };
        let (source, sha256) = (anchor.source(), anchor.certificate().fingerprint());
        if sent.is_some_and(|sent| sent.key.is_some() && sent.key == names.key) {
            return Some(Hint::SameKey { source, sha256 });
        }
        // Without a certificate there is no subject; that of one that is self-signed is its issuer.
        if sent.is_some_and(|sent| sent.subject.is_alike(&names.subject)) {
            same_subject.get_or_insert(Hint::SameSubject { source, sha256 });
        }
        if info.issuer.is_alike(&names.subject) {
            issued.get_or_insert(Hint::Issued { source, sha256 });
        }
    }
    same_subject.or(issued)
}

impl fmt::Display for UnknownSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.certificate {
            Some(claimed) => write!(f, "signer \"{}\"", claimed.subject)?,
            None => write!(f, "the signer with serial number {} of issuer \"{}\"", self.serial, self.issuer)?,
        }
        match (&self.only, self.anchors) {
            (Some((subject, source)), _) => write!(f, " is not the trust anchor, \"{subject}\" ({source})")?,
            (None, 0) => f.write_str(" is not trusted: there are no trust anchors")?,
            (None, number) => write!(f, " is not one of the {number} trust anchors")?,
        }
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        match &self.certificate {
            Some(claimed) => {
                write!(f, " (certificate of the signer: serial number {}, SHA-256 {})", self.serial, claimed.sha256)
            }
            None => f.write_str(" (the signature carries no certificate of the signer)"),
        }
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ignored { origin, reason } => write!(f, "its certificate is in {origin}, and ignored: {reason}"),
            Self::SameKey { source, sha256 } => {
                write!(f, "{source} has another certificate for the same key, SHA-256 {sha256}: was it reissued?")
            }
            Self::SameSubject { source, sha256 } => {
                write!(f, "{source} has another certificate with this subject, SHA-256 {sha256}: was it renewed?")
            }
            Self::Issued { source, sha256 } => {
                let text = "has the subject of its issuer, which is not enough";
                write!(f, "a certificate of {source}, SHA-256 {sha256}, {text}: certificates have to match exactly")
            }
        }
    }
}
