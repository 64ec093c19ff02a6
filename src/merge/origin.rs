//! From which file an extension was merged, and by which root hash.
//!
//! systemd notes the names of what it merged, and a name says nothing: of two files with one name it takes either. But it attaches
//! each image to a loop device and activates a dm-verity device over it (systemd 254 to 262, `src/shared/loop-util.c`,
//! `src/shared/dissect-image.c`), and both stay for as long as the image is merged. The kernel says what they are: the table of the
//! verity device holds the root hash that it checks each block against, and the loop device knows its file.
//!
//! Which device belongs to which name is in none of them. A root hash that was verified for one name alone says it; for others the
//! file's name does (`/sys/block/loopN/loop/backing_file`; Linux 6.12, `drivers/block/loop.c`). A file that was opened through a mount
//! of ours has been seen as `/` there, so the absence of a path proves nothing.

use super::image_name;
use crate::kernel::{Devices, FileIdentity, Target};
use crate::root::Root;
use ddi::Class;
use ddi::text::Text;
use std::collections::BTreeMap;

const DEVICES: &str = "/sys/block";
/// Most devices that are looked at. What is behind others isn't known.
const MAX_DEVICES: usize = 4096;
/// Longest path that is read, in bytes, and the end of its line.
const MAX_PATH: u64 = 4097;

/// What the kernel puts behind the path of a deleted file (Linux 6.12, `fs/d_path.c`).
const DELETED: &str = " (deleted)";
/// With what UUIDs of verity devices begin that libcryptsetup made (cryptsetup 2.7, `lib/libdevmapper.c`, `dm_prepare_uuid`).
const CRYPT_VERITY: &str = "CRYPT-VERITY-";
/// With what the names of those end of which systemd has several users share one; the root hash is before it (systemd 257,
/// `src/shared/dissect-image.c`, `verity_partition`).
const VERITY_NAME: &str = "-verity";

/// The files behind the loop devices of this machine, and the verity devices over them.
#[derive(Debug, Clone, Default)]
pub struct Attached {
    loops: BTreeMap<String, Backing>,
    verity: Vec<VerityDevice>,
    /// Whether the root hash of each verity device is known.
    knows_root_hashes: bool,
}

/// What is behind a loop device.
#[derive(Debug, Clone)]
struct Backing {
    path: String,
    identity: Option<FileIdentity>,
}

/// An active verity device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerityDevice {
    /// The root hash that it checks blocks against, in lower case.
    pub root_hash: Text,
    /// The loop device with its data, where that is one.
    device: Option<String>,
}

impl Attached {
    /// Asks the kernel. What it doesn't say is left out.
    #[must_use]
    pub fn read(root: &Root, devices: &dyn Devices) -> Self {
        let mut this = Self::default();
        let mut is_unresolved = false;
        for device in root.list_some(DEVICES, MAX_DEVICES).ok().flatten().unwrap_or_default() {
            let Some(device) = device.to_str() else { continue };
            if device.starts_with("loop") {
                let path = attribute(root, device, "loop/backing_file");
                let backing = path.map(|path| Backing { path: on_disk(path), identity: devices.backing(device) });
                this.loops.extend(backing.map(|backing| (device.to_owned(), backing)));
            } else if device.starts_with("dm-") {
                is_unresolved |= this.add_mapped(root, devices, device);
            }
        }
        this.knows_root_hashes = (devices.has_tables() || !this.verity.is_empty()) && !is_unresolved;
        this
    }

    /// Adds a device of the device mapper, if it is one of verity. Returns whether it is one whose root hash can't be told.
    fn add_mapped(&mut self, root: &Root, devices: &dyn Devices, device: &str) -> bool {
        let Some(name) = attribute(root, device, "dm/name") else { return false };
        let is_verity = attribute(root, device, "dm/uuid").is_some_and(|uuid| uuid.starts_with(CRYPT_VERITY));
        let by_name = || name.strip_suffix(VERITY_NAME).filter(|name| is_root_hash(name)).map(Text::new);
        let root_hash = match devices.table(&name) {
            Some(table) => root_hash(&table),
            None if is_verity => by_name(),
            None => return false,
        };
        let Some(root_hash) = root_hash else { return is_verity };
        let slaves = root.list_some(&format!("{DEVICES}/{device}/slaves"), MAX_DEVICES).ok().flatten();
        let device = slaves.iter().flatten().find_map(|slave| whole_loop(slave.to_str()?));
        self.verity.push(VerityDevice { root_hash, device: device.map(str::to_owned) });
        false
    }

    /// Whether the root hash of each verity device is known, so that one which isn't found isn't there.
    #[must_use]
    pub const fn knows_root_hashes(&self) -> bool {
        self.knows_root_hashes
    }

    /// The active verity devices.
    #[must_use]
    pub fn verity(&self) -> &[VerityDevice] {
        &self.verity
    }

    /// The path of the file that a verity device shows, as the kernel has it; `/` where it was opened through a mount of it.
    #[must_use]
    pub fn path(&self, device: &VerityDevice) -> Option<&str> {
        self.backing(device).map(|backing| backing.path.as_str())
    }

    /// The file that a verity device shows.
    #[must_use]
    pub fn identity(&self, device: &VerityDevice) -> Option<FileIdentity> {
        self.backing(device).and_then(|backing| backing.identity)
    }

    fn backing(&self, device: &VerityDevice) -> Option<&Backing> {
        self.loops.get(device.device.as_deref()?)
    }

    /// The file of another place that `name`, which was staged, was merged from; `None` where that is the staged file, or can't
    /// be told.
    #[must_use]
    pub fn other_file(&self, class: Class, name: &Text) -> Option<&str> {
        let staged = format!("{}/{name}.raw", class.staging_directory());
        let paths = || self.loops.values().map(|backing| backing.path.as_str());
        if paths().any(|path| path == staged) {
            return None;
        }
        paths().find(|path| has_name(class, path, name))
    }
}

/// Whether the file at `path` is one that systemd takes for the extension `name`.
pub(super) fn has_name(class: Class, path: &str, name: &Text) -> bool {
    path.rsplit_once('/').is_some_and(|(_, file)| image_name(class, file) == name.as_str())
}

/// The first line of a file that the kernel shows for a device.
fn attribute(root: &Root, device: &str, file: &str) -> Option<String> {
    let text = root.read(&format!("{DEVICES}/{device}/{file}"), MAX_PATH).ok().flatten()?;
    String::from_utf8(text).ok()?.lines().next().map(str::to_owned)
}

/// What the initrd held is deleted with it, and goes on behind our mount.
fn on_disk(path: String) -> String {
    path.strip_suffix(DELETED).map(str::to_owned).unwrap_or(path)
}

/// The loop device that `device` is, or is a partition of: `loop0p2` is one of `loop0`.
fn whole_loop(device: &str) -> Option<&str> {
    let number = device.strip_prefix("loop")?;
    let (number, partition) = number.split_once('p').unwrap_or((number, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(number) && is_number(partition)).then(|| device.get(..number.len().saturating_add(4)))?
}

/// The root hash in a table with one target, of type verity: `VERSION DATA HASH BLOCK BLOCK BLOCKS START ALGORITHM ROOT-HASH SALT …`
/// (kernel `Documentation/admin-guide/device-mapper/verity.rst`).
fn root_hash(table: &[Target]) -> Option<Text> {
    let [target] = table else { return None };
    let root_hash = target.parameters.split(' ').nth(8).filter(|text| is_root_hash(text))?;
    (target.kind == "verity").then(|| Text::new(root_hash.to_ascii_lowercase()))
}

/// SHA-256 or longer, in hexadecimal.
fn is_root_hash(text: &str) -> bool {
    (64..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
#[path = "origin_tests.rs"]
mod tests;
