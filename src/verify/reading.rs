//! Reading of hostile bytes in a worker, which answers two questions about each image.
//!
//! The first question is about the structure and claims of an image. The answer is only data: the agent itself decides
//! whether the signature is valid. The second question is whether every byte matches the signed root hash, and what is
//! in the file system.

use super::activation::activate_in_process;
use super::cms::{self, SignedData};
use super::contents::{ContentsError, Coverage, OnRead, examine};
use super::damage;
use super::judgement::{Rules, judge_filesystem};
use super::{ActivationError, SignatureError};
use super::{Candidate, HeldImage};
use crate::confine::{Bounds, Confinement, Worker, WorkerError, fault, guard};
use crate::extension::{Compatible, Fit};
use crate::policy::Verify;
use crate::reason::{Reason, Refusal};
use crate::stamp::Stamp;
use ddi::ExtensionName;
use ddi::filesystem::{Filesystem, FilesystemError, Kind};
use ddi::gpt::GptError;
use ddi::io::{FileSource, ReadAt, Window};
use ddi::octets::Octets;
use ddi::{Class, Ddi, DdiError};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// Maximum number of images that one worker reads.
const MAX_IMAGES: u32 = 64;

/// Reason tokens that a worker may return.
const REASONS: [Reason; 22] = [
    Reason::Unreadable,
    Reason::BadGpt,
    Reason::UsrPartition,
    Reason::WrongArchitecture,
    Reason::ExtraPartition,
    Reason::DuplicatePartition,
    Reason::NoVerity,
    Reason::NoSignature,
    Reason::NoAuto,
    Reason::BadSignaturePartition,
    Reason::BadSignature,
    Reason::BadSuperblock,
    Reason::Corrupt,
    Reason::NotMountable,
    Reason::WrongExtensionRelease,
    Reason::WrongScope,
    Reason::ContainsOsRelease,
    Reason::BadMetadata,
    Reason::BadHierarchy,
    Reason::IncompatibleHost,
    Reason::TooOld,
    Reason::InternalError,
];

/// The structure and claims of an image. Untrusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Structure {
    pub(super) ddi: Ddi,
    pub(super) signed_data: SignedData,
}

/// The results of reading an image.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Contents {
    /// Superblock of the hash tree, as it is on disk.
    pub(super) superblock: Octets,
    /// Format of the file system.
    pub(super) kind: Kind,
    /// The reason why the extension is compatible with this host.
    pub(super) fit: Fit,
    /// Number of bytes that were checked.
    pub(super) checked: u64,
}

impl Contents {
    /// Returns the evidence of the worker that judged the extension.
    pub(super) fn compatible(&self) -> Compatible {
        Compatible::attested(self.fit)
    }
}

#[derive(Debug, Serialize, Deserialize)]
enum Question {
    /// About an image of `len` bytes, whose descriptor is sent with the question.
    Structure { name: String, class: Class, len: u64 },
    /// About the image of the question before, or about its copy, whose descriptor is sent with the question.
    Contents(Verify),
}

#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Structure(Box<Result<Structure, Refusal>>),
    Contents(Result<Contents, Refusal>),
}

/// Has images read by a worker, one after the other.
///
/// A worker that has read an image completely, and found only what a trusted signer signed, also reads the next image.
/// Any other worker is replaced, because what it read may have compromised it.
pub(super) struct Reader<'a> {
    rules: Rules<'a>,
    confinement: Confinement,
    worker: RefCell<Option<Trusted>>,
}

/// A worker that has read only good images.
struct Trusted {
    worker: Worker,
    /// Number of images that it has read.
    read: u32,
    /// The file about which it has been asked in advance, if its answer has not been received yet.
    ahead: Option<Identity>,
}

/// Identity of a candidate: its descriptor stays the same while it is open, and the stamp distinguishes it from a later
/// file.
#[derive(PartialEq, Eq)]
struct Identity(Option<RawFd>, Stamp, Class);

impl Identity {
    fn of(candidate: &Candidate) -> Self {
        let descriptor = candidate.source().descriptor().map(|descriptor| descriptor.as_raw_fd());
        Self(descriptor, candidate.stamp(), candidate.class())
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(rules: Rules<'a>, confinement: Confinement) -> Self {
        Self { rules, confinement, worker: RefCell::new(None) }
    }

    /// Starts reading the structure of an image while the caller does other work. [`Self::structure`], which must be
    /// called for this image next, returns any error.
    pub(super) fn announce(&self, candidate: &Candidate) {
        if let Confinement::Worker { .. } = self.confinement
            && let Ok(mut trusted) = self.take()
            && trusted.ahead.is_none()
            && trusted.ask_structure(candidate).is_ok()
        {
            trusted.ahead = Some(Identity::of(candidate));
            self.worker.replace(Some(trusted));
        }
    }

    /// Reads the structure and claims of an image.
    pub(super) fn structure(&self, candidate: &Candidate) -> Result<Structure, Refusal> {
        let Confinement::Worker { until } = self.confinement else {
            return guard(|| structure(self.rules, candidate.source(), candidate.name()));
        };
        let mut trusted = self.take().map_err(refuse)?;
        match trusted.ahead.take() {
            None => trusted.ask_structure(candidate).map_err(refuse)?,
            Some(ahead) if ahead == Identity::of(candidate) => {}
            // It has read an image that was not judged.
            Some(_) => {
                trusted = self.start().map_err(refuse)?;
                trusted.ask_structure(candidate).map_err(refuse)?;
            }
        }
        match trusted.worker.answer(Bounds::of_structure(), until).map_err(refuse)? {
            Answer::Structure(answer) => {
                self.worker.replace(Some(trusted));
                self.accept(*answer)
            }
            Answer::Contents(_) => Err(self.invalid_answer()),
        }
    }

    /// Reads the image of the last call of [`Self::structure`]: all of it, or the parts that decisions depend on. The held
    /// image has the same file, or a copy of it.
    pub(super) fn contents<B>(
        &self,
        holding: &HeldImage<B>,
        expected: &Ddi,
        verify: Verify,
    ) -> Result<Contents, Refusal> {
        let (source, is_copy) = (holding.source(), holding.is_copy());
        let Confinement::Worker { until } = self.confinement else {
            let (name, class) = (holding.name(), holding.class());
            return guard(|| contents(self.rules, source, is_copy, name, class, expected, verify));
        };
        let copy = source.descriptor().filter(|_| is_copy);
        let mut trusted = self.take().map_err(refuse)?;
        trusted.worker.ask(&Question::Contents(verify), copy).map_err(refuse)?;
        match trusted.worker.answer(Bounds::of_contents(source.len()), until).map_err(refuse)? {
            Answer::Contents(answer) => {
                trusted.read = trusted.read.saturating_add(1);
                if trusted.read < MAX_IMAGES {
                    self.worker.replace(Some(trusted));
                }
                self.accept(answer)
            }
            Answer::Structure(_) => Err(self.invalid_answer()),
        }
    }

    /// Replaces the worker for the next image. Must be called when an image was refused for any reason.
    pub(super) fn replace_worker(&self) {
        self.worker.take();
    }

    /// Returns the refusal for an invalid answer.
    pub(super) fn invalid_answer(&self) -> Refusal {
        self.replace_worker();
        refuse(WorkerError::Nonsense)
    }

    /// Accepts an answer. A worker may only refuse an image for its content.
    fn accept<T>(&self, answer: Result<T, Refusal>) -> Result<T, Refusal> {
        match answer {
            Err(refusal) if !REASONS.contains(&refusal.reason()) => Err(self.invalid_answer()),
            answer => answer,
        }
    }

    /// Takes the worker, or a new one. The caller puts it back if nothing is wrong.
    fn take(&self) -> Result<Trusted, WorkerError> {
        self.worker.take().map_or_else(|| self.start(), Ok)
    }

    fn start(&self) -> Result<Trusted, WorkerError> {
        let rules = self.rules;
        let mut last = None;
        let worker = Worker::start(move |question, descriptor| serve(rules, &mut last, question, descriptor))?;
        Ok(Trusted { worker, read: 0, ahead: None })
    }
}

impl Trusted {
    fn ask_structure(&mut self, candidate: &Candidate) -> Result<(), WorkerError> {
        let (source, class) = (candidate.source(), candidate.class());
        let question = Question::Structure { name: candidate.name().to_string(), class, len: source.len() };
        self.worker.ask(&question, source.descriptor())
    }
}

fn refuse(error: WorkerError) -> Refusal {
    Refusal::new(error.reason(), error)
}

/// The image about which a worker was asked last.
struct Last {
    source: FileSource,
    name: ExtensionName,
    class: Class,
    ddi: Option<Ddi>,
}

/// Answers one question. Runs in the worker.
fn serve(rules: Rules<'_>, last: &mut Option<Last>, question: Question, descriptor: Option<OwnedFd>) -> Answer {
    match question {
        Question::Structure { name, class, len } => Answer::Structure(Box::new(guard(|| {
            let missing = || Refusal::new(Reason::InternalError, "the image did not reach the process that reads it");
            let source = FileSource::with_len(File::from(descriptor.ok_or_else(missing)?), len);
            let name = ExtensionName::new(&name).map_err(|_| missing())?;
            let answer = structure(rules, &source, &name);
            let ddi = answer.as_ref().ok().map(|structure| structure.ddi.clone());
            *last = Some(Last { source, name, class, ddi });
            answer
        }))),
        Question::Contents(verify) => Answer::Contents(guard(|| {
            let missing = || Refusal::new(Reason::InternalError, "the image was not read before");
            let last = last.take().ok_or_else(missing)?;
            let read = last.ddi.ok_or_else(missing)?;
            let copy = descriptor.map(|copy| FileSource::with_len(File::from(copy), last.source.len()));
            let source = copy.as_ref().unwrap_or(&last.source);
            contents(rules, source, copy.is_some(), &last.name, last.class, &read, verify)
        })),
    }
}

fn structure(rules: Rules<'_>, source: &FileSource, name: &ExtensionName) -> Result<Structure, Refusal> {
    fault::at(name.as_str(), "table");
    let ddi = Ddi::read(source, rules.architecture).map_err(|error| Refusal::new(broken_rule(&error), &error))?;
    fault::at(name.as_str(), "signature");
    let signed_data = cms::parse(&ddi.claim().signature).map_err(SignatureError::from)?;
    Ok(Structure { ddi, signed_data })
}

/// Returns the reason token of an error in the structure.
fn broken_rule(error: &DdiError) -> Reason {
    match error {
        DdiError::Gpt(GptError::Io { .. }) | DdiError::Io(_) => Reason::Unreadable,
        DdiError::Gpt(_) => Reason::BadGpt,
        DdiError::Usr { .. } => Reason::UsrPartition,
        DdiError::Architecture { .. } => Reason::WrongArchitecture,
        DdiError::Extra { .. } => Reason::ExtraPartition,
        DdiError::Duplicate { .. } => Reason::DuplicatePartition,
        DdiError::NoVerity { .. } => Reason::NoVerity,
        DdiError::NoSignature { .. } => Reason::NoSignature,
        DdiError::NoAuto { .. } | DdiError::PassedOver { .. } => Reason::NoAuto,
        DdiError::SignaturePartition(_) => Reason::BadSignaturePartition,
    }
}

fn contents(
    rules: Rules<'_>,
    source: &FileSource,
    is_copy: bool,
    name: &ExtensionName,
    class: Class,
    expected: &Ddi,
    verify: Verify,
) -> Result<Contents, Refusal> {
    fault::at(name.as_str(), "contents");
    // The signature is part of the claims in the signature partition.
    if is_copy && structure(rules, source, name).ok().is_none_or(|structure| structure.ddi != *expected) {
        return Err(Refusal::new(Reason::Unreadable, "the image changed while it was copied"));
    }
    let ddi = expected;
    let refused = |error: ContentsError| Refusal::new(error.reason(), damage::describe(source, ddi, &error));
    let not_usable = |error: ActivationError| Refusal::new(error.reason(), &error);
    let mut judge = |filesystem: &Filesystem<'_>| judge_filesystem(rules, filesystem, name, class);
    let (superblock, (kind, compatible), coverage) = match verify {
        Verify::Full => {
            let superblock = examine(source, ddi, rules.threads).map_err(refused)?;
            fault::at(name.as_str(), "look");
            let data = Window::new(source, ddi.root().start, superblock.geometry().data_len());
            let data = data.ok_or_else(|| not_usable(FilesystemError::UnknownFilesystem.into()))?;
            let judged = activate_in_process(&data, &superblock, &mut judge).map_err(not_usable)?;
            (superblock, judged, Coverage::full(source.len()))
        }
        Verify::OnRead => {
            let image = OnRead::open(source, ddi).map_err(refused)?;
            fault::at(name.as_str(), "look");
            let superblock = image.superblock().clone();
            let judged = activate_in_process(image.filesystem(), &superblock, &mut judge);
            // A block that does not match is the cause of any error of reading it.
            let coverage = image.finish().map_err(refused)?;
            (superblock, judged.map_err(not_usable)?, coverage)
        }
    };
    let (superblock, fit) = (superblock.to_bytes().as_slice().into(), compatible.fit());
    Ok(Contents { superblock, kind, fit, checked: coverage.checked() })
}
