//! What was seen of one boot.

use super::{Case, Flow};
use crate::kairos::marks::{Mark, kibibytes};
use crate::kairos::sets::image;
use crate::kairos::verdict::{mount, root_hashes};
use crate::witness::Findings;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// One boot of one disk.
#[derive(Debug, Clone)]
pub struct Seen {
    pub case: Case,
    /// From 1.
    pub boot: usize,
    /// Images beside the UKI.
    pub esp: usize,
    /// Links that immucore made where systemd looks for extensions.
    pub linked: usize,
    /// What lies there at the end: names, by where the bytes are.
    pub staged: BTreeMap<&'static str, BTreeSet<String>>,
    pub merged: BTreeSet<String>,
    /// Merged ones without a signature by a certificate of the firmware.
    pub untrusted: BTreeSet<String>,
    /// Merged ones with a file that can't be read.
    pub unreadable: BTreeSet<String>,
    /// Whether the other build of `good` is merged, from the persistent partition.
    pub is_other_build: bool,
    /// The last error that systemd-sysext told.
    pub error: Option<String>,
    /// Reasons for which the agent rejected files.
    pub rejected: BTreeSet<(String, String)>,
    /// Milliseconds that the agent took in each step of immucore's; none without it.
    pub steps: [Option<u64>; 3],
    /// Milliseconds that starting the units took: systemd-sysext, systemd-confext, sextant-confirm.
    pub units: [Option<u64>; 3],
    /// Milliseconds from the start of the kernel until sysexts were merged, or the merge failed.
    pub merged_at: Option<u64>,
    /// At the marks before and after `stage`, and on the host: bytes of images in memory by path, and `Shmem`.
    pub memory: [(u64, u64); 3],
    /// `MemAvailable` on the host, with nothing cached.
    pub available: u64,
    pub systemd: String,
    pub kernel: String,
}

/// Those of the sets without a signature by a certificate of the firmware.
const UNTRUSTED: [&str; 3] = ["stranger", "unsigned", "garbage"];

impl Seen {
    pub fn read(case: Case, boot: usize, findings: &Findings) -> Self {
        let mark = |name: &str| Mark::read(findings, name);
        let (before, after, host) = (mark("before-stage"), mark("after-stage"), mark("host"));
        let merged: BTreeSet<_> = ["sysext", "confext"].iter().flat_map(|class| findings.merged(class)).collect();
        let hashes = root_hashes(findings);
        let step = |verb: &str| {
            let took = mark(&format!("after-{verb}")).begun - mark(&format!("before-{verb}")).ended;
            (case.flow == Flow::Sextant).then_some(took)
        };
        let times = findings.step("times");
        let times = times.ended(0);
        let unit = |name: &str| took(times, &format!("{name}.service")).map(|(start, end)| end - start);
        Self {
            case,
            boot,
            esp: before.images_below("/.extra/"),
            linked: mark("before-adopt").links,
            staged: staged(findings),
            untrusted: merged.iter().filter(|name| UNTRUSTED.contains(&name.as_str())).cloned().collect(),
            unreadable: findings.step("unreadable").ended(0).lines().map(str::to_owned).collect(),
            is_other_build: hashes.contains(&image("other good").root_hash),
            error: findings.journal().iter().rev().find_map(error),
            rejected: rejected(findings),
            steps: ["stage", "adopt", "merge"].map(step),
            units: ["systemd-sysext", "systemd-confext", "sextant-confirm"].map(unit),
            merged_at: took(times, "systemd-sysext.service").map(|(_, end)| end),
            memory: [&before, &after, &host].map(|mark| (mark.in_memory(), mark.shmem)),
            available: kibibytes(&findings.text("meminfo"), "MemAvailable:"),
            systemd: findings.lines("systemd").into_iter().next().unwrap_or_default(),
            kernel: findings.step("kernel").ended(0).trim().to_owned(),
            merged,
        }
    }
}

/// What lies in `/run/extensions` and `/run/confexts`, by what it is.
fn staged(findings: &Findings) -> BTreeMap<&'static str, BTreeSet<String>> {
    let links = findings.lines("links");
    let mut found: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for file in findings.lines("staging") {
        let is_link = |line: &String| line.split_once(" -> ").is_some_and(|(path, _)| is_staged_as(path, &file));
        let kind = if links.iter().any(is_link) {
            "link to the disk"
        } else {
            let root =
                ["extensions", "confexts"].iter().find_map(|class| mount(findings, &format!("/run/{class}/{file}")));
            match root {
                Some((root, _)) if root.starts_with("/.extra/") => "mount of `/.extra`",
                Some(_) => "mount of the disk",
                None => "file",
            }
        };
        found.entry(kind).or_default().insert(stem(&file).to_owned());
    }
    found
}

fn is_staged_as(path: &str, file: &str) -> bool {
    ["/run/extensions/", "/run/confexts/"].iter().any(|directory| path.strip_prefix(directory) == Some(file))
}

fn stem(file: &str) -> &str {
    file.trim_end_matches(".raw").trim_end_matches(".sysext").trim_end_matches(".confext")
}

fn rejected(findings: &Findings) -> BTreeSet<(String, String)> {
    let report = findings.report();
    let rows = report.as_ref().and_then(|report| report["images"].as_array()).into_iter().flatten();
    let row = |row: &Value| Some((stem(row["file"].as_str()?).to_owned(), row["reason"].as_str()?.to_owned()));
    rows.filter_map(row).collect()
}

/// What a message of systemd-sysext says, if it is an error. What libdevmapper prints is there on success too.
fn error(entry: &Value) -> Option<String> {
    let text = |field: &str| entry[field].as_str();
    let of_sysext = matches!(text("SYSLOG_IDENTIFIER"), Some("(sd-merge)" | "systemd-sysext"));
    let message = text("MESSAGE").filter(|message| !message.starts_with("device-mapper: "))?;
    (of_sysext && text("PRIORITY") <= Some("3")).then(|| message.to_owned())
}

/// When a unit began to start and when it had started, or had failed to; milliseconds.
fn took(show: &str, unit: &str) -> Option<(u64, u64)> {
    let id = format!("Id={unit}");
    let block = show.split("\n\n").find(|block| block.lines().any(|line| line == id))?;
    let time = |name: &str| {
        let value = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
        value.parse::<u64>().ok().filter(|time| *time > 0).map(|time| time / 1000)
    };
    let start = time("InactiveExitTimestampMonotonic")?;
    let end = time("ActiveEnterTimestampMonotonic").or_else(|| time("InactiveEnterTimestampMonotonic"))?;
    Some((start, end.max(start)))
}
