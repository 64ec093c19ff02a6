//! Trust anchors: the firmware's certificates that it does not revoke, and those sealed into the initrd.

mod certificate;
mod deferred;
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

/// Reason for ignoring a certificate of a source that the configuration does not admit.
const NOT_ADMITTED: &str = "not admitted by the configuration (trust.sources)";

/// The source of a trust anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// The firmware's platform key.
    Pk,
    /// The firmware's key exchange keys.
    Kek,
    /// The firmware's allowed signers.
    Db,
    /// A file in `verity.d` that the UKI's signature covers.
    Sealed,
    /// A file named on the command line.
    File,
}

impl Source {
    /// Returns the name in reports, the configuration and file names.
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

    /// All sources.
    pub const ALL: [Self; 5] = [Self::Pk, Self::Kek, Self::Db, Self::Sealed, Self::File];
    /// All sources that the configuration may name.
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
    /// Returns the certificate.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Returns the source.
    #[must_use]
    pub fn source(&self) -> Source {
        self.source
    }

    /// Returns the name of its file in `/run/verity.d`: `<source>-<n>.crt`, counted from 1 for each source.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{}-{}.crt", self.source, self.number)
    }
}

/// An offered certificate that is not a trust anchor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignored {
    /// Origin: a variable (`PK`, `KEK`, `db`, `dbx`) or the path of a file.
    pub origin: Text,
    /// Fingerprint, `None` if the bytes of the certificate are unknown.
    pub sha256: Option<Fingerprint>,
    /// Cause, such as a parse error or a revocation.
    pub reason: Message,
}

/// A certificate that would be trusted if dbx did not revoke it, or that is in dbx itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// The certificate.
    pub certificate: Certificate,
    /// The way in which dbx identifies it, for people.
    pub by: Text,
}

/// A certificate from one of the sources, before the decision about it.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The certificate, or the error of reading it.
    pub certificate: Result<Certificate, CertificateError>,
    /// Source.
    pub source: Source,
    /// Origin, for people.
    pub origin: Text,
    /// Fingerprint of the bytes, `None` if they could not be read.
    pub sha256: Option<Fingerprint>,
}

/// Maximum number of rows about ignored certificates of one source. The last row summarizes the rest. A variable of 1
/// MiB can have 60,000 entries that are not certificates.
const MAX_IGNORED: usize = 64;

/// The trust anchors of this boot. Made only by [`TrustStore::decide`] and its variants.
#[derive(Debug, Clone, Default)]
pub struct TrustStore {
    anchors: Vec<Anchor>,
    revoked: Vec<Revoked>,
    ignored: IgnoredRows,
    dbx_faults: IgnoredRows,
}

impl TrustStore {
    /// Decides about the certificates of a firmware and of sealed files, as far as `sources` admits them.
    #[must_use]
    pub fn of_machine(firmware: &Firmware, sealed: &[SealedFile], sources: &[Source]) -> Self {
        let mut offers = offers_of_firmware(firmware);
        offers.extend(sealed.iter().map(|file| file.offer(Source::Sealed)));
        let mut store = Self::decide_among(offers, sources, &firmware.dbx);
        store.note_faults(firmware);
        store
    }

    /// Sorts offers into trusted, revoked and ignored ones.
    #[must_use]
    pub fn decide(offers: Vec<Offer>, dbx: &SignatureDatabase) -> Self {
        Self::decide_among(offers, &Source::ALL, dbx)
    }

    /// Decides as [`TrustStore::decide`] does, and ignores offers of other sources than `sources`.
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

    /// Adds the parse errors of PK, KEK and db as ignored certificates. They only mean fewer anchors.
    pub fn note_faults(&mut self, firmware: &Firmware) {
        for (source, database) in databases(firmware) {
            for error in &database.errors {
                let ignored = Ignored { origin: source.as_str().into(), sha256: None, reason: Message::new(error) };
                self.ignored.add(source.as_str(), ignored);
            }
        }
    }

    /// Removes all anchors for whose fingerprint `known` returns `false`.
    pub fn retain(&mut self, known: impl Fn(&Fingerprint) -> bool) {
        self.anchors.retain(|anchor| known(&anchor.certificate.fingerprint()));
    }

    /// Returns the trust anchors, in the order PK, KEK, db, sealed.
    #[must_use]
    pub fn anchors(&self) -> &[Anchor] {
        &self.anchors
    }

    /// Returns the revoked certificates.
    #[must_use]
    pub fn revoked(&self) -> &[Revoked] {
        &self.revoked
    }

    /// Returns the certificates that were ignored, with the reason.
    #[must_use]
    pub fn ignored(&self) -> &[Ignored] {
        &self.ignored.rows
    }

    /// Returns the parts of dbx that could not be parsed. Each may be a revocation.
    #[must_use]
    pub fn dbx_faults(&self) -> &[Ignored] {
        &self.dbx_faults.rows
    }
}

/// Rows about ignored certificates, a bounded number for each source.
#[derive(Debug, Clone, Default)]
struct IgnoredRows {
    rows: Vec<Ignored>,
    /// For each source, the number of certificates, and the index of the row that summarizes those over the limit.
    sources: BTreeMap<&'static str, (usize, usize)>,
}

impl IgnoredRows {
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

/// Returns the variables with possible anchors, in the order of precedence.
fn databases(firmware: &Firmware) -> [(Source, &SignatureDatabase); 3] {
    [(Source::Pk, &firmware.pk), (Source::Kek, &firmware.kek), (Source::Db, &firmware.db)]
}

/// Returns the certificates of PK, KEK and db, in this order.
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
        // An image hash is normal and not a certificate.
        _ => None,
    })
}

#[cfg(test)]
mod tests;
