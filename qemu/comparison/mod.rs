//! Side by side: sextant, and a test double of what Kairos' immucore does, on the same images in the same machine.
//!
//! `make comparison`, or `cargo test --test qemu -- --comparison [SET]...`: without arguments the table in
//! `docs/comparison.md` is written anew. No test: times depend on the machine, so the two are run by turns
//! and compared with each other only.

mod boot;
mod sets;
mod table;

use crate::guest::Guest;
use crate::toolbox::{self, repository};
use sets::Set;
use std::fs;
use std::process::ExitCode;

/// How extensions get from the ESP into the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Flow {
    Sextant,
    /// As at v0.2: `verity` or `signed` will do.
    Immucore,
    /// As since September 2026: `signed` alone.
    ImmucoreSigned,
}

impl Flow {
    /// Policy that `systemd-dissect` and `systemd-sysext` get.
    fn policy(self) -> Option<&'static str> {
        match self {
            Self::Sextant => None,
            Self::Immucore => Some("root=verity+signed+absent:usr=verity+signed+absent"),
            Self::ImmucoreSigned => Some("root=signed+absent:usr=signed+absent"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Sextant => "sextant",
            Self::Immucore => "immucore",
            Self::ImmucoreSigned => "immucore, `signed`",
        }
    }
}

/// One boot.
struct Case {
    flow: Flow,
    guest: Guest,
    set: Set,
}

/// Times are taken in so many boots of each flow, by turns.
const TURNS: usize = 3;

fn plan() -> Vec<Case> {
    use Flow::{Immucore, ImmucoreSigned, Sextant};
    use Guest::{Systemd257, Systemd262};
    let mut plan = Vec::new();
    let mut add = |guest, set, flows: &[Flow]| plan.extend(flows.iter().map(|&flow| Case { flow, guest, set }));
    for set in [Set::Large, Set::Unsigned] {
        add(Systemd257, set, &[Immucore, Sextant]);
    }
    for _ in 0..TURNS {
        for set in [Set::Good, Set::Twelve] {
            add(Systemd257, set, &[Sextant, Immucore]);
        }
    }
    for set in [Set::Stranger, Set::Flipped] {
        add(Systemd257, set, &[Immucore, Sextant]);
    }
    add(Systemd257, Set::Twelve, &[ImmucoreSigned]);
    // `verity` means more to systemd since 259.
    add(Systemd262, Set::Stranger, &[Sextant, Immucore]);
    plan
}

/// Boots them all, one after the other, and writes the table; or those of the sets that are named, and prints it.
pub fn run(sets: &[String]) -> ExitCode {
    match toolbox::obstacle().map_or_else(|| compare(sets), Err) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(sets: &[String]) -> Result<(), String> {
    let plan: Vec<_> =
        plan().into_iter().filter(|case| sets.is_empty() || sets.iter().any(|set| set == case.set.letter())).collect();
    let (mut seen, mut failed) = (Vec::new(), Vec::new());
    for (number, case) in plan.iter().enumerate() {
        match boot::boot(case) {
            Ok(found) => {
                eprintln!("{} of {}: {found:?}", number + 1, plan.len());
                seen.push(found);
                // Each time, for nobody wants to lose an hour's boots to the last of them.
                put(&table::text(&seen)?, sets.is_empty())?;
            }
            Err(error) => failed.push(format!("{} of {}: {error}", number + 1, plan.len())),
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

/// Writes the tables into the page, or prints them.
fn put(text: &str, write: bool) -> Result<(), String> {
    if !write {
        println!("{text}");
        return Ok(());
    }
    let path = repository().join("docs/comparison.md");
    let page = fs::read_to_string(&path).map_err(|error| format!("reading {}: {error}", path.display()))?;
    let page = table::put(&page, text)?;
    fs::write(&path, page).map_err(|error| format!("writing {}: {error}", path.display()))
}
