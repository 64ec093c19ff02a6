//! Removal of devices that a killed agent may have left.

use super::{DEVICE_PREFIX, UUID_PREFIX};
use anyhow::{Context, Result};
use devicemapper::{DM, DevId, DmFlags, DmOptions};
use loopdev::LoopDevice;
use std::fs;
use std::path::Path;

/// The devices of an agent, by which those that it left are found. The kernel has one set of devices for all processes,
/// and two agents that work on trees of one machine must not remove each other's.
#[derive(Debug, Clone)]
pub struct Leftovers {
    /// Prefixes of the paths of images behind loop devices.
    pub images: Vec<String>,
    /// Prefix of the names of device-mapper devices.
    pub name: String,
    /// Prefix of their UUIDs.
    pub uuid: String,
}

/// The devices of the agent in an initrd.
impl Default for Leftovers {
    fn default() -> Self {
        let images = ["/.extra/", "/run/sextant/"].map(str::to_owned).to_vec();
        Self { images, name: DEVICE_PREFIX.to_owned(), uuid: UUID_PREFIX.to_owned() }
    }
}

/// Removes device-mapper and loop devices that a killed agent left. Returns their number.
///
/// # Errors
/// The first device that cannot be removed. The others are removed nonetheless.
pub fn sweep(leftovers: &Leftovers) -> Result<usize> {
    let mapped = sweep_mapped(leftovers);
    let loops = sweep_loops(leftovers);
    Ok(mapped? + loops?)
}

fn sweep_mapped(leftovers: &Leftovers) -> Result<usize> {
    // Without a device mapper there are no such devices.
    let Ok(dm) = DM::new() else { return Ok(0) };
    let devices = dm.list_devices().context("listing device-mapper devices")?;
    let mut failure = None;
    let mut count = 0;
    for (name, ..) in devices.iter().filter(|(name, ..)| name.to_string().starts_with(&leftovers.name)) {
        let Ok(info) = dm.device_info(&DevId::Name(name)) else { continue };
        if !info.uuid().is_some_and(|uuid| uuid.to_string().starts_with(&leftovers.uuid)) {
            continue;
        }
        let options = DmOptions::default().set_flags(DmFlags::DM_DEFERRED_REMOVE);
        match dm.device_remove(&DevId::Name(name), options) {
            Ok(_) => count += 1,
            Err(error) => {
                failure.get_or_insert(error);
            }
        }
    }
    failure.map_or(Ok(count), |error| Err(error).context("removing a device-mapper device"))
}

fn sweep_loops(leftovers: &Leftovers) -> Result<usize> {
    let mut failure = None;
    let mut count = 0;
    let Ok(devices) = fs::read_dir("/sys/block") else { return Ok(0) };
    for device in devices.flatten() {
        let Ok(backing) = fs::read_to_string(device.path().join("loop/backing_file")) else { continue };
        let autoclear = fs::read_to_string(device.path().join("loop/autoclear"));
        // A device that detaches itself is about to do so, or is in use by systemd.
        if !leftovers.images.iter().any(|place| backing.starts_with(place))
            || autoclear.is_ok_and(|text| text.trim() == "1")
        {
            continue;
        }
        match LoopDevice::open(Path::new("/dev").join(device.file_name())).and_then(|device| device.detach()) {
            Ok(()) => count += 1,
            Err(error) => {
                failure.get_or_insert(error);
            }
        }
    }
    failure.map_or(Ok(count), |error| Err(error).context("detaching a loop device"))
}
