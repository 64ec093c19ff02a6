//! Reading at a position: the one way in which image bytes come into the program.
//!
//! Images are never mapped into memory. A mapping of a file that somebody truncates
//! kills the process with `SIGBUS`; a read merely fails.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

/// Something whose bytes can be read at any position by several threads at once.
pub trait ReadAt: Send + Sync {
    /// Length in bytes.
    fn len(&self) -> u64;

    /// Fills `buf` from `offset` on.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] where the source ends before `buf` is full, or the error of the source.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// The file behind it, for what only a descriptor can do; `None` where there is none or it holds other bytes too.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Whether there are no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl std::fmt::Debug for dyn ReadAt + '_ {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

/// An open file with the length that it had when it was opened.
///
/// The length is taken once, so that every later decision is about the same range of bytes.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    len: u64,
}

impl FileSource {
    /// Takes over an open file.
    ///
    /// # Errors
    /// Whatever `fstat` reports.
    pub fn new(file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Self { file, len })
    }

    /// Takes over an open file whose length is known.
    #[must_use]
    pub fn with_len(file: File, len: u64) -> Self {
        Self { file, len }
    }

    /// The file itself, for what only a descriptor can do (bind mount, loop device).
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl ReadAt for FileSource {
    fn len(&self) -> u64 {
        self.len
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.file.as_fd())
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }
}

impl ReadAt for [u8] {
    fn len(&self) -> u64 {
        u64::try_from(<[u8]>::len(self)).unwrap_or(u64::MAX)
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let end = start.checked_add(buf.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(self.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl ReadAt for Vec<u8> {
    fn len(&self) -> u64 {
        ReadAt::len(self.as_slice())
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.as_slice().read_exact_at(buf, offset)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn len(&self) -> u64 {
        (**self).len()
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        (**self).descriptor()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_exact_at(buf, offset)
    }
}

/// The bytes of a source in order, a piece at a time.
pub struct Pieces<'a> {
    source: &'a dyn ReadAt,
    buffer: Vec<u8>,
    offset: u64,
}

impl<'a> Pieces<'a> {
    /// Bytes of a piece; the last may have fewer.
    pub const SIZE: usize = 1 << 20;

    /// From the first byte of `source` on.
    #[must_use]
    pub fn of(source: &'a dyn ReadAt) -> Self {
        Self { source, buffer: vec![0; Self::SIZE], offset: 0 }
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// Those of reading; [`io::ErrorKind::UnexpectedEof`] where the source has become shorter.
    pub fn read_next(&mut self) -> io::Result<Option<&[u8]>> {
        let left = usize::try_from(self.source.len().saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let piece = self.buffer.get_mut(..left.min(Self::SIZE)).unwrap_or_default();
        if piece.is_empty() {
            return Ok(None);
        }
        self.source.read_exact_at(piece, self.offset)?;
        self.offset = self.offset.saturating_add(ReadAt::len(piece));
        Ok(Some(piece))
    }
}

/// A range of another source, such as a partition of an image.
///
/// Nothing outside the range can be read through it.
#[derive(Clone, Copy)]
pub struct Window<'a> {
    source: &'a dyn ReadAt,
    start: u64,
    len: u64,
}

impl<'a> Window<'a> {
    /// The `len` bytes of `source` from `start` on; `None` where they aren't all inside it.
    #[must_use]
    pub fn new(source: &'a dyn ReadAt, start: u64, len: u64) -> Option<Self> {
        let end = start.checked_add(len)?;
        (end <= source.len()).then_some(Self { source, start, len })
    }
}

impl std::fmt::Debug for Window<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Window").field("start", &self.start).field("len", &self.len).finish_non_exhaustive()
    }
}

impl ReadAt for Window<'_> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let wanted = u64::try_from(buf.len()).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let end = offset.checked_add(wanted).ok_or(io::ErrorKind::UnexpectedEof)?;
        if end > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let position = self.start.checked_add(offset).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.source.read_exact_at(buf, position)
    }
}
