//! A power cut at any moment: a guest with Linux' own FAT changes the extensions on some disks by sextant's commands, QEMU
//! logs each write and flush, and every state in which such a disk could have been when the power went is looked at.
//!
//! A disk may reorder what no flush separates, and writes a sector whole or not at all. In every state each
//! extension has to be the old or the new one, byte for byte; nothing that nobody touched may have changed; and what the
//! command reported as done has to be there from then on. A set of extensions isn't changed at once: of its files, in the
//! order in which they get their names, the first ones are new in a state and the others old.

mod actions;
mod fat;
mod log;
mod states;
mod verdict;
mod victim;

use crate::cpio::Archive;
use crate::guest::Guest;
use crate::machine::{Disk, Parts};
use crate::platform::PC;
use crate::run::{supervise, witnessed};
use crate::toolbox::{fresh, repository, work};
use crate::variables::Firmware;
use crate::{brought, disk, keys, uki};
use actions::Images;
use std::time::Instant;
use victim::{Kind, Victim};

pub const NAME: &str = "power-cut";
pub const ABOUT: &str =
    "the power is cut at every write while extensions are installed, replaced, moved, removed and changed as a set";

/// The smallest clusters make the most of tables and directories. With so many other files, names are written that lie in
/// two sectors: the temporary one, the final one, and neither.
const DISKS: [Kind; 3] = [
    Kind { name: "vde", bits: 32, cluster: 1, others: 0 },
    Kind { name: "vdf", bits: 16, cluster: 1, others: 11 },
    Kind { name: "vdg", bits: 16, cluster: 4, others: 3 },
];

/// Does it all.
///
/// # Errors
/// What is wrong, and where to look.
pub fn test() -> Result<(), String> {
    let start = Instant::now();
    let directory = work().join("boots").join(NAME);
    fresh(&directory)?;
    let guest = Guest::Systemd257;
    let variables = directory.join("variables.fd");
    Firmware::Enforcing.write(guest.platform(), &variables)?;
    let signed = uki::make(guest, &guest.base()?.initrd, &Archive::new(), "", keys::db(), &directory)?;
    let esp = disk::esp(&signed, "active", &[], &directory)?;
    let images = Images::make();
    let brought = brought::make(&repository().join("qemu/powercut/script"), &[], &images.brought(), &directory)?;
    let victims: Result<Vec<_>, _> = DISKS.iter().map(|kind| Victim::make(*kind, &images, &directory)).collect();
    let victims = victims?;
    let made = start.elapsed();

    supervise((NAME, ABOUT), &directory, made, || {
        let logged = victims.iter().map(|victim| Disk::Logged { disk: &victim.disk, log: &victim.log });
        let more = std::iter::once(Disk::Forgetful(&brought)).chain(logged).collect();
        let (esp, root) = (Disk::Forgetful(&esp), &*guest.base()?.root);
        let parts = Parts {
            platform: &PC,
            memory: 1024,
            variables: &variables,
            esp,
            root: Disk::Forgetful(root),
            witness: None,
            more,
            tpm: None,
        };
        let findings = witnessed(parts, &directory)?;
        findings.script()?;
        let mut wrong = Vec::new();
        for victim in &victims {
            for step in victim.steps() {
                findings.step(&step).ended(0);
            }
            wrong.extend(victim.judge()?);
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    })
}
