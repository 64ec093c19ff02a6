//! Taking rejected images out of the way.
//!
//! From 258 on `systemd-sysext-initrd.service` merges whatever lies in `/.extra/sysext`, and one image that
//! it refuses keeps all others out. What was rejected is moved aside by a rename: that costs nothing, and
//! nobody's file is lost.

use crate::kernel::mounts;
use crate::root::Root;
use anyhow::{Context, Result, bail};
use ddi::Class;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::iter;
use std::path::{Path, PathBuf};

/// Where rejected files go, each below the name of the directory that it was found in.
const DIRECTORY: &str = "/.extra/rejected";

/// Names that are tried for a file whose own is taken by one that was rejected before.
const ATTEMPTS: u32 = 1000;

/// Where what others had put among the staged extensions goes, below the name of its class.
const SET_ASIDE: &str = "/run/sextant/set-aside";

/// What is put behind the name of an image on the host that systemd must not find.
const REJECTED: &str = ".rejected";

/// Moves `file` out of `directory` (one of [`ddi::Class::source_directories`]).
///
/// # Errors
/// Where it can't be moved; it is still in its place then.
pub fn quarantine(root: &Root, directory: &str, file: &OsStr) -> Result<()> {
    let kind = directory.rsplit('/').next().unwrap_or_default();
    let context = || format!("moving it out of {directory}");
    let target = root.make_directory(&format!("{DIRECTORY}/{kind}")).with_context(context)?;
    let from = root.directory(directory).with_context(context)?.with_context(context)?.join(file);
    let to = |attempt: Option<u32>| {
        let mut name = file.to_owned();
        if let Some(attempt) = attempt {
            name.push(format!(".{attempt}"));
        }
        Ok((target.join(name), ()))
    };
    rename_to_the_first_free(&from, to).with_context(context)
}

/// Moves what others have put into the staging directory of `class` out of it, a link as well as a file or a directory.
/// What is mounted there is unmounted; nothing is deleted. Returns the directory in which it is now, under the same name; that it
/// is gone already is no error.
///
/// # Errors
/// Where it can't be moved; it is still in its place then.
pub fn take_out(root: &Root, class: Class, file: &OsStr) -> Result<String> {
    let directory = class.staging_directory();
    let context = || format!("moving it out of {directory}");
    let set_aside = format!("{SET_ASIDE}/{class}");
    let target = root.make_directory(&set_aside).with_context(context)?;
    let Some(from) = root.directory(directory).with_context(context)? else { return Ok(set_aside) };
    let from = from.join(file);
    let metadata = match from.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(set_aside),
        result => result.with_context(context)?,
    };
    // A link says as little the second time, and whoever makes it again and again must not fill the memory.
    if metadata.is_symlink() && fs::rename(&from, target.join(file)).is_ok() {
        return Ok(set_aside);
    }
    mounts::unmount(&from).with_context(context)?;
    let to = |attempt: Option<u32>| {
        let place = attempt.map_or_else(|| set_aside.clone(), |attempt| format!("{set_aside}/{attempt}"));
        Ok((root.make_directory(&place)?.join(file), place))
    };
    rename_to_the_first_free(&from, to).with_context(context)
}

/// Renames an image in a directory of the host, so that systemd doesn't take it for one. Returns its new name.
///
/// # Errors
/// Where it can't be renamed.
pub fn reject_on_host(root: &Root, directory: &str, file: &OsStr) -> Result<OsString> {
    let context = || format!("renaming it in {directory}");
    let place = root.directory(directory).with_context(context)?.with_context(context)?;
    let to = |attempt: Option<u32>| {
        let mut name = file.to_owned();
        if let Some(attempt) = attempt {
            name.push(format!(".{attempt}"));
        }
        name.push(REJECTED);
        Ok((place.join(&name), name))
    };
    rename_to_the_first_free(&place.join(file), to).with_context(context)
}

/// Renames `from` to the first of the paths that `to` gives that isn't taken, and returns what `to` gave with it. The first
/// has no number.
fn rename_to_the_first_free<T>(from: &Path, to: impl Fn(Option<u32>) -> io::Result<(PathBuf, T)>) -> Result<T> {
    for attempt in iter::once(None).chain((1..ATTEMPTS).map(Some)) {
        let (path, with_it) = to(attempt)?;
        match renameat2(AT_FDCWD, from, AT_FDCWD, &path, RenameFlags::RENAME_NOREPLACE) {
            Err(Errno::EEXIST) => {}
            result => return Ok(result.map(|()| with_it)?),
        }
    }
    bail!("{ATTEMPTS} files of this name have been moved already")
}
