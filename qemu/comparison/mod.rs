//! Side by side: Kairos as it is, and the same image with sextant in it, on the same disks.
//!
//! `make comparison`, or `cargo test --test qemu -- --comparison [SET]...`: without arguments the tables in
//! `docs/comparison.md` are written anew. No test: times depend on the machine. That the page has the rows of this plan is
//! one ([`tests`]).

mod seen;
mod table;

use crate::cpio::Archive;
use crate::guest::Guest;
use crate::kairos::disk::STORE;
use crate::kairos::disk::Stored;
use crate::kairos::sets::image;
use crate::kairos::{Story, image as machine};
use crate::toolbox::{self, fresh, repository, work};
use crate::written;
use seen::Seen;
use std::fs;
use std::process::ExitCode;

/// What is in the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Flow {
    /// immucore alone, and the drop-ins of Kairos up to summer 2026: `verity` or `signed` will do.
    Kairos,
    /// With sextant.
    Sextant,
}

impl Flow {
    fn name(self) -> &'static str {
        match self {
            Self::Kairos => "immucore alone",
            Self::Sextant => "with sextant",
        }
    }

    /// What is laid over the root file system.
    fn image(self) -> fn() -> Result<Archive, String> {
        match self {
            Self::Kairos => || machine::marked(false),
            Self::Sextant => || machine::marked(true),
        }
    }
}

/// What lies on a disk before its first boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Set {
    Good,
    Stranger,
    Mixed,
}

impl Set {
    fn letter(self) -> &'static str {
        match self {
            Self::Good => "a",
            Self::Stranger => "b",
            Self::Mixed => "c",
        }
    }

    /// Names of the images beside the UKI.
    fn beside(self) -> &'static [&'static str] {
        match self {
            Self::Good => &["good", "settings", "bulk"],
            Self::Stranger => &["good", "settings", "stranger"],
            Self::Mixed => &["good", "unsigned", "flipped", "garbage"],
        }
    }

    /// What lies on the persistent partition.
    fn stored(self) -> fn() -> Vec<Stored> {
        match self {
            Self::Good | Self::Stranger => || image("shared").enabled("common").to_vec(),
            Self::Mixed => || {
                let file = "other-good.sysext.raw";
                let link = Stored::link(&format!("{STORE}/active"), "good.sysext.raw", &format!("{STORE}/{file}"));
                vec![Stored::file(STORE, file, &image("other good").bytes), link]
            },
        }
    }

    /// What that is: beside the UKI, and on the persistent partition.
    fn about(self) -> [&'static str; 2] {
        match self {
            Self::Good => ["good: `good`, `bulk` of 64 MiB, the configuration extension `settings`", "good: `shared`"],
            Self::Stranger => ["good: `good`, `settings`; `stranger` is by an unknown signer", "good: `shared`"],
            Self::Mixed => [
                "good: `good`; `unsigned` has a hash tree and no signature, one byte in a file of `flipped` was changed, \
                 `garbage` is no image",
                "another build of `good`, signed by the same key, enabled under the same name",
            ],
        }
    }

    /// Names of the extensions that should be merged.
    fn good(self) -> &'static [&'static str] {
        match self {
            Self::Good => &["bulk", "good", "settings", "shared"],
            Self::Stranger => &["good", "settings", "shared"],
            Self::Mixed => &["good"],
        }
    }
}

/// One disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Case {
    set: Set,
    guest: Guest,
    flow: Flow,
}

/// Boots of each disk.
const BOOTS: usize = 2;

fn plan() -> Vec<Case> {
    let sets = [Set::Good, Set::Stranger, Set::Mixed];
    let flows = [Flow::Kairos, Flow::Sextant];
    let case = |set, flow| Case { set, guest: Guest::Systemd257, flow };
    sets.into_iter().flat_map(|set| flows.map(|flow| case(set, flow))).collect()
}

/// Boots them all, one after the other, and writes the tables; or those of the sets that are named, and prints them.
pub fn run(sets: &[String]) -> ExitCode {
    match toolbox::obstacle().or_else(toolbox::no_kairos).map_or_else(|| compare(sets), Err) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(sets: &[String]) -> Result<(), String> {
    let is_asked = |case: &Case| sets.is_empty() || sets.iter().any(|set| *set == case.set.letter());
    let mut seen = Vec::new();
    for case in plan().into_iter().filter(is_asked) {
        seen.extend(case.boots()?);
        // Each time: an hour's boots aren't to be lost to the last of them.
        put(&table::text(&seen)?, sets.is_empty())?;
    }
    Ok(())
}

impl Case {
    fn boots(self) -> Result<Vec<Seen>, String> {
        let directory = work().join("comparison");
        fresh(&directory)?;
        let mut story = Story::new("comparison", "Kairos with and without sextant");
        story.guest = self.guest;
        story.image = self.flow.image();
        story.beside = self.set.beside();
        story.stored = self.set.stored();
        let machine = story.make(&directory)?;
        (1..=BOOTS)
            .map(|number| {
                let findings = machine.boot(&number.to_string(), "comparison", &directory);
                let findings = findings.map_err(|error| format!("{self:?}: {error}"))?;
                let seen = Seen::read(self, number, &findings);
                eprintln!("{seen:?}");
                Ok(seen)
            })
            .collect()
    }
}

/// Writes the tables into the page, or prints them.
fn put(text: &str, write: bool) -> Result<(), String> {
    if !write {
        println!("{text}");
        return Ok(());
    }
    written::write("docs/comparison.md", text)
}

/// Tests that need no machine, by name.
pub fn tests() -> Vec<(&'static str, fn())> {
    vec![("comparison::the_page_has_the_rows_of_the_plan", the_page_has_the_rows_of_the_plan)]
}

/// The committed page is one that the command of today wrote: the same heads, a row for each boot, and the version of immucore
/// that the toolbox builds. What is in the other cells depends on the boots.
fn the_page_has_the_rows_of_the_plan() {
    let page = fs::read_to_string(repository().join("docs/comparison.md")).unwrap();
    let version = table::required("immucore").unwrap();
    assert!(page.contains(&format!("| immucore | {version} |")), "the page isn't about immucore {version}");
    for line in table::heads() {
        assert!(page.lines().any(|found| found == line), "docs/comparison.md lacks {line:?}: run `make comparison`");
    }
    assert!(page.contains(&table::sets()), "the page describes other disks: run `make comparison`");
    for case in plan() {
        for boot in 1..=BOOTS {
            let start = table::start(case, boot);
            let found = page.lines().filter(|line| line.starts_with(&start)).count();
            let expected = 2 + usize::from(case.set == Set::Good);
            assert_eq!(found, expected, "rows {start:?} of docs/comparison.md: run `make comparison`");
        }
    }
}
