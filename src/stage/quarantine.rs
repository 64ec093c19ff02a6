//! Quarantine of rejected images.
//!
//! From 258 on, `systemd-sysext-initrd.service` merges all images in `/.extra/sysext`, and one image that it refuses
//! prevents the merge of all others. A rejected image is renamed out of that directory, which takes no memory and keeps
//! the file.

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

/// Directory of rejected files, with a subdirectory for each source directory.
const DIRECTORY: &str = "/.extra/rejected";

/// Maximum number of names that are tried if a rejected file of the same name exists.
const ATTEMPTS: u32 = 1000;

/// Directory for files of other programs from the staging directories, with a subdirectory for each class.
const SET_ASIDE: &str = "/run/sextant/set-aside";

/// Suffix of the name of an image on the host that systemd must not find.
const REJECTED: &str = ".rejected";

/// Moves `file` out of `directory` (one of [`ddi::Class::source_directories`]).
///
/// # Errors
/// If the file cannot be moved. It is still in `directory` then.
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

/// Moves a file, link or directory of another program out of the staging directory of `class`. A mount on it is
/// unmounted; nothing is deleted. Returns the directory in which it is now, under the same name. It is not an error if
/// the file no longer exists.
///
/// # Errors
/// If the file cannot be moved. It is still in the staging directory then.
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
    // A link replaces an earlier one, so that a program that makes it again and again cannot fill the memory.
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

/// Renames an image in a directory of the host, so that systemd ignores it. Returns its new name.
///
/// # Errors
/// If the image cannot be renamed.
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

/// Renames `from` to the first free path that `to` returns, and returns the value that `to` returned with it. The first
/// path has no number.
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_is_taken_out_replaces_nothing_but_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let take_out = |name: &str| take_out(&root, Class::Sysext, OsStr::new(name));
        let set_aside = "/run/sextant/set-aside/sysext";
        assert_eq!(take_out("absent.raw").unwrap(), set_aside);
        let staged = dir.path().join("run/extensions");
        fs::create_dir_all(&staged).unwrap();
        assert_eq!(take_out("absent.raw").unwrap(), set_aside);
        assert!(take_out(&"n".repeat(300)).is_err(), "its kind cannot be asked");
        for (content, place) in [("first", set_aside.to_owned()), ("second", format!("{set_aside}/1"))] {
            fs::write(staged.join("image.raw"), content).unwrap();
            assert_eq!(take_out("image.raw").unwrap(), place);
            assert!(!staged.join("image.raw").exists());
            assert_eq!(fs::read_to_string(dir.path().join(&place[1..]).join("image.raw")).unwrap(), content);
        }
        for target in ["one", "two"] {
            symlink(target, staged.join("link.raw")).unwrap();
            assert_eq!(take_out("link.raw").unwrap(), set_aside);
            assert_eq!(fs::read_link(dir.path().join(&set_aside[1..]).join("link.raw")).unwrap(), Path::new(target));
        }
    }

    #[test]
    fn a_rejected_image_of_the_host_is_renamed_beside_earlier_ones() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let place = dir.path().join("var/lib/extensions");
        fs::create_dir_all(&place).unwrap();
        for expected in ["image.raw.rejected", "image.raw.1.rejected"] {
            fs::write(place.join("image.raw"), expected).unwrap();
            let name = reject_on_host(&root, "/var/lib/extensions", OsStr::new("image.raw")).unwrap();
            assert_eq!(name, expected);
            assert_eq!(fs::read_to_string(place.join(name)).unwrap(), expected);
            assert!(!place.join("image.raw").exists());
        }
    }
}
