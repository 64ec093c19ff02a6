//! Extended attributes of erofs: after the inode, or shared by several inodes in a separate area.

use super::{Erofs, Inode};
use crate::bytes::{u16_at, u32_at};
use crate::filesystem::mask::{ATTRIBUTES, Mask};
use crate::filesystem::meter::Meter;
use crate::filesystem::{FilesystemError, MAX_XATTR};

/// Size in bytes of the header before the list of shared attributes (`struct erofs_xattr_ibody_header`).
const HEADER: u64 = 12;

/// Size in bytes of the header before a name (`struct erofs_xattr_entry`).
const ENTRY: u64 = 4;

/// Namespace `user.`.
const USER: u8 = 1;

/// Namespace `trusted.`.
const TRUSTED: u8 = 4;

/// Flag of a name whose prefix is in a table.
const LONG_PREFIX: u8 = 0x80;

/// Returns the value of the attribute `user.NAME`.
pub(super) fn user(
    erofs: &Erofs,
    meter: &Meter<'_>,
    inode: &Inode,
    name: &[u8],
) -> Result<Option<Vec<u8>>, FilesystemError> {
    first(erofs, meter, inode, &mut |entry| {
        if entry.is(meter, USER, name)? { entry.value(meter).map(Some) } else { Ok(None) }
    })
}

/// Returns the effect of a directory's attributes `trusted.overlay.…` in overlayfs.
pub(super) fn mask(erofs: &Erofs, meter: &Meter<'_>, inode: &Inode) -> Result<Option<Mask>, FilesystemError> {
    first(erofs, meter, inode, &mut |entry| {
        for (name, mask) in ATTRIBUTES {
            if entry.is(meter, TRUSTED, name)? {
                return Ok(Some(mask));
            }
        }
        Ok(None)
    })
}

/// Calls `select` for one attribute after the other, and returns its first result.
fn first<T>(
    erofs: &Erofs,
    meter: &Meter<'_>,
    inode: &Inode,
    select: &mut dyn FnMut(&Entry) -> Result<Option<T>, FilesystemError>,
) -> Result<Option<T>, FilesystemError> {
    if inode.tail <= inode.xattrs {
        return Ok(None);
    }
    let header = meter.metadata::<12>(inode.xattrs, "attributes")?;
    let shared = u64::from(*header.get(4).ok_or(FilesystemError::corrupt("attributes", inode.xattrs))?);
    let mut at = inode.xattrs.saturating_add(HEADER);
    for _ in 0..shared {
        let id = u32_at(&meter.metadata::<4>(at, "attributes")?, 0).unwrap_or_default();
        let entry = Entry::read(meter, erofs.shared_xattrs.saturating_add(u64::from(id).saturating_mul(4)))?;
        if let Some(found) = select(&entry)? {
            return Ok(Some(found));
        }
        at = at.saturating_add(4);
    }
    while at.saturating_add(ENTRY) <= inode.tail {
        let entry = Entry::read(meter, at)?;
        if entry.next > inode.tail {
            return Err(FilesystemError::corrupt("attributes", at));
        }
        if let Some(found) = select(&entry)? {
            return Ok(Some(found));
        }
        at = entry.next;
    }
    Ok(None)
}

struct Entry {
    name: u64,
    name_len: u8,
    namespace: u8,
    value_len: u16,
    /// Offset of the next entry. Entries are padded to 4 bytes.
    next: u64,
}

impl Entry {
    fn read(meter: &Meter<'_>, at: u64) -> Result<Self, FilesystemError> {
        let bytes = meter.metadata::<4>(at, "attribute")?;
        let [name_len, namespace, ..] = bytes;
        let value_len = u16_at(&bytes, 2).unwrap_or_default();
        let name = at.saturating_add(ENTRY);
        let end = name.saturating_add(name_len.into()).saturating_add(value_len.into());
        let next = end.checked_next_multiple_of(4).ok_or(FilesystemError::corrupt("attribute", at))?;
        Ok(Self { name, name_len, namespace, value_len, next })
    }

    /// Returns whether the entry has this namespace and name.
    fn is(&self, meter: &Meter<'_>, namespace: u8, wanted: &[u8]) -> Result<bool, FilesystemError> {
        // Skipping an attribute could make one of two candidates appear to be the only one.
        if self.namespace & LONG_PREFIX != 0 {
            return Err(FilesystemError::Unsupported { what: "attribute prefix", value: self.namespace.into() });
        }
        if self.namespace != namespace || usize::from(self.name_len) != wanted.len() {
            return Ok(false);
        }
        let mut name = vec![0; wanted.len()];
        meter.metadata_into(&mut name, self.name, "attribute")?;
        Ok(name == wanted)
    }

    fn value(&self, meter: &Meter<'_>) -> Result<Vec<u8>, FilesystemError> {
        let len = usize::from(self.value_len).min(MAX_XATTR);
        meter.data(self.name.saturating_add(self.name_len.into()), len, "attribute")
    }
}
