//! Kernel facilities: trial activation of an image through loop devices and dm-verity, and a mount of a verified file
//! under a second name.
//!
//! Everything is undone automatically, even if the agent is killed: the file system is mounted in a mount namespace
//! that ends with its thread, the device-mapper device is marked for removal on its last close as soon as it is open,
//! and loop devices detach themselves. Between making a device and marking it there are a few system calls; for those
//! there is [`sweep()`].

mod activation;
pub(crate) mod cmdline;
mod devices;
mod dm_verity;
mod error;
mod inquiry;
pub(crate) mod mounts;
mod namespace;
mod signature_key;
mod sweep;
mod tree;

pub use activation::Activation;
pub use cmdline::{is_off, only_kernel_verifies, words};
pub use error::KernelError;
pub use inquiry::{Devices, FileIdentity, KernelDevices, NoDevices, Target};
pub use mounts::DetachedMount;
pub use sweep::{Leftovers, sweep};
pub use tree::MountedTree;

/// The file with the kernel's command line.
pub(crate) const COMMAND_LINE: &str = "/proc/cmdline";
/// Prefix of the names of sextant's device-mapper devices.
const DEVICE_PREFIX: &str = "sextant-";
/// Prefix of their UUIDs. The name alone could be that of a logical volume in a volume group called "sextant".
const UUID_PREFIX: &str = "SEXTANT-";
