//! Boot loader and Unified Kernel Image, signed.

use crate::cpio::Archive;
use crate::guest::Guest;
use crate::keys::Files;
use crate::toolbox::{Tree, succeed};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::keys::Authority;

/// For every machine: that what breaks ends by itself and without delay. Security modules that do nothing here take
/// seconds under emulation; without `integrity` the kernel of bookworm panics.
const COMMAND_LINE: &str = "root=/dev/vdb rootfstype=ext4 rw quiet loglevel=4 systemd.show_status=no \
    rd.shell=0 rd.emergency=poweroff oops=panic panic=-1 mitigations=off audit=0 lsm=capability,integrity \
    systemd.default_device_timeout_sec=60 random.trust_cpu=on tsc=reliable";

/// The signed files for the ESP.
pub struct Signed {
    pub boot_loader: PathBuf,
    /// Name of the file in `EFI/BOOT` that the firmware starts.
    pub default_loader: String,
    pub uki: PathBuf,
}

/// What a UKI is made of.
pub struct Parts<'a> {
    /// Whose systemd-boot, systemd-stub and kernel it has.
    pub guest: Guest,
    /// Archives that the kernel unpacks one over the other.
    pub initrds: &'a [&'a Path],
    pub command_line: &'a str,
}

/// Makes both in `directory` for a machine with that initrd; `authority` signs the UKI, the key in db the boot loader.
///
/// # Errors
/// What the tools said.
pub fn make(
    guest: Guest,
    initrd: &Path,
    sealed: &Archive,
    command_line: &str,
    authority: &Authority,
    directory: &Path,
) -> Result<Signed, String> {
    let extra = directory.join("sealed.cpio");
    fs::write(&extra, sealed.encode()).unwrap();
    let command_line = format!("console={} {COMMAND_LINE} {command_line}", guest.platform().console);
    let parts = Parts { guest, initrds: &[initrd, &extra], command_line: &command_line };
    build(&parts, authority, directory)
}

/// Makes both in `directory`; `authority` signs the UKI, the key in db the boot loader.
///
/// # Errors
/// What the tools said.
pub fn build(parts: &Parts<'_>, authority: &Authority, directory: &Path) -> Result<Signed, String> {
    let tree = parts.guest.boot_tree().path();
    let efi = tree.join("usr/lib/systemd/boot/efi");
    let suffix = parts.guest.platform().efi;
    let signed = Signed {
        boot_loader: directory.join("boot.efi"),
        default_loader: format!("BOOT{}.EFI", suffix.to_uppercase()),
        uki: directory.join("uki.efi"),
    };
    let (stub, unsigned) = (directory.join("stub"), directory.join("unsigned.efi"));
    let (kernel, release) = (directory.join("kernel"), directory.join("os-release"));
    // The toolbox sees this directory, but not the other guest's tree.
    let copies = [
        (efi.join(format!("linux{suffix}.efi.stub")), &stub),
        (efi.join(format!("systemd-boot{suffix}.efi")), &unsigned),
        (parts.guest.kernel()?, &kernel),
        (tree.join("usr/lib/os-release"), &release),
    ];
    for (from, to) in copies {
        fs::copy(&from, to).map_err(|error| format!("copying {}: {error}", from.display()))?;
    }

    let files = Files::write(crate::keys::db(), directory);
    let mut sign = Tree::Trixie.command("sbsign");
    sign.arg("--key").arg(&files.key).arg("--cert").arg(&files.certificate);
    succeed(sign.arg("--output").arg(&signed.boot_loader).arg(&unsigned))?;

    let files = Files::write(authority, directory);
    let mut ukify: Command = Tree::Trixie.command("ukify");
    ukify.arg("build").arg(argument("stub", &stub)).arg(argument("linux", &kernel));
    ukify.args(parts.initrds.iter().map(|path| argument("initrd", path)));
    ukify.arg(format!("--cmdline={}", parts.command_line));
    ukify.arg(format!("--os-release=@{}", release.display()));
    ukify.args(["--uname=any", "--signtool=sbsign"]).arg(format!("--efi-arch={suffix}"));
    ukify.arg(argument("secureboot-private-key", &files.key));
    ukify.arg(argument("secureboot-certificate", &files.certificate));
    succeed(ukify.arg(argument("output", &signed.uki)))?;
    Ok(signed)
}

fn argument(name: &str, path: &Path) -> String {
    format!("--{name}={}", path.display())
}
