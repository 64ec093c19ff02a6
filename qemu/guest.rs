//! A guest: which Debian the host is and the initrd was made of, and what is made once for all its scenarios.

use crate::initrd;
use crate::toolbox::{Tree, cached, contents, repository, succeed, work};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// Which systemd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guest {
    /// trixie
    Systemd257,
    /// forky
    Systemd262,
}

/// What all scenarios of a guest share.
pub struct Base {
    /// Root file system of the host; boots write to a copy.
    pub root: PathBuf,
    /// The initrd, with sextant in it.
    pub initrd: PathBuf,
}

impl Guest {
    /// The tree it is made of.
    pub fn tree(self) -> Tree {
        match self {
            Self::Systemd257 => Tree::Trixie,
            Self::Systemd262 => Tree::Forky,
        }
    }

    /// Version of systemd.
    pub fn version(self) -> &'static str {
        match self {
            Self::Systemd257 => "257",
            Self::Systemd262 => "262",
        }
    }

    /// What its scenarios share, made when it is first asked for.
    ///
    /// # Errors
    /// What the tools said; the same each time.
    pub fn base(self) -> Result<&'static Base, String> {
        static BASES: [OnceLock<Result<Base, String>>; 2] = [OnceLock::new(), OnceLock::new()];
        let base = match self {
            Self::Systemd257 => &BASES[0],
            Self::Systemd262 => &BASES[1],
        };
        base.get_or_init(|| self.make()).as_ref().map_err(Clone::clone)
    }

    fn make(self) -> Result<Base, String> {
        Ok(Base { root: self.root()?, initrd: initrd::base(self)? })
    }

    /// The kernel: in its own package up to forky; beside its modules since.
    ///
    /// # Errors
    /// If the tree has none.
    pub fn kernel(self) -> Result<PathBuf, String> {
        let tree = self.tree();
        let modules = tree.find("usr/lib/modules", "").ok_or("the tree has no kernel modules")?;
        let beside = Some(modules.join("vmlinuz")).filter(|path| path.is_file());
        Ok(beside.or_else(|| tree.find("boot", "vmlinuz-")).ok_or("the tree has no kernel")?)
    }

    fn root(self) -> Result<PathBuf, String> {
        let output = work().join(format!("root-{}.img", self.version()));
        let script = repository().join("qemu/guest/make-root");
        let witness = repository().join("qemu/guest/host");
        let quick = script.with_file_name("quick");
        let mut inputs = vec![self.tree().stamp(), fs::read(&script).unwrap(), fs::read(quick).unwrap()];
        inputs.extend(contents(&witness));
        cached(&output, &inputs, || {
            succeed(Command::new(&script).arg(self.tree().path()).arg(&witness).arg(&output)).map(drop)
        })
    }
}
