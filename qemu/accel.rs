//! The processor of the machines: the host's own through KVM if that runs the firmware, else one that QEMU emulates.

use crate::machine::{Accel, End, Machine, NOTHING_TO_START};
use crate::platform::{PC, Platform};
use std::fs::{self, File};
use std::io;
use std::sync::OnceLock;
use std::time::Duration;

/// Chooses one by name: `kvm` or `tcg`.
const VARIABLE: &str = "SEXTANT_QEMU_ACCEL";

const DEVICE: &str = "/dev/kvm";

/// Time under KVM until the firmware has found nothing to start. An emulated processor takes some 3 seconds for it.
const PATIENCE: Duration = Duration::from_secs(20);

static CHOSEN: OnceLock<Accel> = OnceLock::new();

/// The one for machines of this platform. What the machine that builds isn't can only be emulated.
pub fn of(platform: &Platform) -> Accel {
    if platform.is_native() { chosen() } else { Accel::Tcg }
}

/// The one for all PCs of this run. The first call may take [`PATIENCE`]; it prints the choice and its reason.
fn chosen() -> Accel {
    *CHOSEN.get_or_init(|| {
        let wanted = std::env::var(VARIABLE).ok();
        let no_device = File::options().read(true).write(true).open(DEVICE).err();
        let choice = choose(wanted.as_deref(), no_device, run_firmware);
        let (accel, reason) = choice.unwrap_or_else(|error| panic!("{error}"));
        eprintln!("machines use {}: {reason}", accel.name());
        accel
    })
}

/// Has all machines of this run count instructions. It is called before the first one starts.
pub fn count() {
    assert_eq!(*CHOSEN.get_or_init(|| Accel::Counting), Accel::Counting, "a machine was started before");
}

/// Name of the one that was chosen, if any machine was started.
pub fn used() -> Option<&'static str> {
    CHOSEN.get().map(|accel| accel.name())
}

/// Chooses, and says why. `try_kvm` boots the firmware, and returns why KVM does not run it.
///
/// # Errors
/// If another name than these two is wanted.
fn choose(
    wanted: Option<&str>,
    no_device: Option<io::Error>,
    try_kvm: impl FnOnce() -> Result<(), String>,
) -> Result<(Accel, String), String> {
    let by_name = |accel: Accel| (accel, format!("{VARIABLE}={}", accel.name()));
    match wanted {
        Some("kvm") => return Ok(by_name(Accel::Kvm)),
        Some("tcg") => return Ok(by_name(Accel::Tcg)),
        Some(other) => return Err(format!("{VARIABLE} is {other:?}; it has to be kvm or tcg")),
        None => {}
    }
    if let Some(error) = no_device {
        return Ok((Accel::Tcg, format!("opening {DEVICE}: {error}")));
    }
    Ok(match try_kvm() {
        Ok(()) => (Accel::Kvm, "it runs the firmware".to_owned()),
        Err(error) => (Accel::Tcg, format!("KVM does not run the firmware: {error}")),
    })
}

/// Boots the firmware alone under KVM, to the message that there is nothing to start.
fn run_firmware() -> Result<(), String> {
    let directory = support::toolbox::directory();
    let variables = directory.path().join("variables.fd");
    fs::copy(PC.tree.path().join(PC.variables), &variables)
        .map_err(|error| format!("copying the firmware's variables: {error}"))?;
    let log = File::create(directory.path().join("console.log")).map_err(|error| format!("making its log: {error}"))?;
    let mut machine = Machine::firmware_alone(Accel::Kvm, &variables, log);
    let (end, lines) = machine.wait(&[NOTHING_TO_START], PATIENCE);
    match (end, lines.last()) {
        (End::Said, _) => Ok(()),
        (End::Timeout, _) => Err(format!("no message from it in {} seconds", PATIENCE.as_secs())),
        (End::Off(status), None) => Err(format!("QEMU ended with {status}")),
        (End::Off(_), Some(line)) => Err(line.clone()),
    }
}

/// Tests, by name.
pub fn tests() -> Vec<(&'static str, fn())> {
    vec![
        ("accel::the_variable_decides_without_a_try", the_variable_decides_without_a_try),
        ("accel::an_unknown_name_is_refused", an_unknown_name_is_refused),
        ("accel::without_a_device_nothing_is_tried", without_a_device_nothing_is_tried),
        ("accel::kvm_has_to_run_the_firmware", kvm_has_to_run_the_firmware),
    ]
}

fn no_try() -> Result<(), String> {
    panic!("the firmware was tried")
}

fn missing() -> io::Error {
    io::Error::from_raw_os_error(2)
}

fn the_variable_decides_without_a_try() {
    assert_eq!(choose(Some("kvm"), Some(missing()), no_try).unwrap().0, Accel::Kvm);
    assert_eq!(choose(Some("tcg"), None, no_try).unwrap().0, Accel::Tcg);
}

fn an_unknown_name_is_refused() {
    let error = choose(Some("KVM"), None, no_try).unwrap_err();
    assert_eq!(error, "SEXTANT_QEMU_ACCEL is \"KVM\"; it has to be kvm or tcg");
}

fn without_a_device_nothing_is_tried() {
    let (accel, reason) = choose(None, Some(missing()), no_try).unwrap();
    assert_eq!(accel, Accel::Tcg);
    assert!(reason.starts_with("opening /dev/kvm: "), "{reason}");
}

fn kvm_has_to_run_the_firmware() {
    assert_eq!(choose(None, None, || Ok(())).unwrap().0, Accel::Kvm);
    let (accel, reason) = choose(None, None, || Err("no SMM".to_owned())).unwrap();
    assert_eq!((accel, &*reason), (Accel::Tcg, "KVM does not run the firmware: no SMM"));
}
