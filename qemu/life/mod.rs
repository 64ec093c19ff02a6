//! The life of one machine: several boots, with the ESP and the firmware's variables kept from each to the next. In
//! each somebody does something to the extensions (`scripts/`), by sextant's commands, and the next boot shows what
//! became of it. What is merged in it is judged as in any other boot, by what lay beside the UKI.

pub mod esp;
mod story;

use crate::cpio::Archive;
use crate::guest::Guest;
use crate::images::Offer;
use crate::machine::{Disk, Parts};
use crate::platform::PC;
use crate::run::{supervise, witnessed};
use crate::toolbox::{fresh, repository, work};
use crate::variables::Firmware;
use crate::witness::Findings;
use crate::{brought, keys, uki, verdict};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;
use support::toolbox::yip_path;

pub const NAME: &str = "life";
pub const ABOUT: &str = "a machine whose extensions are installed, updated, removed, put aside and spoilt";

/// One boot of the machine.
struct Boot {
    /// Its script.
    script: &'static str,
    /// The entry that systemd-boot takes.
    entry: &'static str,
    /// What lies beside its UKI.
    offers: Vec<Offer>,
    /// Whether the script did what it should.
    check: fn(&Findings),
}

/// What stays when the machine is off.
struct Machine {
    esp: PathBuf,
    variables: PathBuf,
    root: PathBuf,
}

/// Boots the machine again and again.
///
/// # Errors
/// What is wrong, and where to look.
pub fn test() -> Result<(), String> {
    let start = Instant::now();
    let directory = work().join("boots").join(NAME);
    fresh(&directory)?;
    let machine = Machine::make(&directory)?;
    let made = start.elapsed();
    supervise((NAME, ABOUT), &directory, made, || {
        for boot in story::boots() {
            let start = Instant::now();
            machine.boot(&boot, &directory).map_err(|error| format!("boot {}: {error}", boot.script))?;
            eprintln!("{NAME}: boot {} took {:.0} s", boot.script, start.elapsed().as_secs_f32());
        }
        Ok(())
    })
}

/// The real yip. Where it isn't there, the story goes on without it, and ends as ignored.
fn yip() -> Option<PathBuf> {
    Some(yip_path()).filter(|path| path.is_file())
}

impl Machine {
    fn make(directory: &Path) -> Result<Self, String> {
        let guest = Guest::Systemd257;
        let variables = directory.join("variables.fd");
        Firmware::Enforcing.write(guest.platform(), &variables)?;
        let sealed = Archive::new().file("etc/verity.d/vendor.crt", keys::vendor().pem());
        let signed = uki::make(guest, &guest.base()?.initrd, &sealed, "", keys::db(), directory)?;
        let esp = esp::make(&signed, &["active", "passive", "recovery"], &[], directory)?;
        Ok(Self { esp, variables, root: guest.base()?.root.clone() })
    }

    fn boot(&self, boot: &Boot, directory: &Path) -> Result<(), String> {
        let directory = directory.join(boot.script);
        fs::create_dir(&directory).unwrap();
        let scripts = repository().join("qemu/life/scripts");
        let preamble = scripts.join("preamble");
        let stage = repository().join("systemd-units/yip/sextant-after-install.yaml");
        let yip = yip();
        let mut copies = vec![(&*preamble, "preamble"), (&*stage, "after-install.yaml")];
        copies.extend(yip.as_deref().map(|yip| (yip, "bin/yip")));
        let brought = brought::make(&scripts.join(boot.script), &copies, &story::brought(), &directory)?;
        let parts = Parts {
            platform: &PC,
            memory: 1024,
            variables: &self.variables,
            esp: Disk::Lasting(&self.esp),
            root: Disk::Forgetful(&self.root),
            witness: None,
            more: vec![Disk::Forgetful(&brought)],
            tpm: None,
        };
        let findings = witnessed(parts, &directory)?;
        findings.script()?;
        let report = findings.report().ok_or("there is no report")?;
        assert_eq!(report["firmware"]["entry"], boot.entry, "{}", report["firmware"]);
        verdict::judge(&findings, &boot.offers);
        (boot.check)(&findings);
        Ok(())
    }
}
