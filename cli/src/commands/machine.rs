//! The machine that images are meant for: whom it trusts, and what it would say.

use super::progress::Waiting;
use super::trust_options::{RootedTrustOptions, Trust, TrustOptions};
use anyhow::Result;
use ddi::text::Text;
use ddi::verity::default_threads;
use ddi::{Architecture, Class};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use sextant::confine::{Confinement, guard};
use sextant::firmware::SecureBoot;
use sextant::policy::{self, Policy};
use sextant::reason::{Reason, Refusal};
use sextant::report::{Image, Verdict, usec};
use sextant::verify::{Accepted, Examined, Findings, InPlaceCustody, VerifiedImage, Verifier};
use sextant::verify::{Candidate, extension_name};
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

/// Some machine, this one or another.
pub(super) struct Machine {
    policy: Policy,
    /// Whom it trusts.
    pub(super) trust: Trust,
    architecture: Architecture,
    /// Why it would take nothing at all.
    gate: Option<Refusal>,
}

impl Machine {
    /// Reads whom it trusts, and its configuration where one is named.
    pub(super) fn read(options: &RootedTrustOptions, config: &[PathBuf], architecture: Architecture) -> Result<Self> {
        let policy = policy::load_files(config)?;
        let trust = options.read(&policy.sources)?;
        Ok(Self::of(trust, policy, architecture))
    }

    /// Reads whom it trusts.
    pub(super) fn with_policy(options: &TrustOptions, policy: Policy, architecture: Architecture) -> Result<Self> {
        let trust = options.read(&policy.sources)?;
        Ok(Self::of(trust, policy, architecture))
    }

    fn of(trust: Trust, policy: Policy, architecture: Architecture) -> Self {
        // A set of variables without the state of Secure Boot is a set of certificates, not a machine that is off.
        let state = trust.firmware.as_ref().map(|firmware| firmware.secure_boot);
        let state = state.filter(|state| *state != SecureBoot::Unavailable);
        let gate = policy.admit_dbx(&trust.store).err();
        let gate = gate.or_else(|| state.and_then(|state| policy.admit_secure_boot(state).err()));
        Self { policy, trust, architecture, gate }
    }

    /// What a boot would say about the image at `path`.
    pub(super) fn verify(&self, path: &Path) -> Image {
        self.judge(path).0
    }

    /// What a boot would say about the image at `path`, which is opened once; and where it is good, the evidence, which holds
    /// the open file.
    pub(super) fn judge(&self, path: &Path) -> (Image, Option<VerifiedImage<Examined>>) {
        let file = path.file_name().unwrap_or(path.as_os_str());
        self.judge_opened(path, file, || Candidate::open(path, class_of(path)))
    }

    /// The same of an image that is to be called `file`.
    pub(super) fn judge_as(&self, path: &Path, file: &OsStr) -> (Image, Option<VerifiedImage<Examined>>) {
        let open = || {
            let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
            let opened = open(path, flags, Mode::empty()).map(File::from);
            let opened = opened.map_err(|error| Refusal::new(Reason::Unreadable, error))?;
            Candidate::from_file(opened, file, class_of(Path::new(file)))
        };
        self.judge_opened(path, file, open)
    }

    fn judge_opened(
        &self,
        path: &Path,
        file: &OsStr,
        open: impl FnOnce() -> Result<Candidate, Refusal>,
    ) -> (Image, Option<VerifiedImage<Examined>>) {
        let class = class_of(Path::new(file));
        let mut image = Image::new(path.as_os_str(), class);
        image.size = path.metadata().ok().map(|metadata| metadata.len());
        image.name = extension_name(file, class).ok().map(Text::new);
        let _waiting = Waiting::begin(Text::new(format_args!("verifying {}", Text::from_os(file))));
        let started = Instant::now();
        let mut findings = Findings::default();
        let result = guard(open).and_then(|candidate| self.verify_open(candidate, &mut findings));
        image.verify_usec = usec(started.elapsed());
        image.set_findings(findings);
        image.set_verdict(result.as_ref().map(|_| Verdict::Accepted));
        (image, result.ok())
    }

    /// Verifies an open file. Whatever the tool verifies comes through here.
    pub(super) fn verify_open(
        &self,
        candidate: Candidate,
        findings: &mut Findings,
    ) -> Result<VerifiedImage<Examined>, Refusal> {
        guard(|| {
            if let Some(refusal) = &self.gate {
                return Err(refusal.clone());
            }
            if candidate.size() > self.policy.limits.image_size {
                let limit = self.policy.limits.image_size;
                let detail = format_args!("image is {} bytes; limits.image_size is {limit}", candidate.size());
                return Err(Refusal::new(Reason::TooLarge, detail));
            }
            self.verifier().verify(candidate, &Accepted::default(), &InPlaceCustody, findings)
        })
    }

    /// Takes images for `architecture` from now on.
    pub(super) const fn set_architecture(&mut self, architecture: Architecture) {
        self.architecture = architecture;
    }

    fn verifier(&self) -> Verifier<'_> {
        Verifier {
            policy: &self.policy,
            trust: &self.trust.store,
            architecture: self.architecture,
            host: None,
            activation: None,
            confinement: Confinement::Worker { until: None },
            threads: default_threads(),
            now: SystemTime::now(),
        }
    }
}

/// What kind of extension a file wants to be; a sysext unless its name says otherwise.
pub(super) fn class_of(path: &Path) -> Class {
    let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let named = Class::of_file_name(file).or_else(|| Class::of_unsigned_file_name(file));
    named.map_or(Class::Sysext, |(class, _)| class)
}
