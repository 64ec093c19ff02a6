//! `sextant-agent stage`: everything between the firmware and `/run/extensions`.

use super::environment::Environment;
use super::lock;
use crate::confine::{Confinement, WorkerError, guard};
use crate::extension::{HostRelease, ReleaseFile};
use crate::firmware::Firmware;
use crate::image::{Architecture, Candidate, Class};
use crate::merge;
use crate::policy::{self, Hierarchies, Policy, Tally};
use crate::reason::{Reason, Refusal};
use crate::report::{self, Event, Image, Report, Verdict};
use crate::root::Root;
use crate::stage::{Custody, quarantine, stage as stage_image, withdraw};
use crate::state::{StagedExtension, State};
use crate::text::{Message, Text};
use crate::trust::{self, TrustStore};
use crate::verify::{Accepted, Findings, Session, VerifiedImage, Verifier};
use crate::verity::default_threads;
use anyhow::{Result, anyhow};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

/// What the report says while the agent is at work, and for good if it is killed.
const UNFINISHED: &str = "the agent was stopped before it had looked at all files";
/// How long the whole run may take: below the timeout of its unit (`TimeoutStartSec=` of sextant-stage.service), so that what has
/// been staged by then is handed over, and not lost with an agent that systemd has to kill.
pub const BUDGET: Duration = Duration::from_mins(4);
/// How often the report is written while nothing is staged.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// What the command line says.
#[derive(Debug, Clone)]
pub struct Options {
    /// Configuration to read instead of the sealed one.
    pub config: Option<PathBuf>,
    /// Architecture of the machine.
    pub architecture: Architecture,
    /// Read images in processes of their own. Without it a benchmark sees what that costs.
    pub confined: bool,
    /// How long the run may take. Files that are left then are refused, and what has been staged is handed over.
    pub budget: Duration,
}

/// Verifies all images and stages the good ones. Once the lock is held, a report is written in any case in which that is
/// possible.
///
/// # Errors
/// What kept the agent from doing its job; rejected images are no error. Without the lock nothing is done: what another
/// run has staged, and its report, stay as they are.
pub fn stage(environment: &Environment, options: &Options) -> Result<()> {
    let started = Instant::now();
    let root = environment.root();
    let _lock = lock::exclusive(root)?;
    let mut report = Report { error: Some(UNFINISHED.into()), ..Report::default() };
    let mut state = State::new(UNFINISHED);
    let outcome = run(environment, options, &mut report, &mut state, started);
    report.error = outcome.as_ref().err().map(|error| Message::new(format_args!("{error:#}")));
    state.error.clone_from(&report.error);
    // Each is of use without the other.
    let remembered = state.write(root);
    let written = report::write(root, &report);
    if let Some(omitted) = report.omitted.as_ref().filter(|omitted| omitted.total > 0) {
        Event::Omitted.emit(format_args!("and {omitted}"));
    }
    if outcome.is_ok() {
        let (summary, anchors) = (report.summary(), report.anchors());
        let milliseconds = started.elapsed().as_millis();
        let anchors = report::count(anchors, "trust anchor");
        Event::Summary.emit(format_args!("{summary}; {anchors}, {milliseconds} ms"));
    }
    outcome.and(remembered).and(written)
}

/// What the next run has to know of an image that was staged.
fn staged_extension(image: &Image) -> Option<StagedExtension> {
    Some(StagedExtension {
        class: image.class,
        name: image.name.clone()?,
        file: image.file.clone(),
        root_hash: image.root_hash.clone(),
        signer: image.signer.as_ref().map(Message::new),
        withdrawn: None,
    })
}

fn run(
    environment: &Environment,
    options: &Options,
    report: &mut Report,
    state: &mut State,
    started: Instant,
) -> Result<()> {
    let root = environment.root();
    // Until `merge` has looked at what this run stages, nothing of it may be merged, and nothing of an earlier run.
    let withdrawn = merge::close(root).and_then(|()| state.write(root)).and_then(|()| withdraw(root));
    if let Err(error) = environment.sweep() {
        Event::Failed.emit(format_args!("removing what an earlier run left: {error:#}"));
    }
    let preparation = Preparation::new(environment, options, report);
    let mut failure = preparation.failure;
    let mut gate = preparation.gate;
    if let Err(error) = withdrawn {
        gate.get_or_insert_with(|| Refusal::new(Reason::NotStaged, format_args!("{error:#}")));
        failure.get_or_insert(error);
    }
    let custody = match environment.custody(preparation.policy.limits) {
        Ok(custody) => Some(custody),
        Err(error) => {
            failure.get_or_insert(error);
            None
        }
    };
    let host = host_release(root);
    let activation = environment.activation();
    let verifier = Verifier {
        policy: &preparation.policy,
        trust: &preparation.trust,
        architecture: options.architecture,
        host: host.as_ref(),
        activation: activation.as_deref(),
        confinement: if options.confined {
            Confinement::Worker { until: Some(started + options.budget) }
        } else {
            Confinement::InProcess
        },
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
        policy: &preparation.policy,
        custody: custody.as_deref(),
        gate,
        tally,
        accepted: Accepted::default(),
        upcoming: None,
        until: started + options.budget,
    };
    let mut written = report::write(root, report).ok().map(|()| Instant::now());
    for class in Class::ALL {
        for directory in class.source_directories() {
            match root.list(directory) {
                Ok(files) => {
                    let files = files.unwrap_or_default();
                    for (number, file) in files.iter().enumerate() {
                        let next = files.get(number.saturating_add(1)).map(OsString::as_os_str);
                        let mut image = run.process(directory, file, next, class);
                        let left = if image.is_good() { None } else { take_away(root, directory, file, &mut image) };
                        let staged = image.is_good();
                        if staged {
                            state.staged.extend(staged_extension(&image));
                            if let Err(error) = state.write(root) {
                                failure.get_or_insert(error);
                            }
                        }
                        if let Some(image) = report.add(image) {
                            Event::emit_image(image);
                            if let Some(left) = left {
                                Event::NotQuarantined.emit_about_file(&image.file, left);
                            }
                        }
                        if staged || written.is_none_or(|written| written.elapsed() > REPORT_INTERVAL) {
                            written = report::write(root, report).ok().map(|()| Instant::now());
                        }
                    }
                }
                Err(error) => {
                    failure.get_or_insert(anyhow!(error).context(format!("listing {directory}")));
                }
            }
        }
    }
    let unstaged = report.rejected_for(Reason::NotStaged);
    if unstaged > 0 {
        failure.get_or_insert_with(|| anyhow!("staging {unstaged} images failed"));
    }
    failure.map_or(Ok(()), Err)
}

/// What is known before the first image is looked at.
struct Preparation {
    policy: Policy,
    trust: TrustStore,
    /// Why no image at all may be staged.
    gate: Option<Refusal>,
    failure: Option<anyhow::Error>,
}

impl Preparation {
    fn new(environment: &Environment, options: &Options, report: &mut Report) -> Self {
        let root = environment.root();
        let mut this = Self { policy: Policy::default(), trust: TrustStore::default(), gate: None, failure: None };
        match load_policy(root, options) {
            Ok(policy) => this.policy = Policy { host_hierarchies: merge::host_hierarchies(root), ..policy },
            Err(error) => {
                // What a good configuration of an earlier run said goes too; the first error is the one to tell.
                let _ = merge::limit(root, &Hierarchies::default());
                return this.closed(root, Reason::BadConfiguration, error);
            }
        }
        if let Err(error) = merge::limit(root, &this.policy.hierarchies) {
            return this.closed(root, Reason::NotStaged, error);
        }
        let firmware = match environment.variables().and_then(|variables| Ok(Firmware::read(variables.as_ref())?)) {
            Ok(firmware) => firmware,
            Err(error) => return this.closed(root, Reason::FirmwareUnreadable, error),
        };
        report.firmware = Some((&firmware).into());
        let sealed = match trust::read_sealed(root) {
            Ok(sealed) => sealed,
            Err(error) => {
                let error = anyhow!(error).context("listing the sealed certificates");
                return this.closed(root, Reason::FirmwareUnreadable, error);
            }
        };
        this.trust = TrustStore::of_machine(&firmware, &sealed, &this.policy.sources);
        this.announce();
        if let Err(refusal) = this.policy.admit_dbx(&this.trust) {
            report.set_trust(&this.trust, false);
            return this.closed(root, refusal.reason(), anyhow!("{}", refusal.detail()));
        }
        this.gate = this.policy.admit_boot(&firmware).err();
        // While nothing may be staged, systemd shall find no certificate to trust either.
        let exported = if this.gate.is_some() { &[] } else { this.trust.anchors() };
        if let Err(error) = trust::export(root, exported) {
            report.set_trust(&this.trust, false);
            return this.closed(root, Reason::NotStaged, error);
        }
        report.set_trust(&this.trust, this.gate.is_none());
        this
    }

    /// Logs what doesn't count of what was offered, and what may be missing of what is revoked.
    fn announce(&self) {
        for ignored in self.trust.ignored() {
            let text = format_args!("ignoring a certificate of {}: {}", ignored.origin, ignored.reason);
            Event::CertificateIgnored.emit(text);
        }
        let consequence = if self.policy.require_whole_dbx {
            "nothing is staged"
        } else {
            "trust.dbx is lenient: only the readable entries revoke"
        };
        for fault in self.trust.dbx_faults() {
            Event::DbxUnreadable.emit(format_args!("reading dbx: {}; {consequence}", fault.reason));
        }
    }

    /// Nothing will be staged, since the agent can't do its job.
    fn closed(mut self, root: &Root, reason: Reason, error: anyhow::Error) -> Self {
        // Certificates of an earlier run go too. Where even that fails, the first error is the one to tell.
        let _ = trust::export(root, &[]);
        self.gate = Some(Refusal::new(reason, format_args!("{error:#}")));
        self.failure = Some(error);
        self
    }
}

fn load_policy(root: &Root, options: &Options) -> Result<Policy> {
    Ok(options.config.as_deref().map_or_else(|| policy::load(root), policy::load_file)?)
}

/// The os-release of the system that will be extended: that below `/sysroot` in an initrd, else our own.
/// Early in an initrd there is none yet, and compatibility is then left to systemd, which skips what
/// doesn't fit without harm to the rest.
fn host_release(root: &Root) -> Option<HostRelease> {
    let find = |root: &Root| {
        let paths = ["/etc/os-release", "/usr/lib/os-release"];
        let content = paths.iter().find_map(|path| root.read(path, ReleaseFile::MAX_LEN as u64).ok().flatten())?;
        ReleaseFile::parse(&content).ok().map(|file| HostRelease::new(&file))
    };
    let sysroot = root.sysroot().and_then(|sysroot| find(&sysroot));
    sysroot.or_else(|| if root.is_initrd() { None } else { find(root) })
}

/// Moves a rejected file out of systemd's way. Where that fails the row gets a warning, which is returned for an event.
fn take_away(root: &Root, directory: &str, file: &OsStr, image: &mut Image) -> Option<Message> {
    let error = quarantine(root, directory, file).err()?;
    let warning = Message::new(format_args!("it is still in {directory}, where systemd may find it: {error:#}"));
    image.warn(warning.clone());
    Some(Message::new(format_args!("{}: {warning}", image.file)))
}

struct Run<'a> {
    root: &'a Root,
    session: Session<'a>,
    policy: &'a Policy,
    custody: Option<&'a dyn Custody>,
    gate: Option<Refusal>,
    tally: Tally,
    accepted: Accepted,
    /// The next file, where its reading has begun.
    upcoming: Option<(PathBuf, Candidate)>,
    /// When nothing more is looked at.
    until: Instant,
}

impl Run<'_> {
    /// One file, from its name to its row. Nothing that is wrong with it gets out of here. `next` is the one after it.
    fn process(&mut self, directory: &str, file: &OsStr, next: Option<&OsStr>, class: Class) -> Image {
        let mut image = Image::new(file, class);
        image.directory = Some(directory.into());
        let mut findings = Findings::default();
        let result = guard(|| self.verify_and_stage(directory, file, next, &mut image, &mut findings));
        image.set_findings(findings);
        image.set_verdict(result.as_ref().map(|()| Verdict::Staged));
        image
    }

    fn verify_and_stage(
        &mut self,
        directory: &str,
        file: &OsStr,
        next: Option<&OsStr>,
        image: &mut Image,
        findings: &mut Findings,
    ) -> Result<(), Refusal> {
        let started = Instant::now();
        if started >= self.until {
            return Err(Refusal::new(Reason::OutOfTime, WorkerError::Budget));
        }
        let verified = self.verify(directory, file, image, findings);
        image.verify_usec = report::usec(started.elapsed());
        let verified = verified?;
        let (class, name, root_hash) = (verified.class(), verified.name().clone(), verified.root_hash().clone());
        if let Some(next) = next {
            self.look_ahead(directory, next, class);
        }
        let started = Instant::now();
        let staged = stage_image(self.root, verified);
        image.stage_usec = report::usec(started.elapsed());
        let staged = staged.map_err(|error| Refusal::new(Reason::NotStaged, format_args!("{error:#}")))?;
        self.tally.add(image.size.unwrap_or_default(), class, name.as_str());
        if let Some(custody) = self.custody {
            custody.settle(staged.occupied());
        }
        self.accepted.add(class, name, root_hash, Text::from_os(file));
        Ok(())
    }

    /// Lets the reading of the next file begin. What is wrong with it is found out in its turn.
    fn look_ahead(&mut self, directory: &str, file: &OsStr, class: Class) {
        self.upcoming = self.path(directory, file).ok().and_then(|path| {
            let candidate = Candidate::open(&path, class).ok()?;
            self.session.announce(&candidate);
            Some((path, candidate))
        });
    }

    fn path(&self, directory: &str, file: &OsStr) -> Result<PathBuf, Refusal> {
        let found = self.root.directory(directory).map_err(|error| Refusal::new(Reason::Unreadable, error))?;
        Ok(found.ok_or_else(|| Refusal::new(Reason::Unreadable, "its directory is gone"))?.join(file))
    }

    fn verify(
        &mut self,
        directory: &str,
        file: &OsStr,
        image: &mut Image,
        findings: &mut Findings,
    ) -> Result<VerifiedImage, Refusal> {
        let path = self.path(directory, file)?;
        let class = image.class;
        image.size = path.symlink_metadata().ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len());
        image.name = crate::image::extension_name(file, class).ok().map(Text::new);
        let candidate = match self.upcoming.take() {
            Some((opened, candidate)) if opened == path => candidate,
            _ => Candidate::open(&path, class)?,
        };
        if let Some(refusal) = &self.gate {
            return Err(refusal.clone());
        }
        let Some(custody) = self.custody else {
            return Err(Refusal::new(Reason::NotStaged, "there is no place to stage it from"));
        };
        let policy = self.policy;
        self.tally.admit(candidate.size(), &policy.limits)?;
        self.tally.admit_layer(class, candidate.name().as_str(), policy.overlay(class))?;
        self.session.verify(candidate, &self.accepted, custody, findings)
    }
}
