//! Extended attributes of squashfs: sets of attributes in metadata, found by number.
#![deny(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

use super::metadata::{Cursor, table_entry};
use super::{Inode, Squashfs};
use crate::bytes::{u16_at, u32_at, u64_at};
use crate::filesystem::meter::Meter;
use crate::filesystem::{EntryKind, FilesystemError, MAX_XATTR};

/// Namespace `user.` in the lower byte of a type.
const USER: u16 = 0;

/// Set in the type where the value is somewhere else and a reference to it stands in its place.
const ELSEWHERE: u16 = 0x100;

/// Longest name in bytes (the kernel's `XATTR_NAME_MAX`).
const MAX_NAME: usize = 255;

/// The value of attribute `user.NAME`.
pub(super) fn user(
    squashfs: &Squashfs,
    meter: &Meter<'_>,
    inode: &Inode,
    name: &[u8],
) -> Result<Option<Vec<u8>>, FilesystemError> {
    // Links have no attributes of this namespace, and are followed before anyway.
    if inode.kind == EntryKind::Symlink {
        return Ok(None);
    }
    let (Some(table), Some(set)) = (squashfs.xattrs, inode.xattrs) else { return Ok(None) };
    let corrupt = || FilesystemError::corrupt("attributes", table);
    let header = meter.metadata::<16>(table, "attributes")?;
    let (Some(values), Some(sets)) = (u64_at(&header, 0), u32_at(&header, 8)) else { return Err(corrupt()) };
    if set >= sets {
        return Err(corrupt());
    }
    let entry = table_entry::<16>(meter, squashfs.codec, table.saturating_add(16), set)?;
    let (Some(reference), Some(count)) = (u64_at(&entry, 0), u32_at(&entry, 8)) else { return Err(corrupt()) };
    let mut cursor = Cursor::at_reference(meter, squashfs.codec, values, reference)?;
    for _ in 0..count {
        let head = cursor.take::<4>()?;
        let (Some(kind), Some(len)) = (u16_at(&head, 0), u16_at(&head, 2)) else { return Err(corrupt()) };
        let mut found = [0_u8; MAX_NAME];
        let found = found.get_mut(..usize::from(len)).ok_or_else(corrupt)?;
        cursor.fill(found)?;
        let value = value(&mut cursor, corrupt)?;
        if kind & 0xff != USER || found != name {
            continue;
        }
        if kind & ELSEWHERE == 0 {
            return Ok(Some(value));
        }
        let reference = u64_at(&value, 0).ok_or_else(corrupt)?;
        let mut cursor = Cursor::at_reference(meter, squashfs.codec, values, reference)?;
        return self::value(&mut cursor, corrupt).map(Some);
    }
    Ok(None)
}

fn value(cursor: &mut Cursor<'_, '_>, corrupt: impl Fn() -> FilesystemError) -> Result<Vec<u8>, FilesystemError> {
    let len = usize::try_from(u32::from_le_bytes(cursor.take::<4>()?)).map_err(|_| corrupt())?;
    if len > MAX_XATTR {
        return Err(corrupt());
    }
    let mut value = vec![0; len];
    cursor.fill(&mut value)?;
    Ok(value)
}
