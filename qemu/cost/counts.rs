//! What the witness of a counting machine wrote down.

use crate::witness::Findings;
use serde_json::Value;

/// Thousands of instructions; by the clocks of the machine, microseconds.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Extensions that are merged.
    pub merged: usize,
    /// From the start of `sextant-stage.service` to that of the agent: what the unit does before.
    pub gate: Option<u64>,
    /// From the start of the agent to its first image: itself, the firmware, the trust anchors.
    pub agent: Option<u64>,
    /// Of all images: reading their structure, hashing, trial activation, and staging.
    pub phases: [Option<u64>; 4],
    /// All of `sextant-stage.service`, or of `sextant-agent stage` where there is no unit.
    pub stage: Option<u64>,
    /// `sextant-agent adopt`, each of its runs before the host's systemd.
    pub adopt: Option<u64>,
    /// `sextant-merge.service`, or `sextant-agent merge`.
    pub merge: Option<u64>,
    /// `systemd-sysext.service` on the host, what runs before its start included.
    pub sysext: Option<u64>,
    /// `sextant-confirm.service`
    pub confirm: Option<u64>,
    /// From the start of the kernel until the first service that runs after `sysinit.target` on the host, less what the
    /// processor was idle for: how long a disk takes is no count.
    pub boot: Option<u64>,
}

const PHASES: [&str; 4] = ["read", "hash", "activate", "stage"];

impl Counts {
    pub fn read(findings: &Findings) -> Self {
        let host = findings.step("times");
        let host = host.ended(0);
        let initrd = findings.optional("initrd/times").unwrap_or_default();
        let unit = |text: &str, name: &str| {
            // A unit with one command is told to begin after the command.
            let begin =
                [time(text, name, "InactiveExit"), time(text, name, "ExecMainStart")].into_iter().flatten().min()?;
            let end = time(text, name, "ActiveEnter").or_else(|| time(text, name, "InactiveEnter"))?;
            end.checked_sub(begin)
        };
        let report = findings.report();
        let run = |command: &str| {
            let runs = report.as_ref()?["runs"].as_array()?;
            let runs: Vec<_> = runs.iter().filter(|run| run["command"] == command).collect();
            (!runs.is_empty()).then(|| runs.into_iter().filter_map(length).sum())
        };
        let phases: Vec<_> = report.iter().flat_map(phases).collect();
        let phase = |name: &str| {
            let of_name = phases.iter().filter(|phase| phase["phase"] == name);
            (!phases.is_empty()).then(|| of_name.filter_map(length).sum())
        };
        let main = time(&initrd, "sextant-stage.service", "ExecMainStart");
        let first = phases.iter().filter_map(|phase| phase["begin_usec"].as_u64()).min();
        let end = report.as_ref().and_then(|report| report["runs"][0]["end_usec"].as_u64());
        let begin = main.or_else(|| report.as_ref()?["runs"][0]["begin_usec"].as_u64());
        Self {
            merged: findings.merged("sysext").len(),
            gate: main
                .zip(time(&initrd, "sextant-stage.service", "InactiveExit"))
                .map(|(main, unit)| main.saturating_sub(unit)),
            agent: first.or(end).zip(begin).map(|(first, begin)| first - begin),
            phases: PHASES.map(phase),
            stage: unit(&initrd, "sextant-stage.service").or_else(|| run("stage")),
            adopt: run("adopt"),
            merge: unit(&initrd, "sextant-merge.service").or_else(|| run("merge")),
            sysext: unit(host, "systemd-sysext.service"),
            confirm: unit(host, "sextant-confirm.service"),
            boot: busy(&findings.step("uptime").out, &findings.step("idle").out),
        }
    }
}

fn phases(report: &Value) -> Vec<Value> {
    let images = report["images"].as_array().into_iter().flatten();
    images.flat_map(|image| image["phases"].as_array().cloned().unwrap_or_default()).collect()
}

fn length(span: &Value) -> Option<u64> {
    span["end_usec"].as_u64()?.checked_sub(span["begin_usec"].as_u64()?)
}

/// Microseconds since the kernel's start less those in which the processor had nothing to do: of `/proc/uptime` the first
/// field, of `/proc/stat` `idle` and `iowait`, all in hundredths of a second (proc(5)).
fn busy(uptime: &str, stat: &str) -> Option<u64> {
    let up = uptime.split_whitespace().next()?.replace('.', "").parse::<u64>().ok()?;
    let fields: Vec<u64> = stat.split_whitespace().skip(1).map_while(|field| field.parse().ok()).collect();
    up.checked_sub(fields.get(3)? + fields.get(4)?).map(|hundredths| hundredths * 10_000)
}

/// A point in time of a unit as `systemctl show` tells it; none where it is 0.
fn time(show: &str, unit: &str, name: &str) -> Option<u64> {
    let (id, name) = (format!("Id={unit}"), format!("{name}TimestampMonotonic="));
    let block = show.split("\n\n").find(|block| block.lines().any(|line| line == id))?;
    let value = block.lines().find_map(|line| line.strip_prefix(&name))?;
    value.parse().ok().filter(|time| *time > 0)
}
