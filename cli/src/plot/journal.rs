//! When systemd started units, as the journal tells it (systemd.journal-fields(7), sd-messages(3)).
//!
//! systemd forgets the units of an initrd when it switches the root, and the journal does not. Entries of PID 1 have the unit in
//! `UNIT=` and what became of it in `MESSAGE_ID=`. As long as journald does not run, PID 1 writes to the kernel's log instead, of
//! which journald later takes the text alone; both ways are read here.

use super::units::Unit;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Starts of one unit that are taken, the first ones: one in the initrd, one on the host, and what failed in between.
const STARTS: usize = 4;

/// Messages of PID 1 about units, the same from systemd 254 to 262 (`job_done_mid` in `src/core/job.c`, `unit_log_success` and
/// `unit_log_failure` in `src/core/unit.c`).
pub(super) const MESSAGES: [(&str, Step); 7] = [
    ("7d4958e842da4a758f6c1cdc7b36dcc5", Step::Starting),
    ("39f53479d3a045ac8e11786248231fbf", Step::Started),
    // The start failed, or was not even tried (a dependency, an assertion).
    ("be02cf6855d2428ba40df7e9d022f03d", Step::Failed),
    ("de5b426a63be47a7b6ac3eaac82e2f6f", Step::Ended),
    ("9d1aaa27d60140bd96365438aad20286", Step::Ended),
    // It became inactive by itself, or failed.
    ("7ad2d189f7e94e70a38c781354912448", Step::Ended),
    ("d9b373ed55a64feb8242e02dbe79a49c", Step::Ended),
];

/// How the texts of these messages begin for services and targets; the name of the unit follows. Where systemd is built to show
/// descriptions alone (`status-unit-format-default`), none is found.
const TEXTS: [(&str, Step); 8] = [
    ("Starting ", Step::Starting),
    ("Started ", Step::Started),
    ("Finished ", Step::Started),
    ("Reached target ", Step::Started),
    ("Failed to start ", Step::Failed),
    ("Stopping ", Step::Ended),
    ("Stopped target ", Step::Ended),
    ("Stopped ", Step::Ended),
];

/// Texts that follow the name of the unit and a colon.
const ENDS: [&str; 2] = ["Deactivated successfully.", "Failed with result "];

/// Longest time in microseconds between writing and receiving an entry. If the time of day differs by more, it was set in
/// between.
const LONGEST_WAIT: u64 = 60_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Starting,
    Started,
    Failed,
    Ended,
}

/// The fields of an entry that matter. Values are strings, unless they are large, binary, or there several times
/// (<https://systemd.io/JOURNAL_EXPORT_FORMATS/>); such ones are nothing that PID 1 writes.
#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "__MONOTONIC_TIMESTAMP", default)]
    monotonic: Value,
    #[serde(rename = "__REALTIME_TIMESTAMP", default)]
    realtime: Value,
    #[serde(rename = "_SOURCE_MONOTONIC_TIMESTAMP", default)]
    source_monotonic: Value,
    #[serde(rename = "_SOURCE_REALTIME_TIMESTAMP", default)]
    source_realtime: Value,
    #[serde(rename = "_BOOT_ID", default)]
    boot: Value,
    #[serde(rename = "_TRANSPORT", default)]
    transport: Value,
    #[serde(rename = "_PID", default)]
    process: Value,
    #[serde(rename = "SYSLOG_IDENTIFIER", default)]
    identifier: Value,
    #[serde(rename = "MESSAGE_ID", default)]
    id: Value,
    #[serde(rename = "MESSAGE", default)]
    message: Value,
    #[serde(rename = "UNIT", default)]
    unit: Value,
}

/// The fields that journalctl has to print, besides those that it always does.
pub(super) const FIELDS: &str = "_SOURCE_MONOTONIC_TIMESTAMP,_SOURCE_REALTIME_TIMESTAMP,_TRANSPORT,_PID,SYSLOG_IDENTIFIER,MESSAGE_ID,\
                                 MESSAGE,UNIT";

impl Entry {
    fn is_of_the_kernel(&self) -> bool {
        self.transport == "kernel"
    }

    /// When the message was written, in microseconds of `CLOCK_MONOTONIC`.
    ///
    /// journald adds when it received the message, which can be a good while later. Of the kernel's log it knows the time of the
    /// line, by printk's clock, which is some hundredths of a second behind; of other messages the time of day.
    fn time(&self) -> Option<u64> {
        let received = number(&self.monotonic)?;
        if self.is_of_the_kernel() {
            return Some(number(&self.source_monotonic).unwrap_or(received));
        }
        let wait =
            number(&self.realtime).zip(number(&self.source_realtime)).and_then(|(to, from)| to.checked_sub(from));
        let wait = wait.filter(|wait| *wait <= LONGEST_WAIT).unwrap_or(0);
        Some(received.saturating_sub(wait))
    }

    /// Which unit this entry is about, and what became of it.
    fn step<'n>(&self, names: &[&'n str]) -> Option<(&'n str, Step)> {
        let known = |name: &str| names.iter().copied().find(|known| *known == name);
        let message = self.message.as_str()?;
        if self.is_of_the_kernel() {
            return (self.identifier == "systemd").then(|| told(message, known))?;
        }
        if self.process != "1" {
            return None;
        }
        let unit = known(self.unit.as_str()?)?;
        let id = self.id.as_str()?;
        let (_, step) = MESSAGES.iter().find(|(known, _)| *known == id)?;
        // A unit whose condition does not hold has "started" as well, and only the text tells.
        let is_start = *step != Step::Started || TEXTS.iter().any(|(begin, _)| message.starts_with(begin));
        is_start.then_some((unit, *step))
    }
}

/// What a line of PID 1 in the kernel's log tells.
fn told<'n>(message: &str, known: impl Fn(&str) -> Option<&'n str>) -> Option<(&'n str, Step)> {
    if let Some((name, end)) = message.split_once(": ") {
        let is_end = ENDS.iter().any(|known| end.starts_with(known));
        return is_end.then(|| known(name).map(|name| (name, Step::Ended)))?;
    }
    let (begin, step) = TEXTS.iter().find(|(begin, _)| message.starts_with(begin))?;
    let name = message.get(begin.len()..)?.split(' ').next()?;
    Some((known(name.trim_end_matches('.'))?, *step))
}

fn number(value: &Value) -> Option<u64> {
    value.as_str()?.parse().ok()
}

/// A start of a unit, as far as it has been told.
#[derive(Debug, Clone, Copy)]
struct Start {
    begin: u64,
    active: Option<u64>,
    until: Option<u64>,
    /// Whether its end has been told: a service of type oneshot is inactive again before it is said to have finished.
    is_told: bool,
}

/// Takes one step in the life of a unit.
fn take(starts: &mut Vec<Start>, time: u64, step: Step) {
    let last = starts.last_mut();
    match (step, last) {
        (Step::Started | Step::Failed, Some(start)) if start.active.is_none() && !start.is_told => {
            start.is_told = true;
            if start.until.is_none() {
                let end = if step == Step::Started { &mut start.active } else { &mut start.until };
                *end = Some(time);
            }
        }
        (Step::Starting | Step::Started, last) => {
            if let Some(start) = last {
                start.until = start.until.or(Some(time));
            }
            if starts.len() < STARTS {
                let is_told = step == Step::Started;
                starts.push(Start { begin: time, active: is_told.then_some(time), until: None, is_told });
            }
        }
        (Step::Ended, Some(start)) => start.until = start.until.or(Some(time)),
        (Step::Failed | Step::Ended, _) => {}
    }
}

/// Reads lines of `journalctl --output=json`: starts of the units `names` in the boot with this identifier. Lines that are not JSON,
/// and entries of others than PID 1, are left out.
#[must_use]
pub fn parse(lines: &[u8], names: &[&str], boot: &str) -> Vec<Unit> {
    let entry = |line: &[u8]| -> Option<(u64, &str, Step)> {
        let entry: Entry = serde_json::from_slice(line).ok()?;
        let (name, step) = entry.step(names)?;
        (entry.boot == boot).then_some((entry.time()?, name, step))
    };
    let mut steps: Vec<_> = lines.split(|byte| *byte == b'\n').filter_map(entry).collect();
    // Lines of the kernel's log come after what happened later.
    steps.sort_by_key(|(time, ..)| *time);
    let mut all: BTreeMap<&str, Vec<Start>> = BTreeMap::new();
    for (time, name, step) in steps {
        take(all.entry(name).or_default(), time, step);
    }
    let unit = |name: &str, start: &Start| Unit::new(name, start.begin, start.active, start.until);
    let units = all.iter().flat_map(|(name, starts)| starts.iter().map(|start| unit(name, start)));
    Unit::sorted(units.collect())
}

#[cfg(test)]
mod tests;
