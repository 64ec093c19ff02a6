//! The content of a file, wherever it is.

use super::host::Stamp;
use crate::base::Base;
use crate::build::{Spool, SpoolReader};
use ddi::io::ReadAt;
use nix::fcntl::OFlag;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

/// What a file contains.
#[derive(Debug, Clone)]
pub struct Content(Inner);

#[derive(Debug, Clone)]
enum Inner {
    /// Bytes made here.
    Bytes(Arc<[u8]>),
    /// A part of an archive.
    Spool(Spool),
    /// Parts of an archive with holes between them: where each begins in the file, in order, not overlapping.
    Sparse { len: u64, parts: Arc<[(u64, Spool)]> },
    /// A file of the host that is opened when it is read.
    Host { base: Arc<Base>, path: Arc<[u8]>, stamp: Stamp },
}

impl Content {
    /// These bytes.
    #[must_use]
    pub fn bytes(bytes: &[u8]) -> Self {
        Self(Inner::Bytes(bytes.into()))
    }

    /// A part of an archive.
    #[must_use]
    pub fn spool(spool: Spool) -> Self {
        Self(Inner::Spool(spool))
    }

    /// `len` bytes of which only `parts` aren't zero; `None` if they overlap, are out of order or reach beyond the end.
    #[must_use]
    pub fn sparse(len: u64, parts: Vec<(u64, Spool)>) -> Option<Self> {
        let mut end = 0_u64;
        for (start, spool) in &parts {
            (*start >= end).then_some(())?;
            end = start.checked_add(spool.len())?;
        }
        (end <= len).then(|| Self(Inner::Sparse { len, parts: parts.into() }))
    }

    /// A regular file of the host, at `path` below `base`.
    pub(super) fn host(base: &Arc<Base>, path: &[u8], stamp: Stamp) -> Self {
        Self(Inner::Host { base: Arc::clone(base), path: path.into(), stamp })
    }

    /// Bytes, holes included.
    #[must_use]
    pub fn len(&self) -> u64 {
        match &self.0 {
            Inner::Bytes(bytes) => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            Inner::Spool(spool) => spool.len(),
            Inner::Sparse { len, .. } => *len,
            Inner::Host { stamp, .. } => stamp.len,
        }
    }

    /// Memory that it takes as long as it isn't read, in bytes.
    pub(super) fn held(&self) -> u64 {
        let count = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
        match &self.0 {
            Inner::Bytes(bytes) => count(bytes.len()),
            Inner::Spool(_) => 0,
            Inner::Sparse { parts, .. } => count(parts.len()).saturating_mul(super::PART_COST),
            Inner::Host { path, .. } => count(path.len()),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads it from its start to its end: exactly [`Content::len`] bytes, or an error.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader { content: self.clone(), position: 0, open: None }
    }
}

/// Reads a [`Content`]. A file of the host is opened at the first read and closed at its end, so that many readers may
/// wait without a descriptor each.
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
    /// Fills the front of `buf`, which isn't empty and asks for nothing beyond the end.
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
    // The part that covers the position, or the hole before the next one.
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
    io::Error::other("the file changed while it was read")
}
