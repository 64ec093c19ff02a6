//! Messages between a worker and the process that asks it: a length, then JSON, and with a question perhaps a descriptor.

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Longest message, in bytes. What an image consists of is told in a few thousand.
pub(super) const MAX_LEN: usize = 1 << 20;
/// Bytes of the length that goes before a message, little-endian.
pub(super) const HEADER: usize = 4;

/// Sends `message`, and `descriptor` with it.
///
/// # Errors
/// As `sendmsg(2)`; `EMSGSIZE` for a message that is too long.
pub(super) fn send(socket: RawFd, message: &[u8], descriptor: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    let len = u32::try_from(message.len()).ok().filter(|_| message.len() <= MAX_LEN).ok_or(Errno::EMSGSIZE)?;
    let frame = [&len.to_le_bytes()[..], message].concat();
    let descriptors: Vec<RawFd> = descriptor.iter().map(AsRawFd::as_raw_fd).collect();
    let mut control = Vec::new();
    if !descriptors.is_empty() {
        control.push(ControlMessage::ScmRights(&descriptors));
    }
    let mut rest = frame.as_slice();
    while !rest.is_empty() {
        match sendmsg::<()>(socket, &[IoSlice::new(rest)], &control, MsgFlags::MSG_NOSIGNAL, None) {
            Ok(sent) => {
                rest = rest.get(sent..).unwrap_or_default();
                // It went with the first byte.
                control.clear();
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Receives a question; `None` where there will be no more. Waits as long as it takes.
///
/// # Errors
/// As `recvmsg(2)`.
pub(super) fn receive(socket: RawFd) -> io::Result<Option<(Vec<u8>, Option<OwnedFd>)>> {
    let mut descriptor = None;
    let mut header = [0; HEADER];
    if !fill(socket, &mut header, &mut descriptor)? {
        return Ok(None);
    }
    let len = usize::try_from(u32::from_le_bytes(header)).unwrap_or(usize::MAX);
    if len > MAX_LEN {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; len];
    if !fill(socket, &mut message, &mut descriptor)? && len > 0 {
        return Ok(None);
    }
    Ok(Some((message, descriptor)))
}

/// Fills `buffer`; `false` where the other end was closed before.
fn fill(socket: RawFd, buffer: &mut [u8], descriptor: &mut Option<OwnedFd>) -> io::Result<bool> {
    let mut at = 0;
    while at < buffer.len() {
        let rest = buffer.get_mut(at..).unwrap_or_default();
        let mut space = nix::cmsg_space!(RawFd);
        let mut parts = [IoSliceMut::new(rest)];
        let received = match recvmsg::<()>(socket, &mut parts, Some(&mut space), MsgFlags::empty()) {
            Err(Errno::EINTR) => continue,
            result => result?,
        };
        for control in received.cmsgs()? {
            if let ControlMessageOwned::ScmRights(descriptors) = control {
                for raw in descriptors {
                    // SAFETY: the kernel has just given this descriptor to this process, which nothing else owns.
                    *descriptor = Some(unsafe { OwnedFd::from_raw_fd(raw) });
                }
            }
        }
        if received.bytes == 0 {
            return Ok(false);
        }
        at = at.saturating_add(received.bytes);
    }
    Ok(true)
}
