//! The table: what is different in each boot, and what has to come of it.

mod arm64;
mod firmware;
mod images;
mod measurement;
mod mishaps;
mod stages;

use crate::cpio::Archive;
use crate::guest::Guest;
use crate::images::Offer;
use crate::keys;
use crate::variables::Firmware;
use crate::witness::Findings;
use std::path::PathBuf;
use support::keys::Authority;

/// How a boot has to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The agent did its work; each offer became what it says.
    Judged,
    /// The same, told in the kernel's log for want of a journal.
    JudgedInKernelLog,
    /// It did it twice over.
    JudgedTwice,
    /// The agent didn't; nothing is merged.
    Closed,
    /// The firmware doesn't start the UKI.
    RefusedByFirmware,
}

/// One boot.
pub struct Scenario {
    pub name: String,
    /// One line about it.
    pub about: &'static str,
    pub guest: Guest,
    pub firmware: Firmware,
    /// Name of the boot entry and of the UKI.
    pub entry: &'static str,
    /// The initrd.
    pub initrd: fn(Guest) -> Result<PathBuf, String>,
    /// What the UKI seals besides the initrd.
    pub sealed: fn() -> Archive,
    /// What the UKI's command line has besides.
    pub command_line: String,
    /// MiB
    pub memory: u32,
    /// Whether it has a TPM.
    pub tpm: bool,
    pub uki_signer: fn() -> &'static Authority,
    pub offers: fn() -> Vec<Offer>,
    pub outcome: Outcome,
    /// What has to hold besides what always has to.
    pub check: fn(&Findings),
    /// Why this one can't be made here, though others can.
    obstacle: fn() -> Option<String>,
    /// Not for each run of the tests, but for `make machines`.
    pub is_of_matrix: bool,
}

impl Scenario {
    pub fn new(name: &str, about: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            about,
            guest: Guest::Systemd257,
            firmware: Firmware::Enforcing,
            entry: "active",
            initrd: |guest| Ok(guest.base()?.initrd.clone()),
            sealed: vendor,
            command_line: String::new(),
            memory: 1024,
            tpm: false,
            uki_signer: keys::db,
            offers: Vec::new,
            outcome: Outcome::Judged,
            check: |_| {},
            obstacle: || None,
            is_of_matrix: false,
        }
    }

    /// Why it can't be made here, though others can.
    pub fn obstacle_here(&self) -> Option<String> {
        self.guest.obstacle().or_else(self.obstacle)
    }

    fn on(self, guest: Guest) -> Self {
        Self { name: format!("{}-{}", self.name, guest.name()), guest, ..self }
    }

    fn named(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    fn offers(self, offers: fn() -> Vec<Offer>) -> Self {
        Self { offers, ..self }
    }

    fn sealed(self, sealed: fn() -> Archive) -> Self {
        Self { sealed, ..self }
    }

    fn initrd(self, initrd: fn(Guest) -> Result<PathBuf, String>) -> Self {
        Self { initrd, ..self }
    }

    fn firmware(self, firmware: Firmware) -> Self {
        Self { firmware, ..self }
    }

    fn entry(self, entry: &'static str) -> Self {
        Self { entry, ..self }
    }

    fn command_line(self, words: &str) -> Self {
        Self { command_line: words.to_owned(), ..self }
    }

    fn memory(self, memory: u32) -> Self {
        Self { memory, ..self }
    }

    fn tpm(self) -> Self {
        Self { tpm: true, ..self }
    }

    fn outcome(self, outcome: Outcome) -> Self {
        Self { outcome, ..self }
    }

    fn obstacle(self, obstacle: fn() -> Option<String>) -> Self {
        Self { obstacle, ..self }
    }

    fn of_matrix(self) -> Self {
        Self { is_of_matrix: true, ..self }
    }

    fn check(self, check: fn(&Findings)) -> Self {
        Self { check, ..self }
    }
}

/// The vendor's certificate, sealed; what most machines have.
fn vendor() -> Archive {
    Archive::new().file("etc/verity.d/vendor.crt", keys::vendor().pem())
}

/// Not a test: a machine with the extensions, and in its initrd the certificates, of somebody's own directory.
pub fn own() -> Scenario {
    Scenario::new("own", "the extensions and certificates in the directory $SEXTANT_EXTENSIONS")
        .offers(crate::images::own)
        .sealed(|| {
            let certificates = crate::images::own_files(".crt");
            certificates
                .into_iter()
                .fold(Archive::new(), |archive, (name, bytes)| archive.file(&format!("etc/verity.d/{name}"), bytes))
        })
}

/// All of them; those that take longest come first, so that two machines are busy to the end.
pub fn all() -> Vec<Scenario> {
    [arm64::table(), images::table(), stages::table(), mishaps::table(), firmware::table()]
        .into_iter()
        .flatten()
        .collect()
}
