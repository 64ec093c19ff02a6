//! Directories of erofs: blocks, each with an array of `struct erofs_dirent` followed by the names.

use super::{Erofs, Inode, data};
use crate::bytes::{u16_at, u64_at};
use crate::filesystem::format::{Item, Visitor};
use crate::filesystem::meter::Meter;
use crate::filesystem::{EntryKind, FilesystemError};

/// Size of an entry in bytes, without its name.
const ENTRY: usize = 12;

/// Number of bytes that are read at once, a multiple of every block size.
const PIECE: u64 = 64 << 10;

pub(super) fn visit(
    erofs: &Erofs,
    meter: &Meter<'_>,
    inode: &Inode,
    visitor: &mut Visitor<'_>,
) -> Result<(), FilesystemError> {
    let corrupt = || FilesystemError::corrupt("directory", inode.offset);
    let block_size = usize::try_from(erofs.block_size).map_err(|_| corrupt())?;
    let mut offset = 0;
    while offset < inode.size {
        let len = inode.size.saturating_sub(offset).min(PIECE);
        let mut piece = vec![0; usize::try_from(len).map_err(|_| corrupt())?];
        data::read(erofs, meter, inode, offset, &mut piece)?;
        for block in piece.chunks(block_size) {
            visit_block(block, inode.offset, visitor)?;
        }
        offset = offset.saturating_add(len);
    }
    Ok(())
}

fn visit_block(block: &[u8], offset: u64, visitor: &mut Visitor<'_>) -> Result<(), FilesystemError> {
    let corrupt = || FilesystemError::corrupt("directory", offset);
    // The first name follows the last entry, so its offset determines the number of entries.
    let names = usize::from(u16_at(block, 8).ok_or_else(corrupt)?);
    if names < ENTRY || !names.is_multiple_of(ENTRY) {
        return Err(corrupt());
    }
    let entries = block.get(..names).ok_or_else(corrupt)?;
    let mut entries = entries.chunks_exact(ENTRY).peekable();
    while let Some(entry) = entries.next() {
        let start = usize::from(u16_at(entry, 8).ok_or_else(corrupt)?);
        let name = match entries.peek() {
            Some(next) => block.get(start..usize::from(u16_at(next, 8).ok_or_else(corrupt)?)),
            // The last name ends at the end of the block or at the first NUL.
            None => block.get(start..).and_then(|rest| rest.split(|byte| *byte == 0).next()),
        };
        let kind = match entry.get(10).ok_or_else(corrupt)? {
            0 => None,
            1 => Some(EntryKind::File),
            2 => Some(EntryKind::Directory),
            3 => Some(EntryKind::CharacterDevice),
            4 => Some(EntryKind::BlockDevice),
            5 => Some(EntryKind::Fifo),
            6 => Some(EntryKind::Socket),
            7 => Some(EntryKind::Symlink),
            _ => return Err(corrupt()),
        };
        let inode = u64_at(entry, 0).ok_or_else(corrupt)?;
        visitor(Item { name: name.filter(|_| start >= names).ok_or_else(corrupt)?, kind, inode })?;
    }
    Ok(())
}
