//! Reads with a limit on the work, so that no file system can keep the reader busy for long.

use super::FilesystemError;
use super::cache::Cache;
use crate::io::ReadAt;
use std::cell::Cell;
use std::rc::Rc;

/// Size in bytes of the windows in which metadata is read, because it is used a few bytes at a time.
const WINDOW: u64 = 4096;

/// Cost of a small read besides its bytes, so that loops over empty data end, too.
const READ_COST: u64 = 32;

/// The source of one operation and its remaining work.
pub(super) struct Meter<'a> {
    source: &'a dyn ReadAt,
    limit: u64,
    left: Cell<u64>,
    cache: &'a Cache,
}

impl<'a> Meter<'a> {
    /// Makes a meter for `limit` bytes of reading and decompression.
    pub(super) fn new(source: &'a dyn ReadAt, cache: &'a Cache, limit: u64) -> Self {
        Self { source, limit, left: Cell::new(limit), cache }
    }

    /// Returns the metadata cache of this source.
    pub(super) fn cache(&self) -> &'a Cache {
        self.cache
    }

    /// Subtracts `work` bytes from the remaining work.
    pub(super) fn charge(&self, work: usize) -> Result<(), FilesystemError> {
        let work = u64::try_from(work).unwrap_or(u64::MAX).saturating_add(READ_COST);
        let left = self.left.get().checked_sub(work).ok_or(FilesystemError::TooMuchWork { limit: self.limit })?;
        self.left.set(left);
        Ok(())
    }

    /// Fills `buf` with data at `offset`.
    pub(super) fn fill(&self, buf: &mut [u8], offset: u64, what: &'static str) -> Result<(), FilesystemError> {
        self.charge(buf.len())?;
        self.check(offset, buf.len(), what)?;
        Ok(self.source.read_exact_at(buf, offset)?)
    }

    /// Reads `len` bytes of data. Memory is allocated after the check that the source has them.
    pub(super) fn data(&self, offset: u64, len: usize, what: &'static str) -> Result<Vec<u8>, FilesystemError> {
        self.charge(len)?;
        self.check(offset, len, what)?;
        let mut data = vec![0; len];
        self.source.read_exact_at(&mut data, offset)?;
        Ok(data)
    }

    /// Reads a few bytes of metadata through the cache.
    pub(super) fn metadata<const N: usize>(&self, offset: u64, what: &'static str) -> Result<[u8; N], FilesystemError> {
        let mut bytes = [0; N];
        self.metadata_into(&mut bytes, offset, what)?;
        Ok(bytes)
    }

    /// Fills `buf` with metadata through the cache.
    pub(super) fn metadata_into(&self, buf: &mut [u8], offset: u64, what: &'static str) -> Result<(), FilesystemError> {
        self.charge(buf.len())?;
        self.check(offset, buf.len(), what)?;
        let corrupt = || FilesystemError::corrupt(what, offset);
        let mut done = 0_usize;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = offset.saturating_add(u64::try_from(done).unwrap_or(u64::MAX));
            let within = at.checked_rem(WINDOW).unwrap_or(0);
            let start = at.saturating_sub(within);
            let window = self.cache.windows.get(start, || self.window(start))?;
            let available = usize::try_from(within).ok().and_then(|at| window.get(at..)).ok_or_else(corrupt)?;
            let n = available.len().min(rest.len());
            let (Some(to), Some(from)) = (rest.get_mut(..n), available.get(..n)) else { return Err(corrupt()) };
            to.copy_from_slice(from);
            if n == 0 {
                return Err(corrupt());
            }
            done = done.saturating_add(n);
        }
        Ok(())
    }

    fn window(&self, start: u64) -> Result<Rc<[u8]>, FilesystemError> {
        let len = self.source.len().saturating_sub(start).min(WINDOW);
        let mut window = vec![0; usize::try_from(len).unwrap_or(0)];
        self.source.read_exact_at(&mut window, start)?;
        Ok(window.into())
    }

    fn check(&self, offset: u64, len: usize, what: &'static str) -> Result<(), FilesystemError> {
        let inside =
            u64::try_from(len).ok().and_then(|len| offset.checked_add(len)).is_some_and(|end| end <= self.source.len());
        if inside { Ok(()) } else { Err(FilesystemError::corrupt(what, offset)) }
    }
}
