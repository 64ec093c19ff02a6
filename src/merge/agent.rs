//! Taking the agent along to the host, where it confirms the merge. The host's own file system need not have it.

use crate::durable;
use crate::kernel::mounts::{DetachedMount, Use};
use crate::root::Root;
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::path::Path;

/// Where the host finds the agent of this boot.
pub const AGENT: &str = "/run/sextant/sextant-agent";
/// This program, wherever it lies.
const SELF: &str = "/proc/self/exe";

/// How the host gets this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// As a second name for the file in the initrd, which stays when the initrd is deleted; where that can't be had, as a
    /// copy.
    Mount,
    /// As a copy.
    Copy,
}

/// Puts this program where `sextant-confirm.service` starts it from.
pub(super) fn provide(root: &Root, delivery: Delivery) -> Result<()> {
    let context = || format!("providing {AGENT}");
    let (directory, name) = AGENT.rsplit_once('/').unwrap_or_default();
    let target = root.make_directory(directory).with_context(context)?.join(name);
    if delivery == Delivery::Mount {
        if is_this(&target) {
            return Ok(());
        }
        crate::kernel::mounts::detach(&target).with_context(context)?;
        if mount(&target).is_ok() {
            return Ok(());
        }
    }
    durable::write(&target, &fs::read(SELF).with_context(context)?, 0o555).with_context(context)
}

fn mount(target: &Path) -> std::io::Result<()> {
    DetachedMount::of(File::open(SELF)?, Use::Program)?.attach(target)
}

fn is_this(target: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |path: &Path| fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino())).ok();
    identity(target).is_some_and(|found| Some(found) == identity(Path::new(SELF)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn a_copy_is_this_program_and_a_file_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let target = dir.path().join("run/sextant/sextant-agent");
        for _ in 0..2 {
            provide(&root, Delivery::Copy).unwrap();
            assert!(fs::read(&target).unwrap() == fs::read(SELF).unwrap());
            assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o7777, 0o555);
            assert!(!is_this(&target));
        }
    }

    #[test]
    fn a_program_is_told_by_device_and_inode() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(fs::read_link(SELF).unwrap(), &link).unwrap();
        assert!(is_this(&link) && is_this(Path::new(SELF)));
        assert_ne!(fs::metadata(dir.path()).unwrap().ino(), fs::metadata(SELF).unwrap().ino());
        assert!(!is_this(dir.path()) && !is_this(&dir.path().join("absent")));
    }
}
