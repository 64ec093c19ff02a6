//! Extended attributes of squashfs: numbered sets in metadata.

use super::metadata::{Cursor, table_entry};
use super::{Inode, Squashfs};
use crate::bytes::{u16_at, u32_at, u64_at};
use crate::filesystem::mask::{ATTRIBUTES, Mask};
use crate::filesystem::meter::Meter;
use crate::filesystem::{EntryKind, FilesystemError, MAX_XATTR};

/// Namespace `user.` in the lower byte of a type.
const USER: u16 = 0;

/// Namespace `trusted.` in the lower byte of a type.
const TRUSTED: u16 = 1;

/// Flag in the type of an attribute whose value is stored elsewhere, with a reference in its place.
const ELSEWHERE: u16 = 0x100;

/// Maximum length of a name in bytes (the kernel's `XATTR_NAME_MAX`).
const MAX_NAME: usize = 255;

/// An attribute as it is in its set.
struct Found<'a> {
    kind: u16,
    name: &'a [u8],
    value: Vec<u8>,
}

/// Returns the value of the attribute `user.NAME`.
pub(super) fn user(
    squashfs: &Squashfs,
    meter: &Meter<'_>,
    inode: &Inode,
    name: &[u8],
) -> Result<Option<Vec<u8>>, FilesystemError> {
    let found = first(squashfs, meter, inode, &mut |found| {
        (found.kind & 0xff == USER && found.name == name).then(|| (found.kind, found.value.clone()))
    })?;
    let Some((kind, value)) = found else { return Ok(None) };
    if kind & ELSEWHERE == 0 {
        return Ok(Some(value));
    }
    let table = squashfs.xattrs.unwrap_or_default();
    let corrupt = || FilesystemError::corrupt("attributes", table);
    let values = u64_at(&meter.metadata::<16>(table, "attributes")?, 0).ok_or_else(corrupt)?;
    let reference = u64_at(&value, 0).ok_or_else(corrupt)?;
    let mut cursor = Cursor::at_reference(meter, squashfs.codec, values, reference)?;
    self::value(&mut cursor, corrupt).map(Some)
}

/// Returns the effect of a directory's attributes `trusted.overlay.…` in overlayfs.
pub(super) fn mask(squashfs: &Squashfs, meter: &Meter<'_>, inode: &Inode) -> Result<Option<Mask>, FilesystemError> {
    first(squashfs, meter, inode, &mut |found| {
        let mut known = ATTRIBUTES.iter().filter(|(name, _)| found.kind & 0xff == TRUSTED && found.name == *name);
        known.next().map(|(_, mask)| *mask)
    })
}

/// Calls `select` for one attribute after the other, and returns its first result.
fn first<T>(
    squashfs: &Squashfs,
    meter: &Meter<'_>,
    inode: &Inode,
    select: &mut dyn FnMut(&Found<'_>) -> Option<T>,
) -> Result<Option<T>, FilesystemError> {
    // Links have no attributes of these namespaces, and have been followed before.
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
        let mut name = [0_u8; MAX_NAME];
        let name = name.get_mut(..usize::from(len)).ok_or_else(corrupt)?;
        cursor.fill(name)?;
        let value = value(&mut cursor, corrupt)?;
        if let Some(found) = select(&Found { kind, name, value }) {
            return Ok(Some(found));
        }
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
