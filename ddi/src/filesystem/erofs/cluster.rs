//! Compressed files of erofs: the map from content to physical clusters.
//!
//! Content is divided into logical clusters of one or several blocks. Each has an index entry: either a new extent
//! begins in the logical cluster, or an earlier one continues. An extent is one physical cluster (`fs/erofs/zmap.c`).

mod index;

use super::inode::Layout;
use super::{Erofs, Inode};
use crate::bytes::{u16_at, u32_at, u64_at};
use crate::filesystem::FilesystemError;
use crate::filesystem::codec::Codec;
use crate::filesystem::meter::Meter;
use index::{Entry, Head, Index};

/// Maximum size of a physical cluster in bytes (`Z_EROFS_PCLUSTER_MAX_SIZE`).
const MAX_ENCODED: u64 = 1 << 20;

/// Maximum size of an extent in bytes (`Z_EROFS_PCLUSTER_MAX_DSIZE`).
const MAX_DECODED: u64 = 12 << 20;

/// Flags: `h_advise` of `struct z_erofs_map_header`.
mod advise {
    pub(super) const COMPACTED_2B: u16 = 0x1;
    pub(super) const BIG_CLUSTERS_1: u16 = 0x2;
    pub(super) const BIG_CLUSTERS_2: u16 = 0x4;
    pub(super) const INLINE: u16 = 0x8;
    pub(super) const INTERLACED: u16 = 0x10;
    pub(super) const FRAGMENT: u16 = 0x20;
    pub(super) const KNOWN: u16 = 0x3f;
}

/// The storage of an extent's content.
#[derive(Debug, Clone, Copy)]
pub(super) enum Storage {
    /// Uncompressed.
    Stored,
    /// Uncompressed, and rotated within its block so that the offset in the block is the same as in the file.
    Rotated,
    /// Compressed.
    Compressed { codec: Codec },
    /// In the packed file, at this offset in bytes.
    Fragment { at: u64 },
}

/// A range of content that is stored in one physical cluster.
#[derive(Debug, Clone)]
pub(super) struct Extent {
    /// Offset of its first byte in the content.
    pub(super) start: u64,
    /// Offset in the content of the byte after it.
    pub(super) end: u64,
    pub(super) storage: Storage,
    /// Offset of the physical cluster in the image.
    at: u64,
    /// Length of the physical cluster in bytes.
    len: u64,
}

/// The map of a compressed file.
pub(super) struct Clusters {
    place: Place,
    /// Offset of the header, for errors.
    header: u64,
    size: u64,
}

enum Place {
    /// The whole content is in the packed file, from offset `at` on.
    Fragment {
        at: u64,
    },
    Indexed(Indexed),
}

struct Indexed {
    index: Index,
    algorithms: u8,
    available: u16,
    interlaced: bool,
    /// Length in bytes of the last physical cluster, if that follows the index.
    inline: Option<u16>,
    /// Lower 32 bits of the offset of the last extent in the packed file.
    fragment: Option<u32>,
    block_size: u64,
}

impl Clusters {
    /// Reads the header after the inode.
    pub(super) fn read(erofs: &Erofs, meter: &Meter<'_>, inode: &Inode) -> Result<Self, FilesystemError> {
        let corrupt = || FilesystemError::corrupt("compression header", inode.tail);
        let header = inode.tail.checked_next_multiple_of(8).ok_or_else(corrupt)?;
        let bytes = meter.metadata::<8>(header, "compression header")?;
        let [_, _, _, _, _, _, algorithms, cluster_bits] = bytes;
        if cluster_bits & 0x80 != 0 {
            let at = u64_at(&bytes, 0).ok_or_else(corrupt)? & (u64::MAX >> 1);
            return Ok(Self { place: Place::Fragment { at }, header, size: inode.size });
        }
        let compact = inode.layout == Layout::CompressedCompact;
        let flags = u16_at(&bytes, 4).ok_or_else(corrupt)?;
        let unknown = flags & !(if compact { advise::KNOWN } else { advise::KNOWN & !advise::COMPACTED_2B });
        if unknown != 0 {
            return Err(FilesystemError::Unsupported { what: "erofs compression flag", value: unknown.into() });
        }
        if cluster_bits & 0x78 != 0 {
            return Err(FilesystemError::Unsupported { what: "erofs cluster size", value: cluster_bits.into() });
        }
        let index = Index::new(
            header,
            inode.size,
            erofs.block_size,
            erofs.block_bits.saturating_add(u32::from(cluster_bits & 7)),
            index::Form {
                compact,
                short: flags & advise::COMPACTED_2B != 0,
                big_1: flags & advise::BIG_CLUSTERS_1 != 0,
                big_2: flags & advise::BIG_CLUSTERS_2 != 0,
            },
        )?;
        Ok(Self {
            place: Place::Indexed(Indexed {
                index,
                algorithms,
                available: erofs.algorithms,
                interlaced: flags & advise::INTERLACED != 0,
                inline: u16_at(&bytes, 2).filter(|_| flags & advise::INLINE != 0),
                fragment: u32_at(&bytes, 0).filter(|_| flags & advise::FRAGMENT != 0),
                block_size: erofs.block_size,
            }),
            header,
            size: inode.size,
        })
    }

    /// Returns the extent with the byte at `offset`, which must be inside the file.
    pub(super) fn extent(&self, meter: &Meter<'_>, offset: u64) -> Result<Extent, FilesystemError> {
        match &self.place {
            Place::Fragment { at } => {
                let storage = Storage::Fragment { at: *at };
                Ok(Extent { start: 0, end: self.size, storage, at: 0, len: 0 })
            }
            Place::Indexed(indexed) => {
                let extent = indexed.extent(meter, offset, self.size, self.header)?;
                let inside = extent.start <= offset && offset < extent.end && extent.end <= self.size;
                if inside { Ok(extent) } else { Err(FilesystemError::corrupt("compression index", self.header)) }
            }
        }
    }
}

impl Indexed {
    fn extent(&self, meter: &Meter<'_>, offset: u64, size: u64, header: u64) -> Result<Extent, FilesystemError> {
        let corrupt = || FilesystemError::corrupt("compression index", header);
        let (cluster, head) = self.head(meter, offset, header)?;
        let start = self.index.position(cluster, head);
        let (end, blocks) = self.end(meter, cluster, start, size, header)?;
        let last = end == size;
        let (at, len, storage);
        if let Some(low) = self.fragment.filter(|_| last) {
            // Full indexes have the high bits in place of the block number of the last extent.
            let high = if self.index.compact() { 0 } else { u64::from(head.block) << 32 };
            return Ok(Extent { start, end, storage: Storage::Fragment { at: high | u64::from(low) }, at: 0, len: 0 });
        }
        if let Some(inline) = self.inline.filter(|_| last) {
            at = self.index.after_last()?;
            len = u64::from(inline);
            if (at & self.block_size.saturating_sub(1)).saturating_add(len) > self.block_size {
                return Err(corrupt());
            }
        } else {
            at = u64::from(head.block).saturating_mul(self.block_size);
            // Uncompressed extents always have one logical cluster.
            len = match blocks.filter(|_| head.kind != index::HeadKind::Plain) {
                Some(blocks) => u64::from(blocks).saturating_mul(self.block_size),
                None => self.index.cluster_size(),
            };
        }
        if len == 0 || len > MAX_ENCODED {
            return Err(corrupt());
        }
        storage = match head.kind {
            index::HeadKind::Plain if self.interlaced => Storage::Rotated,
            index::HeadKind::Plain => Storage::Stored,
            index::HeadKind::First => Storage::Compressed { codec: self.codec(self.algorithms & 15)? },
            index::HeadKind::Second => Storage::Compressed { codec: self.codec(self.algorithms >> 4)? },
        };
        Ok(Extent { start, end, storage, at, len })
    }

    /// Returns the cluster in which the extent with `offset` begins, and the extent's head.
    fn head(&self, meter: &Meter<'_>, offset: u64, header: u64) -> Result<(u64, Head), FilesystemError> {
        let corrupt = || FilesystemError::corrupt("compression index", header);
        let mut cluster = offset.checked_shr(self.index.cluster_bits()).ok_or_else(corrupt)?;
        loop {
            let back = match self.index.entry(meter, cluster)? {
                Entry::Head(head) if self.index.position(cluster, head) <= offset => return Ok((cluster, head)),
                // The head is after `offset` in this cluster, so the wanted extent begins before the cluster.
                Entry::Head(_) => 1,
                Entry::Continued { back, .. } => u64::from(back),
            };
            if back == 0 {
                return Err(corrupt());
            }
            cluster = cluster.checked_sub(back).ok_or_else(corrupt)?;
        }
    }

    /// Returns the end of the extent that begins in `cluster`, and the number of blocks of its physical cluster if the
    /// index has it.
    fn end(
        &self,
        meter: &Meter<'_>,
        cluster: u64,
        start: u64,
        size: u64,
        header: u64,
    ) -> Result<(u64, Option<u16>), FilesystemError> {
        let mut blocks = None;
        let mut next = cluster.saturating_add(1);
        let end = loop {
            if next >= self.index.count() {
                break size;
            }
            match self.index.entry(meter, next)? {
                Entry::Head(head) => break self.index.position(next, head),
                Entry::Continued { blocks: said, .. } => {
                    // Only the first entry after the head can have it.
                    if next == cluster.saturating_add(1) {
                        blocks = said;
                    }
                }
            }
            next = next.saturating_add(1);
            if self.index.position_of(next).saturating_sub(start)
                > MAX_DECODED.saturating_add(self.index.cluster_size())
            {
                return Err(FilesystemError::Unsupported { what: "erofs extent larger than", value: MAX_DECODED });
            }
        };
        if end <= start || end > size {
            return Err(FilesystemError::corrupt("compression index", header));
        }
        Ok((end, blocks))
    }

    fn codec(&self, algorithm: u8) -> Result<Codec, FilesystemError> {
        let codec = match algorithm {
            0 => Some(Codec::Lz4),
            1 => Some(Codec::MicroLzma),
            2 => Some(Codec::Deflate),
            3 => Some(Codec::Zstd),
            _ => None,
        };
        let available = self.available.checked_shr(algorithm.into()).unwrap_or(0) & 1 == 1;
        codec
            .filter(|_| available)
            .ok_or(FilesystemError::Unsupported { what: "erofs compression", value: algorithm.into() })
    }
}

impl Extent {
    /// Its physical cluster.
    pub(super) fn place(&self) -> std::ops::Range<u64> {
        self.at..self.at.saturating_add(self.len)
    }

    /// Fills `buf` with content from `offset` on, which must be inside the extent.
    pub(super) fn read(
        &self,
        erofs: &Erofs,
        meter: &Meter<'_>,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<(), FilesystemError> {
        let corrupt = || FilesystemError::corrupt("compressed cluster", self.at);
        let skip = usize::try_from(offset.saturating_sub(self.start)).map_err(|_| corrupt())?;
        let wanted = skip.checked_add(buf.len()).ok_or_else(corrupt)?;
        let len = usize::try_from(self.len).map_err(|_| corrupt())?;
        let decoded = match self.storage {
            Storage::Fragment { .. } => return Err(corrupt()),
            Storage::Stored => {
                if wanted > len {
                    return Err(corrupt());
                }
                return meter.fill(buf, self.at.saturating_add(offset.saturating_sub(self.start)), "stored cluster");
            }
            Storage::Rotated => {
                let mut data = meter.data(self.at, len, "stored cluster")?;
                let turn = usize::try_from(erofs.within_block(self.start)).map_err(|_| corrupt())?;
                if turn > data.len() {
                    return Err(corrupt());
                }
                data.rotate_left(turn);
                data
            }
            Storage::Compressed { codec } => {
                let data = meter.data(self.at, len, "compressed cluster")?;
                // Except in the oldest form of LZ4, the data is at the end of the cluster, after zeros.
                let padded = codec != Codec::Lz4 || erofs.zero_padding;
                let begin = if padded { data.iter().position(|byte| *byte != 0).ok_or_else(corrupt)? } else { 0 };
                codec.decode(meter, data.get(begin..).ok_or_else(corrupt)?, wanted, self.at)?
            }
        };
        buf.copy_from_slice(decoded.get(skip..wanted).ok_or_else(corrupt)?);
        Ok(())
    }
}
