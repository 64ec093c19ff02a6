//! Taking rejected images out of the way.
//!
//! From 258 on `systemd-sysext-initrd.service` merges whatever lies in `/.extra/sysext`, and one image that
//! it refuses keeps all others out. What was rejected is moved aside by a rename: that costs nothing, and
//! nobody's file is lost.

use crate::root::Root;
use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use std::ffi::OsStr;

/// Where rejected files go, each below the name of the directory that it was found in.
const DIRECTORY: &str = "/.extra/rejected";

/// Names that are tried for a file whose own is taken by one that was rejected before.
const ATTEMPTS: u32 = 1000;

/// Moves `file` out of `directory` (one of [`crate::image::Class::source_directories`]).
///
/// # Errors
/// Where it can't be moved; it is still in its place then.
pub fn quarantine(root: &Root, directory: &str, file: &OsStr) -> Result<()> {
    let kind = directory.rsplit('/').next().unwrap_or_default();
    let context = || format!("moving it out of {directory}");
    let target = root.make_directory(&format!("{DIRECTORY}/{kind}")).with_context(context)?;
    let from = root.directory(directory).with_context(context)?.with_context(context)?.join(file);
    for attempt in 0..ATTEMPTS {
        let mut name = file.to_owned();
        if attempt > 0 {
            name.push(format!(".{attempt}"));
        }
        let target = target.join(name);
        match renameat2(AT_FDCWD, &from, AT_FDCWD, &target, RenameFlags::RENAME_NOREPLACE) {
            Err(Errno::EEXIST) => {}
            result => return result.with_context(context),
        }
    }
    bail!("moving it out of {directory}: {ATTEMPTS} files of this name have been rejected")
}
