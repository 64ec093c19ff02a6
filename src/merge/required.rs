//! Keeping a boot from being marked as good while a required extension is missing.
//!
//! `sextant-required.target` is required by `boot-complete.target`, on every host that the agent gave its units. It does nothing
//! without [`REQUIRED`], and fails while [`FULFILLED`] isn't there. So an agent that is killed, before or after the switch of root, doesn't
//! make a boot good.

use crate::durable;
use crate::root::Root;
use anyhow::{Context, Result};
use std::io;

/// Exists if the configuration requires extensions. `sextant-required.target` names it too.
pub const REQUIRED: &str = "/run/sextant/required";
/// Exists if all of them are merged. `sextant-required.target` names it too.
pub const FULFILLED: &str = "/run/sextant/fulfilled";

/// Notes whether extensions are required in this boot. None of them has been seen to be merged yet.
///
/// # Errors
/// Where a file can't be written or removed.
pub fn require(root: &Root, any: bool) -> Result<()> {
    set(root, FULFILLED, false)?;
    set(root, REQUIRED, any)
}

/// Notes whether all required extensions are merged.
///
/// # Errors
/// Where the file can't be written or removed.
pub fn fulfil(root: &Root, all: bool) -> Result<()> {
    set(root, FULFILLED, all)
}

/// Whether extensions are required in this boot. What can't be read is taken for a yes.
#[must_use]
pub fn is_required(root: &Root) -> bool {
    !matches!(root.metadata(REQUIRED), Err(error) if error.kind() == io::ErrorKind::NotFound)
}

fn set(root: &Root, path: &str, exists: bool) -> Result<()> {
    let (directory, name) = path.rsplit_once('/').unwrap_or_default();
    let context = || format!("writing {path}");
    let path = root.make_directory(directory).with_context(context)?.join(name);
    if exists { durable::write(&path, b"", 0o444) } else { durable::remove(&path) }.with_context(context)
}
