//! Where the agent works: on the machine in whose initrd it runs, or on a directory tree.
//!
//! This is decided once, before anything is done. What differs between the two is handed out from here.

use crate::firmware::{DirectoryVariables, EFIVARFS, NoVariables, SystemVariables, Variables};
use crate::kernel;
use crate::merge::{Delivery, MOUNTS, Service, Units};
use crate::policy::Limits;
use crate::root::{INITRD_RELEASE, Root};
use crate::stage::{CopyCustody, MountCustody, StagingCustody};
use crate::verify::Activate;
use anyhow::{Context, Result, bail};
use ddi::Class;
use std::fs;
use std::path::Path;

/// The program that PID 1 was started from.
const INIT: &str = "/proc/1/exe";
/// Most bytes of a command line.
const MAX_COMMAND_LINE: u64 = 64 << 10;
/// The word that has immucore boot from the UKI (immucore 0.20.4, `pkg/state/steps_shared.go`, which looks for it anywhere
/// in the command line).
const IMMUCORE_WORD: &str = "rd.immucore.uki";
/// What immucore's program is called: by itself, and as a part of Kairos' single program.
const IMMUCORE_PROGRAMS: [&str; 2] = ["immucore", "kairos"];

/// Where the agent works.
#[derive(Debug)]
pub enum Environment {
    /// The running system itself.
    Machine(Root),
    /// A directory tree: every path is taken below it, and no kernel facility is needed.
    Tree(Root),
}

impl Environment {
    /// Opens the tree at `root`, or else the machine. A `root` that is the machine's own root directory under another name
    /// (`/.`, a link, a bind mount) is the machine.
    ///
    /// # Errors
    /// If `root` can't be opened or contains the machine's own `/run`.
    pub fn open(root: Option<&Path>) -> Result<Self> {
        let path = root.unwrap_or(Path::new("/"));
        let root = Root::open(path).with_context(|| format!("opening {}", path.display()))?;
        if root.is_machine() {
            return Ok(Self::Machine(root));
        }
        if root.shares("/run").with_context(|| format!("examining /run below {}", path.display()))? {
            bail!("{}/run is this machine's own /run: --root takes a tree with a /run of its own", path.display());
        }
        Ok(Self::Tree(root))
    }

    /// The same for what may only be done in an initrd: a machine that isn't in one is refused.
    ///
    /// # Errors
    /// As [`Environment::open`]; and on a machine that has left its initrd, or never had one.
    pub fn open_initrd(root: Option<&Path>) -> Result<Self> {
        let environment = Self::open(root)?;
        if matches!(&environment, Self::Machine(root) if !root.is_initrd() && !is_immucores()) {
            bail!(
                "this is not an initrd ({INITRD_RELEASE} does not exist, and PID 1 is not immucore): nothing was changed; \
                 use --root DIR to work on a directory tree"
            );
        }
        Ok(environment)
    }

    /// The directory below which every path is taken.
    #[must_use]
    pub const fn root(&self) -> &Root {
        match self {
            Self::Machine(root) | Self::Tree(root) => root,
        }
    }

    /// Whether this is the machine.
    #[must_use]
    pub const fn is_machine(&self) -> bool {
        matches!(self, Self::Machine(_))
    }

    /// Removes devices that an agent left in the kernel when it was killed.
    pub(super) fn sweep(&self) -> Result<()> {
        match self {
            Self::Machine(_) => kernel::sweep(&kernel::Leftovers::default()).map(drop),
            Self::Tree(_) => Ok(()),
        }
    }

    /// The firmware's variables.
    pub(super) fn variables(&self) -> Result<Box<dyn Variables>> {
        match self {
            Self::Machine(_) => Ok(Box::new(SystemVariables)),
            Self::Tree(root) => {
                let directory = root.directory(EFIVARFS).with_context(|| format!("opening {EFIVARFS}"))?;
                Ok(match directory {
                    Some(directory) => Box::new(DirectoryVariables::new(directory)),
                    None => Box::new(NoVariables),
                })
            }
        }
    }

    /// How images are held while they are verified: by a mount of the file on a machine, as a copy in a tree.
    pub(super) fn custody(&self, limits: Limits) -> Result<Box<dyn StagingCustody>> {
        let copies = CopyCustody::new(self.root(), limits)?;
        Ok(match self {
            Self::Machine(_) => Box::new(MountCustody::new(copies)),
            Self::Tree(_) => Box::new(copies),
        })
    }

    /// Who reads the file system of an image: on a machine the kernel too.
    pub(super) fn activation(&self) -> Option<Box<dyn Activate>> {
        match self {
            Self::Machine(_) => Some(Box::new(kernel::Activation::new())),
            Self::Tree(_) => None,
        }
    }

    /// How the host gets the agent.
    pub(super) const fn delivery(&self) -> Delivery {
        match self {
            Self::Machine(_) => Delivery::Mount,
            Self::Tree(_) => Delivery::Copy,
        }
    }

    /// Where the host's systemd finds what it is told: in the image where immucore is PID 1 and systemd isn't running yet.
    pub(super) fn units(&self) -> Units {
        let is_immucores = match self {
            Self::Machine(_) => is_immucores(),
            Self::Tree(root) => is_immucores_tree(root),
        };
        if is_immucores { Units::Image } else { Units::Runtime }
    }

    /// What the kernel says about block devices in use; nothing for a tree.
    pub(super) fn devices(&self) -> Box<dyn kernel::Devices> {
        match self {
            Self::Machine(_) => Box::new(kernel::KernelDevices::open()),
            Self::Tree(_) => Box::new(kernel::NoDevices),
        }
    }

    /// The kernel's command line; empty where it can't be read.
    pub(super) fn command_line(&self) -> String {
        let text = self.root().read(kernel::COMMAND_LINE, MAX_COMMAND_LINE).ok().flatten();
        String::from_utf8_lossy(&text.unwrap_or_default()).into_owned()
    }

    /// What became of the unit that merges `class`; `None` for a tree, and where systemd gives no answer.
    pub(super) fn service(&self, class: Class) -> Option<Service> {
        match self {
            Self::Machine(_) => Service::ask(class),
            Self::Tree(_) => None,
        }
    }

    /// The mount table, as in `/proc/self/mountinfo`; empty for a tree.
    pub(super) fn mounts(&self) -> Result<String> {
        match self {
            Self::Machine(_) => fs::read_to_string(MOUNTS).with_context(|| format!("reading {MOUNTS}")),
            Self::Tree(_) => Ok(String::new()),
        }
    }
}

/// Whether this process runs in an initrd of Kairos' kind. What can't be read isn't one.
fn is_immucores() -> bool {
    let init = fs::read_link(INIT).unwrap_or_default();
    is_immucore(&init, &fs::read_to_string(kernel::COMMAND_LINE).unwrap_or_default())
}

/// Whether PID 1 is immucore that boots from a UKI. Such a UKI holds the whole system and no `/etc/initrd-release`; its
/// `/init` is a link to immucore, which stays PID 1 through all stages of yip and becomes the host's init in the end,
/// without a switch of root (`AuroraBoot`, `pkg/uki/uki.go`; immucore 0.4.1 and 0.20.4, `UKIBootInitDagStep`). Its notes in
/// `/run/cos` are no sign, for they stay on the host.
fn is_immucore(init: &Path, command_line: &str) -> bool {
    is_immucores_program(init) && command_line.contains(IMMUCORE_WORD)
}

/// Whether a tree is the root of such a UKI: its `/init` is a link to immucore.
fn is_immucores_tree(root: &Root) -> bool {
    let init = root.directory("/").ok().flatten().and_then(|root| fs::read_link(root.join("init")).ok());
    init.is_some_and(|init| is_immucores_program(&init))
}

fn is_immucores_program(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // A program that was replaced since.
    let name = name.strip_suffix(" (deleted)").unwrap_or(&name);
    IMMUCORE_PROGRAMS.contains(&name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn immucore_is_known_by_its_program_and_its_word() {
        const UKI: &str = "console=ttyS0 net.ifnames=1 rd.immucore.oemlabel=COS_OEM rd.immucore.uki selinux=0\n";
        for init in ["/usr/bin/immucore", "/usr/bin/kairos", "/usr/bin/immucore (deleted)"] {
            assert!(is_immucore(Path::new(init), UKI), "{init}");
            assert!(!is_immucore(Path::new(init), "root=LABEL=COS_ACTIVE rd.immucore.debug"), "{init}");
        }
        // A host of Kairos, whatever its init; a container; nothing that can be read.
        for init in ["/usr/lib/systemd/systemd", "/sbin/openrc-init", "/usr/bin/kairos-agent", "/usr/bin/bash", ""] {
            assert!(!is_immucore(Path::new(init), UKI), "{init}");
        }
    }

    #[test]
    fn a_tree_that_starts_with_immucore_is_no_systemds() {
        let dir = tempfile::tempdir().unwrap();
        let units = || Environment::open(Some(dir.path())).unwrap().units();
        assert_eq!(units(), Units::Runtime);
        for (target, expected) in [
            ("/usr/bin/immucore", Units::Image),
            ("usr/bin/kairos", Units::Image),
            ("/usr/lib/systemd/systemd", Units::Runtime),
            ("..", Units::Runtime),
        ] {
            symlink(target, dir.path().join("init")).unwrap();
            assert_eq!(units(), expected, "{target}");
            fs::remove_file(dir.path().join("init")).unwrap();
        }
        fs::write(dir.path().join("init"), "immucore").unwrap();
        assert_eq!(units(), Units::Runtime);
    }

    #[test]
    fn the_machine_is_known_under_every_name_and_a_tree_is_none() {
        let dir = tempfile::tempdir().unwrap();
        symlink("/", dir.path().join("link")).unwrap();
        let link = dir.path().join("link");
        for name in [None, Some("/"), Some("/."), Some("//"), Some("/usr/.."), Some(link.to_str().unwrap())] {
            let environment = Environment::open(name.map(Path::new)).unwrap();
            assert!(environment.is_machine(), "{name:?}");
        }
        assert!(!Environment::open(Some(dir.path())).unwrap().is_machine());
        assert!(Environment::open(Some(Path::new("/nowhere"))).is_err());
    }

    #[test]
    fn a_host_is_refused() {
        // Where the tests run in an initrd there is nothing to be seen.
        if !Path::new(INITRD_RELEASE).exists() {
            let error = Environment::open_initrd(Some(Path::new("/."))).unwrap_err();
            assert!(error.to_string().starts_with("this is not an initrd"), "{error}");
        }
        let dir = tempfile::tempdir().unwrap();
        assert!(Environment::open_initrd(Some(dir.path())).is_ok());
    }
}
