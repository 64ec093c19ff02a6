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
