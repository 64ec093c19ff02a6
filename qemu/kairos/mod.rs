//! Kairos machines: the UKI holds a whole system, and the real immucore is PID 1 until it becomes systemd. Each
//! story is one disk and some boots of it. A TPM is there because immucore measures, and stops without one.

pub mod disk;
pub mod image;
pub mod marks;
mod matrix;
pub mod sets;
mod stories;
pub mod verdict;

use crate::cpio::Archive;
use crate::guest::Guest;
use crate::life::esp;
use crate::machine::{Disk, Parts};
use crate::platform::PC;
use crate::run::{supervise, witnessed};
use crate::toolbox::{fresh, repository, work};
use crate::variables::Firmware;
use crate::witness::Findings;
use crate::{brought, tpm};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use self::sets::Image;

/// Entries of the boot loader.
const ENTRIES: [&str; 3] = ["active", "passive", "recovery"];
/// MiB. The root file system is in it three times while immucore copies it.
const MEMORY: u32 = 2048;

/// All of them.
pub fn all() -> Vec<Story> {
    [stories::central()].into_iter().chain(matrix::table()).collect()
}

/// One disk.
pub struct Story {
    pub name: &'static str,
    /// One line about it.
    about: &'static str,
    pub guest: Guest,
    /// What is laid over the root file system in the UKI.
    pub image: fn() -> Result<Archive, String>,
    /// What the command line has besides.
    command_line: &'static str,
    /// The entry of the boot loader that is the default.
    entry: &'static str,
    /// Names of images beside its UKI.
    pub beside: &'static [&'static str],
    /// On the persistent partition.
    pub stored: fn() -> Vec<disk::Stored>,
    /// In `/oem`.
    oem: &'static [(&'static str, &'static str)],
    boots: Vec<Boot>,
    /// Not for each run of the tests, but for `make kairos`.
    pub is_of_matrix: bool,
}

/// One boot of it.
struct Boot {
    name: &'static str,
    /// A script in `qemu/kairos/scripts/` that the host's witness runs.
    script: &'static str,
    /// What has to hold.
    check: fn(&Findings),
}

/// What stays when the machine is off.
pub struct Machine {
    esp: PathBuf,
    data: PathBuf,
    variables: PathBuf,
    tpm: PathBuf,
}

impl Story {
    /// Makes the machine and boots it again and again.
    ///
    /// # Errors
    /// What is wrong, and where to look.
    pub fn test(&self) -> Result<(), String> {
        let start = Instant::now();
        let directory = work().join("boots").join(self.name);
        fresh(&directory)?;
        let machine = self.make(&directory)?;
        let made = start.elapsed();
        supervise((self.name, self.about), &directory, made, || {
            for boot in &self.boots {
                let start = Instant::now();
                let findings = machine.boot(boot.name, boot.script, &directory)?;
                (boot.check)(&findings);
                eprintln!("{}: boot {} took {:.0} s", self.name, boot.name, start.elapsed().as_secs_f32());
            }
            Ok(())
        })
    }

    /// Makes the machine in `directory`.
    ///
    /// # Errors
    /// What the tools said.
    pub fn make(&self, directory: &Path) -> Result<Machine, String> {
        let variables = directory.join("variables.fd");
        Firmware::Plain.write(&PC, &variables)?;
        let signed = image::make(self.guest, &(self.image)()?, self.command_line, directory)?;
        let beside =
            |image: &Image| (format!("EFI/kairos/{}.efi.extra.d/{}", self.entry, image.file), Arc::clone(&image.bytes));
        let mut entries = ENTRIES;
        entries.sort_by_key(|entry| *entry != self.entry);
        let files: Vec<_> = self.beside.iter().map(|name| beside(sets::image(name))).collect();
        let esp = esp::make(&signed, &entries, &files, directory)?;
        let data = disk::make(&(self.stored)(), self.oem, directory)?;
        let tpm = directory.join("tpm");
        tpm::make(&tpm)?;
        Ok(Machine { esp, data, variables, tpm })
    }
}

impl Machine {
    /// Boots it with a script of `qemu/kairos/scripts/`, below `directory`.
    ///
    /// # Errors
    /// If it came to another end, or the script did.
    pub fn boot(&self, name: &str, script: &str, directory: &Path) -> Result<Findings, String> {
        let directory = directory.join(name);
        fs::create_dir(&directory).unwrap();
        let script = repository().join("qemu/kairos/scripts").join(script);
        let brought = brought::make(&script, &[], &[], &directory)?;
        let parts = Parts {
            platform: &PC,
            memory: MEMORY,
            variables: &self.variables,
            esp: Disk::Lasting(&self.esp),
            root: Disk::Lasting(&self.data),
            witness: None,
            more: vec![Disk::Forgetful(&brought)],
            tpm: Some(&self.tpm),
        };
        let findings = witnessed(parts, &directory).and_then(|findings| findings.script().map(|()| findings));
        findings.map_err(|error| format!("boot {name}: {error}"))
    }
}
