//! Taking rejected images out of the way.
//!
//! From 258 on `systemd-sysext-initrd.service` merges whatever lies in `/.extra/sysext`, and one image that
//! it refuses keeps all others out. What was rejected is moved aside by a rename: that costs nothing, and
//! nobody's file is lost.

use crate::durable;
use crate::root::Root;
use anyhow::{Context, Result};
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

/// Where rejected files go, each below the name of the directory that it was found in.
const DIRECTORY: &str = "/.extra/rejected";

/// Moves `file` out of `directory` (one of [`crate::image::Class::source_directories`]).
///
/// # Errors
/// Where it can't be moved; it is still in its place then.
pub fn quarantine(root: &Root, directory: &str, file: &OsStr) -> Result<()> {
    let kind = Path::new(directory).file_name().unwrap_or_default();
    let target = root.join(DIRECTORY).join(kind);
    let from = root.join(directory).join(file);
    durable::create_directory(&target).with_context(|| format!("making {}", target.display()))?;
    fs::rename(&from, target.join(file)).with_context(|| format!("moving it out of {directory}"))
}
