//! The metrics of a boot, as Prometheus' own checker sees them.

use std::io::{ErrorKind, Write};
use std::process::{Command, Stdio};
use support::ddi::good_image;
use support::efi::{Firmware, certificates};
use support::harness::left_out_everywhere;
use support::keys;
use support::machine::Machine;

/// `promtool` of Prometheus, in Debian's package of that name.
const PROMTOOL: &str = "promtool";

pub(super) fn promtool_finds_no_fault_with_them() {
    let odd = keys::ec("A \"quoted\" \\ name");
    let machine = Machine::new()
        .firmware(&Firmware::enforcing().db(&certificates(&[odd])).entry("active.conf"))
        .config("metrics: true\n")
        .sysext("a_1.0.sysext.raw", &good_image("a", odd))
        .sysext("b.sysext.raw", b"junk");
    assert_eq!(machine.stage().status, Some(0));
    let metrics = std::fs::read_to_string(machine.path("run/sextant/metrics/sextant.prom")).unwrap();
    assert!(metrics.contains("sextant_images{state=\"staged\"} 1\n"), "{metrics}");
    assert!(check(&metrics).is_none_or(|faults| faults.is_empty()), "{:?}", check(&metrics));
    // It would find one.
    let broken = metrics.replace("sextant_anchors 1", "sextant_anchors one");
    assert!(check(&broken).is_none_or(|faults| !faults.is_empty()));
}

/// What promtool says, with its exit status if that isn't 0; `None` where there is no promtool.
fn check(metrics: &str) -> Option<String> {
    let mut command = Command::new(PROMTOOL);
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            left_out_everywhere("promtool is not installed");
            return None;
        }
        Err(error) => panic!("{PROMTOOL}: {error}"),
    };
    child.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let status = if output.status.success() { String::new() } else { output.status.to_string() };
    Some(String::from_utf8_lossy(&said).into_owned() + &status)
}
