//! Looking at files one after the other, and writing down what is found.

use super::environment::Environment;
use super::options::Options;
use super::preparation::{Preparation, host_release};
use crate::confine::{Confinement, WorkerError, guard};
use crate::merge;
use crate::policy::{Policy, Tally, Verify};
use crate::reason::{Reason, Refusal};
use crate::report::{self, Event, Image, Report, Verdict};
use crate::root::Root;
use crate::stage::{Stageable, StagingCustody, stage as stage_image};
use crate::state::{Source, StagedExtension, State};
use crate::verify::{Accepted, Candidate, Examined, Findings, InPlaceCustody, Phase, Session, VerifiedImage, Verifier};
use ddi::Class;
use ddi::ExtensionName;
use ddi::text::{Message, Text};
use ddi::verity::{RootHash, default_threads};
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

/// How often the report is written while nothing is staged.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Where a file is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'p> {
    /// Its directory, from the root.
    pub(super) directory: &'p str,
    /// Its name there.
    pub(super) file: &'p OsStr,
    /// What it extends.
    pub(super) class: Class,
    /// Who put it there.
    pub(super) kind: PlaceKind,
    /// How much of it is verified before it is staged.
    pub(super) verify: Verify,
}

/// Who put a file in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PlaceKind {
    /// systemd-stub. There are neither links nor other names than `NAME.sysext.raw` and `NAME.confext.raw`.
    Stub,
    /// Anybody, for systemd to find: links are followed, and names are understood as systemd does.
    Anybody,
}

impl Place<'_> {
    fn path(&self) -> Option<String> {
        Some(format!("{}/{}", self.directory, self.file.to_str()?))
    }

    /// The name that systemd gives the extension.
    pub(super) fn name(&self) -> Result<ExtensionName, Refusal> {
        if self.kind == PlaceKind::Stub {
            return crate::verify::extension_name(self.file, self.class);
        }
        let bad = |detail: &dyn std::fmt::Display| Refusal::new(Reason::BadName, detail);
        let file = self.file.to_str().ok_or_else(|| bad(&"the name is not UTF-8"))?;
        if Path::new(file).extension().is_none_or(|extension| extension != "raw") {
            return Err(bad(&"the name does not end in .raw, so there is nothing that can be verified"));
        }
        ExtensionName::new(merge::image_name(self.class, file)).map_err(|error| bad(&error))
    }

    fn open(&self, root: &Root) -> Result<Candidate, Refusal> {
        let unreadable = |error: std::io::Error| Refusal::new(Reason::Unreadable, error);
        if self.kind == PlaceKind::Stub {
            let found = root.directory(self.directory).map_err(unreadable)?;
            let directory = found.ok_or_else(|| Refusal::new(Reason::Unreadable, "its directory is gone"))?;
            return Candidate::open(&directory.join(self.file), self.class);
        }
        let path = self.path().ok_or_else(|| Refusal::new(Reason::BadName, "the name is not UTF-8"))?;
        // The kind is asked first, because opening some devices has effects of its own.
        let metadata = root.metadata(&path).map_err(|error| {
            let dangling = error.kind() == std::io::ErrorKind::NotFound;
            if dangling { Refusal::new(Reason::Unreadable, "it is a link to nothing") } else { unreadable(error) }
        })?;
        if !metadata.is_file() {
            let what = if metadata.is_dir() {
                "a directory, which no signature covers"
            } else {
                "something other than a file"
            };
            return Err(Refusal::new(Reason::BadName, format_args!("it is, or leads to, {what}")));
        }
        let name = self.name()?;
        Candidate::named(root.open_file(&path).map_err(unreadable)?, name, self.class)
    }

    fn size(&self, root: &Root) -> Option<u64> {
        let directory = root.directory(self.directory).ok()??;
        let path = directory.join(self.file);
        let metadata = match self.kind {
            PlaceKind::Stub => path.symlink_metadata(),
            PlaceKind::Anybody => root.metadata(&self.path()?),
        };
        metadata.ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len())
    }
}

/// Files that are looked at one after the other, and what all of them share.
pub(super) struct Run<'a> {
    root: &'a Root,
    session: Session<'a>,
    policy: &'a Policy,
    purpose: Purpose<'a>,
    gate: Option<Refusal>,
    tally: Tally,
    accepted: Accepted,
    /// The next file, where its reading has begun.
    upcoming: Option<Upcoming>,
    /// When nothing more is looked at.
    until: Instant,
}

/// What becomes of a good file.
#[derive(Clone, Copy)]
enum Purpose<'a> {
    /// It is staged, from the bytes that this custody holds.
    Stage(&'a dyn StagingCustody),
    /// It would be staged, if there were a place.
    Nowhere,
    /// Only its row is wanted.
    Preview,
}

/// A good file.
enum Good<'a> {
    /// To be staged, with the custody that holds it.
    ToStage(Stageable, &'a dyn StagingCustody),
    Previewed(VerifiedImage<Examined>),
}

/// Has `work` look at files, with all that it takes. Where there is no file, it need not be called.
pub(super) fn look<T>(
    environment: &Environment,
    options: &Options,
    preparation: &Preparation,
    started: Instant,
    records: &mut Records<'_>,
    work: impl FnOnce(&mut Run<'_>, &mut Records<'_>) -> T,
) -> T {
    let root = environment.root();
    let dry = records.dry;
    let custody = if dry {
        None
    } else {
        environment.custody(preparation.policy.limits).map_err(|error| records.fail(error)).ok()
    };
    let purpose = match custody.as_deref() {
        Some(custody) => Purpose::Stage(custody),
        None if dry => Purpose::Preview,
        None => Purpose::Nowhere,
    };
    let host = host_release(root);
    // The kernel mounts what it looks at, which a dry run doesn't do.
    let activation = if dry { None } else { environment.activation() };
    let until = started + options.budget;
    let policy = Policy { host_hierarchies: merge::host_hierarchies(root), ..preparation.policy.clone() };
    let verifier = Verifier {
        policy: &policy,
        trust: &preparation.trust,
        architecture: options.architecture,
        host: host.as_ref(),
        activation: activation.as_deref(),
        confinement: if options.confined { Confinement::Worker { until: Some(until) } } else { Confinement::InProcess },
        threads: default_threads(),
        now: SystemTime::now(),
    };
    let mut tally = Tally::default();
    for class in Class::ALL {
        for name in merge::host_extensions(root, class) {
            tally.add_host(class, name);
        }
    }
    let mut run = Run {
        root,
        session: verifier.session(),
        policy: &policy,
        purpose,
        gate: preparation.gate.clone(),
        tally,
        accepted: Accepted::default(),
        upcoming: None,
        until,
    };
    run.count(records.state);
    work(&mut run, records)
}

/// A file that was opened before its turn.
struct Upcoming {
    directory: String,
    file: OsString,
    candidate: Candidate,
}

impl Upcoming {
    fn is_at(&self, place: Place<'_>) -> bool {
        (self.directory.as_str(), self.file.as_os_str()) == (place.directory, place.file)
    }
}

/// What came of one file.
pub(super) struct Looked {
    /// Its row.
    pub(super) image: Image,
    /// The file that was verified, as it was when it was opened.
    pub(super) stamp: Option<Text>,
}

impl<'a> Run<'a> {
    /// Counts what was staged before.
    fn count(&mut self, state: &State) {
        for extension in state.left() {
            let (class, name) = (extension.class, extension.name.as_str());
            let staged = format!("{}/{name}.raw", class.staging_directory());
            let size = self.root.metadata(&staged).map_or(0, |metadata| metadata.len());
            self.tally.add(size, class, name);
            let root_hash = extension.root_hash.as_ref().and_then(|text| RootHash::from_hex(text.as_str()).ok());
            if let (Ok(name), Some(root_hash)) = (ExtensionName::new(name), root_hash) {
                self.accepted.add(class, name, root_hash, extension.file.clone());
            }
        }
    }

    /// One file, from its name to its row. Nothing that is wrong with it gets out of here. `next` is the one after it; `clear`
    /// makes room for what is staged, once it has been verified.
    pub(super) fn process(
        &mut self,
        place: Place<'_>,
        next: Option<Place<'_>>,
        clear: &dyn Fn() -> anyhow::Result<()>,
    ) -> Looked {
        let mut image = Image::new(place.file, place.class);
        image.directory = Some(place.directory.into());
        let mut findings = Findings::default();
        let mut stamp = None;
        let result = guard(|| {
            let started = Instant::now();
            let verified = self.verify(place, &mut image, &mut stamp, &mut findings);
            image.verify_usec = report::usec(started.elapsed());
            let verified = verified?;
            self.look_ahead(next);
            let started = Instant::now();
            let stage = || clear().and_then(|()| self.stage(place, &image, verified));
            let staged = findings.phases.measure(Phase::Stage, stage);
            image.stage_usec = report::usec(started.elapsed());
            staged.map_err(|error| Refusal::new(Reason::NotStaged, format_args!("{error:#}")))
        });
        image.set_findings(findings);
        let good = if matches!(self.purpose, Purpose::Preview) { Verdict::Accepted } else { Verdict::Staged };
        image.set_verdict(result.as_ref().map(|()| good));
        Looked { image, stamp }
    }

    /// One file that stays where it is: only what is wrong with it is wanted.
    pub(super) fn judge(&mut self, place: Place<'_>) -> Image {
        let mut image = Image::new(place.file, place.class);
        image.directory = Some(place.directory.into());
        image.size = place.size(self.root);
        image.name = place.name().ok().map(Text::new);
        let mut findings = Findings::default();
        let result = guard(|| {
            if Instant::now() >= self.until {
                return Err(Refusal::new(Reason::OutOfTime, WorkerError::Budget));
            }
            let started = Instant::now();
            let candidate = place.open(self.root)?;
            let verified = self.session.verify(candidate, &Accepted::default(), &InPlaceCustody, &mut findings);
            image.verify_usec = report::usec(started.elapsed());
            verified.map(drop)
        });
        image.set_findings(findings);
        image.set_verdict(result.as_ref().map(|()| Verdict::Accepted));
        image
    }

    fn stage(&mut self, place: Place<'_>, image: &Image, good: Good<'_>) -> anyhow::Result<()> {
        let (class, name, root_hash) = match &good {
            Good::ToStage(image, _) => (image.class(), image.name().clone(), image.root_hash().clone()),
            Good::Previewed(image) => (image.class(), image.name().clone(), image.root_hash().clone()),
        };
        if let Good::ToStage(image, custody) = good {
            custody.account(stage_image(self.root, image)?.occupied());
        }
        self.tally.add(image.size.unwrap_or_default(), class, name.as_str());
        self.accepted.add(class, name, root_hash, Text::from_os(place.file));
        Ok(())
    }

    /// Lets the reading of the next file begin. What is wrong with it is found out in its turn.
    fn look_ahead(&mut self, next: Option<Place<'_>>) {
        self.upcoming = next.and_then(|place| {
            let candidate = place.open(self.root).ok()?;
            self.session.announce(&candidate);
            Some(Upcoming { directory: place.directory.to_owned(), file: place.file.to_owned(), candidate })
        });
    }

    fn verify(
        &mut self,
        place: Place<'_>,
        image: &mut Image,
        stamp: &mut Option<Text>,
        findings: &mut Findings,
    ) -> Result<Good<'a>, Refusal> {
        if Instant::now() >= self.until {
            return Err(Refusal::new(Reason::OutOfTime, WorkerError::Budget));
        }
        image.size = place.size(self.root);
        image.name = place.name().ok().map(Text::new);
        let candidate = match self.upcoming.take() {
            Some(opened) if opened.is_at(place) => opened.candidate,
            _ => place.open(self.root)?,
        };
        *stamp = Some(Text::new(candidate.stamp()));
        if let Some(refusal) = &self.gate {
            return Err(refusal.clone());
        }
        if matches!(self.purpose, Purpose::Nowhere) {
            return Err(Refusal::new(Reason::NotStaged, "there is no place to stage it from"));
        }
        let (class, policy) = (place.class, self.policy);
        self.tally.admit(candidate.size(), &policy.limits)?;
        self.tally.admit_layer(class, candidate.name().as_str(), policy.overlay(class))?;
        let accepted = &self.accepted;
        let Purpose::Stage(custody) = self.purpose else {
            return self.session.verify(candidate, accepted, &InPlaceCustody, findings).map(Good::Previewed);
        };
        let verified = match place.verify {
            Verify::Full => self.session.verify(candidate, accepted, custody, findings).map(Stageable::from),
            Verify::OnRead => self.session.verify_on_read(candidate, accepted, custody, findings),
        };
        verified.map(|image| Good::ToStage(image, custody))
    }
}

/// Where it is written down what is found: the state, for later runs; the report and the journal, for people.
pub(super) struct Records<'r> {
    root: &'r Root,
    pub(super) report: &'r mut Report,
    pub(super) state: &'r mut State,
    /// When the report was written last.
    written: Option<Instant>,
    failure: Option<anyhow::Error>,
    /// Nothing is written, and nothing told.
    pub(super) dry: bool,
}

impl<'r> Records<'r> {
    pub(super) fn new(root: &'r Root, report: &'r mut Report, state: &'r mut State) -> Self {
        Self { root, report, state, written: None, failure: None, dry: false }
    }

    /// The same for a run that changes nothing.
    pub(super) fn of_dry_run(self) -> Self {
        Self { dry: true, ..self }
    }

    /// Notes an error that kept the agent from doing its job. The first one is the one to tell.
    pub(super) fn fail(&mut self, error: anyhow::Error) {
        self.failure.get_or_insert(error);
    }

    /// Notes that the run that began last is over.
    pub(super) fn end_run(&mut self) {
        if let Some(run) = self.report.runs.pop() {
            self.report.runs.push(run.ended());
        }
    }

    /// Writes the report, so that it says something whatever happens next.
    pub(super) fn write_report(&mut self) {
        if self.dry {
            return;
        }
        self.written = report::write(self.root, self.report).ok().map(|()| Instant::now());
    }

    /// Writes the state as it is now.
    pub(super) fn write_state(&self) -> anyhow::Result<()> {
        if self.dry { Ok(()) } else { self.state.write(self.root) }
    }

    /// Notes what came of a file. `source` is where it lies if that isn't in what this boot left in RAM; `left` is what is to
    /// be said where a rejected one couldn't be taken away.
    pub(super) fn add(&mut self, image: Image, source: Option<Source>, left: Option<Message>) {
        let is_staged = image.is_good();
        if is_staged {
            // What was taken back under this name has a successor.
            let is_it = |it: &StagedExtension| image.is(it.class, it.name.as_str());
            self.state.staged.retain(|extension| extension.withdrawn.is_none() || !is_it(extension));
            self.state.staged.extend(staged_extension(&image, source));
        }
        if self.dry {
            self.report.add(image);
            return;
        }
        if is_staged && let Err(error) = self.write_state() {
            self.fail(error);
        }
        if let Some(image) = self.report.add(image) {
            Event::emit_image(image);
            if let Some(left) = left {
                Event::NotQuarantined.emit_about_file(&image.file, left);
            }
        }
        if is_staged || self.written.is_none_or(|written| written.elapsed() > REPORT_INTERVAL) {
            self.write_report();
        }
    }

    /// Notes what came of a file that a run before this one may have looked at as well.
    pub(super) fn replace(&mut self, image: Image) {
        let is_it = |row: &Image| row.directory == image.directory && row.file == image.file && !row.is_good();
        self.report.images.retain(|row| !is_it(row));
        self.add(image, None, None);
    }

    /// The result of the run.
    ///
    /// # Errors
    /// The first error that kept the agent from doing its job.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        self.failure.map_or(Ok(()), Err)
    }
}

/// What the next run has to know of an image that was staged.
fn staged_extension(image: &Image, source: Option<Source>) -> Option<StagedExtension> {
    Some(StagedExtension {
        class: image.class,
        name: image.name.clone()?,
        file: image.file.clone(),
        root_hash: image.root_hash.clone(),
        signer: image.trusted_signer().map(Message::new),
        source,
        withdrawn: None,
        is_removed: false,
    })
}
