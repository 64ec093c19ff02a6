//! A source padded with zeros.

use crate::io::ReadAt;
use std::io;

/// A source followed by zeros up to a multiple of a given length.
///
/// A partition, and the data that a hash tree protects, is a whole number of 4 KiB blocks. Files of `mksquashfs -nopad`
/// and similar tools end where the file system ends.
#[derive(Clone, Copy)]
pub struct Padded<'a> {
    source: &'a dyn ReadAt,
    len: u64,
}

impl<'a> Padded<'a> {
    /// Pads `source` to a multiple of `multiple` bytes. Returns `None` if that exceeds the maximum length of a file.
    #[must_use]
    pub fn new(source: &'a dyn ReadAt, multiple: u64) -> Option<Self> {
        let len = source.len().checked_next_multiple_of(multiple)?;
        i64::try_from(len).ok().map(|_| Self { source, len })
    }
}

impl std::fmt::Debug for Padded<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Padded").field("source", &self.source.len()).field("len", &self.len).finish()
    }
}

impl ReadAt for Padded<'_> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let wanted = u64::try_from(buf.len()).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        if offset.checked_add(wanted).is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let inside = self.source.len().saturating_sub(offset).min(wanted);
        let (data, zeros) = buf.split_at_mut(usize::try_from(inside).map_err(|_| io::ErrorKind::UnexpectedEof)?);
        zeros.fill(0);
        if data.is_empty() { Ok(()) } else { self.source.read_exact_at(data, offset) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_across_the_end_of_the_source_and_never_past_the_padding() {
        let source = b"abcde".to_vec();
        let padded = Padded::new(&source, 8).unwrap();
        assert_eq!(padded.len(), 8);
        let read = |offset, len| {
            let mut buf = vec![0xff; len];
            padded.read_exact_at(&mut buf, offset).map(|()| buf)
        };
        assert_eq!(read(0, 8).unwrap(), b"abcde\0\0\0");
        assert_eq!(read(3, 3).unwrap(), b"de\0");
        assert_eq!(read(6, 2).unwrap(), b"\0\0");
        assert_eq!(read(8, 0).unwrap(), b"");
        assert!(read(6, 3).is_err());
        assert!(read(u64::MAX, 2).is_err());
        assert_eq!(Padded::new(&source, 5).unwrap().len(), 5);
    }
}
