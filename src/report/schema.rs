//! The report: an interface, versioned. Fields are added, never changed or taken away, within a version.
//!
//! One set of types writes and reads it. Members that this version doesn't know are kept in `rest` and written back.

use super::measurement::Measurement;
use super::signer::Signer;
use super::times::{MOST, PhaseTime, Run};
use super::word::{Vocabulary, Word};
use crate::firmware::{Firmware, SecureBoot};
use crate::policy::Verify;
use crate::reason::{Reason, Refusal};
use crate::trust::{Source, TrustStore};
use crate::verify::{self, Findings};
use ddi::Class;
use ddi::text::{Message, Text};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// Version of the schema.
pub const SCHEMA_VERSION: u32 = 1;

/// Everything about one run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA_VERSION`]
    pub version: u32,
    /// Version of the agent that staged; `null` where nothing is staged (`sextant verify`).
    pub agent_version: Option<Text>,
    /// What the firmware says; `null` where it couldn't be asked.
    pub firmware: Option<FirmwareState>,
    /// The trust anchors.
    pub trust: Vec<Anchor>,
    /// What was offered as a trust anchor and isn't one.
    pub ignored_certificates: Vec<IgnoredCertificate>,
    /// One row for each file found, as far as [`Report::add`] keeps them.
    pub images: Vec<Image>,
    /// What the lists above leave out; `null` where they are complete.
    pub omitted: Option<Omitted>,
    /// What became of it, filled in after the merge.
    pub merge: Option<Merge>,
    /// What was measured into the TPM; `null` until `confirm`, unless the configuration asks for a prediction.
    #[serde(default)]
    pub measurement: Option<Measurement>,
    /// When the commands of the agent ran, in the order in which they did.
    #[serde(default)]
    pub runs: Vec<Run>,
    /// Why the agent could not do its job; `null` where it could.
    pub error: Option<Message>,
    /// Time from the start of `stage` to its end, in microseconds; `null` until it has ended.
    pub duration_usec: Option<u64>,
    /// Members that this version doesn't know.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
    /// Rows of rejected files, and their bytes.
    #[serde(skip)]
    pub(crate) rejected: (usize, usize),
}

impl Default for Report {
    fn default() -> Self {
        Self {
            version: SCHEMA_VERSION,
            agent_version: None,
            firmware: None,
            trust: Vec::new(),
            ignored_certificates: Vec::new(),
            images: Vec::new(),
            omitted: None,
            merge: None,
            measurement: None,
            runs: Vec::new(),
            error: None,
            duration_usec: None,
            rest: Map::new(),
            rejected: (0, 0),
        }
    }
}

impl Report {
    /// Notes a run. Of each command the last run counts.
    pub fn note_run(&mut self, run: Run) {
        self.runs.retain(|known| known.command != run.command);
        self.runs.truncate(MOST);
        self.runs.push(run);
    }

    /// Fills in the trust anchors; `exported` says whether their files have been written.
    pub fn set_trust(&mut self, store: &TrustStore, exported: bool) {
        self.trust = store
            .anchors()
            .iter()
            .map(|anchor| Anchor {
                source: anchor.source().into(),
                subject: anchor.certificate().subject().clone(),
                sha256: Text::new(anchor.certificate().fingerprint()),
                file: exported.then(|| Text::new(anchor.file_name())),
                not_after: Some(anchor.certificate().not_after()),
                rest: Map::new(),
            })
            .collect();
        self.ignored_certificates = store
            .ignored()
            .iter()
            .chain(store.dbx_faults())
            .map(|ignored| IgnoredCertificate {
                source: ignored.origin.clone(),
                sha256: ignored.sha256.map(Text::new),
                reason: ignored.reason.clone(),
                rest: Map::new(),
            })
            .collect();
        self.bound_certificates();
    }
}

/// What the firmware says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FirmwareState {
    /// State of Secure Boot.
    pub secure_boot: Word<SecureBoot>,
    /// The boot entry.
    pub entry: Option<Text>,
    /// Path of the UKI on its partition, with slashes and without one in front: `EFI/kairos/active.efi`.
    pub uki: Option<Text>,
    /// Members that this version doesn't know.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl From<&Firmware> for FirmwareState {
    fn from(firmware: &Firmware) -> Self {
        let entry = firmware.entries.name().map(Text::new);
        let uki = firmware.uki.as_ref().map(Text::new);
        Self { secure_boot: firmware.secure_boot.into(), entry, uki, rest: Map::new() }
    }
}

/// A trusted certificate.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Anchor {
    /// `PK`, `KEK`, `db`, `sealed` or `file`.
    pub source: Word<Source>,
    /// Subject.
    pub subject: Text,
    /// SHA-256 of the DER encoding.
    pub sha256: Text,
    /// Name of its file in `/run/verity.d`; `null` where it wasn't written.
    pub file: Option<Text>,
    /// When it expires, in seconds since 1970 (UTC); `null` in reports of versions that didn't note it.
    pub not_after: Option<i64>,
    /// Members that this version doesn't know.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// A certificate that isn't trusted though it was offered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IgnoredCertificate {
    /// Variable or path.
    pub source: Text,
    /// SHA-256 of what was offered, where it could be told apart.
    pub sha256: Option<Text>,
    /// Why.
    pub reason: Message,
    /// Members that this version doesn't know.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// What was decided about a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was staged: it will be merged.
    Staged,
    /// It would be staged (where nothing is staged: `sextant verify`).
    Accepted,
    /// It was refused.
    Rejected,
    /// It was staged, and taken back at the end of the initrd.
    Withdrawn,
}

impl Verdict {
    /// The report's word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Withdrawn => "withdrawn",
        }
    }
}

impl Vocabulary for Verdict {
    const ALL: &'static [Self] = &[Self::Staged, Self::Accepted, Self::Rejected, Self::Withdrawn];

    fn word(self) -> &'static str {
        self.as_str()
    }
}

/// One file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Image {
    /// The file as it was found.
    pub file: Text,
    /// The directory in which the agent found it; `null` where a person named the file.
    pub directory: Option<Text>,
    /// The file's path on the EFI system partition, as [`FirmwareState::uki`]; `null` where it isn't known to come from there.
    pub esp_path: Option<Text>,
    /// The extension's name, where the file's name gives one.
    pub name: Option<Text>,
    /// Kind of extension.
    pub class: Class,
    /// Decision.
    pub verdict: Word<Verdict>,
    /// Token of the rule that was broken.
    pub reason: Option<Word<Reason>>,
    /// The same as a sentence.
    pub detail: Option<Message>,
    /// What a person should know though it changes nothing.
    pub warnings: Vec<Message>,
    /// The signed root hash, where a signature was verified.
    pub root_hash: Option<Text>,
    /// Who signed it; also one who isn't trusted, see [`Image::trusted_signer`].
    pub signer: Option<Signer>,
    /// Size of the file in bytes; `null` where it couldn't be asked.
    pub size: Option<u64>,
    /// How much of it was verified; `null` until its contents have been.
    #[serde(default)]
    pub coverage: Option<Coverage>,
    /// Time spent on verifying, in microseconds.
    pub verify_usec: u64,
    /// Time spent on staging, in microseconds.
    pub stage_usec: u64,
    /// What that time went into.
    #[serde(default)]
    pub phases: Vec<PhaseTime>,
    /// Members that this version doesn't know.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl Image {
    /// Whether it is about the extension `name` of `class`.
    #[must_use]
    pub fn is(&self, class: Class, name: &str) -> bool {
        self.class == class && self.name.as_ref().is_some_and(|found| *found == *name)
    }

    /// The path of the file; its name alone where its directory isn't known.
    #[must_use]
    pub fn path(&self) -> Text {
        let path = |directory: &Text| Text::new(format_args!("{directory}/{}", self.file));
        self.directory.as_ref().map_or_else(|| self.file.clone(), path)
    }

    /// A row about `file`, with nothing decided yet but that it isn't accepted.
    #[must_use]
    pub fn new(file: &OsStr, class: Class) -> Self {
        Self {
            file: Text::from_bytes(file.as_bytes()),
            directory: None,
            esp_path: None,
            name: None,
            class,
            verdict: Verdict::Rejected.into(),
            reason: Some(Reason::InternalError.into()),
            detail: Some("nothing was decided".into()),
            warnings: Vec::new(),
            root_hash: None,
            signer: None,
            size: None,
            coverage: None,
            verify_usec: 0,
            stage_usec: 0,
            phases: Vec::new(),
            rest: Map::new(),
        }
    }

    /// Notes what came to light.
    pub fn set_findings(&mut self, findings: Findings) {
        self.root_hash = findings.root_hash.map(Text::new);
        let trusted = findings.signer.as_ref().map(Signer::from);
        self.signer = trusted.or_else(|| findings.unknown_signer.as_ref().and_then(Signer::untrusted));
        self.coverage = findings.coverage.map(Coverage::from);
        self.phases = PhaseTime::rows(&findings.phases);
        for warning in findings.warnings {
            self.warn(warning);
        }
    }

    /// Notes the decision.
    pub fn set_verdict(&mut self, verdict: Result<Verdict, &Refusal>) {
        match verdict {
            Ok(verdict) => (self.verdict, self.reason, self.detail) = (verdict.into(), None, None),
            Err(refusal) => {
                self.verdict = Verdict::Rejected.into();
                self.reason = Some(refusal.reason().into());
                self.detail = Some(refusal.message().clone());
            }
        }
    }

    /// Notes that what had been staged was taken back, and why.
    pub fn withdraw(&mut self, cause: &Message) {
        (self.verdict, self.reason, self.detail) = (Verdict::Withdrawn.into(), None, Some(cause.clone()));
    }

    /// Who signed it, where a signature was verified.
    #[must_use]
    pub fn trusted_signer(&self) -> Option<&Signer> {
        self.signer.as_ref().filter(|signer| signer.is_trusted())
    }

    /// Whether it was accepted, and staged where images are staged.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.verdict == Verdict::Staged || self.verdict == Verdict::Accepted
    }

    /// The rule that was broken, if this version knows it.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        self.reason.as_ref().and_then(Word::known)
    }
}

/// How much of an image was verified before it was staged.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Coverage {
    /// `full` or `on-read`.
    pub verify: Word<Verify>,
    /// Bytes of the file that were verified.
    pub bytes_checked: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Members that this version doesn't know.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl Coverage {
    /// Whether something was left to be verified when it is read.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.verify != Verify::Full
    }
}

/// `on-read, 7340032 of 734003200 bytes verified before the merge, the others when they are read`
impl std::fmt::Display for Coverage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { verify, bytes_checked, bytes, .. } = self;
        write!(f, "{verify}, {bytes_checked} of {bytes} bytes verified before the merge")?;
        if self.is_partial() { f.write_str(", the others when they are read") } else { Ok(()) }
    }
}

impl From<verify::Coverage> for Coverage {
    fn from(coverage: verify::Coverage) -> Self {
        Self {
            verify: coverage.verify().into(),
            bytes_checked: coverage.checked(),
            bytes: coverage.len(),
            rest: Map::new(),
        }
    }
}

/// How many rows the lists of a report leave out, so that it stays small whatever is found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Omitted {
    /// Rejected files without a row.
    pub total: u64,
    /// The same by the reason's token.
    pub by_reason: BTreeMap<Text, u64>,
    /// Trust anchors without a row.
    #[serde(default)]
    pub trust: u64,
    /// Ignored certificates without a row.
    #[serde(default)]
    pub ignored_certificates: u64,
    /// Members that this version doesn't know.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// What systemd made of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Merge {
    /// Whether a merge was asked for.
    pub requested: bool,
    /// Whether `sextant-agent confirm` has compared: before that the lists are empty.
    #[serde(default)]
    pub confirmed: bool,
    /// Names of the extensions that were staged and are merged.
    pub merged: Vec<Text>,
    /// Names of those that were staged and are not.
    pub missing: Vec<Text>,
    /// Names of those that are merged though they weren't staged.
    #[serde(default)]
    pub unexpected: Vec<Text>,
    /// What each merged extension is.
    #[serde(default)]
    pub extensions: Vec<MergedExtension>,
    /// Extensions that are there and not merged.
    #[serde(default)]
    pub not_merged: Vec<NotMerged>,
    /// Extensions that the configuration requires and that are not merged, as it names them.
    #[serde(default)]
    pub required_missing: Vec<Text>,
    /// Members that this version doesn't know.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// An extension that is merged.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MergedExtension {
    /// What it extends.
    pub class: Class,
    /// Its name.
    pub name: Text,
    /// `staged`, `host`, `directory` or `other`.
    pub origin: Text,
    /// The root hash that the kernel checks its bytes against; `null` where there is none, or it can't be told.
    pub root_hash: Option<Text>,
    /// Its file or directory; `null` where it can't be told.
    pub file: Option<Text>,
    /// Members that this version doesn't know.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// An extension that is there and not merged.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NotMerged {
    /// What it extends.
    pub class: Class,
    /// Its name.
    pub name: Text,
    /// Its file.
    pub file: Text,
    /// Whether it was staged.
    pub staged: bool,
    /// Why it isn't merged.
    pub cause: Message,
    /// Whether an administrator had that in mind: then it is no fault.
    pub meant: bool,
    /// Members that this version doesn't know.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// Microseconds, as much as fits.
#[must_use]
pub fn usec(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
