//! Messages between a worker and its parent: a length, then JSON, and for some questions a descriptor.

use crate::sys::process;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Maximum length of a message in bytes. The structure of an image takes a few thousand.
pub(super) const MAX_LEN: usize = 1 << 20;
/// Length in bytes of a message's header, its little-endian length.
pub(super) const HEADER: usize = 4;

/// Sends `message`, with `descriptor` if there is one.
///
/// # Errors
/// Errors of `sendmsg(2)`; `EMSGSIZE` if the message is too long.
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
                // The descriptor was sent with the first byte.
                control.clear();
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// A message that is being received. The two sides take turns, so all bytes that have arrived belong to one message.
pub(super) struct Incoming {
    bytes: Vec<u8>,
    received: usize,
}

impl Incoming {
    /// Number of bytes that are read at once. Nearly every message is shorter.
    const CHUNK: usize = 8192;

    pub(super) fn new() -> Self {
        Self { bytes: vec![0; Self::CHUNK], received: 0 }
    }

    /// Returns the buffer for the next bytes, which is never empty.
    pub(super) fn room(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.received..).unwrap_or_default()
    }

    /// Counts `count` bytes that were read into [`Self::room`]. Returns the message when it is complete.
    ///
    /// # Errors
    /// `InvalidData` if the message is longer than [`MAX_LEN`], or other bytes follow it.
    pub(super) fn add(&mut self, count: usize) -> io::Result<Option<&[u8]>> {
        self.received = self.received.saturating_add(count);
        let Some((header, _)) = self.bytes.get(..self.received).and_then(<[u8]>::split_first_chunk::<HEADER>) else {
            return Ok(None);
        };
        let len = usize::try_from(u32::from_le_bytes(*header)).unwrap_or(usize::MAX);
        let end = HEADER.saturating_add(len);
        if len > MAX_LEN || self.received > end {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if self.received < end {
            self.bytes.resize(end.max(Self::CHUNK), 0);
            return Ok(None);
        }
        Ok(self.bytes.get(HEADER..end))
    }
}

/// Receives a question, without a timeout. Returns `None` after the last one.
///
/// # Errors
/// Errors of `recvmsg(2)`; `InvalidData` for an invalid message.
pub(super) fn receive(socket: RawFd) -> io::Result<Option<(Vec<u8>, Option<OwnedFd>)>> {
    let mut descriptor = None;
    let mut incoming = Incoming::new();
    loop {
        let mut space = nix::cmsg_space!(RawFd);
        let mut parts = [IoSliceMut::new(incoming.room())];
        let received = match recvmsg::<()>(socket, &mut parts, Some(&mut space), MsgFlags::empty()) {
            Err(Errno::EINTR) => continue,
            result => result?,
        };
        for control in received.cmsgs()? {
            if let ControlMessageOwned::ScmRights(descriptors) = control {
                for raw in descriptors {
                    descriptor = Some(process::received(raw));
                }
            }
        }
        let count = received.bytes;
        if count == 0 {
            return Ok(None);
        }
        if let Some(message) = incoming.add(count)? {
            return Ok(Some((message.to_vec(), descriptor)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Receives `parts`, each of which arrives at once.
    fn receive(parts: &[&[u8]]) -> io::Result<Option<Vec<u8>>> {
        let mut incoming = Incoming::new();
        for part in parts {
            let mut rest = *part;
            while !rest.is_empty() {
                let room = incoming.room();
                let count = room.len().min(rest.len());
                room[..count].copy_from_slice(&rest[..count]);
                rest = &rest[count..];
                if let Some(message) = incoming.add(count)? {
                    return Ok(Some(message.to_vec()));
                }
            }
        }
        Ok(None)
    }

    fn frame(message: &[u8]) -> Vec<u8> {
        [&u32::try_from(message.len()).unwrap().to_le_bytes(), message].concat()
    }

    #[test]
    fn a_message_is_whole_in_whatever_pieces_it_comes() {
        for len in [0, 1, Incoming::CHUNK - HEADER, Incoming::CHUNK, 100_000, MAX_LEN] {
            let message = vec![7; len];
            let frame = frame(&message);
            assert_eq!(receive(&[&frame]).unwrap().as_ref(), Some(&message));
            let pieces: Vec<&[u8]> = frame.chunks(997).collect();
            assert_eq!(receive(&pieces).unwrap().as_ref(), Some(&message));
            assert_eq!(receive(&[&frame[..frame.len() - 1]]).unwrap(), None);
        }
    }

    #[test]
    fn a_message_is_alone_and_bounded() {
        let too_long = u32::try_from(MAX_LEN + 1).unwrap().to_le_bytes();
        assert_eq!(receive(&[&too_long]).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let two = [frame(b"one"), frame(b"two")].concat();
        assert_eq!(receive(&[&two]).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
