//! Reads the files of an initrd: concatenated *newc* archives, each of which may be compressed.
//!
//! Read as the kernel unpacks it (Linux 6.12, `init/initramfs.c`, and `Documentation/driver-api/early-userspace/buffer-format.rst`),
//! but nothing is kept except names, kinds, modes and the targets of links, and the contents of files that were asked for.
//! Time, memory and names are bounded, whatever the archive says.

use super::compression::{Compression, MAGIC_SIZE};
use super::header::{Header, SIZE as HEADER};
use super::sequence::{Sequence, position};
use super::{Entry, Read as Content, System};
use ddi::filesystem::EntryKind;
use ddi::io::ReadAt;
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read};
use thiserror::Error;

/// Maximum number of bytes to unpack.
const MAX_BYTES: u64 = 16 << 30;
/// Maximum number of files, directories and links.
const MAX_NODES: usize = 1 << 20;
/// Maximum memory for names and targets, in bytes.
const MAX_MEMORY: usize = 256 << 20;
/// Approximate memory of a node without its name and target, in bytes.
const NODE_COST: usize = 160;
/// Longest path and target in bytes, with the NUL at its end (the kernel's `PATH_MAX`).
const MAX_PATH: u64 = 4096;
/// Maximum number of components of a path.
const MAX_DEPTH: usize = 128;
/// Maximum number of links to follow in one path (the kernel's `MAXSYMLINKS`).
const MAX_LINKS: usize = 40;
/// Largest window of Zstandard, as a power of two: the default limit of `zstd`.
const ZSTD_WINDOW: u32 = 27;
/// Most memory that a decoder of xz takes, in KiB: some more than the dictionary of `xz -8`.
const XZ_MEMORY: u32 = 40 << 10;
/// Most compressed and plain parts that are told about.
const MAX_SEGMENTS: usize = 64;
/// Most bytes of contents that are kept.
const MAX_CONTENTS: u64 = 256 << 20;
const BUFFER: usize = 1 << 18;

/// Error of reading an initrd.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// Reading or unpacking failed.
    #[error("unpacking the initrd")]
    Read(#[from] io::Error),
    /// Neither an archive nor a known compression.
    #[error("data at byte {offset} is not a newc cpio archive, plain or compressed with gzip, xz or Zstandard")]
    Unknown {
        /// Offset in the initrd
        offset: u64,
    },
    /// A compression that is not supported.
    #[error(
        "data at byte {offset} is compressed with {compression}; only gzip, xz and Zstandard are supported: unpack it first"
    )]
    Compression {
        /// Offset in the initrd
        offset: u64,
        /// Which
        compression: Compression,
    },
    /// A header is malformed.
    #[error("header {number} of an archive is damaged")]
    Header {
        /// Counted from 1, in all archives together
        number: usize,
    },
    /// The initrd ends within an archive.
    #[error("initrd ends within an archive")]
    Truncated,
    /// More than 16 GiB when unpacked.
    #[error("initrd unpacks to more than {MAX_BYTES} bytes")]
    TooLarge,
    /// Too many or too long names.
    #[error("initrd has more than {MAX_NODES} names, or they need more than {} MiB of memory", MAX_MEMORY >> 20)]
    TooMany,
    /// A path with `..`, or one that is too deep.
    #[error("path of entry {number} contains \"..\" or has more than {MAX_DEPTH} components")]
    Path {
        /// Counted from 1, in all archives together
        number: usize,
    },
}

#[derive(Debug)]
struct Node {
    kind: EntryKind,
    mode: u32,
    target: Vec<u8>,
    /// Of a regular file: where its content is.
    file: Option<usize>,
    children: BTreeMap<Vec<u8>, usize>,
}

/// The files that an initrd unpacks to.
#[derive(Debug)]
pub struct Archive {
    nodes: Vec<Node>,
    /// Approximate memory in bytes.
    held: usize,
    /// Number of unpacked bytes.
    unpacked: u64,
    /// Number of headers read.
    headers: usize,
    /// Of each regular file, under however many names: the number of the header that its content follows.
    files: Vec<usize>,
    /// Files with several names in the archive that is being read, by device and inode (the kernel's `find_link`).
    links: BTreeMap<[u64; 3], usize>,
    segments: Vec<Segment>,
    /// Numbers of headers whose content is to be kept, if it isn't larger than this.
    wanted: BTreeMap<usize, usize>,
    /// `None` of what is larger.
    contents: BTreeMap<usize, Option<Vec<u8>>>,
    /// Bytes in `contents`.
    kept: u64,
}

/// A part of an initrd: one archive, or what was compressed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Its first byte in the initrd
    pub offset: u64,
    /// How it is compressed
    pub compression: Compression,
}

impl Default for Archive {
    fn default() -> Self {
        let children = BTreeMap::new();
        let root = Node { kind: EntryKind::Directory, mode: 0o755, target: Vec::new(), file: None, children };
        Self {
            nodes: vec![root],
            held: NODE_COST,
            unpacked: 0,
            headers: 0,
            files: Vec::new(),
            links: BTreeMap::new(),
            segments: Vec::new(),
            wanted: BTreeMap::new(),
            contents: BTreeMap::new(),
            kept: 0,
        }
    }
}

impl Archive {
    /// Reads an initrd, and adds its files to those of initrds read before, as a boot does.
    ///
    /// # Errors
    /// [`ArchiveError`]
    pub fn add(&mut self, source: &dyn ReadAt) -> Result<(), ArchiveError> {
        let mut offset = 0;
        loop {
            let mut reader = BufReader::with_capacity(BUFFER, Sequence { source, offset });
            self.skip_zeros(&mut reader)?;
            offset = position(&reader);
            if offset >= source.len() {
                return Ok(());
            }
            let mut magic = [0; MAGIC_SIZE];
            let known = usize::try_from(source.len().saturating_sub(offset)).unwrap_or(usize::MAX).min(magic.len());
            source.read_exact_at(magic.get_mut(..known).unwrap_or_default(), offset)?;
            let compression = Compression::of(&magic).ok_or(ArchiveError::Unknown { offset })?;
            // As many archives without compression may follow each other as there is room for.
            let is_new = self.segments.last().is_none_or(|last| last.compression != compression);
            if is_new && self.segments.len() < MAX_SEGMENTS {
                self.segments.push(Segment { offset, compression });
            }
            reader = match compression {
                Compression::None => {
                    self.archive(&mut reader)?;
                    reader
                }
                Compression::Gzip => {
                    let mut decoder = BufReader::with_capacity(BUFFER, flate2::bufread::GzDecoder::new(reader));
                    self.archives(&mut decoder)?;
                    decoder.into_inner().into_inner()
                }
                Compression::Zstd => {
                    let mut decoder = zstd::Decoder::with_buffer(reader)?.single_frame();
                    decoder.window_log_max(ZSTD_WINDOW)?;
                    let mut decoder = BufReader::with_capacity(BUFFER, decoder);
                    self.archives(&mut decoder)?;
                    decoder.into_inner().finish()
                }
                Compression::Xz => {
                    let decoder = lzma_rust2::XzReader::new_mem_limit(reader, false, XZ_MEMORY);
                    let mut decoder = BufReader::with_capacity(BUFFER, decoder);
                    self.archives(&mut decoder)?;
                    decoder.into_inner().into_inner()
                }
                _ => return Err(ArchiveError::Compression { offset, compression }),
            };
            offset = position(&reader);
        }
    }

    /// The parts that the initrd consists of, as far as it was read; of neighbours with the same compression the first.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Returns an archive without files that keeps the contents of some of this one's, once the same initrd is read into it.
    /// `paths` are theirs, each with the size in bytes beyond which nothing is kept.
    #[must_use]
    pub fn to_keep<'p>(&self, paths: impl Iterator<Item = (&'p [u8], usize)>) -> Self {
        let numbers = paths.filter_map(|(path, limit)| Some((*self.files.get(self.at(path)?.file?)?, limit)));
        Self { wanted: numbers.collect(), ..Self::default() }
    }

    /// Returns whether there are no files.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.len() <= 1
    }

    fn count(&mut self, bytes: usize) -> Result<(), ArchiveError> {
        self.unpacked = self.unpacked.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        if self.unpacked > MAX_BYTES { Err(ArchiveError::TooLarge) } else { Ok(()) }
    }

    /// Reads archives with zeros between them, up to the end of the data or of its compressed part.
    fn archives(&mut self, reader: &mut dyn BufRead) -> Result<(), ArchiveError> {
        loop {
            self.skip_zeros(reader)?;
            if reader.fill_buf()?.is_empty() {
                return Ok(());
            }
            self.archive(reader)?;
        }
    }

    fn skip_zeros(&mut self, reader: &mut dyn BufRead) -> Result<(), ArchiveError> {
        loop {
            let bytes = reader.fill_buf()?;
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            let is_end = zeros < bytes.len() || bytes.is_empty();
            reader.consume(zeros);
            self.count(zeros)?;
            if is_end {
                return Ok(());
            }
        }
    }

    /// Reads one archive, up to its trailer.
    fn archive(&mut self, reader: &mut dyn BufRead) -> Result<(), ArchiveError> {
        loop {
            self.headers = self.headers.saturating_add(1);
            let damaged = ArchiveError::Header { number: self.headers };
            let mut header = [0; HEADER];
            self.read(reader, &mut header)?;
            let Some(Header { mode, size, name_size, identity }) = Header::parse(&header) else { return Err(damaged) };
            if name_size == 0 || name_size > MAX_PATH {
                return Err(damaged);
            }
            let mut name = vec![0; usize::try_from(name_size).unwrap_or_default()];
            self.read(reader, &mut name)?;
            // Header and name are padded to a multiple of four bytes, and so is the content.
            self.skip(reader, padding(name_size.saturating_add(2)))?;
            if name.pop() != Some(0) || name.contains(&0) {
                return Err(damaged);
            }
            let kind = EntryKind::of_mode(mode);
            let mut target = Vec::new();
            if kind == Some(EntryKind::Symlink) && size < MAX_PATH {
                target = vec![0; usize::try_from(size).unwrap_or_default()];
                self.read(reader, &mut target)?;
            } else if let Some(limit) = self.wanted.get(&self.headers).copied() {
                self.keep(reader, size, limit)?;
            } else {
                self.skip(reader, size)?;
            }
            if name == b"TRAILER!!!" {
                self.links.clear();
                return Ok(());
            }
            self.skip(reader, padding(size))?;
            match kind {
                Some(EntryKind::Symlink) if target.is_empty() || target.contains(&0) => return Err(damaged),
                // The kernel ignores other kinds.
                None => {}
                Some(EntryKind::File) => {
                    let file = self.file(identity, size);
                    self.insert(&name, Node { file: Some(file), ..Node::new(EntryKind::File, mode) })?;
                }
                Some(kind) => self.insert(&name, Node { target, ..Node::new(kind, mode) })?,
            }
        }
    }

    /// The file of the present header. Of several names for one file any may have its content.
    fn file(&mut self, identity: Option<[u64; 3]>, size: u64) -> usize {
        if let Some(known) = identity.and_then(|identity| self.links.get(&identity).copied()) {
            if size > 0
                && let Some(number) = self.files.get_mut(known)
            {
                *number = self.headers;
            }
            return known;
        }
        let file = self.files.len();
        self.files.push(self.headers);
        if let Some(identity) = identity {
            self.links.insert(identity, file);
        }
        file
    }

    fn keep(&mut self, reader: &mut dyn BufRead, size: u64, limit: usize) -> Result<(), ArchiveError> {
        if size > u64::try_from(limit).unwrap_or(u64::MAX) {
            self.contents.insert(self.headers, None);
            return self.skip(reader, size);
        }
        self.kept = self.kept.saturating_add(size);
        if self.kept > MAX_CONTENTS {
            return Err(ArchiveError::TooLarge);
        }
        let mut content = Vec::new();
        // What a header promises need not be there.
        reader.take(size).read_to_end(&mut content)?;
        self.count(content.len())?;
        if u64::try_from(content.len()).is_ok_and(|len| len < size) {
            return Err(ArchiveError::Truncated);
        }
        self.contents.insert(self.headers, Some(content));
        Ok(())
    }

    fn read(&mut self, reader: &mut dyn BufRead, buffer: &mut [u8]) -> Result<(), ArchiveError> {
        self.count(buffer.len())?;
        reader.read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ArchiveError::Truncated,
            _ => ArchiveError::Read(error),
        })
    }

    fn skip(&mut self, reader: &mut dyn BufRead, mut count: u64) -> Result<(), ArchiveError> {
        while count > 0 {
            let bytes = reader.fill_buf()?.len();
            if bytes == 0 {
                return Err(ArchiveError::Truncated);
            }
            let step = bytes.min(usize::try_from(count).unwrap_or(usize::MAX));
            reader.consume(step);
            self.count(step)?;
            count = count.saturating_sub(u64::try_from(step).unwrap_or(u64::MAX));
        }
        Ok(())
    }

    fn insert(&mut self, path: &[u8], new: Node) -> Result<(), ArchiveError> {
        let names: Vec<&[u8]> = names(path).collect();
        if names.len() > MAX_DEPTH || names.contains(&b"..".as_slice()) {
            return Err(ArchiveError::Path { number: self.headers });
        }
        // The root exists already.
        let Some((name, parents)) = names.split_last() else { return Ok(()) };
        // The kernel can't create a file without its directory.
        let Some(parent) = self.directory(parents) else { return Ok(()) };
        if let Some(found) = self.child(parent, name)
            && let Some(node) = self.nodes.get(found)
            && node.kind == EntryKind::Directory
            && (new.kind == EntryKind::Directory || !node.children.is_empty())
        {
            return Ok(());
        }
        let name = name.to_vec();
        let cost = NODE_COST.saturating_add(name.len()).saturating_add(new.target.len());
        self.held = self.held.saturating_add(cost);
        if self.nodes.len() >= MAX_NODES || self.held > MAX_MEMORY {
            return Err(ArchiveError::TooMany);
        }
        let id = self.nodes.len();
        self.nodes.push(new);
        if let Some(node) = self.nodes.get_mut(parent) {
            node.children.insert(name, id);
        }
        Ok(())
    }

    fn child(&self, parent: usize, name: &[u8]) -> Option<usize> {
        self.nodes.get(parent)?.children.get(name).copied()
    }

    /// Returns the directory at a path, following links.
    fn directory(&self, path: &[&[u8]]) -> Option<usize> {
        let mut trail = vec![0];
        let mut todo: Vec<&[u8]> = path.iter().rev().copied().collect();
        let mut links = 0_usize;
        while let Some(name) = todo.pop() {
            if name == b".." {
                if trail.len() > 1 {
                    trail.pop();
                }
                continue;
            }
            let id = self.child(*trail.last()?, name)?;
            let node = self.nodes.get(id)?;
            match node.kind {
                EntryKind::Directory => trail.push(id),
                EntryKind::Symlink => {
                    links = links.saturating_add(1);
                    if links > MAX_LINKS || todo.len() > MAX_DEPTH {
                        return None;
                    }
                    if node.target.starts_with(b"/") {
                        trail.truncate(1);
                    }
                    let first = todo.len();
                    todo.extend(names(&node.target));
                    todo.get_mut(first..)?.reverse();
                }
                _ => return None,
            }
        }
        trail.last().copied()
    }

    /// Returns the node at a path that contains no links.
    fn at(&self, path: &[u8]) -> Option<&Node> {
        let mut id = 0;
        for name in names(path) {
            id = self.child(id, name)?;
        }
        self.nodes.get(id)
    }
}

impl Node {
    fn new(kind: EntryKind, mode: u32) -> Self {
        Self { kind, mode: mode & 0o7777, target: Vec::new(), file: None, children: BTreeMap::new() }
    }
}

impl System for Archive {
    fn entry(&self, path: &[u8]) -> io::Result<Option<Entry>> {
        let found = self.at(path);
        Ok(found.map(|node| Entry {
            kind: node.kind,
            mode: node.mode,
            target: node.target.clone(),
            is_mount_point: false,
        }))
    }

    fn list(&self, path: &[u8]) -> io::Result<Vec<(Vec<u8>, EntryKind)>> {
        let children = self.at(path).into_iter().flat_map(|node| &node.children);
        Ok(children.filter_map(|(name, id)| Some((name.clone(), self.nodes.get(*id)?.kind))).collect())
    }

    fn read(&self, path: &[u8], limit: usize) -> io::Result<Content> {
        let Some(file) = self.at(path).and_then(|node| node.file) else { return Ok(Content::Absent) };
        let content = self.files.get(file).and_then(|number| self.contents.get(number));
        Ok(match content {
            None => Content::Unread,
            Some(Some(content)) if content.len() <= limit => Content::Bytes(content.clone()),
            Some(_) => Content::TooLarge,
        })
    }
}

/// Splits a path into names, without empty ones and `.`.
fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".")
}

/// Returns the number of bytes up to the next multiple of four.
fn padding(len: u64) -> u64 {
    len.next_multiple_of(4).saturating_sub(len)
}
