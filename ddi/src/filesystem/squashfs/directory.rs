//! Directories of squashfs: runs of up to 256 entries with their inodes in one metadata block.

use super::inode::kind_of_type;
use super::metadata::Cursor;
use super::{Inode, Squashfs};
use crate::bytes::{u16_at, u32_at};
use crate::filesystem::FilesystemError;
use crate::filesystem::format::{Item, Visitor};
use crate::filesystem::meter::Meter;

/// Bytes that a directory's size includes for `.` and `..`, which are not stored.
const DOTS: u64 = 3;

/// Maximum number of entries after one header (`SQUASHFS_DIR_COUNT`).
const MAX_RUN: u32 = 256;

pub(super) fn visit(
    squashfs: &Squashfs,
    meter: &Meter<'_>,
    inode: &Inode,
    visitor: &mut Visitor<'_>,
) -> Result<(), FilesystemError> {
    let corrupt = || FilesystemError::corrupt("directory", inode.reference);
    let mut left = inode.size.saturating_sub(DOTS);
    if left == 0 {
        return Ok(());
    }
    let within = usize::try_from(inode.offset).map_err(|_| corrupt())?;
    let start = squashfs.directories.saturating_add(inode.start);
    let mut cursor = Cursor::new(meter, squashfs.codec, start, within)?;
    let mut name = [0_u8; 256];
    while left > 0 {
        let header = cursor.take::<12>()?;
        left = left.checked_sub(12).ok_or_else(corrupt)?;
        let count = u32_at(&header, 0).and_then(|count| count.checked_add(1)).ok_or_else(corrupt)?;
        if count > MAX_RUN {
            return Err(corrupt());
        }
        let block = u64::from(u32_at(&header, 4).ok_or_else(corrupt)?);
        for _ in 0..count {
            let entry = cursor.take::<8>()?;
            let offset = u64::from(u16_at(&entry, 0).ok_or_else(corrupt)?);
            let kind = kind_of_type(u16_at(&entry, 4).ok_or_else(corrupt)?).ok_or_else(corrupt)?;
            let len = usize::from(u16_at(&entry, 6).ok_or_else(corrupt)?).saturating_add(1);
            let name = name.get_mut(..len).ok_or_else(corrupt)?;
            cursor.fill(name)?;
            left =
                u64::try_from(len).ok().and_then(|len| left.checked_sub(len.saturating_add(8))).ok_or_else(corrupt)?;
            visitor(Item { name, kind: Some(kind), inode: block << 16 | offset })?;
        }
    }
    Ok(())
}
