//! When systemd started its units, as `systemctl show` prints it.

use ddi::text::Text;
use sextant::clock::Span;
use std::collections::BTreeMap;

/// Units around those of a merge: the milestones of initrd and host (bootup(7), dracut.bootup(7); those of Kairos begin
/// with `cos-setup`).
pub const MILESTONES: [&str; 29] = [
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

/// Properties of a unit that [`Unit::parse_all`] reads.
pub const UNIT_PROPERTIES: &str = "Id,InactiveExitTimestampMonotonic,ActiveEnterTimestampMonotonic,\
     ActiveExitTimestampMonotonic,InactiveEnterTimestampMonotonic";
/// Properties of the manager that [`Boot::parse`] reads.
pub const BOOT_PROPERTIES: &str = "InitRDTimestampMonotonic,UserspaceTimestampMonotonic,FinishTimestampMonotonic";

/// When a unit was started last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its name
    pub name: Text,
    /// From when it was started until it was active, or had failed
    pub starting: Span,
    /// Until when it was active, if it isn't any more
    pub until: Option<u64>,
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
    /// Reads blocks of [`UNIT_PROPERTIES`] with an empty line between them. Units that were not started are left out.
    #[must_use]
    pub fn parse_all(text: &str) -> Vec<Self> {
        let mut units: Vec<Self> = text.split("\n\n").filter_map(Self::parse).collect();
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
        // A service of type oneshot is over when it has started, unless it remains.
        let end = active.or(until).unwrap_or(begin);
        Some(Self {
            name: Text::new(properties.get("Id")?),
            starting: Span { begin, end },
            until: until.or(active.is_none().then_some(end)),
        })
    }
}

/// When systemd itself came from one part of a boot to the next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Boot {
    /// When systemd was started in the initrd
    pub initrd: Option<u64>,
    /// When systemd was started on the host
    pub host: Option<u64>,
    /// When all jobs of the boot were done
    pub finished: Option<u64>,
}

impl Boot {
    /// Reads a block of [`BOOT_PROPERTIES`].
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
