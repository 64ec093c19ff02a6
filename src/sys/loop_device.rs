//! Loop devices (loop(4)).

use std::fs::File;
use std::os::fd::AsRawFd;

/// Size of `struct loop_info64` in bytes (`linux/loop.h`).
pub(crate) const LOOP_INFO: usize = 232;
/// `LOOP_GET_STATUS64` (`linux/loop.h`).
const LOOP_GET_STATUS64: libc::Ioctl = 0x4c05;

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
