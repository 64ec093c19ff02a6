//! What a boot costs, in instructions of the guest: on a host with and without sextant, and on Kairos with and without.
//!
//! `make comparison`, or `cargo test --test qemu -- --cost [CASE]...`: without arguments the tables in `docs/performance.md`
//! are written anew. The clocks of these machines advance by a nanosecond with each instruction ([`Accel::Counting`]), so that
//! every time that systemd and the agent write down is a count, whatever else the building machine does.
//!
//! [`Accel::Counting`]: crate::machine::Accel::Counting

mod counts;
mod table;

use crate::cpio::Archive;
use crate::images::{Expected, Offer};
use crate::kairos::Story;
use crate::kairos::image as kairos;
use crate::kairos::sets::{SEVERAL, image};
use crate::scenarios::Scenario;
use crate::toolbox::{self, fresh, repository, work};
use crate::witness::Findings;
use crate::{accel, run, written};
use counts::Counts;
use std::fmt::Write;
use std::fs;
use std::process::ExitCode;
use std::sync::Arc;

/// Boots of each case: what differs between them is no property of the case.
const BOOTS: usize = 2;
/// In `qemu/kairos/scripts/`.
const SCRIPT: &str = "cost";

/// Which machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Machine {
    /// An initrd by dracut, and a host; as if there were no agent in it.
    Plain,
    /// The same with the agent.
    Sextant,
    /// Kairos, immucore alone.
    Immucore,
    /// Kairos with the agent.
    KairosSextant,
}

/// A machine, and how many good images of 1 MiB lie beside its UKI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Case {
    machine: Machine,
    images: usize,
}

/// The counts of its boots.
struct Seen {
    case: Case,
    boots: Vec<Counts>,
}

fn plan() -> Vec<Case> {
    let cases = |machine, images: &'static [usize]| images.iter().map(move |&images| Case { machine, images });
    cases(Machine::Plain, &[4])
        .chain(cases(Machine::Sextant, &[0, 4, 12]))
        .chain(cases(Machine::Immucore, &[4]))
        .chain(cases(Machine::KairosSextant, &[4]))
        .collect()
}

/// Boots them all, and writes the tables; or those that are named, and prints them.
pub fn run(names: &[String]) -> ExitCode {
    match toolbox::obstacle().or_else(toolbox::no_kairos).map_or_else(|| count(names), Err) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn count(names: &[String]) -> Result<(), String> {
    accel::count();
    let is_asked = |case: &Case| names.is_empty() || names.contains(&case.name());
    let mut seen = Vec::new();
    for case in plan().into_iter().filter(is_asked) {
        let boots = (0..BOOTS).map(|_| case.boot()).collect::<Result<_, _>>();
        seen.push(Seen { case, boots: boots.map_err(|error| format!("{}: {error}", case.name()))? });
        let text = table::text(&seen);
        if names.is_empty() { written::write("docs/performance.md", &text)? } else { println!("{text}") }
    }
    Ok(())
}

impl Case {
    /// For the command line.
    fn name(self) -> String {
        let machine = match self.machine {
            Machine::Plain => "plain",
            Machine::Sextant => "sextant",
            Machine::Immucore => "immucore",
            Machine::KairosSextant => "kairos-sextant",
        };
        format!("{machine}-{}", self.images)
    }

    fn boot(self) -> Result<Counts, String> {
        let findings = match self.machine {
            Machine::Plain => {
                self.initrd(|| alone(Archive::new()).symlink(STAGE, "/dev/null").symlink(MERGE, "/dev/null"))
            }
            Machine::Sextant => self.initrd(|| alone(Archive::new())),
            Machine::Immucore => self.kairos(|| Ok(Archive::new())),
            Machine::KairosSextant => self.kairos(kairos::sextant),
        };
        let counts = Counts::read(&findings?);
        eprintln!("{}: {counts:?}", self.name());
        // What wasn't merged has no cost that could be compared.
        let expected = if self.machine == Machine::Plain { 0 } else { self.images };
        if counts.merged == expected {
            Ok(counts)
        } else {
            Err(format!("{} of {expected} extensions are merged", counts.merged))
        }
    }

    fn initrd(self, sealed: fn() -> Archive) -> Result<Findings, String> {
        let mut scenario = Scenario::new(&self.name(), "what a boot costs");
        scenario.sealed = sealed;
        scenario.offers = match self.images {
            0 => Vec::new,
            1 => || offers(1),
            4 => || offers(4),
            _ => || offers(SEVERAL.len()),
        };
        run::scripted(&scenario, &format!("qemu/kairos/scripts/{SCRIPT}"))
    }

    fn kairos(self, image: fn() -> Result<Archive, String>) -> Result<Findings, String> {
        let directory = work().join("cost").join(self.name());
        fresh(&directory)?;
        let mut story = Story::new("cost", "what a boot costs");
        story.image = image;
        story.beside = &SEVERAL[..self.images];
        story.make(&directory)?.boot("1", SCRIPT, &directory)
    }
}

const STAGE: &str = "etc/systemd/system/sextant-stage.service";
const MERGE: &str = "etc/systemd/system/sextant-merge.service";

/// Good images beside the UKI.
fn offers(count: usize) -> Vec<Offer> {
    let offer = |name: &&str| Offer {
        file: image(name).file.clone(),
        what: "a good one".to_owned(),
        bytes: Arc::clone(&image(name).bytes),
        expected: Expected::Merged { source: "db" },
        is_global: false,
    };
    SEVERAL[..count].iter().map(offer).collect()
}

/// Has each of the units run alone: what others execute between its begin and its end is none of its cost.
fn alone(sealed: Archive) -> Archive {
    const ALONE: &str = "[Service]\nCPUSchedulingPolicy=fifo\n";
    let drop_in = |unit: &str| format!("etc/systemd/system/{unit}.service.d/50-alone.conf");
    // What it overlaps with otherwise comes first.
    let last = format!("[Unit]\nAfter=initrd-fs.target systemd-sysctl.service systemd-udev-trigger.service\n{ALONE}");
    let in_initrd = sealed.file(&drop_in("sextant-stage"), last).file(&drop_in("sextant-merge"), ALONE);
    // The host's, which finds drop-ins in /run. A real-time process leaves a twentieth to others, unless it may have all.
    let mut files = "w! /proc/sys/kernel/sched_rt_runtime_us - - - - -1\n".to_owned();
    for unit in ["systemd-sysext", "systemd-confext", "sextant-confirm"] {
        let line = ALONE.escape_default();
        let _ = writeln!(files, "f /run/systemd/system/{unit}.service.d/50-alone.conf 0644 root root - {line}");
    }
    in_initrd.file("usr/lib/tmpfiles.d/alone.conf", files)
}

/// Tests that need no machine, by name.
pub fn tests() -> Vec<(&'static str, fn())> {
    vec![("cost::the_page_has_the_rows_of_the_plan", the_page_has_the_rows_of_the_plan)]
}

/// The committed page is one that the command of today wrote; what is in the cells depends on the boots.
fn the_page_has_the_rows_of_the_plan() {
    let page = fs::read_to_string(repository().join("docs/performance.md")).unwrap();
    for line in table::heads().into_iter().chain(plan().into_iter().map(table::start)) {
        let is_there = page.lines().any(|found| found.starts_with(&line));
        assert!(is_there, "docs/performance.md lacks {line:?}: run `make comparison`");
    }
}
