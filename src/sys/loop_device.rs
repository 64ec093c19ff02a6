//! Loop devices (loop(4)).

use nix::errno::Errno;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};

/// `LOOP_GET_STATUS64` (`linux/loop.h`).
const LOOP_GET_STATUS64: libc::Ioctl = 0x4c05;
/// `LOOP_CONFIGURE` (`linux/loop.h`, Linux 5.8).
const LOOP_CONFIGURE: libc::Ioctl = 0x4c0a;
/// `LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR` (`linux/loop.h`)
const READ_ONLY_AUTOCLEAR: u32 = 1 | 4;

/// `struct loop_info64` (`linux/loop.h`)
#[repr(C)]
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Info {
    /// File system of the attached file. The kernel encodes it as `stat(2)` does for the first 12 bits of the major number
    /// (Linux 6.12, `drivers/block/loop.c`, `loop_get_status`; `linux/kdev_t.h`, `huge_encode_dev`).
    pub(crate) device: u64,
    pub(crate) inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    names: [[u64; 8]; 2],
    encrypt_key: [u64; 4],
    init: [u64; 2],
}

/// `struct loop_config` (`linux/loop.h`)
#[repr(C)]
struct Config {
    file: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

/// Attaches `len` bytes of `file` from `offset` on to a free loop device, read-only. The device detaches itself when its
/// last user closes it.
///
/// In one step, unlike `LOOP_SET_FD` and `LOOP_SET_STATUS64`: for the second of them the kernel waits until no request
/// is under way, which takes some ticks of its clock, and in between the device would stay attached if the process were
/// killed.
///
/// # Errors
/// Errors of `ioctl(2)`; `EBUSY` if the device is not free.
pub(crate) fn attach(device: &impl AsRawFd, file: impl AsFd, offset: u64, len: u64) -> Result<(), Errno> {
    let file = u32::try_from(file.as_fd().as_raw_fd()).map_err(|_| Errno::EBADF)?;
    let info = Info { offset, size_limit: len, flags: READ_ONLY_AUTOCLEAR, ..Info::default() };
    let config = Config { file, block_size: 0, info, reserved: [0; 8] };
    // SAFETY: the kernel reads one `struct loop_config` (loop(4)), which is what `Config` is, and keeps no pointer to it.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) };
    Errno::result(result).map(drop)
}

/// Returns the kernel's status of a loop device, `None` if no file is attached to it.
pub(crate) fn status(device: &File) -> Option<Info> {
    let mut info = Info::default();
    // SAFETY: the kernel writes one `struct loop_info64` (loop(4)), which is what `Info` is, and keeps no pointer to it.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_GET_STATUS64, &raw mut info) };
    (result == 0).then_some(info)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::mem::{offset_of, size_of};

    /// Numbers of a C program on x86-64 that includes `linux/loop.h`.
    #[test]
    fn the_structures_are_the_kernels() {
        assert_eq!((size_of::<Info>(), size_of::<Config>()), (232, 304));
        let members = [offset_of!(Info, offset), offset_of!(Info, size_limit), offset_of!(Info, flags)];
        assert_eq!(members, [24, 32, 52]);
        assert_eq!([offset_of!(Config, block_size), offset_of!(Config, info)], [4, 8]);
    }

    /// The structure from the kernel of an x86-64 machine for `/tmp/loopt.img`, inode 9978066 of device 254:0.
    #[cfg(target_endian = "little")]
    #[test]
    fn the_file_behind_a_loop_device_is_known_by_its_number() {
        let mut info = [0; 232];
        let recorded = [0, 0xfe, 0, 0, 0, 0, 0, 0, 0xd2, 0x40, 0x98, 0, 0, 0, 0, 0];
        info[..16].copy_from_slice(&recorded);
        // lo_number is 0, lo_flags is read-only, and lo_file_name follows.
        info[52] = 1;
        info[56..70].copy_from_slice(b"/tmp/loopt.img");
        // SAFETY: `Info` has 232 bytes, and numbers only, of which all values are valid.
        let info: Info = unsafe { std::ptr::read_unaligned(info.as_ptr().cast()) };
        assert_eq!((info.device, info.inode, info.flags), (65024, 9_978_066, 1));
    }

    #[test]
    fn what_is_no_loop_device_has_no_status() {
        assert_eq!(status(&File::open("/dev/null").unwrap()), None);
    }
}
