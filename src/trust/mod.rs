//! Whom to trust: the firmware's certificates less what it revokes, and those sealed into the initrd.

mod certificate;
mod export;
mod others;
mod revocation;
mod sealed;

pub use certificate::{Certificate, CertificateError, Fingerprint};
pub use export::{export, read_exported_sealed};
pub use others::Removed;
pub use sealed::{SEALED_DIRECTORIES, SealedFile, read_sealed};

use crate::firmware::Firmware;
use crate::firmware::signature_list::{Entry, SignatureDatabase};
use ddi::text::{Message, Text};
use revocation::Revocations;
use std::collections::BTreeMap;
use std::fmt;

/// Why a certificate of a source that the configuration leaves out is ignored.
const NOT_ADMITTED: &str = "not admitted by the configuration (trust.sources)";

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

    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Pk, Self::Kek, Self::Db, Self::Sealed, Self::File];
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
    pub origin: Text,
    /// Fingerprint, where the bytes could be told apart.
    pub sha256: Option<Fingerprint>,
    /// Why.
    pub reason: Message,
}

/// A certificate that would be trusted if dbx didn't revoke it, or that dbx itself holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// The certificate.
    pub certificate: Certificate,
    /// How dbx names it, for people.
    pub by: Text,
}

/// Certificates that somebody offers, before anything is decided about them.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The certificate, or why there is none.
    pub certificate: Result<Certificate, CertificateError>,
    /// Kind of place.
    pub source: Source,
    /// Place, for people.
    pub origin: Text,
    /// Fingerprint of the bytes that were offered.
    pub sha256: Option<Fingerprint>,
}

/// Most rows about ignored certificates of one source; the last one sums up the others. A variable of 1 MiB has room
/// for 60,000 entries that are no certificates.
const MAX_IGNORED: usize = 64;

/// The trust anchors of this boot. Made only by [`TrustStore::decide`] and its shorthands.
#[derive(Debug, Clone, Default)]
pub struct TrustStore {
    anchors: Vec<Anchor>,
    revoked: Vec<Revoked>,
    ignored: Ignorings,
    dbx_faults: Ignorings,
}

impl TrustStore {
    /// The anchors of a firmware and of sealed files, as far as `sources` admits them.
    #[must_use]
    pub fn of_machine(firmware: &Firmware, sealed: &[SealedFile], sources: &[Source]) -> Self {
        let mut offers = offers_of_firmware(firmware);
        offers.extend(sealed.iter().map(|file| file.offer(Source::Sealed)));
        let mut store = Self::decide_among(offers, sources, &firmware.dbx);
        store.note_faults(firmware);
        store
    }

    /// Sorts offers into trusted, revoked and ignored.
    #[must_use]
    pub fn decide(offers: Vec<Offer>, dbx: &SignatureDatabase) -> Self {
        Self::decide_among(offers, &Source::ALL, dbx)
    }

    /// Sorts offers of `sources` into trusted, revoked and ignored; all others are ignored.
    #[must_use]
    pub fn decide_among(offers: Vec<Offer>, sources: &[Source], dbx: &SignatureDatabase) -> Self {
        let mut store = Self::default();
        let revocations = Revocations::read(dbx);
        for fault in revocations.faults.iter().cloned() {
            store.dbx_faults.add("dbx", fault);
        }
        let of_dbx = revocations.certificates.iter().cloned();
        store.revoked.extend(of_dbx.map(|certificate| Revoked { certificate, by: revocation::ITSELF.into() }));
        let certificates: Vec<_> = offers.iter().map(|offer| offer.certificate.as_ref().ok()).collect();
        let judged = revocations.judge(&certificates);
        for (offer, revoked_by) in offers.into_iter().zip(judged) {
            store.admit(offer, sources, revoked_by);
        }
        store
    }

    fn admit(&mut self, offer: Offer, sources: &[Source], revoked_by: Option<Text>) {
        let reason = match offer.certificate {
            _ if !sources.contains(&offer.source) => NOT_ADMITTED.into(),
            Err(error) => Message::new(error),
            Ok(certificate) => {
                if let Some(by) = revoked_by {
                    let reason = Message::new(format_args!("revoked by dbx ({by})"));
                    if !self.revoked.iter().any(|revoked| revoked.certificate == certificate) {
                        self.revoked.push(Revoked { certificate, by });
                    }
                    reason
                } else if let Some(twin) = self.anchors.iter().find(|anchor| anchor.certificate == certificate) {
                    Message::new(format_args!("the same certificate as {}", twin.file_name()))
                } else {
                    let number = self.anchors.iter().filter(|anchor| anchor.source == offer.source).count() + 1;
                    self.anchors.push(Anchor { certificate, source: offer.source, number });
                    return;
                }
            }
        };
        let ignored = Ignored { origin: offer.origin, sha256: offer.sha256, reason };
        self.ignored.add(offer.source.as_str(), ignored);
    }

    /// Adds what couldn't be read of PK, KEK and db, which only means fewer anchors.
    pub fn note_faults(&mut self, firmware: &Firmware) {
        for (source, database) in databases(firmware) {
            for error in &database.errors {
                let ignored = Ignored { origin: source.as_str().into(), sha256: None, reason: Message::new(error) };
                self.ignored.add(source.as_str(), ignored);
            }
        }
    }

    /// Trusts only those whose fingerprint is `known`.
    pub fn retain(&mut self, known: impl Fn(&Fingerprint) -> bool) {
        self.anchors.retain(|anchor| known(&anchor.certificate.fingerprint()));
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
        &self.ignored.rows
    }

    /// What couldn't be understood of dbx, and may be a revocation.
    #[must_use]
    pub fn dbx_faults(&self) -> &[Ignored] {
        &self.dbx_faults.rows
    }
}

/// Rows about what was ignored, a bounded number of each source.
#[derive(Debug, Clone, Default)]
struct Ignorings {
    rows: Vec<Ignored>,
    /// How many there are of each source, and the place of the row that sums up those beyond the limit.
    sources: BTreeMap<&'static str, (usize, usize)>,
}

impl Ignorings {
    fn add(&mut self, source: &'static str, ignored: Ignored) {
        let (count, last) = self.sources.entry(source).or_default();
        *count += 1;
        match count.checked_sub(MAX_IGNORED) {
            None | Some(0) => {
                *last = self.rows.len();
                self.rows.push(ignored);
            }
            Some(more) => {
                if let Some(row) = self.rows.get_mut(*last) {
                    let reason = format_args!("and {} more of {source}", more + 1);
                    let reason = Message::new(reason);
                    *row = Ignored { origin: source.into(), sha256: None, reason };
                }
            }
        }
    }
}

/// The variables that offer anchors, in their order.
fn databases(firmware: &Firmware) -> [(Source, &SignatureDatabase); 3] {
    [(Source::Pk, &firmware.pk), (Source::Kek, &firmware.kek), (Source::Db, &firmware.db)]
}

/// What the firmware offers: the certificates of PK, KEK and db, in this order.
#[must_use]
pub fn offers_of_firmware(firmware: &Firmware) -> Vec<Offer> {
    databases(firmware).into_iter().flat_map(|(source, database)| offers_of(source, database)).collect()
}

fn offers_of(source: Source, database: &SignatureDatabase) -> impl Iterator<Item = Offer> + '_ {
    database.entries.iter().filter_map(move |entry| match entry {
        Entry::Certificate(der) => Some(Offer {
            certificate: Certificate::from_der(der),
            source,
            origin: source.as_str().into(),
            sha256: Some(Fingerprint::of(der)),
        }),
        // A hash of a boot loader is no offer, and nothing to complain about.
        _ => None,
    })
}

#[cfg(test)]
mod tests;
