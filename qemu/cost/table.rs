//! Counts as a table for people.

use super::counts::Counts;
use super::{Case, Machine, Seen};
use std::fmt::Write;

const START: &str = "| machine | images |";
const PARTS: &str = " before the agent | agent | read | hash | trial activation | stage | whole stage |";
const WHOLE: &str = " stage | adopt | merge | systemd-sysext | confirm | boot | spread |";

/// The first lines of the tables.
pub fn heads() -> [String; 2] {
    [PARTS, WHOLE].map(|columns| format!("{START}{columns}"))
}

/// How the row of a case begins.
pub fn start(case: Case) -> String {
    let machine = match case.machine {
        Machine::Plain => "host without an agent",
        Machine::Sextant => "host with sextant",
        Machine::Immucore => "Kairos, immucore alone",
        Machine::KairosSextant => "Kairos with sextant",
    };
    format!("| {machine} | {} |", case.images)
}

/// The tables: parts of the stage, and parts of the boot.
pub fn text(seen: &[Seen]) -> String {
    let staged: Vec<_> = seen.iter().filter(|seen| seen.boots.iter().any(|boot| boot.stage.is_some())).collect();
    let all: Vec<_> = seen.iter().collect();
    let parts = table(PARTS, &staged, |boot| {
        let [read, hash, activate, stage] = boot.phases;
        vec![boot.gate, boot.agent, read, hash, activate, stage, boot.stage]
    });
    let whole =
        table(WHOLE, &all, |boot| vec![boot.stage, boot.adopt, boot.merge, boot.sysext, boot.confirm, boot.boot]);
    format!("{parts}\n{whole}")
}

fn table(columns: &str, seen: &[&Seen], cells: fn(&Counts) -> Vec<Option<u64>>) -> String {
    let mut out = format!("{START}{columns}\n|---|---:{}|\n", "|---:".repeat(columns.matches('|').count()));
    for one in seen {
        let boots: Vec<_> = one.boots.iter().map(cells).collect();
        let mut row: Vec<_> = (0..boots[0].len()).map(|column| cell(&boots, column)).collect();
        if columns.ends_with("spread |") {
            row.push(spread(&one.boots));
        }
        let _ = writeln!(out, "{} {} |", start(one.case), row.join(" | "));
    }
    out
}

/// The least of all boots, in millions of instructions: what a boot has more than that it waited for.
fn cell(boots: &[Vec<Option<u64>>], column: usize) -> String {
    let counts: Option<Vec<u64>> = boots.iter().map(|boot| boot[column]).collect();
    let Some(counts) = counts else { return "–".to_owned() };
    let least = counts.into_iter().min().unwrap_or_default();
    if least < 10_000 { format!("{}.{}", least / 1000, least % 1000 / 100) } else { (least / 1000).to_string() }
}

/// By how much the counts of the whole boot, and of the stage, differ between boots.
fn spread(boots: &[Counts]) -> String {
    let of = |count: fn(&Counts) -> Option<u64>| {
        let counts: Vec<_> = boots.iter().filter_map(count).collect();
        let (Some(least), Some(most)) = (counts.iter().min(), counts.iter().max()) else { return 0 };
        (most - least) * 1000 / least.max(&1)
    };
    let most = of(|boot| boot.boot).max(of(|boot| boot.stage));
    format!("{}.{} %", most / 10, most % 10)
}
