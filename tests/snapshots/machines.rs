//! Tables of commands that work on the tree of a machine.

use super::normalized;
use super::tables::{Desk, image, vendor};
use std::process::{Command, Stdio};
use support::ddi::good_image;
use support::keys;
use support::machine::{Machine, SYSTEMCTL};

/// Extensions that were put on a machine after its boot: one that is merged, one that is refused.
pub(super) fn refresh() -> String {
    let machine = Machine::trusting(&[vendor()]).sysext("app.sysext.raw", &good_image("app", vendor()));
    machine.stage();
    assert!(machine.agent("merge").status().unwrap().success());
    let machine = machine
        .file("run/extensions/new.sysext.raw", &good_image("new", vendor()))
        .file("run/extensions/evil.sysext.raw", &good_image("evil", keys::ec("Stranger")))
        .file("bin/systemctl", SYSTEMCTL.as_bytes());
    Command::new("chmod").arg("755").arg(machine.path("bin/systemctl")).status().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tool-under-test"));
        let path = format!("{}:{}", machine.path("bin").display(), std::env::var("PATH").unwrap());
        command
            .args(["refresh", "--root"])
            .arg(machine.root())
            .args(arguments)
            .env("PATH", path)
            .env("TREE", machine.root());
        let output = command.stdin(Stdio::null()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let line = [&["refresh", "--root", "MACHINE"], arguments].concat().join(" ");
        let (out, error) = (text(&output.stdout), text(&output.stderr));
        let text = format!("$ sextant {line}\n{out}{error}[exit status {}]\n", output.status.code().unwrap());
        normalized(&text, &[(machine.root().to_str().unwrap(), "MACHINE")])
    };
    run(&["--dry-run"]) + &run(&[])
}

/// A machine of Kairos with extensions beside its UKIs, one of which a boot would reject.
pub(super) fn migrate() -> String {
    let desk = Desk::new();
    let k3s = image("k3s", &[("usr/bin/k3s", "k3s")], vendor());
    for entry in ["active", "passive"] {
        desk.file(&format!("m/efi/EFI/kairos/{entry}.efi"), b"");
        desk.file(&format!("m/efi/loader/entries/{entry}.conf"), format!("efi /EFI/kairos/{entry}.efi\n").as_bytes());
        let file = format!("m/efi/EFI/kairos/{entry}.efi.extra.d/k3s.sysext.raw");
        desk.file(&file, &k3s);
    }
    let beside = "m/efi/EFI/kairos/active.efi.extra.d";
    desk.file(&format!("{beside}/tools.sysext.raw.disabled"), &image("tools", &[("opt/tools", "x")], vendor()));
    desk.file(&format!("{beside}/stranger.sysext.raw"), &image("stranger", &[], keys::ec("Stranger")));
    std::fs::create_dir_all(desk.path().join("m/var/lib/kairos/extensions")).unwrap();
    desk.file("m/run/cos/active_mode", b"1");
    desk.file("m/run/cos/uki_boot_mode", b"1");
    let options = "--certificate vendor.crt --root m";
    desk.run(&format!("migrate --dry-run {options}"))
        + &desk.run(&format!("migrate {options}"))
        + &desk.run(&format!("migrate {options}"))
}
