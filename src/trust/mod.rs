//! Whom to trust: the firmware's certificates less what it revokes, and those sealed into the initrd.

mod certificate;
mod export;
mod sealed;

pub use certificate::{Certificate, CertificateError, Fingerprint};
pub use export::export;
#[cfg(feature = "cli")]
pub use export::read_exported_sealed;
pub use sealed::{SEALED_DIRECTORIES, SealedFile, read_sealed};

use crate::firmware::Firmware;
use crate::firmware::signature_list::{Entry, SignatureDatabase, TbsDigest};
use crate::reason::printable;
use std::fmt;

/// Where a trust anchor comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// The firmware's platform key.
    Pk,
    /// The firmware's key exchange keys.
    Kek,
    /// The firmware's allowed signers.
    Db,
    /// A file under `verity.d` that the UKI's signature covers.
    Sealed,
    /// A file that the user of the command line named.
    File,
}

impl Source {
    /// The word for it in reports, the configuration and names of files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pk => "PK",
            Self::Kek => "KEK",
            Self::Db => "db",
            Self::Sealed => "sealed",
            Self::File => "file",
        }
    }

    /// All that the configuration may name.
    pub const CONFIGURABLE: [Self; 4] = [Self::Pk, Self::Kek, Self::Db, Self::Sealed];
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A certificate that may sign extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    certificate: Certificate,
    source: Source,
    number: usize,
}

impl Anchor {
    /// The certificate.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Where it comes from.
    #[must_use]
    pub fn source(&self) -> Source {
        self.source
    }

    /// Name of its file in `/run/verity.d`: `<source>-<n>.crt`, counted from 1 within the source.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{}-{}.crt", self.source, self.number)
    }
}

/// Something that was offered as a trust anchor and isn't one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignored {
    /// Where it was found: a variable (`PK`, `KEK`, `db`, `dbx`), or a file's path.
    pub origin: String,
    /// Fingerprint, where the bytes could be told apart.
    pub sha256: Option<Fingerprint>,
    /// Why.
    pub reason: String,
}

/// A certificate that would be trusted if dbx didn't revoke it, or that dbx itself holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// The certificate.
    pub certificate: Certificate,
    /// How dbx names it, for people.
    pub by: String,
}

/// Certificates that somebody offers, before anything is decided about them.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The certificate, or why there is none.
    pub certificate: Result<Certificate, CertificateError>,
    /// Kind of place.
    pub source: Source,
    /// Place, for people.
    pub origin: String,
    /// Fingerprint of the bytes that were offered.
    pub sha256: Option<Fingerprint>,
}

/// The trust anchors of this boot. Made only by [`TrustStore::decide`] and its shorthands.
#[derive(Debug, Clone, Default)]
pub struct TrustStore {
    anchors: Vec<Anchor>,
    revoked: Vec<Revoked>,
    ignored: Vec<Ignored>,
}

impl TrustStore {
    /// The anchors of a firmware and of sealed files, as far as `sources` admits them.
    #[must_use]
    pub fn of_machine(firmware: &Firmware, sealed: &[SealedFile], sources: &[Source]) -> Self {
        let mut offers = offers_of_firmware(firmware);
        offers.extend(sealed.iter().map(|file| file.offer(Source::Sealed)));
        offers.retain(|offer| sources.contains(&offer.source));
        let mut store = Self::decide(offers, &firmware.dbx);
        store.note(parse_errors(firmware));
        store
    }

    /// Sorts offers into trusted, revoked and ignored.
    #[must_use]
    pub fn decide(offers: Vec<Offer>, dbx: &SignatureDatabase) -> Self {
        let mut store = Self::default();
        for entry in &dbx.entries {
            let Entry::Certificate(der) = entry else { continue };
            match Certificate::from_der(der) {
                Ok(certificate) => {
                    store.revoked.push(Revoked { certificate, by: "the certificate itself".to_owned() });
                }
                Err(error) => store.ignored.push(Ignored {
                    origin: "dbx".to_owned(),
                    sha256: Some(Fingerprint::of(der)),
                    reason: error.to_string(),
                }),
            }
        }
        for offer in offers {
            store.admit(offer, dbx);
        }
        store
    }

    fn admit(&mut self, offer: Offer, dbx: &SignatureDatabase) {
        let reason = match offer.certificate {
            Err(error) => error.to_string(),
            Ok(certificate) => {
                if let Some(by) = revoked_by(&certificate, dbx) {
                    let reason = format!("revoked by dbx ({by})");
                    if !self.revoked.iter().any(|revoked| revoked.certificate == certificate) {
                        self.revoked.push(Revoked { certificate, by });
                    }
                    reason
                } else if let Some(twin) = self.anchors.iter().find(|anchor| anchor.certificate == certificate) {
                    format!("the same certificate as {}", twin.file_name())
                } else {
                    let number = self.anchors.iter().filter(|anchor| anchor.source == offer.source).count() + 1;
                    self.anchors.push(Anchor { certificate, source: offer.source, number });
                    return;
                }
            }
        };
        self.ignored.push(Ignored { origin: printable(&offer.origin), sha256: offer.sha256, reason });
    }

    /// Adds to what was ignored.
    pub fn note(&mut self, ignored: impl IntoIterator<Item = Ignored>) {
        self.ignored.extend(ignored);
    }

    /// The trusted certificates, PK before KEK before db before sealed.
    #[must_use]
    pub fn anchors(&self) -> &[Anchor] {
        &self.anchors
    }

    /// The revoked certificates.
    #[must_use]
    pub fn revoked(&self) -> &[Revoked] {
        &self.revoked
    }

    /// What was offered in vain.
    #[must_use]
    pub fn ignored(&self) -> &[Ignored] {
        &self.ignored
    }
}

/// What the firmware offers: the certificates of PK, KEK and db, in this order.
#[must_use]
pub fn offers_of_firmware(firmware: &Firmware) -> Vec<Offer> {
    [(Source::Pk, &firmware.pk), (Source::Kek, &firmware.kek), (Source::Db, &firmware.db)]
        .into_iter()
        .flat_map(|(source, database)| offers_of(source, database))
        .collect()
}

/// What couldn't be read in the firmware's variables.
pub fn parse_errors(firmware: &Firmware) -> impl Iterator<Item = Ignored> {
    [("PK", &firmware.pk), ("KEK", &firmware.kek), ("db", &firmware.db), ("dbx", &firmware.dbx)].into_iter().flat_map(
        |(name, database)| {
            database.errors.iter().map(move |error| Ignored {
                origin: name.to_owned(),
                sha256: None,
                reason: error.to_string(),
            })
        },
    )
}

fn offers_of(source: Source, database: &SignatureDatabase) -> impl Iterator<Item = Offer> + '_ {
    database.entries.iter().filter_map(move |entry| match entry {
        Entry::Certificate(der) => Some(Offer {
            certificate: Certificate::from_der(der),
            source,
            origin: source.to_string(),
            sha256: Some(Fingerprint::of(der)),
        }),
        // A hash of a boot loader is no offer, and nothing to complain about.
        _ => None,
    })
}

/// UEFI specification 2.10, section 32.4.1: a certificate is revoked by itself or by a digest of its
/// `TBSCertificate`, whatever the revocation time says.
fn revoked_by(certificate: &Certificate, dbx: &SignatureDatabase) -> Option<String> {
    dbx.entries.iter().find_map(|entry| match entry {
        Entry::Certificate(der) => (der == certificate.der()).then(|| "the certificate itself".to_owned()),
        Entry::CertificateDigest { digest, value } => {
            let name = match digest {
                TbsDigest::Sha256 => "SHA-256",
                TbsDigest::Sha384 => "SHA-384",
                TbsDigest::Sha512 => "SHA-512",
            };
            (certificate.tbs_digest(*digest)? == *value).then(|| format!("{name} of its TBSCertificate"))
        }
        Entry::Other { .. } => None,
    })
}

#[cfg(test)]
mod tests;
