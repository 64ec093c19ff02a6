//! A guest: which Debian the host is and the initrd was made of.

use crate::platform::{ARM64, PC, Platform};
use crate::toolbox::Tree;
use std::path::PathBuf;

/// Which systemd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guest {
    /// bookworm, with kernel and boot loader of the next one
    Systemd252,
    /// bookworm, with systemd from its backports
    Systemd254,
    /// trixie
    Systemd257,
    /// forky
    Systemd262,
    /// trixie, for 64-bit ARM
    Arm64,
}

impl Guest {
    /// The tree it is made of.
    pub fn tree(self) -> Tree {
        match self {
            Self::Systemd252 => Tree::Bookworm,
            Self::Systemd254 => Tree::Backports,
            Self::Systemd257 => Tree::Trixie,
            Self::Systemd262 => Tree::Forky,
            Self::Arm64 => Tree::Arm64,
        }
    }

    /// The tree that its kernel, systemd-stub and systemd-boot are from.
    pub fn boot_tree(self) -> Tree {
        match self {
            Self::Systemd252 => Tree::Backports,
            _ => self.tree(),
        }
    }

    /// What it runs on.
    pub fn platform(self) -> &'static Platform {
        match self {
            Self::Arm64 => &ARM64,
            _ => &PC,
        }
    }

    /// What names of files and scenarios call it: the version of systemd, or the architecture.
    pub fn name(self) -> &'static str {
        match self {
            Self::Systemd252 => "252",
            Self::Systemd254 => "254",
            Self::Systemd257 => "257",
            Self::Systemd262 => "262",
            Self::Arm64 => ARM64.name,
        }
    }

    /// Why it can't be made here.
    pub fn obstacle(self) -> Option<String> {
        self.tree().obstacle().or_else(|| self.boot_tree().obstacle())
    }

    /// The kernel: in its own package up to forky; beside its modules since.
    ///
    /// # Errors
    /// If the tree has none.
    pub fn kernel(self) -> Result<PathBuf, String> {
        let tree = self.boot_tree();
        let modules = tree.find("usr/lib/modules", "").ok_or("the tree has no kernel modules")?;
        let beside = Some(modules.join("vmlinuz")).filter(|path| path.is_file());
        Ok(beside.or_else(|| tree.find("boot", "vmlinuz-")).ok_or("the tree has no kernel")?)
    }
}
