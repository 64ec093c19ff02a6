//! Inodes of squashfs: a common header and fields that depend on the type, in a short and a long form.

use super::Squashfs;
use super::metadata::Cursor;
use super::metadata::table_entry;
use crate::bytes::{u16_at, u32_at, u64_at};
use crate::filesystem::format::Attributes;
use crate::filesystem::meter::Meter;
use crate::filesystem::{EntryKind, FilesystemError};

/// Size in bytes of the header of every inode.
const HEADER: usize = 16;

/// Value for no fragment and no attributes.
const NONE: u32 = u32::MAX;

/// A parsed inode.
#[derive(Debug, Clone)]
pub(in crate::filesystem) struct Inode {
    /// Reference to the inode: block and offset.
    pub(super) reference: u64,
    pub(super) kind: EntryKind,
    /// Length of the content in bytes; for a directory, of its listing.
    pub(super) size: u64,
    /// Offset of the first block of a file, or of the metadata block with a directory's listing.
    pub(super) start: u64,
    /// Offset of a directory's listing in its metadata block, or of a file's end in its fragment.
    pub(super) offset: u32,
    /// Number of the fragment with the end of a file.
    pub(super) fragment: Option<u32>,
    /// Number of the set of attributes.
    pub(super) xattrs: Option<u32>,
    /// Device number.
    pub(super) device: Option<u32>,
    /// Length in bytes of the inode before its list of blocks, or before the target of a link.
    pub(super) head: usize,
}

impl Inode {
    pub(super) fn read(squashfs: &Squashfs, meter: &Meter<'_>, reference: u64) -> Result<Self, FilesystemError> {
        let corrupt = || FilesystemError::corrupt("inode", reference);
        let mut cursor = Cursor::at_reference(meter, squashfs.codec, squashfs.inodes, reference)?;
        let header = cursor.take::<HEADER>()?;
        let number = u16_at(&header, 0).ok_or_else(corrupt)?;
        let mut body = [0_u8; 40];
        let mut take = |len: usize| cursor.fill(body.get_mut(..len).ok_or_else(corrupt)?);
        let len = match number {
            1 | 2 => 16,
            3 | 4 | 5 | 10 | 13 | 14 => 8,
            6 | 7 => 4,
            8 => 24,
            9 => 40,
            11 | 12 => 12,
            other => return Err(FilesystemError::Unsupported { what: "squashfs inode type", value: other.into() }),
        };
        take(len)?;
        let u16 = |offset| u16_at(&body, offset).ok_or_else(corrupt);
        let u32 = |offset| u32_at(&body, offset).ok_or_else(corrupt);
        let some = |number: u32| Some(number).filter(|number| *number != NONE);
        let mut inode = Self {
            reference,
            kind: kind_of_type(number).ok_or_else(corrupt)?,
            size: 0,
            start: 0,
            offset: 0,
            fragment: None,
            xattrs: None,
            device: None,
            head: HEADER.saturating_add(len),
        };
        match number {
            1 => {
                inode.start = u32(0)?.into();
                inode.size = u16(8)?.into();
                inode.offset = u16(10)?.into();
            }
            8 => {
                inode.size = u32(4)?.into();
                inode.start = u32(8)?.into();
                inode.offset = u16(18)?.into();
                inode.xattrs = some(u32(20)?);
            }
            2 => {
                inode.start = u32(0)?.into();
                inode.fragment = some(u32(4)?);
                inode.offset = u32(8)?;
                inode.size = u32(12)?.into();
            }
            9 => {
                inode.start = u64_at(&body, 0).ok_or_else(corrupt)?;
                inode.size = u64_at(&body, 8).ok_or_else(corrupt)?;
                inode.fragment = some(u32(28)?);
                inode.offset = u32(32)?;
                inode.xattrs = some(u32(36)?);
            }
            3 | 10 => inode.size = u32(4)?.into(),
            4 | 5 => inode.device = Some(u32(4)?),
            11 | 12 => {
                inode.device = Some(u32(4)?);
                inode.xattrs = some(u32(8)?);
            }
            13 | 14 => inode.xattrs = some(u32(4)?),
            _ => {}
        }
        Ok(inode)
    }

    /// Returns a cursor after the fixed part of the inode.
    pub(super) fn rest<'m, 's>(
        &self,
        squashfs: &Squashfs,
        meter: &'m Meter<'s>,
    ) -> Result<Cursor<'m, 's>, FilesystemError> {
        let mut cursor = Cursor::at_reference(meter, squashfs.codec, squashfs.inodes, self.reference)?;
        let mut head = [0_u8; 64];
        let head = head.get_mut(..self.head).ok_or(FilesystemError::corrupt("inode", self.reference))?;
        cursor.fill(head)?;
        Ok(cursor)
    }
}

impl Inode {
    /// Reads permissions and ownership. User and group are numbers of entries in a table.
    pub(super) fn attributes(&self, squashfs: &Squashfs, meter: &Meter<'_>) -> Result<Attributes, FilesystemError> {
        let corrupt = || FilesystemError::corrupt("inode", self.reference);
        let mut cursor = Cursor::at_reference(meter, squashfs.codec, squashfs.inodes, self.reference)?;
        let header = cursor.take::<HEADER>()?;
        let (table, count) = squashfs.ids;
        let owner = |offset| {
            let number = u16_at(&header, offset).filter(|number| *number < count).ok_or_else(corrupt)?;
            let entry = table_entry::<4>(meter, squashfs.codec, table, number.into())?;
            u32_at(&entry, 0).ok_or_else(corrupt)
        };
        let mode = u16_at(&header, 2).ok_or_else(corrupt)? & 0o7777;
        Ok(Attributes { mode, uid: owner(4)?, gid: owner(6)? })
    }
}

/// Returns the type for a number in an inode or directory entry.
pub(super) fn kind_of_type(number: u16) -> Option<EntryKind> {
    match number {
        1 | 8 => Some(EntryKind::Directory),
        2 | 9 => Some(EntryKind::File),
        3 | 10 => Some(EntryKind::Symlink),
        4 | 11 => Some(EntryKind::BlockDevice),
        5 | 12 => Some(EntryKind::CharacterDevice),
        6 | 13 => Some(EntryKind::Fifo),
        7 | 14 => Some(EntryKind::Socket),
        _ => None,
    }
}
