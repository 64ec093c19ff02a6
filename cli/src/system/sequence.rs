//! A source that is read from some place on, one byte after the other.

use ddi::io::ReadAt;
use std::io::{self, BufReader, Read};

/// Reads a source from some place on.
pub(super) struct Sequence<'a> {
    pub(super) source: &'a dyn ReadAt,
    pub(super) offset: u64,
}

impl Read for Sequence<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.source.len().saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let count = left.min(buffer.len());
        let piece = buffer.get_mut(..count).unwrap_or_default();
        self.source.read_exact_at(piece, self.offset)?;
        self.offset = self.offset.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        Ok(count)
    }
}

/// The offset of the next byte of the source that hasn't been read out of a buffer.
pub(super) fn position(reader: &BufReader<Sequence<'_>>) -> u64 {
    reader.get_ref().offset.saturating_sub(u64::try_from(reader.buffer().len()).unwrap_or(u64::MAX))
}
