//! Squashfs 4.0 as in Linux (`fs/squashfs/squashfs_fs.h`).

mod data;
mod directory;
mod inode;
mod metadata;
mod xattr;

use super::codec::Codec;
use super::format::{Format, Places, Visitor};
use super::mask::Mask;
use super::meter::Meter;
use super::{EntryKind, FilesystemError};
use crate::bytes::{u16_at, u32_at, u64_at};
use crate::filesystem::format::Attributes;
use inode::Inode;

const MAGIC: u32 = 0x7371_7368;

/// Logarithm of the block size: 4 KiB to 1 MiB (`SQUASHFS_FILE_MAX_SIZE`).
const BLOCK_LOG: std::ops::RangeInclusive<u16> = 12..=20;

/// A parsed superblock. Positions are offsets in bytes.
#[derive(Debug)]
pub(super) struct Squashfs {
    codec: Codec,
    block_size: u64,
    /// Bytes of all of it.
    used: u64,
    root: u64,
    inodes: u64,
    directories: u64,
    fragments: u64,
    /// Offset of the table of user and group IDs, and its number of entries.
    ids: (u64, u16),
    fragment_count: u32,
    /// Offset of the attribute table, `None` if the file system has no attributes.
    xattrs: Option<u64>,
}

impl Squashfs {
    /// Reads the superblock. Returns `None` without the magic number of squashfs.
    pub(super) fn open(meter: &Meter<'_>, len: u64) -> Result<Option<Self>, FilesystemError> {
        if len < 96 {
            return Ok(None);
        }
        let bytes = meter.metadata::<96>(0, "superblock")?;
        if u32_at(&bytes, 0) != Some(MAGIC) {
            return Ok(None);
        }
        Self::parse(&bytes, len).map(Some)
    }

    fn parse(bytes: &[u8; 96], len: u64) -> Result<Self, FilesystemError> {
        let corrupt = || FilesystemError::corrupt("superblock", 0);
        let u16 = |offset| u16_at(bytes, offset).ok_or_else(corrupt);
        let u32 = |offset| u32_at(bytes, offset).ok_or_else(corrupt);
        let u64 = |offset| u64_at(bytes, offset).ok_or_else(corrupt);
        if u16(28)? != 4 || u16(30)? != 0 {
            let value = u64::from(u16(28)?) << 16 | u64::from(u16(30)?);
            return Err(FilesystemError::Unsupported { what: "squashfs version", value });
        }
        let codec = match u16(20)? {
            1 => Codec::Zlib,
            2 => return Err(FilesystemError::UnsupportedByKernel { what: "squashfs with lzma compression" }),
            3 => Codec::Lzo,
            4 => Codec::Xz,
            5 => Codec::Lz4,
            6 => Codec::Zstd,
            other => {
                return Err(FilesystemError::Unsupported { what: "squashfs compression", value: other.into() });
            }
        };
        let block_size = u64::from(u32(12)?);
        let log = u16(22)?;
        if !BLOCK_LOG.contains(&log) || 1_u64.checked_shl(log.into()) != Some(block_size) || u64(40)? > len {
            return Err(corrupt());
        }
        Ok(Self {
            codec,
            block_size,
            used: u64(40)?,
            root: u64(32)?,
            inodes: u64(64)?,
            directories: u64(72)?,
            fragments: u64(80)?,
            ids: (u64(48)?, u16(26)?),
            fragment_count: u32(16)?,
            xattrs: Some(u64(56)?).filter(|at| *at != u64::MAX),
        })
    }
}

impl Format for Squashfs {
    type Node = Inode;

    fn root(&self) -> u64 {
        self.root
    }

    fn node(&self, meter: &Meter<'_>, reference: u64) -> Result<Inode, FilesystemError> {
        Inode::read(self, meter, reference)
    }

    fn kind(node: &Inode) -> EntryKind {
        node.kind
    }

    fn size(node: &Inode) -> u64 {
        node.size
    }

    fn attributes(&self, meter: &Meter<'_>, node: &Inode) -> Result<Attributes, FilesystemError> {
        node.attributes(self, meter)
    }

    fn visit(&self, meter: &Meter<'_>, inode: &Inode, visitor: &mut Visitor<'_>) -> Result<(), FilesystemError> {
        directory::visit(self, meter, inode, visitor)
    }

    fn content(&self, meter: &Meter<'_>, inode: &Inode, len: usize) -> Result<Vec<u8>, FilesystemError> {
        data::content(self, meter, inode, len)
    }

    fn places(&self, meter: &Meter<'_>, inode: &Inode, see: &mut Places<'_>) -> Result<(), FilesystemError> {
        // The target of a link is in its inode.
        if inode.kind == EntryKind::File { data::places(self, meter, inode, see) } else { Ok(()) }
    }

    fn used(&self) -> u64 {
        self.used
    }

    fn device(inode: &Inode) -> Option<u32> {
        inode.device
    }

    fn mask(&self, meter: &Meter<'_>, inode: &Inode) -> Result<Option<Mask>, FilesystemError> {
        xattr::mask(self, meter, inode)
    }

    fn user_xattr(&self, meter: &Meter<'_>, inode: &Inode, name: &[u8]) -> Result<Option<Vec<u8>>, FilesystemError> {
        xattr::user(self, meter, inode, name)
    }
}
