//! What was seen, as tables for people.

use super::seen::Seen;
use super::{Case, Flow, Set};
use crate::toolbox::{Tree, repository, succeed};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::process::Command;

const START: &str = "| | systemd | image | boot |";
const OUTCOMES: &str =
    " on the ESP | linked by immucore | where systemd looks | merged | what is wrong | what is said |";
const TIMES: &str = " `stage` | `adopt` | `merge` | systemd-sysext | systemd-confext | `confirm` | sum | merged at |";
const MEMORY: &str = " images, before `stage` | after | on the host | `Shmem`, before `stage` | after | on the host | \
    `MemAvailable` on the host |";

/// The tables.
///
/// # Errors
/// If the tools don't tell their versions.
pub fn text(seen: &[Seen]) -> Result<String, String> {
    let all: Vec<_> = seen.iter().collect();
    let good: Vec<_> = seen.iter().filter(|one| one.case.set == Set::Good).collect();
    let tables = [
        table(OUTCOMES, "|---", &all, outcome),
        table(TIMES, "|---:", &all, cost),
        table(MEMORY, "|---:", &good, memory),
    ];
    Ok(format!("{}\n{}\n{}", origin(seen)?, sets(), tables.join("\n")))
}

/// What lies on the disks before their first boots.
pub fn sets() -> String {
    let mut out = "| | beside the UKI | on the persistent partition |\n|---|---|---|\n".to_owned();
    for set in [Set::Good, Set::Stranger, Set::Mixed] {
        let (letter, about) = (set.letter(), set.about());
        let _ = writeln!(out, "| {letter} | {} | {} |", about[0], about[1]);
    }
    out
}

/// The first lines of the tables about boots.
pub fn heads() -> [String; 3] {
    [OUTCOMES, TIMES, MEMORY].map(|columns| format!("{START}{columns}"))
}

/// How the rows about a boot begin.
pub fn start(case: Case, boot: usize) -> String {
    format!("| {} | {} | {} | {boot} |", case.set.letter(), case.guest.name(), case.flow.name())
}

fn table(columns: &str, rule: &str, seen: &[&Seen], cells: fn(&Seen) -> Vec<String>) -> String {
    let mut out = format!("{START}{columns}\n|---|---|---|---{}|\n", rule.repeat(columns.matches('|').count()));
    for one in seen {
        let _ = writeln!(out, "{} {} |", start(one.case, one.boot), cells(one).join(" | "));
    }
    out
}

/// The version of a module that the toolbox builds.
///
/// # Errors
/// If its `go.mod` can't be read or doesn't say.
pub fn required(name: &str) -> Result<String, String> {
    let path = repository().join(format!("tests/toolbox/{name}/go.mod"));
    let text = fs::read_to_string(&path).map_err(|error| format!("reading {}: {error}", path.display()))?;
    let version = text.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip_while(|word| *word == "require");
        words.next().filter(|module| module.ends_with(&format!("/{name}")))?;
        words.next().filter(|version| version.starts_with('v'))
    });
    version.map(str::to_owned).ok_or_else(|| format!("{} requires no {name}", path.display()))
}

/// When, where and with what.
fn origin(seen: &[Seen]) -> Result<String, String> {
    let date = succeed(Command::new("date").args(["--utc", "+%F"]))?;
    let commit = succeed(Command::new("git").current_dir(repository()).args(["rev-parse", "--short", "HEAD"]));
    let qemu = succeed(Tree::Trixie.command("qemu-system-x86_64").arg("--version"))?;
    let qemu = qemu.lines().next().unwrap_or_default().replace("QEMU emulator version", "QEMU");
    let systems: BTreeSet<_> = seen.iter().map(|one| format!("{}, Linux {}", one.systemd, one.kernel)).collect();
    let rows = [
        ("date, boots", format!("{date}, {}", seen.len())),
        ("sextant", commit.unwrap_or_else(|_| env!("CARGO_PKG_VERSION").to_owned())),
        ("immucore", required("immucore")?),
        ("yip", required("yip")?),
        ("drop-ins", "`99_sysext.yaml` of kairos-init, up to summer 2026".to_owned()),
        ("host", systems.into_iter().collect::<Vec<_>>().join("; ")),
        ("machine", format!("{qemu}, without hardware virtualisation")),
    ];
    let rows = rows.map(|(what, version)| format!("| {what} | {version} |\n"));
    Ok(format!("| | |\n|---|---|\n{}", rows.concat()))
}

fn outcome(one: &Seen) -> Vec<String> {
    let good = one.case.set.good();
    let staged: Vec<_> = one.staged.iter().map(|(kind, names)| format!("{kind}: {}", list(names))).collect();
    let count = good.iter().filter(|name| one.merged.contains(**name)).count();
    let mut wrong = Vec::new();
    let mut say = |names: &BTreeSet<String>, what: &str| {
        wrong.extend(names.iter().map(|name| format!("`{name}` {what}")));
    };
    let missing: BTreeSet<_> =
        good.iter().filter(|name| !one.merged.contains(**name)).map(|&name| name.to_owned()).collect();
    if one.merged.is_empty() {
        wrong.push("nothing is merged".to_owned());
    } else {
        say(&missing, "isn't merged");
        say(&one.untrusted, "is merged without a trusted signature");
        say(&one.unreadable, "is merged with a file that can't be read");
        if one.is_other_build {
            wrong.push("`good` is the build on the persistent partition, not the one beside the UKI".to_owned());
        }
    }
    let said = match one.case.flow {
        Flow::Sextant => {
            one.rejected.iter().map(|(name, reason)| format!("`{name}`: {reason}")).collect::<Vec<_>>().join(", ")
        }
        Flow::Kairos => one.error.clone().unwrap_or_default(),
    };
    vec![
        one.esp.to_string(),
        one.linked.to_string(),
        dash(staged.join("; ")),
        format!("{count} of {} good ones, {} others", good.len(), one.merged.len() - count),
        dash(wrong.join("; ")),
        dash(said),
    ]
}

fn cost(one: &Seen) -> Vec<String> {
    let parts: Vec<_> = one.steps.iter().chain(&one.units).copied().collect();
    let sum = parts.iter().flatten().sum();
    parts
        .into_iter()
        .chain([Some(sum), one.merged_at])
        .map(|time| time.map_or_else(|| "–".to_owned(), seconds))
        .collect()
}

fn memory(one: &Seen) -> Vec<String> {
    let images = one.memory.iter().map(|(images, _)| *images);
    let shmem = one.memory.iter().map(|(_, shmem)| *shmem);
    images.chain(shmem).chain([one.available]).map(mebibytes).collect()
}

fn list(names: &BTreeSet<String>) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn dash(text: String) -> String {
    if text.is_empty() { "–".to_owned() } else { text }
}

fn seconds(milliseconds: u64) -> String {
    format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100)
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", (bytes + (1 << 19)) >> 20)
}
