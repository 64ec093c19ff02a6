//! Requests to the device mapper.

use nix::errno::Errno;
use nix::libc;
use rustix::ioctl::{Direction, opcode};
use std::fs::File;
use std::os::fd::AsRawFd;

/// Size in bytes of the header of a request, `struct dm_ioctl` (`linux/dm-ioctl.h`).
pub(crate) const HEADER: usize = 312;
/// Offset of `data_size` in it: the size in bytes of header and data.
const DATA_SIZE: usize = 12;
/// `DM_IOCTL`, the group of the device mapper's commands.
const GROUP: u8 = 0xfd;

/// Sends `message`, a header and data, and lets the kernel replace it with its answer. The size of the message is put
/// into its header.
///
/// # Errors
/// Errors of the kernel, `EMSGSIZE` if the message is shorter than a header or longer than 4 GiB.
pub(crate) fn send(control: &File, command: u8, message: &mut [u8]) -> Result<(), Errno> {
    if message.len() < HEADER {
        return Err(Errno::EMSGSIZE);
    }
    let size = u32::try_from(message.len()).map_err(|_| Errno::EMSGSIZE)?;
    for (place, byte) in message.iter_mut().skip(DATA_SIZE).zip(size.to_ne_bytes()) {
        *place = byte;
    }
    let number = opcode::from_components(Direction::ReadWrite, GROUP, command, HEADER);
    // SAFETY: the kernel reads and writes as many bytes as `data_size` of the header says (Linux 6.12,
    // `drivers/md/dm-ioctl.c`, `copy_params`, `ctl_ioctl`), which is the length of `message`, copies them byte by byte, and
    // keeps no pointer to them. A device that is not the device mapper's rejects the number (ioctl(2), `ENOTTY`).
    let result = unsafe { libc::ioctl(control.as_raw_fd(), number.into(), message.as_mut_ptr()) };
    Errno::result(result).map(drop)
}
