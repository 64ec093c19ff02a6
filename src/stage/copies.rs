//! Unneeded copies of images in memory.
//!
//! immucore copies all of `/.extra` to `/run/systemd` before it runs a stage (immucore 0.20.4,
//! `cp -r /.extra/* /run/systemd/`), for the files of the TPM, which are read there. The copied images are never read,
//! and stay in memory as long as the machine runs. A third copy, in the root file system that the kernel unpacked, is
//! inaccessible, because immucore has moved another file system over it.

use crate::root::Root;
use ddi::Class;
use nix::sys::statfs::{FsType, TMPFS_MAGIC, fstatfs};
use std::fs;
use std::io;
use std::path::Path;

/// Directory of immucore's copies.
const COPIES: &str = "/run/systemd";
/// Directory of the rejected images. They came from a disk, where they still are.
const REJECTED: &str = "/.extra/rejected";
/// `RAMFS_MAGIC` (Linux 6.12, `include/uapi/linux/magic.h`).
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);

/// Deletes the copies in `/run/systemd` of the images that systemd-stub loaded, and the rejected images. Returns the
/// number of freed bytes. Files that are not in memory, are not copies, or cannot be deleted stay.
#[must_use]
pub fn free(root: &Root) -> u64 {
    let mut freed = 0_u64;
    for original in Class::ALL.iter().flat_map(|class| class.source_directories()) {
        let kind = original.rsplit('/').next().unwrap_or_default();
        let rejected = format!("{REJECTED}/{kind}");
        let places = [original, rejected.as_str()];
        let is_copy = |name: &str, len: u64| {
            places.iter().any(|place| root.metadata(&format!("{place}/{name}")).is_ok_and(|found| found.len() == len))
        };
        freed = freed.saturating_add(delete(root, &format!("{COPIES}/{kind}"), is_copy).unwrap_or_default());
        freed = freed.saturating_add(delete(root, &rejected, |_, _| true).unwrap_or_default());
    }
    freed
}

fn delete(root: &Root, directory: &str, is_needless: impl Fn(&str, u64) -> bool) -> io::Result<u64> {
    let mut freed = 0_u64;
    let Some(place) = root.directory(directory)?.filter(|place| is_in_memory(place)) else { return Ok(freed) };
    for file in root.list(directory)?.unwrap_or_default() {
        let Some(name) = file.to_str().filter(|name| Path::new(name).extension().is_some_and(|it| it == "raw")) else {
            continue;
        };
        let path = place.join(name);
        let Ok(metadata) = path.symlink_metadata() else { continue };
        if metadata.is_file() && is_needless(name, metadata.len()) && fs::remove_file(&path).is_ok() {
            freed = freed.saturating_add(metadata.len());
        }
    }
    Ok(freed)
}

fn is_in_memory(directory: &Path) -> bool {
    let kind = fs::File::open(directory).ok().and_then(|directory| fstatfs(&directory).ok());
    kind.is_some_and(|found| [TMPFS_MAGIC, RAMFS_MAGIC].contains(&found.filesystem_type()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tree(below: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir_in(below).unwrap();
        for (file, content) in [
            (".extra/sysext/a.sysext.raw", "aaaa"),
            (".extra/rejected/sysext/b.sysext.raw", "bb"),
            ("run/systemd/sysext/a.sysext.raw", "aaaa"),
            ("run/systemd/sysext/b.sysext.raw", "bb"),
            ("run/systemd/sysext/another.raw", "x"),
            ("run/systemd/sysext/meta/usr", "x"),
            ("run/systemd/confext/a.sysext.raw", "aaaa"),
            ("run/systemd/tpm2-pcr-public-key.pem", "x"),
        ] {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        dir
    }

    #[test]
    fn copies_in_memory_go_and_the_rest_stays() {
        let dir = tree("/dev/shm");
        assert_eq!(free(&Root::open(dir.path()).unwrap()), 4 + 2 + 2);
        let is_there = |file: &str| dir.path().join(file).exists();
        assert!(!is_there("run/systemd/sysext/a.sysext.raw") && !is_there("run/systemd/sysext/b.sysext.raw"));
        assert!(!is_there(".extra/rejected/sysext/b.sysext.raw"));
        for file in [
            ".extra/sysext/a.sysext.raw",
            "run/systemd/sysext/another.raw",
            "run/systemd/sysext/meta/usr",
            "run/systemd/confext/a.sysext.raw",
            "run/systemd/tpm2-pcr-public-key.pem",
        ] {
            assert!(is_there(file), "{file}");
        }
    }

    #[test]
    fn nothing_on_a_disk_is_deleted() {
        let dir = tree(env!("CARGO_MANIFEST_DIR"));
        assert_eq!(free(&Root::open(dir.path()).unwrap()), 0);
    }
}
