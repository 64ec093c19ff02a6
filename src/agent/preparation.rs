//! What is known before the first image is looked at.

use super::environment::Environment;
use super::options::Options;
use crate::extension::HostRelease;
use crate::firmware::Firmware;
use crate::firmware::entry::BootEntry;
use crate::merge;
use crate::policy::{self, Hierarchies, Policy};
use crate::reason::{Reason, Refusal};
use crate::report::{self, Event, Report};
use crate::root::Root;
use crate::state::State;
use crate::trust::{self, Anchor, TrustStore};
use anyhow::{Result, anyhow};
use ddi::ReleaseFile;
use ddi::text::Text;

/// What is known before the first image is looked at.
pub(super) struct Preparation {
    /// As configured. What the host says is read where files are looked at: it is found in dozens of places.
    pub(super) policy: Policy,
    pub(super) trust: TrustStore,
    /// What was booted.
    pub(super) entry: BootEntry,
    /// Why no image at all may be staged.
    pub(super) gate: Option<Refusal>,
    pub(super) failure: Option<anyhow::Error>,
}

impl Preparation {
    /// Reads the policy and decides whom to trust, for this run and the later ones of this boot.
    pub(super) fn new(environment: &Environment, options: &Options, report: &mut Report) -> Self {
        let root = environment.root();
        let mut this = Self::nothing();
        match load_policy(root, options) {
            Ok(policy) => this.policy = policy,
            Err(error) => {
                // What a good configuration of an earlier run said goes too; the first error is the one to tell.
                let _ = merge::limit(root, &Hierarchies::default());
                return this.closed(root, Reason::BadConfiguration, error);
            }
        }
        let told = merge::require(root, !this.policy.required.is_empty())
            .and_then(|()| merge::limit(root, &this.policy.hierarchies))
            .and_then(|()| merge::expect_sources(root, !this.policy.directories.is_empty()));
        if let Err(error) = told {
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
        // An entry that is meant to have no extensions is complete without them.
        let unrequired = match this.policy.admit_entry(&firmware.entries) {
            Ok(()) => Ok(()),
            Err(_) => merge::require(root, false),
        };
        if let Err(error) = unrequired {
            report.set_trust(&this.trust, false);
            return this.closed(root, Reason::NotStaged, error);
        }
        this.gate = this.policy.admit_boot(&firmware).err();
        // While nothing may be staged, systemd shall find no certificate to trust either.
        let exported = if this.gate.is_some() { &[] } else { this.trust.anchors() };
        if let Err(error) = export(root, exported) {
            report.set_trust(&this.trust, false);
            return this.closed(root, Reason::NotStaged, error);
        }
        report.set_trust(&this.trust, this.gate.is_none());
        this
    }

    /// The policy and the anchors of this boot again, long after the initrd, for what has turned up since. The firmware is
    /// asked anew, so that what it has revoked since doesn't count; what it has added isn't an anchor of this boot.
    pub(super) fn again(environment: &Environment, state: &State) -> Self {
        let root = environment.root();
        let mut this = Self::nothing();
        match policy::kept(root) {
            Ok(policy) => this.policy = policy,
            Err(error) => return this.refusing(Reason::BadConfiguration, error.into()),
        }
        let firmware = match environment.variables().and_then(|variables| Ok(Firmware::read(variables.as_ref())?)) {
            Ok(firmware) => firmware,
            Err(error) => return this.refusing(Reason::FirmwareUnreadable, error),
        };
        let sealed = match trust::read_exported_sealed(root) {
            Ok(sealed) => sealed,
            Err(error) => return this.refusing(Reason::FirmwareUnreadable, anyhow!(error)),
        };
        this.trust = TrustStore::of_machine(&firmware, &sealed, &this.policy.sources);
        this.trust.retain(|fingerprint| state.anchors.contains(&Text::new(fingerprint)));
        if let Err(refusal) = this.policy.admit_dbx(&this.trust) {
            return this.refusing(refusal.reason(), anyhow!("{}", refusal.detail()));
        }
        this.gate = this.policy.admit_boot(&firmware).err();
        this.entry = firmware.entries;
        this
    }

    fn nothing() -> Self {
        Self {
            policy: Policy::default(),
            trust: TrustStore::default(),
            entry: BootEntry::default(),
            gate: None,
            failure: None,
        }
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
    fn closed(self, root: &Root, reason: Reason, error: anyhow::Error) -> Self {
        // Certificates of an earlier run go too. Where even that fails, the first error is the one to tell.
        let _ = export(root, &[]);
        self.refusing(reason, error)
    }

    fn refusing(mut self, reason: Reason, error: anyhow::Error) -> Self {
        self.gate = Some(Refusal::new(reason, format_args!("{error:#}")));
        self.failure = Some(error);
        self
    }
}

/// Gives systemd the anchors and no certificate besides, and tells what was removed for that.
fn export(root: &Root, anchors: &[Anchor]) -> Result<()> {
    let removed = trust::export(root, anchors)?;
    for (file, cause) in &removed.files {
        Event::CertificateRemoved.emit(format_args!("removed {file} from /run/verity.d: {cause}"));
    }
    if removed.more > 0 {
        let more = report::count(removed.more, "more file");
        Event::CertificateRemoved.emit(format_args!("removed {more} from /run/verity.d: no trust anchors"));
    }
    Ok(())
}

fn load_policy(root: &Root, options: &Options) -> Result<Policy> {
    let documents = match options.config.as_slice() {
        [] => policy::find(root),
        files => policy::find_files(files),
    };
    // One that is broken is kept too, so that no later run takes an older one for it; and what it may require is required.
    policy::keep(root, &documents)?;
    merge::require(root, documents.may_require())?;
    Ok(documents.parse()?)
}

/// The os-release of the system that will be extended: that below `/sysroot` in an initrd, else our own.
/// Early in an initrd there is none yet, and compatibility is then left to systemd, which skips what
/// doesn't fit without harm to the rest.
pub(super) fn host_release(root: &Root) -> Option<HostRelease> {
    let find = |root: &Root| {
        let paths = ["/etc/os-release", "/usr/lib/os-release"];
        let content = paths.iter().find_map(|path| root.read(path, ReleaseFile::MAX_LEN as u64).ok().flatten())?;
        ReleaseFile::parse(&content).ok().map(|file| HostRelease::new(&file))
    };
    let sysroot = root.sysroot().and_then(|sysroot| find(&sysroot));
    sysroot.or_else(|| if root.is_initrd() { None } else { find(root) })
}
