//! One boot of one flow, and what was seen of it.

use super::Case;
use crate::cpio::Archive;
use crate::guest::Guest;
use crate::images::Expected;
use crate::machine::{Disk, End, Machine, Parts};
use crate::toolbox::{repository, succeed, work};
use crate::variables::Firmware;
use crate::witness::Findings;
use crate::{disk, keys, run, uki};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

/// Far beyond what a boot takes at low priority on a busy machine: an hour's work isn't to be lost for one of them.
const TIMEOUT: Duration = Duration::from_mins(20);
const MEMORY: u32 = 1024;
/// What the scripts call and initrds don't have. The same for every flow, so that each has as much in memory.
const PROGRAMS: [&str; 9] = ["bash", "base64", "head", "ln", "od", "systemd-dissect", "tail", "wc", "cat"];
/// Those that systemd brings into any initrd.
const THERE: [&str; 4] = ["libc.so", "libcrypto", "libsystemd-shared", "ld-linux"];

/// What became of a set of images.
#[derive(Debug, Clone)]
pub struct Seen {
    pub flow: super::Flow,
    pub guest: Guest,
    pub set: super::Set,
    pub offered: usize,
    /// Names in /run/extensions at the end of the initrd.
    pub staged: BTreeSet<String>,
    /// Names in `systemd-sysext status` on the host.
    pub merged: BTreeSet<String>,
    /// Merged ones that nobody whom the firmware trusts has signed.
    pub unsigned: BTreeSet<String>,
    /// Merged ones with a file that can't be read.
    pub unreadable: BTreeSet<String>,
    pub good: BTreeSet<String>,
    /// The last error that systemd-sysext told.
    pub error: Option<String>,
    /// Getting at the firmware's certificates, where that is a step of its own; µs.
    pub certificates: u64,
    /// What staging took in the initrd.
    pub stage: u64,
    /// Of it, on the processor.
    pub stage_cpu: u64,
    /// Handing over at the end of the initrd.
    pub hand_over: u64,
    /// Merging on the host.
    pub merge: u64,
    /// Of it, on the processor.
    pub merge_cpu: u64,
    /// Confirming on the host.
    pub confirm: u64,
    /// In use right before the switch of root and on the host, with nothing cached; bytes.
    pub memory: [u64; 2],
    pub systemd: String,
}

/// Boots it.
///
/// # Errors
/// What went wrong, with the boot as such.
pub fn boot(case: &Case) -> Result<Seen, String> {
    let directory = work().join("comparison");
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).map_err(|error| format!("making {}: {error}", directory.display()))?;
    let variables = directory.join("variables.fd");
    Firmware::Enforcing.write(&variables)?;
    let signed = uki::make(case.guest, &overlay(case)?, "", keys::db(), &directory)?;
    let offers = case.set.offers();
    let esp = disk::esp(&signed, "active", &offers, &directory)?;

    let nonce = run::nonce();
    let witness = disk::witness(&nonce, &directory);
    let log = File::create(directory.join("console.log")).unwrap();
    let root = &case.guest.base()?.root;
    let esp = Disk::Forgetful(&esp);
    let parts = Parts {
        memory: MEMORY,
        variables: &variables,
        esp,
        root: Disk::Forgetful(root),
        witness: Some(&witness),
        more: Vec::new(),
        tpm: None,
    };
    let (end, lines) = Machine::start(&parts, log).wait(&[], TIMEOUT);
    let marked = lines.iter().any(|line| line.trim() == format!("SEXTANT-WITNESS {nonce}"));
    if !marked || !matches!(end, End::Off(status) if status.success()) {
        return Err(format!("the boot ended with {end:?}; everything is in {}", directory.display()));
    }
    let findings = Findings { directory: directory.join("findings") };
    disk::unpack(&witness, &findings.directory)?;
    read(case, &offers, &findings)
}

fn read(case: &Case, offers: &[crate::images::Offer], findings: &Findings) -> Result<Seen, String> {
    let names = |file: &str| -> BTreeSet<String> {
        // What can't be read has a file only if there is any.
        let text = findings.optional(&format!("comparison/{file}")).unwrap_or_default();
        let lines = text.lines().filter(|line| !line.is_empty());
        lines.map(|line| line.trim_end_matches(".raw").trim_end_matches(".sysext").to_owned()).collect()
    };
    let fitting = |fits: fn(&Expected) -> bool| -> BTreeSet<String> {
        offers.iter().filter(|offer| fits(&offer.expected)).map(|offer| offer.name().to_owned()).collect()
    };
    let merged: BTreeSet<_> = findings.merged("sysext").into_iter().collect();
    let trusted = fitting(|expected| matches!(expected, Expected::Merged { .. } | Expected::Rejected("corrupt")));
    let took =
        |file: &str, unit: &str| took(&findings.optional(&format!("comparison/{file}")).unwrap_or_default(), unit);
    let [stage, hand_over] = match case.flow {
        super::Flow::Sextant => ["sextant-stage.service", "sextant-merge.service"],
        _ => ["immucore-stage.service", ""],
    };
    let (stage, stage_cpu) = took("initrd-units", stage).ok_or("staging has left no time stamps")?;
    let (merge, merge_cpu) = took("host-units", "systemd-sysext.service").ok_or("merging has left no time stamps")?;
    let initrd = Findings { directory: findings.directory.join("comparison/initrd") };
    let _ = fs::create_dir_all(&initrd.directory);
    let _ = fs::copy(findings.directory.join("comparison/initrd-meminfo"), initrd.directory.join("meminfo"));
    Ok(Seen {
        flow: case.flow,
        guest: case.guest,
        set: case.set,
        offered: offers.len(),
        staged: names("staged"),
        unsigned: merged.difference(&trusted).cloned().collect(),
        unreadable: names("unreadable"),
        good: fitting(|expected| matches!(expected, Expected::Merged { .. })),
        error: findings.journal().iter().rev().find_map(error),
        certificates: took("initrd-units", "immucore-certificates.service").map_or(0, |(time, _)| time),
        stage,
        stage_cpu,
        hand_over: took("initrd-units", hand_over).map_or(0, |(time, _)| time),
        merge,
        merge_cpu,
        confirm: took("host-units", "sextant-confirm.service").map_or(0, |(time, _)| time),
        memory: [initrd.memory_used(), findings.memory_used()],
        systemd: findings.lines("systemd").into_iter().next().unwrap_or_default(),
        merged,
    })
}

/// What a message of systemd-sysext says, if it is an error. What libdevmapper prints is there on success too.
fn error(entry: &serde_json::Value) -> Option<String> {
    let text = |field: &str| entry[field].as_str();
    let of_sysext = matches!(text("SYSLOG_IDENTIFIER"), Some("(sd-merge)" | "systemd-sysext"));
    let message = text("MESSAGE").filter(|message| !message.starts_with("device-mapper: "))?;
    (of_sysext && text("PRIORITY") <= Some("3")).then(|| message.to_owned())
}

/// How long a unit took to start, or to fail, and of it on the processor; µs.
fn took(show: &str, unit: &str) -> Option<(u64, u64)> {
    let id = format!("Id={unit}");
    let block = show.split("\n\n").find(|block| block.lines().any(|line| line == id))?;
    let number = |name: &str| {
        let value = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
        value.parse::<u64>().ok().filter(|number| *number > 0)
    };
    let start = number("InactiveExitTimestampMonotonic")?;
    let end = number("ActiveEnterTimestampMonotonic").or_else(|| number("InactiveEnterTimestampMonotonic"))?;
    Some((end.checked_sub(start)?, number("CPUUsageNSec").unwrap_or(0) / 1000))
}

/// What is laid over the initrd: the recorder, and the double in place of sextant.
fn overlay(case: &Case) -> Result<Archive, String> {
    let source = repository().join("qemu/guest/immucore");
    let mut archive = programs(case.guest)?;
    archive = add(archive, &source.join("recorder"), "");
    archive = wanted(archive, "comparison");
    let Some(policy) = case.flow.policy() else { return Ok(archive) };

    archive = add(archive, &source.join("double"), "").file("etc/immucore/policy", format!("{policy}\n"));
    archive = wanted(archive, "immucore-stage");
    // Kairos' initrd runs no systemd and so none of these; and nothing of sextant's has a say.
    let off = [
        "sextant-stage",
        "sextant-merge",
        "systemd-sysext",
        "systemd-confext",
        "systemd-sysext-initrd",
        "systemd-confext-initrd",
    ];
    for unit in off {
        archive = archive.symlink(&format!("etc/systemd/system/{unit}.service"), "/dev/null");
    }
    Ok(archive.symlink("etc/tmpfiles.d/sextant.conf", "/dev/null"))
}

fn wanted(archive: Archive, unit: &str) -> Archive {
    let link = format!("usr/lib/systemd/system/initrd.target.wants/{unit}.service");
    archive.symlink(&link, &format!("../{unit}.service"))
}

fn add(mut archive: Archive, directory: &Path, below: &str) -> Archive {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let inside = format!("{below}{}", path.file_name().unwrap().to_str().unwrap());
        let metadata = path.metadata().unwrap();
        archive = if metadata.is_dir() {
            add(archive, &path, &format!("{inside}/"))
        } else if metadata.permissions().mode() & 0o100 != 0 {
            archive.program(&inside, fs::read(path).unwrap())
        } else {
            archive.file(&inside, fs::read(path).unwrap())
        };
    }
    archive
}

/// Programs of the guest with their libraries.
fn programs(guest: Guest) -> Result<Archive, String> {
    let tree = guest.tree();
    let mut archive = Archive::new();
    let mut libraries = BTreeSet::new();
    for program in PROGRAMS {
        let path = format!("usr/bin/{program}");
        archive =
            archive.program(&path, fs::read(tree.path().join(&path)).map_err(|error| format!("{path}: {error}"))?);
        let listed = succeed(tree.command("ldd").arg(format!("/{path}")))?;
        let paths = listed.split_whitespace().filter(|word| word.starts_with('/') && word.contains(".so"));
        libraries.extend(paths.map(str::to_owned));
    }
    for library in libraries.iter().filter(|library| !THERE.iter().any(|there| library.contains(there))) {
        // `/lib` is a link, which a directory of that name in the archive would replace.
        let path = library.trim_start_matches('/');
        let path = if path.starts_with("usr/") { path.to_owned() } else { format!("usr/{path}") };
        let content = fs::read(tree.path().join(&path)).map_err(|error| format!("{path}: {error}"))?;
        archive = archive.program(&path, content);
    }
    Ok(archive)
}
