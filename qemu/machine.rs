//! The machine: QEMU, and what came over its serial console.

use crate::platform::{PC, Platform};
use crate::tpm::Tpm;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// What the firmware says when there is nothing more that it could start; it waits for a key then.
pub const NOTHING_TO_START: &str = "No bootable option or device was found";

/// What the machine is made of.
pub struct Parts<'a> {
    pub platform: &'static Platform,
    /// MiB
    pub memory: u32,
    /// Flash with the firmware's variables; written to.
    pub variables: &'a Path,
    pub esp: Disk<'a>,
    /// The host's root file system; or the other partitions of a machine whose UKI holds that.
    pub root: Disk<'a>,
    /// None: for a person.
    pub witness: Option<&'a Path>,
    /// Further ones, behind that of the witness.
    pub more: Vec<Disk<'a>>,
    /// State of the TPM, if the machine has one.
    pub tpm: Option<&'a Path>,
}

/// A disk, by what becomes of what the machine writes to it.
#[derive(Debug, Clone, Copy)]
pub enum Disk<'a> {
    /// It is forgotten when the machine is switched off.
    Forgetful(&'a Path),
    /// It stays.
    Lasting(&'a Path),
    /// It stays, and a log has each write in the order in which they reached the disk.
    Logged { disk: &'a Path, log: &'a Path },
}

impl Disk<'_> {
    /// What `-drive` calls it.
    fn options(self) -> String {
        let raw = |path: &Path, snapshot| format!("format=raw,snapshot={snapshot},file={}", path.display());
        match self {
            Self::Forgetful(path) => raw(path, "on"),
            Self::Lasting(path) => raw(path, "off"),
            Self::Logged { disk, log } => {
                let node = |name, path: &Path| {
                    format!("{name}.driver=raw,{name}.file.driver=file,{name}.file.filename={}", path.display())
                };
                format!("driver=blklogwrites,{},{}", node("file", disk), node("log", log))
            }
        }
    }
}

/// What runs the machine's processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accel {
    Kvm,
    Tcg,
    /// Emulated, with clocks that advance by the instructions executed and not by the time that takes.
    Counting,
}

impl Accel {
    /// Arguments for QEMU.
    fn arguments(self, platform: &Platform) -> Vec<&'static str> {
        let emulated = ["-accel", "tcg,tb-size=512", "-cpu", platform.cpu];
        match self {
            Self::Kvm => vec!["-accel", "kvm", "-cpu", "host"],
            Self::Tcg => emulated.to_vec(),
            // A nanosecond for each instruction; while there is nothing to do, clocks are those of the building machine.
            Self::Counting => [&emulated[..], &["-icount", "shift=0", "-rtc", "clock=vm", "-seed", "1"]].concat(),
        }
    }

    /// What QEMU calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
            Self::Counting => "tcg, counting instructions",
        }
    }
}

/// Memory of a machine that has nothing to start, in MiB.
const FIRMWARE_ALONE: u32 = 256;

fn drive(value: &str) -> [&str; 2] {
    ["-drive", value]
}

/// QEMU with firmware, and nothing else.
fn bare(accel: Accel, platform: &Platform, memory: u32, variables: &Path) -> Command {
    let mut command = platform.tree.command(platform.qemu);
    command.args(platform.board).args(["-smp", "1"]).args(accel.arguments(platform));
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    command.arg("-m").arg(memory.to_string());
    command.args(drive(&format!("if=pflash,unit=0,format=raw,readonly=on,file=/{}", platform.code)));
    command.args(drive(&format!("if=pflash,unit=1,format=raw,file={}", variables.display())));
    command
}

fn command(accel: Accel, parts: &Parts<'_>, tpm: Option<&Tpm>) -> Command {
    let mut command = bare(accel, parts.platform, parts.memory, parts.variables);
    let mut disks = vec![parts.esp, parts.root];
    disks.extend(parts.witness.map(Disk::Lasting));
    disks.extend(&parts.more);
    for (index, disk) in disks.into_iter().enumerate() {
        command.args(drive(&format!("if=none,id=disk{index},{}", disk.options())));
        let boot = if index == 0 { ",bootindex=0" } else { "" };
        command.args(["-device", &format!("virtio-blk-pci,drive=disk{index}{boot}")]);
    }
    if let Some(tpm) = tpm {
        command.args(["-chardev", &format!("socket,id=tpm,path={}", tpm.socket().display())]);
        command.args(["-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm0"]);
    }
    command
}

/// A machine that runs. It is stopped when this goes away.
pub struct Machine {
    child: Child,
    lines: Receiver<String>,
    /// Stopped after the machine.
    _tpm: Option<Tpm>,
}

/// How a boot ended.
#[derive(Debug)]
pub enum End {
    /// It switched itself off.
    Off(ExitStatus),
    /// A line that was waited for came.
    Said,
    /// Nothing more happened in the time it was given.
    Timeout,
}

impl Machine {
    /// Switches it on; what it says goes to `log`, with the time.
    pub fn start(accel: Accel, parts: &Parts<'_>, log: File) -> Self {
        let tpm = parts.tpm.map(Tpm::start);
        Self::spawn(command(accel, parts, tpm.as_ref()), tpm, log)
    }

    /// Switches on a PC that has nothing to start.
    pub fn firmware_alone(accel: Accel, variables: &Path, log: File) -> Self {
        Self::spawn(bare(accel, &PC, FIRMWARE_ALONE, variables), None, log)
    }

    fn spawn(mut qemu: Command, tpm: Option<Tpm>, mut log: File) -> Self {
        let mut child = qemu.args(["-serial", "stdio"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let console = BufReader::new(child.stdout.take().unwrap());
        let errors = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        let start = Instant::now();
        let also = sender.clone();
        std::thread::spawn(move || forward(errors, |line| drop(also.send(format!("qemu: {line}")))));
        std::thread::spawn(move || {
            forward(console, |line| {
                let _ = writeln!(log, "{:7.2} {line}", start.elapsed().as_secs_f32());
                let _ = sender.send(line.to_owned());
            });
        });
        Self { child, lines, _tpm: tpm }
    }

    /// Waits for it to switch itself off, or for a line that contains one of `words`. Returns how it ended and all
    /// lines till then.
    pub fn wait(&mut self, words: &[&str], timeout: Duration) -> (End, Vec<String>) {
        let deadline = Instant::now() + timeout;
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let said = words.iter().any(|word| line.contains(word));
                    seen.push(line);
                    if said {
                        return (End::Said, seen);
                    }
                }
                Err(RecvTimeoutError::Timeout) => return (End::Timeout, seen),
                // Its console is closed: it has ended or is about to.
                Err(RecvTimeoutError::Disconnected) => return (End::Off(self.child.wait().unwrap()), seen),
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Hands on lines as they come, without control sequences; firmware isn't particular about UTF-8.
fn forward(mut from: impl BufRead, mut to: impl FnMut(&str)) {
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
        let text = String::from_utf8_lossy(&line);
        let visible: String = text.chars().filter(|character| !character.is_control()).collect();
        to(&visible);
        line.clear();
    }
}

/// Runs a machine whose console is the caller's terminal, until it is switched off.
///
/// # Errors
/// If it can't be started.
pub fn console(accel: Accel, parts: &Parts<'_>) -> Result<(), String> {
    let tpm = parts.tpm.map(Tpm::start);
    let status = command(accel, parts, tpm.as_ref())
        .args(["-serial", "mon:stdio"])
        .stdin(Stdio::inherit())
        .status()
        .map_err(|error| format!("starting qemu: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("qemu: {status}")) }
}
