//! Content of files in erofs, in every layout.

use super::cluster::{Clusters, Storage};
use super::inode::Layout;
use super::{Erofs, Inode};
use crate::bytes::u32_at;
use crate::filesystem::FilesystemError;
use crate::filesystem::format::Places;
use crate::filesystem::meter::Meter;
use std::ops::Range;

/// The storage of a range of content.
enum Stretch {
    /// Uncompressed, at offset `at` of the image.
    Stored { at: u64, len: u64 },
    /// Not stored: zeros.
    Hole { len: u64 },
    /// In a compressed cluster.
    Packed { cluster: super::cluster::Extent, len: u64 },
    /// In the packed file, at offset `at`.
    Fragment { at: u64, len: u64 },
}

impl Stretch {
    /// Length in bytes.
    const fn len(&self) -> u64 {
        let (Self::Stored { len, .. } | Self::Hole { len } | Self::Packed { len, .. } | Self::Fragment { len, .. }) =
            self;
        *len
    }
}

/// The content of an inode.
struct Content<'a> {
    erofs: &'a Erofs,
    meter: &'a Meter<'a>,
    inode: &'a Inode,
    /// `None` if it is not compressed.
    clusters: Option<Clusters>,
}

impl<'a> Content<'a> {
    fn open(erofs: &'a Erofs, meter: &'a Meter<'a>, inode: &'a Inode) -> Result<Self, FilesystemError> {
        let clusters = match inode.layout {
            Layout::CompressedFull | Layout::CompressedCompact => Some(Clusters::read(erofs, meter, inode)?),
            _ => None,
        };
        Ok(Self { erofs, meter, inode, clusters })
    }

    /// Returns the stretch at `offset`, from there on.
    fn stretch(&self, offset: u64) -> Result<Stretch, FilesystemError> {
        match &self.clusters {
            Some(clusters) => compressed(self.meter, clusters, offset),
            None => flat(self.erofs, self.meter, self.inode, offset),
        }
    }

    /// Returns the packed file. Without `fragments`, a reference to it is an error.
    fn packed(&self, fragments: bool) -> Result<Inode, FilesystemError> {
        let corrupt = || FilesystemError::corrupt("content of an inode", self.inode.offset);
        let packed = self.erofs.packed.filter(|_| fragments).ok_or_else(corrupt)?;
        Inode::read(self.erofs, self.meter, packed)
    }
}

/// Fills `buf` with the content of `inode` from `offset` on. The caller has checked that the content is long enough.
pub(super) fn read(
    erofs: &Erofs,
    meter: &Meter<'_>,
    inode: &Inode,
    offset: u64,
    buf: &mut [u8],
) -> Result<(), FilesystemError> {
    read_nested(erofs, meter, inode, offset, buf, true)
}

/// Fills `buf` as [`read`] does. Without `fragments`, a reference to the packed file is an error: the packed file
/// itself cannot have any.
fn read_nested(
    erofs: &Erofs,
    meter: &Meter<'_>,
    inode: &Inode,
    mut offset: u64,
    mut buf: &mut [u8],
    fragments: bool,
) -> Result<(), FilesystemError> {
    let corrupt = || FilesystemError::corrupt("content of an inode", inode.offset);
    if buf.is_empty() {
        return Ok(());
    }
    let content = Content::open(erofs, meter, inode)?;
    while !buf.is_empty() {
        if offset >= inode.size {
            return Err(corrupt());
        }
        let stretch = content.stretch(offset)?;
        let len = usize::try_from(stretch.len()).unwrap_or(usize::MAX).min(buf.len());
        let (now, later) = std::mem::take(&mut buf).split_at_mut_checked(len).ok_or_else(corrupt)?;
        match stretch {
            _ if now.is_empty() => return Err(corrupt()),
            Stretch::Stored { at, .. } => meter.fill(now, at, "content of a file")?,
            Stretch::Hole { .. } => {
                meter.charge(now.len())?;
                now.fill(0);
            }
            Stretch::Packed { cluster, .. } => cluster.read(erofs, meter, offset, now)?,
            Stretch::Fragment { at, .. } => {
                let packed = content.packed(fragments)?;
                read_nested(erofs, meter, &packed, at, now, false)?;
            }
        }
        offset = offset.saturating_add(u64::try_from(len).map_err(|_| corrupt())?);
        buf = later;
    }
    Ok(())
}

/// Shows where the content of `inode` is.
pub(super) fn places(
    erofs: &Erofs,
    meter: &Meter<'_>,
    inode: &Inode,
    see: &mut Places<'_>,
) -> Result<(), FilesystemError> {
    places_within(erofs, meter, inode, 0..inode.size, see, true)
}

/// The same for a part of the content. `fragments` as for [`read_nested`].
fn places_within(
    erofs: &Erofs,
    meter: &Meter<'_>,
    inode: &Inode,
    within: Range<u64>,
    see: &mut Places<'_>,
    fragments: bool,
) -> Result<(), FilesystemError> {
    let corrupt = || FilesystemError::corrupt("content of an inode", inode.offset);
    let (mut offset, end) = (within.start, within.end.min(inode.size));
    if offset >= end {
        return Ok(());
    }
    let content = Content::open(erofs, meter, inode)?;
    while offset < end {
        meter.charge(0)?;
        let stretch = content.stretch(offset)?;
        let len = stretch.len().min(end.saturating_sub(offset));
        match stretch {
            _ if len == 0 => return Err(corrupt()),
            Stretch::Stored { at, .. } => see(at..at.saturating_add(len)),
            Stretch::Hole { .. } => {}
            Stretch::Packed { cluster, .. } => see(cluster.place()),
            Stretch::Fragment { at, .. } => {
                let packed = content.packed(fragments)?;
                places_within(erofs, meter, &packed, at..at.saturating_add(len), see, false)?;
            }
        }
        offset = offset.saturating_add(len);
    }
    Ok(())
}

fn compressed(meter: &Meter<'_>, clusters: &Clusters, offset: u64) -> Result<Stretch, FilesystemError> {
    let extent = clusters.extent(meter, offset)?;
    let len = extent.end.saturating_sub(offset);
    Ok(match extent.storage {
        Storage::Fragment { at } => {
            Stretch::Fragment { at: at.saturating_add(offset.saturating_sub(extent.start)), len }
        }
        _ => Stretch::Packed { cluster: extent, len },
    })
}

fn flat(erofs: &Erofs, meter: &Meter<'_>, inode: &Inode, offset: u64) -> Result<Stretch, FilesystemError> {
    let corrupt = || FilesystemError::corrupt("content of an inode", inode.offset);
    let rest = inode.size.saturating_sub(offset);
    let first = u64::from(inode.location).saturating_mul(erofs.block_size);
    match inode.layout {
        Layout::Chunks => chunk(erofs, meter, inode, offset),
        Layout::Inline => {
            let blocks = inode.size.div_ceil(erofs.block_size);
            let tail = blocks.saturating_sub(1).saturating_mul(erofs.block_size);
            if offset < tail {
                return Ok(Stretch::Stored { at: first.saturating_add(offset), len: tail.saturating_sub(offset) });
            }
            // The tail must not exceed the block in which it begins.
            let size = inode.size.saturating_sub(tail);
            if erofs.within_block(inode.tail).saturating_add(size) > erofs.block_size {
                return Err(corrupt());
            }
            Ok(Stretch::Stored { at: inode.tail.saturating_add(offset.saturating_sub(tail)), len: rest })
        }
        _ => Ok(Stretch::Stored { at: first.saturating_add(offset), len: rest }),
    }
}

/// Finds a range of a file of chunks. An array of block numbers or of `struct erofs_inode_chunk_index` follows the
/// inode.
fn chunk(erofs: &Erofs, meter: &Meter<'_>, inode: &Inode, offset: u64) -> Result<Stretch, FilesystemError> {
    const SIZE_BITS: u32 = 0x1f;
    const INDEXES: u32 = 0x20;
    const HOLE: u32 = u32::MAX;
    let corrupt = || FilesystemError::corrupt("chunk index", inode.tail);
    let format = inode.location & 0xffff;
    if format & !(SIZE_BITS | INDEXES) != 0 {
        return Err(FilesystemError::Unsupported { what: "erofs chunk format", value: format.into() });
    }
    let bits = erofs.block_bits.saturating_add(format & SIZE_BITS);
    let chunk_size = 1_u64.checked_shl(bits).ok_or_else(corrupt)?;
    let number = offset.checked_shr(bits).ok_or_else(corrupt)?;
    let within = offset & chunk_size.saturating_sub(1);
    let len = chunk_size.saturating_sub(within).min(inode.size.saturating_sub(offset));
    let block = if format & INDEXES == 0 {
        let table = inode.tail.checked_next_multiple_of(4).ok_or_else(corrupt)?;
        u32_at(&meter.metadata::<4>(table.saturating_add(number.saturating_mul(4)), "chunk index")?, 0)
    } else {
        let table = inode.tail.checked_next_multiple_of(8).ok_or_else(corrupt)?;
        let entry = meter.metadata::<8>(table.saturating_add(number.saturating_mul(8)), "chunk index")?;
        let [_, _, device_low, device_high, ..] = entry;
        if device_low != 0 || device_high != 0 {
            return Err(FilesystemError::Unsupported {
                what: "erofs chunk on device",
                value: u16::from_le_bytes([device_low, device_high]).into(),
            });
        }
        u32_at(&entry, 4)
    };
    match block.ok_or_else(corrupt)? {
        HOLE => Ok(Stretch::Hole { len }),
        block => {
            let at = u64::from(block).saturating_mul(erofs.block_size).saturating_add(within);
            Ok(Stretch::Stored { at, len })
        }
    }
}
