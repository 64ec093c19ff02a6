//! The sealed policy, and the decisions that follow from it without the contents of an image.

mod config;
mod directories;
mod hierarchies;
mod limits;
mod required;

pub use config::{CONFIG_PATHS, ConfigError, Text, find, find_file, keep, kept, load, load_file, parse};
pub use directories::{Directory, DirectoryError, Verify};
pub use hierarchies::{Hierarchies, HierarchyError, HierarchyList, HostHierarchies};
pub use limits::{Limits, Overlay, Tally};
pub use required::{Minimum, Named, Required, RequiredError};

use crate::firmware::entry::BootEntry;
use crate::firmware::{Firmware, SecureBoot};
use crate::reason::{Reason, Refusal};
use crate::trust::{Source, TrustStore};
use ddi::Class;
use ddi::verity::RootHash;

/// The policy, with defaults for everything that is not configured.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of its own")]
pub struct Policy {
    /// Whether the firmware must enforce Secure Boot.
    pub require_secure_boot: bool,
    /// Sources of trust anchors that are admitted.
    pub sources: Vec<Source>,
    /// Whether dbx must be completely readable.
    pub require_whole_dbx: bool,
    /// Boot entries that may not have extensions.
    pub denied_entries: Vec<String>,
    /// Root hashes that are refused, even with a trusted signature.
    pub denied_root_hashes: Vec<RootHash>,
    /// Limits on number and size of images.
    pub limits: Limits,
    /// Configured hierarchies.
    pub hierarchies: Hierarchies,
    /// Hierarchies in the host's own units. They are not part of the configuration, but found on the host.
    pub host_hierarchies: HostHierarchies,
    /// Directories on disks with extensions, in the order of the search.
    pub directories: Vec<Directory>,
    /// Extensions without which a boot is not complete.
    pub required: Required,
    /// Lowest versions that may run.
    pub minimum: Minimum,
    /// Whether an image on the host that prevents systemd from merging is renamed.
    pub quarantine: bool,
    /// Whether metrics are written for a collector on the host.
    pub metrics: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            require_secure_boot: true,
            sources: Source::CONFIGURABLE.to_vec(),
            require_whole_dbx: true,
            denied_entries: ["recovery", "autoreset", "statereset"].map(str::to_owned).to_vec(),
            denied_root_hashes: Vec::new(),
            limits: Limits::default(),
            hierarchies: Hierarchies::default(),
            host_hierarchies: HostHierarchies::default(),
            directories: Vec::new(),
            required: Required::default(),
            minimum: Minimum::default(),
            quarantine: false,
            metrics: false,
        }
    }
}

impl Policy {
    /// Returns the computation of mount options over all hierarchies of a class.
    #[must_use]
    pub fn overlay(&self, class: Class) -> Overlay {
        Overlay::of(class, &self.hierarchies, &self.host_hierarchies)
    }

    /// Checks that all revocations are known.
    ///
    /// # Errors
    /// [`Reason::DbxUnreadable`] if dbx must be completely readable and is not.
    pub fn admit_dbx(&self, trust: &TrustStore) -> Result<(), Refusal> {
        match trust.dbx_faults().first() {
            Some(fault) if self.require_whole_dbx => {
                let detail =
                    format_args!("parts of dbx cannot be read, so a revocation may be missing: {}", fault.reason);
                Err(Refusal::new(Reason::DbxUnreadable, detail))
            }
            _ => Ok(()),
        }
    }

    /// Checks whether this boot may have extensions at all.
    ///
    /// # Errors
    /// [`Reason::EntryDenied`] or [`Reason::SecureBootOff`] if it may not.
    pub fn admit_boot(&self, firmware: &Firmware) -> Result<(), Refusal> {
        self.admit_entry(&firmware.entries)?;
        self.admit_secure_boot(firmware.secure_boot)
    }

    /// Checks whether a boot entry may have extensions.
    ///
    /// # Errors
    /// [`Reason::EntryDenied`] if it may not.
    pub fn admit_entry(&self, entries: &BootEntry) -> Result<(), Refusal> {
        match entries.matched_by(&self.denied_entries) {
            Some(entry) => {
                let detail = format_args!("the boot entry \"{entry}\" may not have extensions");
                Err(Refusal::new(Reason::EntryDenied, detail))
            }
            None => Ok(()),
        }
    }

    /// Checks whether the firmware's certificates prove anything in this state of Secure Boot.
    ///
    /// # Errors
    /// [`Reason::SecureBootOff`] if they do not and the policy requires it.
    pub fn admit_secure_boot(&self, state: SecureBoot) -> Result<(), Refusal> {
        let detail = match state {
            _ if !self.require_secure_boot => return Ok(()),
            SecureBoot::Enforcing => return Ok(()),
            SecureBoot::SetupMode => "the firmware is in setup mode: anyone could have enrolled its certificates",
            SecureBoot::Disabled => "Secure Boot is off",
            SecureBoot::Unavailable => "this machine has no firmware with Secure Boot",
        };
        Err(Refusal::new(Reason::SecureBootOff, detail))
    }

    /// Returns the directories that are searched for the boot entry, in the order of the search.
    pub fn directories_for<'s>(&'s self, entry: &'s BootEntry) -> impl Iterator<Item = &'s Directory> {
        self.directories.iter().filter(|directory| directory.is_for(entry))
    }

    /// Returns the coverage of the image at `path`: that of the first directory that is searched for `entry` and
    /// contains it.
    #[must_use]
    pub fn verify_at(&self, path: &str, entry: &BootEntry) -> Verify {
        let parent = path.rsplit_once('/').map(|(parent, _)| parent);
        let found = self.directories_for(entry).find(|directory| Some(directory.directory.as_str()) == parent);
        found.map_or(Verify::Full, |directory| directory.verify)
    }

    /// Checks that a root hash is not denied.
    ///
    /// # Errors
    /// [`Reason::RevokedImage`] if it is.
    pub fn admit_root_hash(&self, root_hash: &RootHash) -> Result<(), Refusal> {
        if self.denied_root_hashes.contains(root_hash) {
            let detail = format_args!("the configuration denies root hash {root_hash}");
            return Err(Refusal::new(Reason::RevokedImage, detail));
        }
        Ok(())
    }
}
