//! Free space, as a file system of its own has it.

use super::vendor;
use serde_json::Value;
use std::fs;
use std::process::Command;
use support::ddi::{good_image, with_tree};
use support::harness::ignore;
use support::machine::Machine;
use support::trees::{Tree, noise};

pub(crate) fn without_room_an_image_is_refused_before_a_byte_of_it_is_written() {
    if !Command::new("unshare")
        .args(["--map-root-user", "--mount", "true"])
        .status()
        .is_ok_and(|status| status.success())
    {
        ignore("this system gives no mount namespace to its users");
    }
    let large =
        with_tree("large", &Tree::sysext("large").file("usr/share/noise", &noise(3_000_000)), vendor()).render().bytes;
    let mut corrupt =
        with_tree("worse", &Tree::sysext("worse").file("usr/share/noise", &noise(3_000_000)), vendor()).render();
    corrupt = corrupt.flip(ddi::PartitionKind::Root, 1_000_000);
    let machine = Machine::trusting(&[vendor()])
        .config("limits:\n  keep_free: 256KiB\n")
        .sysext("large.sysext.raw", &large)
        .sysext("small.sysext.raw", &good_image("small", vendor()))
        .sysext("worse.sysext.raw", &corrupt.bytes);
    // The staged files are gone with the namespace, so what is asked is asked inside.
    let agent = machine.agent("stage");
    let script = format!(
        "mount -t tmpfs -o size=3m tmpfs '{run}' && \"$@\"; status=$?; ls '{run}/extensions' >&2; cp '{run}/sextant/report.json' '{out}'; exit $status",
        run = machine.path("run").display(),
        out = machine.path("report.json").display()
    );
    let mut command = Command::new("unshare");
    command
        .args(["--map-root-user", "--mount", "sh", "-c", &script, "sh"])
        .arg(agent.get_program())
        .args(agent.get_args());
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let report: Value = serde_json::from_slice(&fs::read(machine.path("report.json")).unwrap()).unwrap();
    let reasons: Vec<_> = report["images"].as_array().unwrap().iter().map(|row| row["reason"].as_str()).collect();
    assert_eq!(reasons, [Some("no-space"), None, Some("corrupt")], "a worse fault is told first\n{stderr}");
    assert!(stderr.ends_with("small.raw\n"), "{stderr}");
}
