//! One boot, from the scenario to the verdict.

use crate::accel;
use crate::machine::{self, Disk, End, Machine, NOTHING_TO_START, Parts};
use crate::scenarios::{Outcome, Scenario};
use crate::toolbox::{fresh, repository, work};
use crate::variables::hex;
use crate::verdict;
use crate::witness::Findings;
use crate::{brought, disk, tpm, uki};
use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Far beyond what a boot takes on a busy machine.
pub const TIMEOUT: Duration = Duration::from_mins(7);
/// What the firmware, the boot loader or the firmware's shell say of a UKI that the firmware doesn't start.
const REFUSALS: [&str; 3] = ["Access denied", "Access Denied", "Security Violation"];

/// What a boot needs, in a directory of its own.
struct Boot {
    directory: PathBuf,
    variables: PathBuf,
    esp: PathBuf,
    root: PathBuf,
    /// State of the TPM.
    tpm: Option<PathBuf>,
}

impl Boot {
    fn make(scenario: &Scenario, kind: &str) -> Result<Self, String> {
        let directory = work().join(kind).join(&scenario.name);
        fresh(&directory)?;
        let variables = directory.join("variables.fd");
        scenario.firmware.write(scenario.guest.platform(), &variables)?;
        let sealed = (scenario.sealed)();
        let authority = (scenario.uki_signer)();
        let initrd = (scenario.initrd)(scenario.guest)?;
        let signed = uki::make(scenario.guest, &initrd, &sealed, &scenario.command_line, authority, &directory)?;
        let esp = disk::esp(&signed, scenario.entry, &(scenario.offers)(), &directory)?;
        let root = scenario.guest.base()?.root.clone();
        let tpm = scenario.tpm.then(|| directory.join("tpm"));
        tpm.as_deref().map(tpm::make).transpose()?;
        Ok(Self { directory, variables, esp, root, tpm })
    }

    fn parts(&self, scenario: &Scenario) -> Parts<'_> {
        let Self { variables, esp, root, tpm, .. } = self;
        let esp = Disk::Forgetful(esp);
        let root = Disk::Forgetful(root);
        Parts {
            platform: scenario.guest.platform(),
            memory: scenario.memory,
            variables,
            esp,
            root,
            witness: None,
            more: Vec::new(),
            tpm: tpm.as_deref(),
        }
    }
}

/// Boots a scenario and judges it. The directory of the boot is kept if it went wrong.
///
/// # Errors
/// What is wrong, and where to look.
pub fn test(scenario: &Scenario) -> Result<(), String> {
    let start = Instant::now();
    let boot = Boot::make(scenario, "boots")?;
    let made = start.elapsed();
    supervise((&scenario.name, scenario.about), &boot.directory, made, || judge(scenario, &boot))
}

/// Runs the test of that name, about which there is one line. Its directory, which took so long to make, is kept if it
/// fails.
///
/// # Errors
/// What is wrong, and where to look.
pub fn supervise(
    (name, about): (&str, &str),
    directory: &Path,
    made: Duration,
    run: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    let start = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
    });
    let times = format!("{:.0} s to make, {:.0} s to run", made.as_secs_f32(), start.elapsed().as_secs_f32());
    match result {
        Ok(()) => {
            eprintln!("{name}: {times}");
            if std::env::var_os("SEXTANT_QEMU_KEEP").is_none() {
                let _ = fs::remove_dir_all(directory);
            }
            Ok(())
        }
        Err(error) => Err(format!("{name} ({about})\n{error}\n{times}; everything is in {}", directory.display())),
    }
}

fn judge(scenario: &Scenario, boot: &Boot) -> Result<(), String> {
    if scenario.outcome == Outcome::RefusedByFirmware {
        return refused(boot.parts(scenario), &boot.directory);
    }
    let findings = witnessed(boot.parts(scenario), &boot.directory)?;
    let offers = (scenario.offers)();
    match scenario.outcome {
        Outcome::Judged => verdict::judge(&findings, &offers),
        Outcome::JudgedTwice => verdict::judge_runs(&findings, &offers, 2),
        Outcome::JudgedInKernelLog => verdict::judge_kernel_log(&findings, &offers),
        Outcome::Closed => verdict::judge_closed(&findings),
        Outcome::RefusedByFirmware => {}
    }
    (scenario.check)(&findings);
    Ok(())
}

/// Boots until the witness was heard and the machine has switched itself off. Log, findings and the witness's disk
/// are in `directory`.
///
/// # Errors
/// If it came to another end.
pub fn witnessed(parts: Parts<'_>, directory: &Path) -> Result<Findings, String> {
    let (witness, end, lines, heard) = switch_on(parts, directory, &[NOTHING_TO_START]);
    if !heard || !matches!(end, End::Off(status) if status.success()) {
        return Err(ended(&end, heard, &lines));
    }
    let findings = Findings { directory: directory.join("findings") };
    disk::unpack(&witness, &findings.directory)?;
    Ok(findings)
}

/// Boots until the firmware says that it doesn't start this.
fn refused(parts: Parts<'_>, directory: &Path) -> Result<(), String> {
    let (_, end, lines, heard) = switch_on(parts, directory, &REFUSALS);
    if matches!(end, End::Said) && !heard { Ok(()) } else { Err(ended(&end, heard, &lines)) }
}

/// Boots until the machine is off or has said one of the words. Returns the witness's disk, how it ended, what the
/// console said, and whether the witness was heard there.
fn switch_on(parts: Parts<'_>, directory: &Path, words: &[&str]) -> (PathBuf, End, Vec<String>, bool) {
    let nonce = nonce();
    let marker = format!("SEXTANT-WITNESS {nonce}");
    let witness = disk::witness(&nonce, directory);
    let log = File::create(directory.join("console.log")).unwrap();
    let mut machine = Machine::start(accel::of(parts.platform), &Parts { witness: Some(&witness), ..parts }, log);
    let (end, lines) = machine.wait(words, TIMEOUT);
    let heard = lines.iter().any(|line| line.trim() == marker);
    drop(machine);
    (witness, end, lines, heard)
}

fn ended(end: &End, heard: bool, lines: &[String]) -> String {
    let last = lines[lines.len().saturating_sub(25)..].join("\n");
    format!("the boot ended with {end:?}, the witness was heard: {heard}; last lines:\n{last}")
}

/// Boots a scenario with a script that the witness runs (a path in the repository).
///
/// # Errors
/// If it came to another end, or the script did.
pub fn scripted(scenario: &Scenario, script: &str) -> Result<Findings, String> {
    let boot = Boot::make(scenario, "cost")?;
    let brought = brought::make(&repository().join(script), &[], &[], &boot.directory)?;
    let parts = Parts { more: vec![Disk::Forgetful(&brought)], ..boot.parts(scenario) };
    let findings = witnessed(parts, &boot.directory)?;
    findings.script().map(|()| findings)
}

/// Boots a scenario for a person: a shell on this terminal, and nothing is judged.
///
/// # Errors
/// If it can't be made or started.
pub fn console(scenario: &Scenario) -> Result<(), String> {
    eprintln!("making the machine: {}", scenario.about);
    let boot = Boot::make(scenario, "console")?;
    eprintln!("starting it; Ctrl-A X switches it off, from within `poweroff -f` does");
    let result = machine::console(accel::of(scenario.guest.platform()), &boot.parts(scenario));
    let _ = fs::remove_dir_all(&boot.directory);
    result
}

/// What only this boot can print.
pub fn nonce() -> String {
    let mut bytes = [0; 16];
    openssl::rand::rand_bytes(&mut bytes).unwrap();
    hex(&bytes)
}
