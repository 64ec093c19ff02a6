//! Inodes of erofs: `struct erofs_inode_compact` of 32 bytes and `struct erofs_inode_extended` of 64.

use super::Erofs;
use crate::bytes::{u16_at, u32_at, u64_at};
use crate::filesystem::format::Attributes;
use crate::filesystem::meter::Meter;
use crate::filesystem::{EntryKind, FilesystemError};

/// Size in bytes of a slot. Inodes are numbered in slots.
const SLOT: u64 = 32;

/// The layout of a file's content, `EROFS_INODE_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::filesystem) enum Layout {
    /// Consecutive blocks.
    Plain,
    /// Compressed, with indexes of 8 bytes.
    CompressedFull,
    /// Consecutive blocks, with the last one after the inode.
    Inline,
    /// Compressed, with packed indexes.
    CompressedCompact,
    /// Chunks of blocks at any offset.
    Chunks,
}

/// A parsed inode. Positions are offsets in the image in bytes.
#[derive(Debug, Clone)]
pub(in crate::filesystem) struct Inode {
    /// Offset of the inode.
    pub(super) offset: u64,
    pub(super) kind: EntryKind,
    pub(super) layout: Layout,
    /// Length of the content in bytes.
    pub(super) size: u64,
    /// First block, chunk format or device number, depending on type and layout.
    pub(super) location: u32,
    /// Offset of the attributes.
    pub(super) xattrs: u64,
    /// Offset of the first byte after the attributes, where the data of the layout begins.
    pub(super) tail: u64,
}

impl Inode {
    pub(super) fn read(erofs: &Erofs, meter: &Meter<'_>, nid: u64) -> Result<Self, FilesystemError> {
        let offset = erofs.meta.saturating_add(nid.saturating_mul(SLOT));
        let corrupt = || FilesystemError::corrupt("inode", offset);
        let mut bytes = [0_u8; 64];
        let header = meter.metadata::<32>(offset, "inode")?;
        let format = u16_at(&header, 0).ok_or_else(corrupt)?;
        let extended = format & 1 != 0;
        if extended {
            meter.metadata_into(&mut bytes, offset, "inode")?;
        } else {
            bytes.first_chunk_mut::<32>().ok_or_else(corrupt)?.copy_from_slice(&header);
        }
        let layout = match (format >> 1) & 7 {
            0 => Layout::Plain,
            1 => Layout::CompressedFull,
            2 => Layout::Inline,
            3 => Layout::CompressedCompact,
            4 => Layout::Chunks,
            other => return Err(FilesystemError::Unsupported { what: "erofs inode layout", value: other.into() }),
        };
        let size = if extended { u64_at(&bytes, 8) } else { u32_at(&bytes, 8).map(u64::from) }.ok_or_else(corrupt)?;
        let mode = u16_at(&bytes, 4).ok_or_else(corrupt)?;
        let count = u64::from(u16_at(&bytes, 2).ok_or_else(corrupt)?);
        // The first unit is a header of 12 bytes, all others have 4 bytes.
        let xattr_size = count.checked_sub(1).map_or(0, |units| units.saturating_mul(4).saturating_add(12));
        let xattrs = offset.saturating_add(if extended { 64 } else { 32 });
        Ok(Self {
            offset,
            kind: EntryKind::of_mode(u32::from(mode)).ok_or_else(corrupt)?,
            layout,
            size,
            location: u32_at(&bytes, 16).ok_or_else(corrupt)?,
            xattrs,
            tail: xattrs.saturating_add(xattr_size),
        })
    }
}

impl Inode {
    /// Reads permissions and ownership.
    pub(super) fn attributes(&self, meter: &Meter<'_>) -> Result<Attributes, FilesystemError> {
        let corrupt = || FilesystemError::corrupt("inode", self.offset);
        let bytes = meter.metadata::<32>(self.offset, "inode")?;
        let extended = u16_at(&bytes, 0).ok_or_else(corrupt)? & 1 != 0;
        let owner = |offset: usize, short: usize| {
            if extended { u32_at(&bytes, offset) } else { u16_at(&bytes, short).map(u32::from) }
        };
        Ok(Attributes {
            mode: u16_at(&bytes, 4).ok_or_else(corrupt)? & 0o7777,
            uid: owner(24, 24).ok_or_else(corrupt)?,
            gid: owner(28, 26).ok_or_else(corrupt)?,
        })
    }
}
