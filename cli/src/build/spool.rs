//! Ranges of temporary files that no other process can open.

use ddi::io::ReadAt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// A range of an open file: a layer as an uncompressed tar archive, or the content of one file in it.
///
/// Clones share the descriptor. Reading does not use its file position.
#[derive(Debug, Clone)]
pub struct Spool {
    file: Arc<File>,
    offset: u64,
    len: u64,
}

impl Spool {
    /// Returns the range of all of `file`, with its present length.
    ///
    /// # Errors
    /// I/O errors of `fstat(2)`.
    pub fn new(file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Self { file: Arc::new(file), offset: 0, len })
    }

    /// Returns the `len` bytes from `offset` on; `None` if they exceed the range.
    #[must_use]
    pub fn slice(&self, offset: u64, len: u64) -> Option<Self> {
        let end = offset.checked_add(len)?;
        (end <= self.len).then_some(())?;
        Some(Self { file: Arc::clone(&self.file), offset: self.offset.checked_add(offset)?, len })
    }

    /// Returns a reader at the start of the range.
    #[must_use]
    pub fn reader(&self) -> SpoolReader {
        SpoolReader { spool: self.clone(), position: 0 }
    }
}

impl ReadAt for Spool {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let wanted = u64::try_from(buf.len()).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        if offset.checked_add(wanted).is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.file.read_exact_at(buf, self.offset.saturating_add(offset))
    }
}

/// Reads a [`Spool`] from a position of its own.
#[derive(Debug, Clone)]
pub struct SpoolReader {
    spool: Spool,
    position: u64,
}

impl Read for SpoolReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.spool.len.saturating_sub(self.position);
        let count = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let Some(buf) = buf.get_mut(..count).filter(|buf| !buf.is_empty()) else { return Ok(0) };
        let read = self.spool.file.read_at(buf, self.spool.offset.saturating_add(self.position))?;
        if read == 0 {
            // The file has been truncated since its length was read.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.position = self.position.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        Ok(read)
    }
}

impl Seek for SpoolReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.spool.len.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
