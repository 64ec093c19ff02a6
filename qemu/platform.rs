//! The platforms of machines: what differs between processors besides the guest's Debian.

use crate::toolbox::Tree;
use std::path::PathBuf;

/// A processor with the board and the firmware for it.
#[derive(Debug, PartialEq, Eq)]
pub struct Platform {
    /// systemd's name of the architecture, and the one that paths of caches have.
    pub name: &'static str,
    /// What Rust calls the target where that isn't the machine that builds.
    pub cross_target: Option<&'static str>,
    /// The tree with the emulator and the firmware.
    pub tree: Tree,
    /// The emulator.
    pub qemu: &'static str,
    /// Arguments for its board.
    pub board: &'static [&'static str],
    /// What it emulates where it can't use the processor of the machine that builds.
    pub cpu: &'static str,
    /// The firmware, in the tree.
    pub code: &'static str,
    /// Its variables before anything was written to them.
    pub variables: &'static str,
    /// What UEFI calls the architecture in the names of programs.
    pub efi: &'static str,
    /// The serial console, as the kernel calls it.
    pub console: &'static str,
}

/// A PC.
pub static PC: Platform = Platform {
    name: "x86-64",
    cross_target: None,
    tree: Tree::Trixie,
    qemu: "qemu-system-x86_64",
    // The firmware guards its variables by system management mode, which the machine has to have.
    board: &[
        "-machine",
        "q35,smm=on",
        "-global",
        "driver=cfi.pflash01,property=secure,value=on",
        "-global",
        "ICH9-LPC.disable_s3=1",
    ],
    // The less a guest can do, the less it sets up at boot: this one has no five levels of page tables and no protection
    // keys. Its SHA instructions, which the agent uses, become the host's.
    cpu: "Nehalem,+sha-ni",
    code: "usr/share/OVMF/OVMF_CODE_4M.secboot.fd",
    variables: "usr/share/OVMF/OVMF_VARS_4M.fd",
    efi: "x64",
    console: "ttyS0",
};

/// A server with 64-bit ARM. Its firmware checks signatures as the other one does, but nothing keeps the kernel from writing
/// to the flash with the variables.
pub static ARM64: Platform = Platform {
    name: "arm64",
    cross_target: Some("aarch64-unknown-linux-gnu"),
    tree: Tree::Arm64,
    qemu: "qemu-system-aarch64",
    board: &["-machine", "virt"],
    // With the SHA-256 instructions, which the agent uses, and without pointer authentication, which is slow to emulate.
    cpu: "neoverse-n1",
    code: "usr/share/AAVMF/AAVMF_CODE.secboot.fd",
    variables: "usr/share/AAVMF/AAVMF_VARS.fd",
    efi: "aa64",
    console: "ttyAMA0",
};

impl Platform {
    /// Whether the machine that builds is of this architecture.
    pub fn is_native(&self) -> bool {
        self.cross_target.is_none()
    }

    /// Where `make build` leaves the programs, in the repository.
    pub fn dist(&self) -> PathBuf {
        let dist = PathBuf::from("target/dist");
        self.cross_target.map_or_else(|| dist.clone(), |target| dist.join(target))
    }
}
