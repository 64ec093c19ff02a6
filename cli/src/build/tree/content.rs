//! Content of files: in memory, in an archive, or in a file of the host.

use super::host::Stamp;
use crate::base::Base;
use crate::build::{Spool, SpoolReader};
use ddi::io::ReadAt;
use nix::fcntl::OFlag;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

/// Content of a file.
#[derive(Debug, Clone)]
pub struct Content(Inner);

#[derive(Debug, Clone)]
enum Inner {
    /// Bytes in memory.
    Bytes(Arc<[u8]>),
    /// A range of an archive.
    Spool(Spool),
    /// Ranges of an archive with holes between them. Each has its offset in the file; they are in order and do not overlap.
    Sparse { len: u64, parts: Arc<[(u64, Spool)]> },
    /// A file of the host, opened when it is read.
    Host { base: Arc<Base>, path: Arc<[u8]>, stamp: Stamp },
}

impl Content {
    /// Returns content that consists of `bytes`.
    #[must_use]
    pub fn bytes(bytes: &[u8]) -> Self {
        Self(Inner::Bytes(bytes.into()))
    }

    /// Returns content that is a range of an archive.
    #[must_use]
    pub fn spool(spool: Spool) -> Self {
        Self(Inner::Spool(spool))
    }

    /// Returns content of `len` bytes, zero outside of `parts`. `None` if parts overlap, are out of order or exceed the end.
    #[must_use]
    pub fn sparse(len: u64, parts: Vec<(u64, Spool)>) -> Option<Self> {
        let mut end = 0_u64;
        for (start, spool) in &parts {
            (*start >= end).then_some(())?;
            end = start.checked_add(spool.len())?;
        }
        (end <= len).then(|| Self(Inner::Sparse { len, parts: parts.into() }))
    }

    /// Returns the content of the regular file at `path` below `base`.
    pub(super) fn host(base: &Arc<Base>, path: &[u8], stamp: Stamp) -> Self {
        Self(Inner::Host { base: Arc::clone(base), path: path.into(), stamp })
    }

    /// Returns the size in bytes, holes included.
    #[must_use]
    pub fn len(&self) -> u64 {
        match &self.0 {
            Inner::Bytes(bytes) => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            Inner::Spool(spool) => spool.len(),
            Inner::Sparse { len, .. } => *len,
            Inner::Host { stamp, .. } => stamp.len,
        }
    }

    /// Returns the memory that it needs, in bytes, except while it is read.
    pub(super) fn held(&self) -> u64 {
        let count = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
        match &self.0 {
            Inner::Bytes(bytes) => count(bytes.len()),
            Inner::Spool(_) => 0,
            Inner::Sparse { parts, .. } => count(parts.len()).saturating_mul(super::PART_COST),
            Inner::Host { path, .. } => count(path.len()),
        }
    }

    /// Returns whether the content is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns a reader, which gives exactly [`Content::len`] bytes, or an error.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader { content: self.clone(), position: 0, open: None }
    }
}

/// Reads a [`Content`]. A file of the host is opened at the first read and closed at its end, so that waiting readers need no
/// descriptors.
#[derive(Debug)]
pub struct Reader {
    content: Content,
    position: u64,
    open: Option<Open>,
}

#[derive(Debug)]
enum Open {
    Host(File),
    Spool(SpoolReader),
}

impl Reader {
    /// Fills the beginning of `buf`, which must not be empty nor exceed the rest of the content.
    fn fill(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match (&self.content.0, &mut self.open) {
            (_, Some(Open::Host(file))) => match file.read(buf)? {
                0 => Err(changed()),
                count => Ok(count),
            },
            (_, Some(Open::Spool(reader))) => reader.read(buf),
            (Inner::Bytes(bytes), None) => {
                let start = usize::try_from(self.position).unwrap_or(usize::MAX);
                bytes.get(start..).unwrap_or_default().read(buf)
            }
            (Inner::Spool(spool), None) => {
                self.open = Some(Open::Spool(spool.reader()));
                self.fill(buf)
            }
            (Inner::Sparse { parts, .. }, None) => sparse(parts, self.position, buf),
            (Inner::Host { base, path, stamp }, None) => {
                let file = File::from(base.open(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?);
                if Stamp::of(&file.metadata()?) != *stamp {
                    return Err(changed());
                }
                self.open = Some(Open::Host(file));
                self.fill(buf)
            }
        }
    }
}

impl Read for Reader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.content.len().saturating_sub(self.position);
        let count = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let Some(buf) = buf.get_mut(..count).filter(|buf| !buf.is_empty()) else {
            self.open = None;
            return Ok(0);
        };
        let count = self.fill(buf)?;
        self.position = self.position.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        Ok(count)
    }
}

fn sparse(parts: &[(u64, Spool)], position: u64, buf: &mut [u8]) -> io::Result<usize> {
    // Either a part covers the position, or it is in the hole before the next part.
    let index = parts.partition_point(|(start, spool)| start.saturating_add(spool.len()) <= position);
    let wanted = u64::try_from(buf.len()).unwrap_or(u64::MAX);
    match parts.get(index) {
        Some((start, spool)) if *start <= position => {
            let offset = position.saturating_sub(*start);
            let count = wanted.min(spool.len().saturating_sub(offset));
            let buf = buf.get_mut(..usize::try_from(count).unwrap_or_default()).unwrap_or_default();
            spool.read_exact_at(buf, offset)?;
            Ok(buf.len())
        }
        next => {
            let hole = next.map_or(wanted, |(start, _)| wanted.min(start.saturating_sub(position)));
            let buf = buf.get_mut(..usize::try_from(hole).unwrap_or_default()).unwrap_or_default();
            buf.fill(0);
            Ok(buf.len())
        }
    }
}

fn changed() -> io::Error {
    io::Error::other("file changed while it was read")
}
