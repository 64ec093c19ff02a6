//! Finds the EFI system partition that this machine booted from.

use crate::firmware::{Name, SystemVariables, VariableError, Variables, entry};
use crate::root::Root;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Usual mount points (UAPI.1, "Mount Points").
const USUAL: [&str; 3] = ["/efi", "/boot", "/boot/efi"];
/// Mounts of this process.
const MOUNTS: &str = "/proc/self/mountinfo";
/// Links that udev makes to partitions by their UUIDs.
const BY_PARTUUID: &str = "/dev/disk/by-partuuid";

/// Error of finding the partition.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LocateError {
    /// The firmware or the mounts can't be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The boot loader's variable can't be read.
    #[error(transparent)]
    Variable(#[from] VariableError),
    /// udev does not know the partition of the boot loader.
    #[error("partition {uuid} of the boot loader is not in {BY_PARTUUID}")]
    NoPartition {
        /// `LoaderDevicePartUUID`
        uuid: String,
    },
    /// The partition of the boot loader is not mounted.
    #[error("partition {uuid} of the boot loader is not mounted as vfat")]
    NotMounted {
        /// `LoaderDevicePartUUID`
        uuid: String,
    },
    /// The boot loader does not name the partition, and none is mounted at a usual place.
    #[error("no vfat file system is mounted at /efi, /boot or /boot/efi")]
    None,
    /// The tree of another machine has no such partition.
    #[error("no directory EFI in efi, boot or boot/efi of {}", .0.display())]
    NoneBelow(PathBuf),
    /// The boot loader does not name the partition, and there are several.
    #[error("ambiguous: {} or {}", .0.display(), .1.display())]
    Several(PathBuf, PathBuf),
}

/// Returns the mount point of the EFI system partition that this machine booted from. If the boot loader does not name it, that is
/// the only one mounted at a usual place.
///
/// # Errors
/// [`LocateError`]
pub fn find() -> Result<PathBuf, LocateError> {
    // Listing an automount point mounts its file system.
    for path in USUAL {
        let _ = fs::read_dir(path);
    }
    find_mounted()
}

/// The same as [`find`] of what is mounted already. Nothing is mounted for its sake, so that no boot waits for it.
///
/// # Errors
/// [`LocateError`]
pub fn find_mounted() -> Result<PathBuf, LocateError> {
    let mountinfo = fs::read_to_string(MOUNTS)?;
    let mounts = vfat_mounts(&mountinfo);
    let uuid = SystemVariables.read(Name::LoaderDevicePartUuid)?.and_then(|data| entry::partition_uuid(&data));
    match uuid {
        None => only_usual(&mounts),
        Some(uuid) => {
            let link = Path::new(BY_PARTUUID).join(&uuid);
            match fs::metadata(link) {
                Ok(metadata) => of_device(&mounts, metadata.rdev(), uuid),
                Err(_) => Err(LocateError::NoPartition { uuid }),
            }
        }
    }
}

/// Returns the EFI system partition in the tree at `root`: the only usual place with a directory `EFI`.
///
/// # Errors
/// [`LocateError`]
pub fn find_below(root: &Path) -> Result<PathBuf, LocateError> {
    let tree = Root::open(root)?;
    let mut found: Vec<PathBuf> = Vec::new();
    for path in USUAL {
        if tree.directory(&format!("{path}/EFI"))?.is_some()
            && let Some(place) = tree.directory(path)?
            && !found.contains(&place)
        {
            found.push(place);
        }
    }
    match found.as_slice() {
        [] => Err(LocateError::NoneBelow(root.to_owned())),
        [one] => Ok(one.clone()),
        [one, other, ..] => Err(LocateError::Several(one.clone(), other.clone())),
    }
}

/// A mount of the root of a vfat file system.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    device: u64,
    point: PathBuf,
}

/// Reads `mountinfo` (`proc_pid_mountinfo(5)`).
fn vfat_mounts(mountinfo: &str) -> Vec<Mount> {
    let parse = |line: &str| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(2);
        let (major, minor) = fields.next()?.split_once(':')?;
        let device = nix::sys::stat::makedev(major.parse().ok()?, minor.parse().ok()?);
        let is_whole = fields.next()? == "/";
        let point = PathBuf::from(unescape(fields.next()?));
        (is_whole && filesystem.split(' ').next() == Some("vfat")).then_some(Mount { device, point })
    };
    mountinfo.lines().filter_map(parse).collect()
}

/// Decodes white space and backslashes, which are written in octal.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (octal, character)| text.replace(octal, character))
}

fn only_usual(mounts: &[Mount]) -> Result<PathBuf, LocateError> {
    let mut usual = USUAL.iter().filter_map(|path| mounts.iter().rfind(|mount| mount.point == Path::new(path)));
    let first = usual.next().ok_or(LocateError::None)?;
    match usual.find(|other| other.device != first.device) {
        Some(other) => Err(LocateError::Several(first.point.clone(), other.point.clone())),
        None => Ok(first.point.clone()),
    }
}

fn of_device(mounts: &[Mount], device: u64, uuid: String) -> Result<PathBuf, LocateError> {
    let is_usual = |mount: &&Mount| USUAL.iter().any(|path| mount.point == Path::new(path));
    let of_it: Vec<&Mount> = mounts.iter().filter(|mount| mount.device == device).collect();
    let best = of_it.iter().copied().find(is_usual).or(of_it.first().copied());
    best.map(|mount| mount.point.clone()).ok_or(LocateError::NotMounted { uuid })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ROOT: &str = "20 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n";

    fn line(device: &str, point: &str) -> String {
        format!("40 20 {device} / {point} rw,relatime shared:9 - vfat /dev/x rw,errors=remount-ro\n")
    }

    fn usual(lines: &str) -> Result<PathBuf, String> {
        only_usual(&vfat_mounts(&format!("{ROOT}{lines}"))).map_err(|error| error.to_string())
    }

    #[test]
    fn one_at_a_usual_place_is_taken_and_two_are_not() {
        assert_eq!(usual(&line("254:2", "/boot/efi")).unwrap(), Path::new("/boot/efi"));
        assert_eq!(usual(&(line("254:2", "/mnt") + &line("254:3", "/efi"))).unwrap(), Path::new("/efi"));
        let twice = line("254:2", "/boot") + &line("254:2", "/efi");
        assert_eq!(usual(&twice).unwrap(), Path::new("/efi"));
        let error = usual(&(line("254:2", "/boot") + &line("254:3", "/efi"))).unwrap_err();
        assert_eq!(error, "ambiguous: /efi or /boot");
        assert_eq!(
            usual(&line("254:2", "/mnt")).unwrap_err(),
            "no vfat file system is mounted at /efi, /boot or /boot/efi"
        );
        // Part of another file system, and another kind of file system.
        let others = "41 20 254:2 /sub /efi rw - vfat /dev/x rw\n42 20 254:2 / /boot rw - ext4 /dev/x rw\njunk\n";
        assert!(usual(others).is_err());
    }

    #[test]
    fn the_boot_loaders_partition_is_taken_wherever_it_is_mounted() {
        let mounts =
            vfat_mounts(&(line("254:2", "/efi") + &line("254:3", "/mnt/an\\040esp") + &line("254:2", "/boot")));
        let of = |minor| of_device(&mounts, nix::sys::stat::makedev(254, minor), "u".to_owned());
        assert_eq!(of(3).unwrap(), Path::new("/mnt/an esp"));
        assert_eq!(of(2).unwrap(), Path::new("/efi"));
        let error = of(4).unwrap_err().to_string();
        assert_eq!(error, "partition u of the boot loader is not mounted as vfat");
    }
}
