//! The sealed policy, and the decisions that follow from it without the contents of an image.

mod config;
mod directories;
mod hierarchies;
mod limits;
mod required;

pub use config::{
    CONFIG_PATHS, ConfigError, DROP_IN_DIRECTORIES, Document, Documents, MAX_DROP_INS, MAX_KEPT, MAX_TOTAL, Place,
    find, find_files, is_drop_in, is_sealed, keep, kept, load, load_files, parse,
};
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
    /// Whether PCR 13 is predicted from the files in the initrd.
    pub measurement: bool,
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
            measurement: false,
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::firmware::signature_list::{Entry, SignatureDatabase};
    use crate::root::Root;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn secure_boot_has_to_be_enforced_unless_the_configuration_says_otherwise() {
        let strict = Policy::default();
        let lenient = Policy { require_secure_boot: false, ..Policy::default() };
        let detail = |state| strict.admit_secure_boot(state).map_err(|refusal| refusal.detail().to_owned());
        assert_eq!(strict.admit_secure_boot(SecureBoot::Enforcing), Ok(()));
        for (state, expected) in [
            (SecureBoot::SetupMode, "the firmware is in setup mode: anyone could have enrolled its certificates"),
            (SecureBoot::Disabled, "Secure Boot is off"),
            (SecureBoot::Unavailable, "this machine has no firmware with Secure Boot"),
        ] {
            assert_eq!(detail(state), Err(expected.to_owned()));
            assert_eq!(lenient.admit_secure_boot(state), Ok(()));
        }
        let reason = |secure_boot, loader: &str| {
            let [pk, kek, db, dbx] = std::array::from_fn(|_| SignatureDatabase::default());
            let entries = BootEntry { loader: Some(loader.to_owned()), stub: None };
            let firmware = Firmware { secure_boot, entries, uki: None, pk, kek, db, dbx };
            strict.admit_boot(&firmware).map_err(|refusal| refusal.reason())
        };
        assert_eq!(reason(SecureBoot::Disabled, "active"), Err(Reason::SecureBootOff));
        assert_eq!(reason(SecureBoot::Enforcing, "recovery"), Err(Reason::EntryDenied));
        assert_eq!(reason(SecureBoot::Enforcing, "active"), Ok(()));
    }

    #[test]
    fn dbx_has_to_be_whole_unless_the_configuration_says_otherwise() {
        let dbx = SignatureDatabase { entries: vec![Entry::Certificate(vec![0; 9])], errors: Vec::new() };
        let [broken, whole] = [dbx, SignatureDatabase::default()].map(|dbx| TrustStore::decide(Vec::new(), &dbx));
        let strict = Policy::default();
        let lenient = Policy { require_whole_dbx: false, ..Policy::default() };
        assert_eq!(strict.admit_dbx(&broken).map_err(|refusal| refusal.reason()), Err(Reason::DbxUnreadable));
        assert_eq!([strict.admit_dbx(&whole), lenient.admit_dbx(&broken)], [Ok(()), Ok(())]);
    }

    #[test]
    fn a_configuration_is_found_where_it_is_sealed() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let [first, second] = CONFIG_PATHS.map(|path| dir.path().join(path.trim_start_matches('/')));
        for path in [&first, &second] {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
        }
        let images = || load(&root).map(|policy| policy.limits.images);
        assert_eq!(load(&root).unwrap(), Policy::default());
        fs::write(&second, "limits: {images: 2}").unwrap();
        assert_eq!(images().unwrap(), 2);
        fs::write(&first, "limits: {images: 1}").unwrap();
        assert_eq!((images().unwrap(), load_files(&[&second]).unwrap().limits.images), (1, 2));
        // What is kept outlives its file.
        keep(&root, &find(&root)).unwrap();
        fs::remove_file(&first).unwrap();
        assert_eq!(kept(&root).unwrap().limits.images, 1);
        keep(&root, &Documents::default()).unwrap();
        assert_eq!(kept(&root).unwrap(), Policy::default());
        // A link that leads nowhere was meant to be a configuration.
        symlink("nowhere", &first).unwrap();
        assert!(images().is_err());
    }

    #[test]
    fn a_configuration_has_at_most_1_mib() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let path = dir.path().join("etc/sextant.yaml");
        fs::create_dir(dir.path().join("etc")).unwrap();
        for (size, is_read) in [(1 << 20, true), ((1 << 20) + 1, false)] {
            fs::write(&path, "#".repeat(size)).unwrap();
            assert_eq!((load(&root).is_ok(), load_files(&[&path]).is_ok()), (is_read, is_read), "{size}");
        }
    }
}
