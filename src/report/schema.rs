//! The report: an interface, versioned. Fields are added, never changed or taken away, within a version.

use crate::firmware::{Firmware, SecureBoot};
use crate::image::Class;
use crate::reason::{Reason, Refusal, printable};
use crate::trust::{self, TrustStore};
use crate::verify::Findings;
use serde::{Serialize, Serializer};
use std::ffi::OsStr;
use std::time::Duration;

/// Version of the schema.
pub const SCHEMA_VERSION: u32 = 1;

/// Everything about one run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// [`SCHEMA_VERSION`]
    pub version: u32,
    /// What the firmware says; `null` where it couldn't be asked.
    pub firmware: Option<FirmwareState>,
    /// The trust anchors.
    pub trust: Vec<Anchor>,
    /// What was offered as a trust anchor and isn't one.
    pub ignored_certificates: Vec<IgnoredCertificate>,
    /// One row for each file found.
    pub images: Vec<Image>,
    /// What became of it, filled in after the merge.
    pub merge: Option<Merge>,
    /// Why the agent could not do its job; `null` where it could.
    pub error: Option<String>,
}

impl Default for Report {
    fn default() -> Self {
        Self {
            version: SCHEMA_VERSION,
            firmware: None,
            trust: Vec::new(),
            ignored_certificates: Vec::new(),
            images: Vec::new(),
            merge: None,
            error: None,
        }
    }
}

impl Report {
    /// Fills in the trust anchors; `exported` says whether their files have been written.
    pub fn set_trust(&mut self, store: &TrustStore, exported: bool) {
        self.trust = store
            .anchors()
            .iter()
            .map(|anchor| Anchor {
                source: anchor.source().as_str(),
                subject: anchor.certificate().subject().to_owned(),
                sha256: anchor.certificate().fingerprint().to_string(),
                file: exported.then(|| anchor.file_name()),
            })
            .collect();
        self.ignored_certificates = store
            .ignored()
            .iter()
            .chain(store.dbx_faults())
            .map(|ignored| IgnoredCertificate {
                source: ignored.origin.clone(),
                sha256: ignored.sha256.map(|sha256| sha256.to_string()),
                reason: ignored.reason.clone(),
            })
            .collect();
    }
}

/// What the firmware says.
#[derive(Debug, Serialize)]
pub struct FirmwareState {
    /// State of Secure Boot.
    pub secure_boot: SecureBoot,
    /// The boot entry.
    pub entry: Option<String>,
}

impl From<&Firmware> for FirmwareState {
    fn from(firmware: &Firmware) -> Self {
        Self { secure_boot: firmware.secure_boot, entry: firmware.entries.name().map(printable) }
    }
}

/// A trusted certificate.
#[derive(Debug, Serialize)]
pub struct Anchor {
    /// `PK`, `KEK`, `db`, `sealed` or `file`.
    pub source: &'static str,
    /// Subject.
    pub subject: String,
    /// SHA-256 of the DER encoding.
    pub sha256: String,
    /// Name of its file in `/run/verity.d`; `null` where it wasn't written.
    pub file: Option<String>,
}

/// A certificate that isn't trusted though it was offered.
#[derive(Debug, Serialize)]
pub struct IgnoredCertificate {
    /// Variable or path.
    pub source: String,
    /// SHA-256 of what was offered, where it could be told apart.
    pub sha256: Option<String>,
    /// Why.
    pub reason: String,
}

/// What was decided about a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It will be merged.
    Staged,
    /// It would be staged (where nothing is staged: `sextant verify`).
    Accepted,
    /// It will not.
    Rejected,
}

/// One file.
#[derive(Debug, Serialize)]
pub struct Image {
    /// The file as it was found.
    pub file: String,
    /// The directory in which the agent found it; `null` where a person named the file.
    pub directory: Option<String>,
    /// The extension's name, where the file's name gives one.
    pub name: Option<String>,
    /// Kind of extension.
    pub class: Class,
    /// Decision.
    pub verdict: Verdict,
    /// Token of the rule that was broken.
    #[serde(serialize_with = "token")]
    pub reason: Option<Reason>,
    /// The same as a sentence.
    pub detail: Option<String>,
    /// What a person should know though it changes nothing.
    pub warnings: Vec<String>,
    /// The signed root hash, where a signature was verified.
    pub root_hash: Option<String>,
    /// Who signed it, where a signature was verified.
    pub signer: Option<Signer>,
    /// Size of the file in bytes; `null` where it couldn't be asked.
    pub size: Option<u64>,
    /// Time spent on verifying, in microseconds.
    pub verify_usec: u64,
    /// Time spent on staging, in microseconds.
    pub stage_usec: u64,
}

impl Image {
    /// A row about `file`, with nothing decided yet but that it isn't accepted.
    #[must_use]
    pub fn new(file: &OsStr, class: Class) -> Self {
        Self {
            file: printable(&file.to_string_lossy()),
            directory: None,
            name: None,
            class,
            verdict: Verdict::Rejected,
            reason: Some(Reason::InternalError),
            detail: Some("nothing was decided".to_owned()),
            warnings: Vec::new(),
            root_hash: None,
            signer: None,
            size: None,
            verify_usec: 0,
            stage_usec: 0,
        }
    }

    /// Notes what came to light.
    pub fn set_findings(&mut self, findings: Findings) {
        self.root_hash = findings.root_hash.map(|root_hash| root_hash.to_string());
        self.signer = findings.signer.as_ref().map(Signer::from);
        self.warnings.extend(findings.warnings);
    }

    /// Notes the decision.
    pub fn set_verdict(&mut self, verdict: Result<Verdict, &Refusal>) {
        match verdict {
            Ok(verdict) => (self.verdict, self.reason, self.detail) = (verdict, None, None),
            Err(refusal) => {
                self.verdict = Verdict::Rejected;
                self.reason = Some(refusal.reason());
                self.detail = Some(refusal.detail().to_owned());
            }
        }
    }

    /// Whether it is in.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.verdict != Verdict::Rejected
    }
}

/// `serialize_with` hands over a reference to the field.
#[allow(clippy::ref_option, clippy::trivially_copy_pass_by_ref)]
fn token<S: Serializer>(reason: &Option<Reason>, serializer: S) -> Result<S::Ok, S::Error> {
    reason.map(Reason::token).serialize(serializer)
}

/// Who signed an image.
#[derive(Debug, Serialize)]
pub struct Signer {
    /// `PK`, `KEK`, `db`, `sealed` or `file`.
    pub source: &'static str,
    /// Subject.
    pub subject: String,
    /// SHA-256 of the DER encoding.
    pub sha256: String,
}

impl From<&trust::Anchor> for Signer {
    fn from(anchor: &trust::Anchor) -> Self {
        Self {
            source: anchor.source().as_str(),
            subject: anchor.certificate().subject().to_owned(),
            sha256: anchor.certificate().fingerprint().to_string(),
        }
    }
}

/// What systemd made of it.
#[derive(Debug, Default, Serialize)]
pub struct Merge {
    /// Whether a merge was asked for.
    pub requested: bool,
    /// Whether somebody has looked what came of it: before that the lists are empty.
    pub confirmed: bool,
    /// Names of the extensions that were staged and are merged.
    pub merged: Vec<String>,
    /// Names of those that were staged and are not.
    pub missing: Vec<String>,
    /// Names of those that are merged though they weren't staged.
    pub unexpected: Vec<String>,
}

/// Microseconds, as much as fits.
#[must_use]
pub(crate) fn usec(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
