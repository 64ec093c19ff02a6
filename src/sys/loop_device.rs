//! Loop devices (loop(4)).

use nix::errno::Errno;
use nix::libc;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};

/// Size of `struct loop_info64` in bytes (`linux/loop.h`).
pub(crate) const LOOP_INFO: usize = 232;

// Numbers of requests (`linux/loop.h`).
const LOOP_CLR_FD: libc::Ioctl = 0x4c01;
const LOOP_GET_STATUS64: libc::Ioctl = 0x4c05;
const LOOP_CONFIGURE: libc::Ioctl = 0x4c0a;
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4c82;

/// Returns the kernel's status of a loop device, `None` if no file is attached to it.
pub(crate) fn status(device: &File) -> Option<[u8; LOOP_INFO]> {
    #[repr(C, align(8))]
    struct Info([u8; LOOP_INFO]);
    let mut info = Info([0; LOOP_INFO]);
    // SAFETY: the kernel writes one `struct loop_info64` (loop(4)), which has the size of `Info` and no stricter
    // alignment, and keeps no pointer to it.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_GET_STATUS64, &raw mut info) };
    (result == 0).then_some(info.0)
}

/// Returns the number of a loop device to which no file is attached, and creates one if there is none. `control` is
/// `/dev/loop-control`.
///
/// # Errors
/// Errors of `LOOP_CTL_GET_FREE`.
pub(crate) fn free(control: &File) -> Result<u32, Errno> {
    // SAFETY: the request takes no argument (loop(4)).
    let number = Errno::result(unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) })?;
    u32::try_from(number).map_err(|_| Errno::ERANGE)
}

/// `struct loop_config` (`linux/loop.h`), with the members of `struct loop_info64` that [`configure`] uses.
#[repr(C)]
struct Config {
    fd: u32,
    /// The kernel's choice if 0.
    block_size: u32,
    device_inode_rdevice: [u64; 3],
    offset: u64,
    size_limit: u64,
    number_encryption: [u32; 3],
    flags: u32,
    names_and_key: [u8; 64 + 64 + 32],
    init: [u64; 2],
    reserved: [u64; 8],
}

/// `LO_FLAGS_READ_ONLY` and `LO_FLAGS_AUTOCLEAR`: the latter detaches the file when the last user closes the device.
const READ_ONLY_AUTOCLEAR: u32 = 1 | 4;

/// Makes `device` show `size_limit` bytes of `file` from `offset` on, in one step (Linux 5.8). The device is read-only,
/// and detaches itself when its last user closes it.
///
/// # Errors
/// Errors of `LOOP_CONFIGURE`, among them `EBUSY` if a file is attached already.
pub(crate) fn configure(device: &File, file: impl AsFd, offset: u64, size_limit: u64) -> Result<(), Errno> {
    let config = Config {
        fd: u32::try_from(file.as_fd().as_raw_fd()).map_err(|_| Errno::EBADF)?,
        block_size: 0,
        device_inode_rdevice: [0; 3],
        offset,
        size_limit,
        number_encryption: [0; 3],
        flags: READ_ONLY_AUTOCLEAR,
        names_and_key: [0; 64 + 64 + 32],
        init: [0; 2],
        reserved: [0; 8],
    };
    // SAFETY: the kernel reads one `struct loop_config` (Linux 6.12, `drivers/block/loop.c`, `lo_ioctl`), which is laid out as
    // `Config` is, and keeps no pointer to it.
    Errno::result(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) }).map(drop)
}

/// Detaches the file from a loop device.
///
/// # Errors
/// Errors of `LOOP_CLR_FD`.
pub(crate) fn detach(device: &File) -> Result<(), Errno> {
    // SAFETY: the request takes no argument (loop(4)).
    Errno::result(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CLR_FD, 0) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_laid_out_as_the_kernel_reads_it() {
        // A descriptor, a block size, `struct loop_info64` and eight reserved numbers.
        assert_eq!(size_of::<Config>(), 4 + 4 + LOOP_INFO + 64);
        assert_eq!(std::mem::offset_of!(Config, offset), 32);
        assert_eq!(std::mem::offset_of!(Config, flags), 60);
    }
}
