//! Positioned reads, the only way in which the bytes of an image are read.
//!
//! Images are never mapped into memory: if a mapped file is truncated, access kills the process with `SIGBUS`, while a
//! read returns an error.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// A source of bytes that several threads can read at any position at once.
pub trait ReadAt: Send + Sync {
    /// Returns the length in bytes.
    fn len(&self) -> u64;

    /// Fills `buf` with the bytes from `offset` on.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if the source ends before `buf` is full, or the error of the source.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// Returns the descriptor of the file that has exactly these bytes, for system calls that need one. Returns `None`
    /// if there is no such file.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Returns whether the length is zero.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why a source doesn't hand out bytes that it has: they are not those that were signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the block at byte {offset} is damaged")]
pub struct Damaged {
    /// First byte of the block.
    pub offset: u64,
}

impl Damaged {
    /// The damage that an error of reading is about, if it is about one.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref().and_then(|error| error.downcast_ref::<Self>()).copied()
    }
}

impl std::fmt::Debug for dyn ReadAt + '_ {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

/// An open file with the length that it had when it was opened.
///
/// The length is read once, so that all decisions are about the same range of bytes.
pub struct FileSource {
    file: File,
    len: u64,
    observer: Option<Observer>,
}

/// Is called with the number of bytes of each read, by the thread that reads.
pub type Observer = Arc<dyn Fn(u64) + Send + Sync>;

impl FileSource {
    /// Takes ownership of an open file and reads its length.
    ///
    /// # Errors
    /// Errors of `fstat`.
    pub fn new(file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Self { file, len, observer: None })
    }

    /// Takes ownership of an open file of known length in bytes.
    #[must_use]
    pub fn with_len(file: File, len: u64) -> Self {
        Self { file, len, observer: None }
    }

    /// Has `observer` called for each read, to show progress.
    #[must_use]
    pub fn observed(self, observer: Observer) -> Self {
        Self { observer: Some(observer), ..self }
    }

    /// Returns the file, for system calls that need a descriptor (bind mount, loop device).
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
        self.file.read_exact_at(buf, offset)?;
        if let Some(observer) = &self.observer {
            observer(u64::try_from(buf.len()).unwrap_or(u64::MAX));
        }
        Ok(())
    }
}

impl std::fmt::Debug for FileSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileSource").field("file", &self.file).field("len", &self.len).finish_non_exhaustive()
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

/// A reader of a source from start to end in pieces.
pub struct Pieces<'a> {
    source: &'a dyn ReadAt,
    buffer: Vec<u8>,
    offset: u64,
}

impl<'a> Pieces<'a> {
    /// Size of a piece in bytes. The last piece may be smaller.
    pub const SIZE: usize = 1 << 20;

    /// Starts at the first byte of `source`.
    #[must_use]
    pub fn of(source: &'a dyn ReadAt) -> Self {
        Self { source, buffer: vec![0; Self::SIZE], offset: 0 }
    }

    /// Reads the next piece. Returns `None` at the end.
    ///
    /// # Errors
    /// Errors of [`ReadAt::read_exact_at`], such as [`io::ErrorKind::UnexpectedEof`] if the source has become shorter.
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

/// A range of another source, such as a partition of an image. It gives no access to other bytes.
#[derive(Clone, Copy)]
pub struct Window<'a> {
    source: &'a dyn ReadAt,
    start: u64,
    len: u64,
}

impl<'a> Window<'a> {
    /// Selects the `len` bytes of `source` from `start` on. Returns `None` if they are not all inside `source`.
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
