//! Records of staged images, with which a later run can withdraw them, and `merge` can check them again.
//!
//! A run with fewer trust anchors than the one before must withdraw images that only the earlier run trusted. Files of
//! other programs in the same directories are not touched.

use crate::durable;
use crate::kernel::mounts;
use crate::root::Root;
use crate::stamp::Stamp;
use anyhow::{Context, Result};
use ddi::Class;
use ddi::ExtensionName;
use ddi::text::Text;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const DIRECTORY: &str = "/run/sextant/staged";
/// Maximum size of a record in bytes.
const MAX_RECORD: u64 = 256;

/// Records that an image is about to be staged. The record comes first: a record without file is harmless, a file
/// without record is not.
pub(super) fn begin(root: &Root, class: Class, name: &ExtensionName) -> io::Result<()> {
    File::create(record_path(root, class, name)?).map(drop)
}

/// Completes the record with the stamp of the staged file.
pub(super) fn complete(root: &Root, class: Class, name: &ExtensionName, stamp: Stamp) -> io::Result<()> {
    durable::write(&record_path(root, class, name)?, format!("{stamp}\n").as_bytes(), 0o644)
}

fn record_path(root: &Root, class: Class, name: &ExtensionName) -> io::Result<PathBuf> {
    Ok(root.make_directory(&format!("{DIRECTORY}/{class}"))?.join(format!("{name}.raw")))
}

/// Withdraws everything that earlier runs staged.
///
/// # Errors
/// The first file that cannot be removed.
pub fn withdraw(root: &Root) -> Result<()> {
    for class in Class::ALL {
        for name in records(root, class)? {
            withdraw_file(root, class, &name)?;
        }
    }
    Ok(())
}

/// A staged image that was withdrawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawn {
    /// Its file name.
    pub file: OsString,
    /// Its class.
    pub class: Class,
    /// Cause of the withdrawal.
    pub cause: &'static str,
}

/// Checks everything that was staged again. Withdraws each image that is not the file that was verified, that was being
/// staged when the agent was stopped, or for which `names` returns `false`.
///
/// # Errors
/// If a record cannot be read or a file cannot be removed.
pub fn recheck(root: &Root, names: &dyn Fn(Class, &str) -> bool) -> Result<Vec<Withdrawn>> {
    let faults = faults(root, names)?;
    for image in &faults {
        withdraw_file(root, image.class, &image.file)?;
    }
    Ok(faults)
}

/// Returns the images that [`recheck`] would withdraw.
///
/// # Errors
/// If a record cannot be read.
pub fn faults(root: &Root, names: &dyn Fn(Class, &str) -> bool) -> Result<Vec<Withdrawn>> {
    let mut faults = Vec::new();
    for class in Class::ALL {
        for file in records(root, class)? {
            let is_reported =
                file.to_str().and_then(|file| file.strip_suffix(".raw")).is_some_and(|it| names(class, it));
            let unreported = (!is_reported).then_some("it is not recorded as staged");
            if let Some(cause) = fault(root, class, &file)?.or(unreported) {
                faults.push(Withdrawn { file, class, cause });
            }
        }
    }
    Ok(faults)
}

/// Withdraws images for a cause outside of them.
///
/// # Errors
/// The first file that cannot be removed.
pub fn withdraw_images(root: &Root, images: &[(Class, &str)], cause: &'static str) -> Result<Vec<Withdrawn>> {
    let withdraw_one = |(class, name): &(Class, &str)| {
        let file = OsString::from(format!("{name}.raw"));
        withdraw_file(root, *class, &file)?;
        Ok(Withdrawn { file, class: *class, cause })
    };
    images.iter().map(withdraw_one).collect()
}

fn fault(root: &Root, class: Class, file: &OsStr) -> Result<Option<&'static str>> {
    let directory = format!("{DIRECTORY}/{class}");
    let context = || format!("reading {directory}");
    let Some(records) = root.directory(&directory).with_context(context)? else { return Ok(None) };
    let text = match durable::read(&records.join(file), MAX_RECORD) {
        Ok(text) => text,
        // This affects only the one image.
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            return Ok(Some("its record in /run/sextant/staged is damaged"));
        }
        Err(error) => return Err(error).with_context(context),
    };
    let Ok(stamp) = String::from_utf8_lossy(&text).parse::<Stamp>() else {
        return Ok(Some("staging it was interrupted"));
    };
    let staged = root.directory(class.staging_directory()).with_context(context)?;
    let found = staged.and_then(|staged| staged.join(file).symlink_metadata().ok());
    Ok(match found {
        None => Some("it is gone"),
        Some(metadata) if is_what_was_verified(&metadata, &stamp) => None,
        Some(_) => Some("it was changed after it had been verified"),
    })
}

/// Returns whether a staged file still has the stamp with which it was verified. The switch of the root file system
/// deletes the files of the initrd (systemd 257, `src/shared/switch-root.c`), which sets the time of change. The mount
/// keeps such a file.
fn is_what_was_verified(found: &Metadata, stamp: &Stamp) -> bool {
    let now = Stamp::from(found);
    now == *stamp || (found.nlink() == 0 && now.is_renamed(stamp))
}

fn records(root: &Root, class: Class) -> Result<Vec<OsString>> {
    let directory = format!("{DIRECTORY}/{class}");
    Ok(root.list(&directory).with_context(|| format!("listing {directory}"))?.unwrap_or_default())
}

/// Returns the names of files that other programs have put into the staging directory of `class`: at most `limit`,
/// sorted. Names of unfinished files are skipped, as in systemd (systemd 257, `src/basic/os-util.c`,
/// `image_name_is_valid`). Other names with a leading dot are included.
///
/// # Errors
/// If a directory exists and cannot be listed.
pub fn foreign(root: &Root, class: Class, limit: usize) -> Result<Vec<OsString>> {
    let directory = class.staging_directory();
    let known = records(root, class)?;
    let found =
        root.list_some(directory, limit.saturating_add(known.len())).with_context(|| format!("listing {directory}"))?;
    let is_foreign = |name: &OsString| !name.as_encoded_bytes().starts_with(b".#") && !known.contains(name);
    Ok(found.unwrap_or_default().into_iter().filter(is_foreign).take(limit).collect())
}

/// Returns the target, relative to the root, of a link in the staging directory of `class`. Returns `None` if the file
/// is not a link.
#[must_use]
pub fn link_target(root: &Root, class: Class, file: &OsStr) -> Option<Text> {
    let directory = class.staging_directory();
    let target = std::fs::read_link(root.directory(directory).ok()??.join(file)).ok()?;
    let path = Path::new(directory).join(target);
    path.to_str().map(Text::new)
}

fn withdraw_file(root: &Root, class: Class, file: &OsStr) -> Result<()> {
    let context = || format!("taking back {}/{}", class.staging_directory(), file.display());
    if let Some(staged) = root.directory(class.staging_directory()).with_context(context)? {
        mounts::detach(&staged.join(file)).with_context(context)?;
    }
    let records = root.directory(&format!("{DIRECTORY}/{class}")).with_context(context)?;
    match records {
        Some(records) => durable::remove(&records.join(file)).with_context(context),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    #[test]
    fn a_deleted_file_that_is_still_open_is_what_was_verified() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        fs::write(&path, "1234").unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let stamp = Stamp::of(&file).unwrap();
        let is_it = || is_what_was_verified(&file.metadata().unwrap(), &stamp);
        assert!(is_it());
        let tick = || std::thread::sleep(std::time::Duration::from_millis(20));
        tick();
        fs::rename(&path, dir.path().join("renamed")).unwrap();
        assert!(!is_it(), "another path leads to the file now");
        fs::remove_file(dir.path().join("renamed")).unwrap();
        assert_ne!(Stamp::of(&file).unwrap(), stamp);
        assert!(is_it());
        tick();
        std::os::unix::fs::FileExt::write_at(&file, b"5", 0).unwrap();
        assert!(!is_it(), "a write is a write");
    }

    #[test]
    fn a_damaged_note_costs_one_image_and_one_that_cannot_be_read_all() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let notes = dir.path().join("run/sextant/staged/sysext");
        fs::create_dir_all(&notes).unwrap();
        let found = || {
            let faults = faults(&root, &|_, _| true)?;
            let told = faults.iter().map(|it| format!("{}: {}", it.file.display(), it.cause));
            anyhow::Ok(told.collect::<Vec<_>>())
        };
        fs::write(notes.join("large.raw"), "0".repeat(257)).unwrap();
        fs::write(notes.join("new.raw"), "").unwrap();
        let expected =
            ["large.raw: its record in /run/sextant/staged is damaged", "new.raw: staging it was interrupted"];
        assert_eq!(found().unwrap(), expected);
        fs::create_dir(notes.join("directory.raw")).unwrap();
        assert!(found().is_err());
    }

    #[test]
    fn what_others_put_beside_the_staged_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let [notes, staged] = ["run/sextant/staged/sysext", "run/extensions"].map(|path| dir.path().join(path));
        for place in [&notes, &staged] {
            fs::create_dir_all(place).unwrap();
            fs::write(place.join("ours.raw"), "").unwrap();
        }
        for name in ["theirs.raw", ".hidden.raw", ".#unfinished.raw"] {
            fs::write(staged.join(name), "").unwrap();
        }
        std::os::unix::fs::symlink("../elsewhere/image.raw", staged.join("link.raw")).unwrap();
        let names = |limit| foreign(&root, Class::Sysext, limit).unwrap();
        assert_eq!(names(9), [".hidden.raw", "link.raw", "theirs.raw"]);
        assert!(names(1).len() <= 1 && foreign(&root, Class::Confext, 9).unwrap().is_empty());
        let target = |name: &str| link_target(&root, Class::Sysext, OsStr::new(name)).map(|it| it.to_string());
        assert_eq!(target("link.raw").as_deref(), Some("/run/extensions/../elsewhere/image.raw"));
        assert_eq!([target("theirs.raw"), target("absent.raw")], [None, None]);
    }
}
