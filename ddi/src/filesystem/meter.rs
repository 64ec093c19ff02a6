//! Reading with a limit on the work, so that no structure of the file system can keep us busy for long.

use super::FilesystemError;
use super::cache::Cache;
use crate::io::ReadAt;
use std::cell::Cell;
use std::rc::Rc;

/// Metadata is read in windows of this many bytes, because it is looked at a few bytes at a time.
const WINDOW: u64 = 4096;

/// What one small read costs besides its bytes, so that loops over nothing come to an end too.
const READ_COST: u64 = 32;

/// The source of one operation and the work that is left for it.
pub(super) struct Meter<'a> {
    source: &'a dyn ReadAt,
    limit: u64,
    left: Cell<u64>,
    cache: &'a Cache,
}

impl<'a> Meter<'a> {
    /// Allows `limit` bytes to be read or decompressed.
    pub(super) fn new(source: &'a dyn ReadAt, cache: &'a Cache, limit: u64) -> Self {
        Self { source, limit, left: Cell::new(limit), cache }
    }

    /// What is kept of the metadata of this source.
    pub(super) fn cache(&self) -> &'a Cache {
        self.cache
    }

    /// Takes `work` bytes off what is left.
    pub(super) fn charge(&self, work: usize) -> Result<(), FilesystemError> {
        let work = u64::try_from(work).unwrap_or(u64::MAX).saturating_add(READ_COST);
        let left = self.left.get().checked_sub(work).ok_or(FilesystemError::TooMuchWork { limit: self.limit })?;
        self.left.set(left);
        Ok(())
    }

    /// Fills `buf` with data.
    pub(super) fn fill(&self, buf: &mut [u8], offset: u64, what: &'static str) -> Result<(), FilesystemError> {
        self.charge(buf.len())?;
        self.check(offset, buf.len(), what)?;
        Ok(self.source.read_exact_at(buf, offset)?)
    }

    /// `len` bytes of data. Nothing is allocated for what isn't there.
    pub(super) fn data(&self, offset: u64, len: usize, what: &'static str) -> Result<Vec<u8>, FilesystemError> {
        self.charge(len)?;
        self.check(offset, len, what)?;
        let mut data = vec![0; len];
        self.source.read_exact_at(&mut data, offset)?;
        Ok(data)
    }

    /// A few bytes of metadata, through the window.
    pub(super) fn metadata<const N: usize>(&self, offset: u64, what: &'static str) -> Result<[u8; N], FilesystemError> {
        let mut bytes = [0; N];
        self.metadata_into(&mut bytes, offset, what)?;
        Ok(bytes)
    }

    /// Fills `buf` with metadata, through the window.
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
