//! What is asked of the kernel: to activate an image through loop and dm-verity and mount its file system, and to show
//! a verified file under a second name.
//!
//! Whatever is set up is undone by leaving, not by cleaning up: the file system is mounted in a mount namespace that
//! ends with its thread, the device-mapper device is marked for removal on its last close as soon as it is open, and
//! loop devices clear themselves. So nothing is left behind if the agent is killed either; for the few system calls
//! between making a device and marking it there is [`sweep()`].

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
pub use error::KernelError;
pub use inquiry::{Devices, FileIdentity, KernelDevices, NoDevices, Target};
pub use mounts::DetachedMount;
pub use sweep::{Leftovers, sweep};
pub use tree::MountedTree;

/// Where the kernel's command line is read.
pub(crate) const COMMAND_LINE: &str = "/proc/cmdline";
/// With what names of our device-mapper devices begin.
const DEVICE_PREFIX: &str = "sextant-";
/// With what their UUIDs begin. The name alone could be that of a logical volume in a group called "sextant".
const UUID_PREFIX: &str = "SEXTANT-";
