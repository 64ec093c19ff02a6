//! What was seen, as tables for people.

use super::boot::Seen;
use super::{Flow, Set};
use crate::toolbox::{Tree, repository, succeed};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::process::Command;

const BEGIN: &str = "<!-- Written by `make comparison`; changes by hand are lost. -->\n";
const END: &str = "<!-- The end of what `make comparison` writes. -->\n";

type Boots<'a> = BTreeMap<(&'static str, Set, Flow), Vec<&'a Seen>>;

/// Puts the tables in place of those in `page`.
///
/// # Errors
/// If `page` doesn't say where.
pub fn put(page: &str, text: &str) -> Result<String, String> {
    let missing = || format!("docs/comparison.md lacks {BEGIN}or {END}");
    let (before, rest) = page.split_once(BEGIN).ok_or_else(missing)?;
    let (_, after) = rest.split_once(END).ok_or_else(missing)?;
    Ok(format!("{before}{BEGIN}\n{text}\n{END}{after}"))
}

/// The tables.
///
/// # Errors
/// If the tools don't tell their versions.
pub fn text(seen: &[Seen]) -> Result<String, String> {
    let mut boots = Boots::new();
    for one in seen {
        boots.entry((one.guest.version(), one.set, one.flow)).or_default().push(one);
    }
    Ok([origin(seen)?, outcomes(&boots), times(&boots), memory(&boots)].join("\n"))
}

/// When, where and with what.
fn origin(seen: &[Seen]) -> Result<String, String> {
    let date = succeed(Command::new("date").args(["--utc", "+%F"]))?;
    let commit = succeed(Command::new("git").current_dir(repository()).args(["rev-parse", "--short", "HEAD"]));
    let qemu = succeed(Tree::Trixie.command("qemu-system-x86_64").arg("--version"))?;
    let qemu = qemu.lines().next().unwrap_or_default().replace("QEMU emulator version", "QEMU");
    let guests: BTreeSet<_> = seen.iter().map(|one| one.systemd.clone()).collect();
    let guests = guests.into_iter().collect::<Vec<_>>().join(", ");
    Ok(format!(
        "{date}, sextant {}, {} boots; {qemu}, without hardware virtualisation; guests: {guests}.\n",
        commit.unwrap_or_else(|_| env!("CARGO_PKG_VERSION").to_owned()),
        seen.len(),
    ))
}

fn outcomes(boots: &Boots<'_>) -> String {
    let mut out = "| | images | systemd | flow | offered | staged | merged | good ones merged | what is wrong |\n\
                   |---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for (&(version, set, flow), runs) in boots {
        let one = runs[0];
        let same = runs.iter().all(|run| (&run.staged, &run.merged) == (&one.staged, &one.merged));
        let mut wrong = Vec::new();
        let mut say = |names: &BTreeSet<String>, what: &str| {
            wrong.extend(names.iter().map(|name| format!("`{name}` {what}")));
        };
        say(&one.unsigned, "is merged, and nobody who is trusted has signed it");
        say(&one.unreadable, "is merged, and a file in it gives EIO");
        if one.merged.is_empty() {
            wrong.push(format!("nothing is merged: {}", one.error.as_deref().unwrap_or("no error is told")));
        }
        if !same {
            wrong.push("not the same in every boot".to_owned());
        }
        let _ = writeln!(
            out,
            "| {} | {} | {version} | {} | {} | {} | {} | {} of {} | {} |",
            set.letter(),
            set.about(),
            flow.name(),
            one.offered,
            one.staged.len(),
            one.merged.len(),
            one.merged.intersection(&one.good).count(),
            one.good.len(),
            if wrong.is_empty() { "–".to_owned() } else { wrong.join("; ") },
        );
    }
    out
}

fn times(boots: &Boots<'_>) -> String {
    type Column = (&'static str, fn(&Seen) -> u64);
    const COLUMNS: [Column; 8] = [
        ("certificates", |run| run.certificates),
        ("stage", |run| run.stage),
        ("hand over", |run| run.hand_over),
        ("merge", |run| run.merge),
        ("confirm", |run| run.confirm),
        ("all but certificates", |run| run.stage + run.hand_over + run.merge + run.confirm),
        ("stage, processor", |run| run.stage_cpu),
        ("merge, processor", |run| run.merge_cpu),
    ];
    let heads: Vec<_> = COLUMNS.iter().map(|(head, _)| *head).collect();
    let mut out =
        format!("| | flow | boots | {} |\n|---|---|---|{}\n", heads.join(" | "), "---:|".repeat(COLUMNS.len()));
    for set in [Set::Good, Set::Twelve, Set::Large] {
        let of = |flow| boots.get(&("257", set, flow));
        let (Some(ours), Some(theirs)) = (of(Flow::Sextant), of(Flow::Immucore)) else { continue };
        let mut row = |name: &str, count: String, cell: &dyn Fn(fn(&Seen) -> u64) -> String| {
            let cells: Vec<_> = COLUMNS.iter().map(|(_, column)| cell(*column)).collect();
            let _ = writeln!(out, "| {} | {name} | {count} | {} |", set.letter(), cells.join(" | "));
        };
        for (flow, runs) in [(Flow::Sextant, ours), (Flow::Immucore, theirs)] {
            row(flow.name(), runs.len().to_string(), &|column| {
                let (low, middle, high) = spread(runs, column);
                if high == 0 {
                    "–".to_owned()
                } else {
                    format!("{} ({}–{})", seconds(middle), seconds(low), seconds(high))
                }
            });
        }
        row("ratio of the medians", String::new(), &|column| {
            let (ours, theirs) = (spread(ours, column).1, spread(theirs, column).1);
            if ours.min(theirs) == 0 { "–".to_owned() } else { format!("**{:.2}**", as_f64(ours) / as_f64(theirs)) }
        });
    }
    out
}

fn memory(boots: &Boots<'_>) -> String {
    let mut out = "| | flow | in use before the switch of root | on the host |\n|---|---|---:|---:|\n".to_owned();
    for set in [Set::Good, Set::Large] {
        for flow in [Flow::Sextant, Flow::Immucore] {
            let Some(runs) = boots.get(&("257", set, flow)) else { continue };
            let mib = |column: fn(&Seen) -> u64| format!("{} MiB", spread(runs, column).1 >> 20);
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} |",
                set.letter(),
                flow.name(),
                mib(|run| run.memory[0]),
                mib(|run| run.memory[1])
            );
        }
    }
    out
}

/// Least, median, most.
fn spread(runs: &[&Seen], column: fn(&Seen) -> u64) -> (u64, u64, u64) {
    let mut values: Vec<_> = runs.iter().map(|run| column(run)).collect();
    values.sort_unstable();
    (values[0], values[values.len() / 2], values[values.len() - 1])
}

fn seconds(micros: u64) -> String {
    format!("{:.2}", as_f64(micros) / 1e6)
}

#[allow(clippy::cast_precision_loss)]
fn as_f64(micros: u64) -> f64 {
    micros as f64
}
