//! When systemd started its units, as `systemctl show` prints it.

use ddi::text::Text;
use serde::{Deserialize, Serialize};
use sextant::clock::Span;
use std::collections::{BTreeMap, BTreeSet};

/// Units around those of a merge: the milestones of initrd and host (bootup(7), dracut.bootup(7); those of Kairos begin
/// with `cos-setup`).
pub(super) const MILESTONES: [&str; 29] = [
    "systemd-journald.service",
    "systemd-udevd.service",
    "systemd-modules-load.service",
    "dracut-cmdline.service",
    "dracut-pre-udev.service",
    "dracut-initqueue.service",
    "dracut-mount.service",
    "dracut-pre-pivot.service",
    "immucore.service",
    "cos-setup-rootfs.service",
    "cos-setup-initramfs.service",
    "cos-setup-fs.service",
    "cos-setup-boot.service",
    "cos-setup-network.service",
    "cos-setup-reconcile.service",
    "initrd-root-device.target",
    "initrd-root-fs.target",
    "initrd-usr-fs.target",
    "initrd-parse-etc.service",
    "initrd-fs.target",
    "initrd.target",
    "initrd-cleanup.service",
    "initrd-switch-root.service",
    "local-fs.target",
    "sysinit.target",
    "basic.target",
    "network-online.target",
    "multi-user.target",
    "boot-complete.target",
];

/// How much earlier than `systemctl show` says the journal may put the same start of a unit, in microseconds: printk's clock, by
/// which the kernel's log goes, starts a little later than `CLOCK_MONOTONIC` (54 ms in an emulated machine).
const TOLERANCE: u64 = 1_000_000;

/// Properties of a unit that [`Unit::parse_all`] reads.
pub(super) const UNIT_PROPERTIES: &str = "Id,InactiveExitTimestampMonotonic,ActiveEnterTimestampMonotonic,\
     ActiveExitTimestampMonotonic,InactiveEnterTimestampMonotonic";
/// Properties of the manager that [`Boot::parse`] reads.
pub(super) const BOOT_PROPERTIES: &str =
    "InitRDTimestampMonotonic,UserspaceTimestampMonotonic,FinishTimestampMonotonic";

/// A start of a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Row", from = "Row")]
pub struct Unit {
    /// Its name
    pub name: Text,
    /// From when it was started until it was active, or had failed
    pub starting: Span,
    /// Until when it was active, if it isn't any more
    pub until: Option<u64>,
}

/// The same in JSON.
#[derive(Serialize, Deserialize)]
struct Row {
    name: Text,
    begin_usec: u64,
    end_usec: u64,
    until_usec: Option<u64>,
}

impl From<Unit> for Row {
    fn from(unit: Unit) -> Self {
        let Span { begin, end } = unit.starting;
        Self { name: unit.name, begin_usec: begin, end_usec: end, until_usec: unit.until }
    }
}

impl From<Row> for Unit {
    /// A row may come from another machine.
    fn from(row: Row) -> Self {
        let starting = Span { begin: row.begin_usec, end: row.end_usec.max(row.begin_usec) };
        Self { name: row.name, starting, until: row.until_usec.map(|until| until.max(starting.end)) }
    }
}

/// One block of what `systemctl show` prints.
fn properties(block: &str) -> BTreeMap<&str, &str> {
    block.lines().filter_map(|line| line.split_once('=')).collect()
}

/// A time that was set.
fn time(properties: &BTreeMap<&str, &str>, key: &str) -> Option<u64> {
    properties.get(key)?.parse().ok().filter(|time| *time > 0)
}

impl Unit {
    /// Reads blocks of `UNIT_PROPERTIES` with an empty line between them. Units that were not started are left out.
    #[must_use]
    pub fn parse_all(text: &str) -> Vec<Self> {
        Self::sorted(text.split("\n\n").filter_map(Self::parse).collect())
    }

    /// In the order in which they began.
    pub(super) fn sorted(mut units: Vec<Self>) -> Vec<Self> {
        units.sort_by(|a, b| (a.starting.begin, &a.name).cmp(&(b.starting.begin, &b.name)));
        units.dedup();
        units
    }

    fn parse(block: &str) -> Option<Self> {
        let properties = properties(block);
        let begin = time(&properties, "InactiveExitTimestampMonotonic")?;
        // What is from an earlier start says nothing about this one.
        let later = |key: &str| time(&properties, key).filter(|time| *time >= begin);
        let active = later("ActiveEnterTimestampMonotonic");
        let until = later("ActiveExitTimestampMonotonic").or_else(|| later("InactiveEnterTimestampMonotonic"));
        Some(Self::new(properties.get("Id")?, begin, active, until))
    }

    /// A unit that was started at `begin`, became active, and did not stay so.
    pub(super) fn new(name: &str, begin: u64, active: Option<u64>, until: Option<u64>) -> Self {
        // A service of type oneshot is over when it has started, unless it remains.
        let end = active.or(until).unwrap_or(begin);
        Self { name: Text::new(name), starting: Span { begin, end }, until: until.or(active.is_none().then_some(end)) }
    }

    /// Adds to the last starts of units, as `systemctl show` has them, those that only the journal has: earlier ones, and those of
    /// units that systemd has forgotten.
    #[must_use]
    pub fn complete(shown: Vec<Self>, told: Vec<Self>, boot: Boot) -> Vec<Self> {
        let last: BTreeMap<Text, u64> = shown.iter().map(|unit| (unit.name.clone(), unit.starting.begin)).collect();
        let is_known = boot != Boot::default();
        // The last one of each unit in the journal, which may be the one that is shown.
        let last_told: BTreeMap<Text, u64> = told.iter().map(|unit| (unit.name.clone(), unit.starting.begin)).collect();
        let mut units = shown;
        for mut unit in told {
            let begin = unit.starting.begin;
            let is_last = last_told.get(&unit.name) == Some(&begin);
            let end = match last.get(&unit.name) {
                Some(last) if begin >= *last || is_last && begin.saturating_add(TOLERANCE) >= *last => continue,
                Some(last) => Some(*last),
                // No unit that is active is forgotten, but at the switch of the root.
                None if is_known => boot.host.filter(|host| begin < *host).or(Some(unit.starting.end)),
                None => None,
            };
            unit.until = unit.until.or(end).map(|until| until.max(unit.starting.end));
            units.push(unit);
        }
        Self::sorted(units)
    }

    /// Names of which there are several starts.
    pub(super) fn repeated(units: &[Self]) -> BTreeSet<&Text> {
        let mut seen = BTreeSet::new();
        units.iter().map(|unit| &unit.name).filter(|name| !seen.insert(*name)).collect()
    }
}

/// When systemd itself came from one part of a boot to the next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// When systemd was started in the initrd
    #[serde(rename = "initrd_usec")]
    pub initrd: Option<u64>,
    /// When systemd was started on the host
    #[serde(rename = "host_usec")]
    pub host: Option<u64>,
    /// When all jobs of the boot were done
    #[serde(rename = "finished_usec")]
    pub finished: Option<u64>,
}

impl Boot {
    /// Reads a block of `BOOT_PROPERTIES`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let properties = properties(text);
        Self {
            initrd: time(&properties, "InitRDTimestampMonotonic"),
            host: time(&properties, "UserspaceTimestampMonotonic"),
            finished: time(&properties, "FinishTimestampMonotonic"),
        }
    }
}
