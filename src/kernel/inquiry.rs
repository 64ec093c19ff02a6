//! Queries about block devices in use: tables of the device mapper, and files of loop devices.
//!
//! Both need the machine's device nodes. The device mapper also needs `CAP_SYS_ADMIN` (Linux 6.12,
//! `drivers/md/dm-ioctl.c`).

use crate::sys::loop_device::status;
use devicemapper::{DM, DevId, DmFlags, DmName, DmOptions};
use nix::fcntl::OFlag;
use std::fs::OpenOptions;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};

/// Identity of a file: its file system and inode (`stat(2)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileIdentity {
    /// Device number of the file system, in the encoding of `st_dev`.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
}

impl From<&std::fs::Metadata> for FileIdentity {
    fn from(metadata: &std::fs::Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// A line of a device-mapper table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its type, such as `verity`.
    pub kind: String,
    /// Its parameters.
    pub parameters: String,
}

/// Queries about block devices. `None` means unknown.
pub trait Devices {
    /// Returns whether device-mapper tables can be read.
    fn has_tables(&self) -> bool;

    /// Returns the active table of the device-mapper device with this name.
    fn table(&self, name: &str) -> Option<Vec<Target>>;

    /// Returns the file of a loop device, such as `loop0`.
    fn backing(&self, device: &str) -> Option<FileIdentity>;
}

/// For directory trees, in which nothing is known about block devices.
#[derive(Debug, Clone, Copy)]
pub struct NoDevices;

impl Devices for NoDevices {
    fn has_tables(&self) -> bool {
        false
    }

    fn table(&self, _: &str) -> Option<Vec<Target>> {
        None
    }

    fn backing(&self, _: &str) -> Option<FileIdentity> {
        None
    }
}

/// Queries to the running kernel.
pub struct KernelDevices(Option<DM>);

impl KernelDevices {
    /// Opens the device mapper, if there is one.
    #[must_use]
    pub fn open() -> Self {
        // Opening succeeds even without the privilege to list devices.
        Self(DM::new().ok().filter(|dm| dm.list_devices().is_ok()))
    }
}

impl Devices for KernelDevices {
    fn has_tables(&self) -> bool {
        self.0.is_some()
    }

    fn table(&self, name: &str) -> Option<Vec<Target>> {
        let options = DmOptions::default().set_flags(DmFlags::DM_STATUS_TABLE);
        let (_, lines) = self.0.as_ref()?.table_status(&DevId::Name(DmName::new(name).ok()?), options).ok()?;
        Some(lines.into_iter().map(|(_, _, kind, parameters)| Target { kind, parameters }).collect())
    }

    fn backing(&self, device: &str) -> Option<FileIdentity> {
        let mut options = OpenOptions::new();
        let node = options.read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(format!("/dev/{device}")).ok()?;
        node.metadata().ok().filter(|metadata| metadata.file_type().is_block_device())?;
        status(&node).map(|info| FileIdentity { device: info.device, inode: info.inode })
    }
}
