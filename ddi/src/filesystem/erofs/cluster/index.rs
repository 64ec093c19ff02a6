//! Index entries of compressed files: 8 bytes each, or packed into 2 or 4 bytes each.
//!
//! In a pack, 2 entries of 16 bits or 16 entries of 14 bits share the block number at its end. The block number of an
//! entry is that number plus the blocks of the earlier extents in the pack (`fs/erofs/zmap.c`,
//! `z_erofs_load_compact_lcluster`).

use crate::bytes::{u16_at, u32_at};
use crate::filesystem::FilesystemError;
use crate::filesystem::meter::Meter;

/// Flag of a distance that is a number of blocks instead (`Z_EROFS_LI_D0_CBLKCNT`).
const BLOCK_COUNT: u16 = 1 << 11;

/// The storage of the extent that begins in a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadKind {
    /// Not compressed.
    Plain,
    /// Compressed with the first algorithm of the file.
    First,
    /// Compressed with the second algorithm of the file.
    Second,
}

/// The beginning of an extent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) kind: HeadKind,
    /// Number of bytes of its cluster that belong to the extent before.
    within: u16,
    /// First block of its physical cluster.
    pub(super) block: u32,
}

/// The index entry of one cluster.
pub(super) enum Entry {
    /// An extent begins in it.
    Head(Head),
    /// No extent begins in it.
    Continued {
        /// Number of clusters back to the head or to another entry of the same extent.
        back: u16,
        /// Number of blocks of the physical cluster, in the first entry after the head.
        blocks: Option<u16>,
    },
}

/// The flags that determine the form of the index.
#[derive(Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent bits on disk")]
pub(super) struct Form {
    pub(super) compact: bool,
    /// Some entries are packed into 2 bytes.
    pub(super) short: bool,
    /// Physical clusters of the first algorithm may have several blocks.
    pub(super) big_1: bool,
    /// Physical clusters of the second algorithm may have several blocks.
    pub(super) big_2: bool,
}

/// The index of one file.
pub(super) struct Index {
    form: Form,
    /// Offset of the first entry in the image.
    start: u64,
    cluster_bits: u32,
    /// Number of entries.
    count: u64,
    /// Number of packed entries of 4 bytes before those of 2 bytes, which aligns the latter.
    initial: u64,
    /// Number of packed entries of 2 bytes, a multiple of 16.
    middle: u64,
}

/// The place of an entry: offset and size of its pack in bytes, its number in it, and bits per entry.
struct Pack {
    offset: u64,
    slot: usize,
    size: usize,
    bits: usize,
}

impl Index {
    pub(super) fn new(
        header: u64,
        file_size: u64,
        block_size: u64,
        cluster_bits: u32,
        form: Form,
    ) -> Result<Self, FilesystemError> {
        let unsupported = || FilesystemError::Unsupported { what: "erofs cluster bits", value: cluster_bits.into() };
        let cluster_size = 1_u64.checked_shl(cluster_bits).filter(|_| cluster_bits < 24).ok_or_else(unsupported)?;
        // Packed entries have no more bits for offsets in a cluster.
        if form.compact && (cluster_bits > 14 || (form.short && cluster_bits > 12)) {
            return Err(unsupported());
        }
        if form.compact && form.big_1 != form.big_2 {
            return Err(FilesystemError::corrupt("compression header", header));
        }
        let start = header.saturating_add(if form.compact { 8 } else { 16 });
        // Packs are laid out for blocks, even if clusters are larger.
        let total = file_size.div_ceil(block_size);
        let initial = (32_u64.saturating_sub(start & 31) >> 2) & 7;
        let middle = if form.short && initial < total { total.saturating_sub(initial) & !15 } else { 0 };
        Ok(Self { form, start, cluster_bits, count: file_size.div_ceil(cluster_size), initial, middle })
    }

    pub(super) fn compact(&self) -> bool {
        self.form.compact
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn cluster_bits(&self) -> u32 {
        self.cluster_bits
    }

    pub(super) fn cluster_size(&self) -> u64 {
        self.position_of(1)
    }

    /// Returns the offset in the file at which a cluster begins.
    pub(super) fn position_of(&self, cluster: u64) -> u64 {
        cluster.saturating_mul(1_u64.checked_shl(self.cluster_bits).unwrap_or(u64::MAX))
    }

    /// Returns the offset in the file at which an extent begins.
    pub(super) fn position(&self, cluster: u64, head: Head) -> u64 {
        self.position_of(cluster).saturating_add(head.within.into())
    }

    /// Returns the end of the pack with the last entry, where an inline cluster begins.
    pub(super) fn after_last(&self) -> Result<u64, FilesystemError> {
        let last = self.count.saturating_sub(1);
        if !self.form.compact {
            return Ok(self.start.saturating_add(self.count.saturating_mul(8)));
        }
        let pack = self.pack(last)?;
        Ok(pack.offset.saturating_add(u64::try_from(pack.size).unwrap_or(u64::MAX)))
    }

    /// Reads the entry of a cluster.
    pub(super) fn entry(&self, meter: &Meter<'_>, cluster: u64) -> Result<Entry, FilesystemError> {
        let corrupt = || FilesystemError::corrupt("compression index", self.start);
        if cluster >= self.count {
            return Err(corrupt());
        }
        let entry = if self.form.compact {
            let pack = self.pack(cluster)?;
            let mut bytes = [0_u8; 32];
            let bytes = bytes.get_mut(..pack.size).ok_or_else(corrupt)?;
            meter.metadata_into(bytes, pack.offset, "compression index")?;
            self.packed(bytes, &pack).ok_or_else(corrupt)?
        } else {
            let offset = self.start.saturating_add(cluster.saturating_mul(8));
            full(meter.metadata::<8>(offset, "compression index")?).ok_or_else(corrupt)?
        };
        match entry {
            Entry::Head(head) if u64::from(head.within) >= self.cluster_size() => Err(corrupt()),
            Entry::Continued { blocks: Some(_), .. } if !self.form.big_1 && !self.form.big_2 => Err(corrupt()),
            entry => Ok(entry),
        }
    }

    fn pack(&self, cluster: u64) -> Result<Pack, FilesystemError> {
        let corrupt = || FilesystemError::corrupt("compression index", self.start);
        let after_initial = cluster.checked_sub(self.initial);
        let after_middle = after_initial.and_then(|n| n.checked_sub(self.middle));
        let skipped = self.initial.saturating_mul(4);
        let (at, stride, size) = match (after_initial, after_middle) {
            (None, _) => (cluster.saturating_mul(4), 4_u64, 8_u64),
            (Some(n), None) => (skipped.saturating_add(n.saturating_mul(2)), 2, 32),
            (Some(_), Some(n)) => {
                let skipped = skipped.saturating_add(self.middle.saturating_mul(2));
                (skipped.saturating_add(n.saturating_mul(4)), 4, 8)
            }
        };
        let at = self.start.saturating_add(at);
        // Packs are aligned to their size.
        let within = at & size.saturating_sub(1);
        Ok(Pack {
            offset: at.saturating_sub(within),
            slot: usize::try_from(within.checked_div(stride).ok_or_else(corrupt)?).map_err(|_| corrupt())?,
            size: usize::try_from(size).map_err(|_| corrupt())?,
            bits: if size == 32 { 14 } else { 16 },
        })
    }

    /// Returns the low part and the type of an entry in a pack.
    fn field(&self, bytes: &[u8], pack: &Pack, slot: usize) -> Option<(u16, u16)> {
        let bit = slot.checked_mul(pack.bits)?;
        let word = u32_at(bytes, bit >> 3)?.checked_shr(u32::try_from(bit & 7).ok()?)?;
        let low_bits = self.cluster_bits.max(12);
        let low = word & 1_u32.checked_shl(low_bits)?.checked_sub(1)?;
        let kind = word.checked_shr(low_bits)? & 3;
        Some((u16::try_from(low).ok()?, u16::try_from(kind).ok()?))
    }

    fn packed(&self, bytes: &[u8], pack: &Pack) -> Option<Entry> {
        let (low, kind) = self.field(bytes, pack, pack.slot)?;
        if let Some(kind) = head_kind(kind) {
            let base = u32_at(bytes, pack.size.checked_sub(4)?)?;
            let before = self.blocks_before(bytes, pack)?;
            // Old images count from -1, so this wraps.
            return Some(Entry::Head(Head { kind, within: low, block: base.wrapping_add(before) }));
        }
        if low & BLOCK_COUNT != 0 {
            return Some(Entry::Continued { back: 1, blocks: Some(low & !BLOCK_COUNT) });
        }
        let last = pack.slot.checked_add(1)? == if pack.size == 32 { 16 } else { 2 };
        if !last {
            return Some(Entry::Continued { back: low, blocks: None });
        }
        // The last entry of a pack has the distance to the next head. So the distance back is computed from the entry
        // before.
        let (low, kind) = self.field(bytes, pack, pack.slot.checked_sub(1)?)?;
        let back = match head_kind(kind) {
            Some(_) => 1,
            None if low & BLOCK_COUNT != 0 => 2,
            None => low.checked_add(1)?,
        };
        Some(Entry::Continued { back, blocks: None })
    }

    /// Returns the number of blocks from the block number of the pack to the first block of the extent that begins in
    /// its slot.
    fn blocks_before(&self, bytes: &[u8], pack: &Pack) -> Option<u32> {
        let big = self.form.big_1;
        let mut blocks = u32::from(!big);
        let mut slot = pack.slot;
        while let Some(previous) = slot.checked_sub(1) {
            slot = previous;
            let (low, kind) = self.field(bytes, pack, slot)?;
            if head_kind(kind).is_some() {
                blocks = blocks.checked_add(1)?;
                continue;
            }
            if !big {
                // Skip to the head of this extent, which may be in an earlier pack.
                match slot.checked_sub(low.into()) {
                    Some(head) => slot = head,
                    None => break,
                }
                blocks = blocks.checked_add(1)?;
            } else if low & BLOCK_COUNT != 0 {
                blocks = blocks.checked_add((low & !BLOCK_COUNT).into())?;
                slot = slot.saturating_sub(1);
            } else {
                // Skip to the entry after the head, which has the number of blocks.
                let back = usize::from(low).checked_sub(2)?;
                match slot.checked_sub(back) {
                    Some(first) => slot = first,
                    None => break,
                }
            }
        }
        Some(blocks)
    }
}

/// Parses an entry of 8 bytes (`struct z_erofs_lcluster_index`).
fn full(bytes: [u8; 8]) -> Option<Entry> {
    let kind = u16_at(&bytes, 0)? & 3;
    if let Some(kind) = head_kind(kind) {
        return Some(Entry::Head(Head { kind, within: u16_at(&bytes, 2)?, block: u32_at(&bytes, 4)? }));
    }
    let distance = u16_at(&bytes, 4)?;
    Some(if distance & BLOCK_COUNT == 0 {
        Entry::Continued { back: distance, blocks: None }
    } else {
        Entry::Continued { back: 1, blocks: Some(distance & !BLOCK_COUNT) }
    })
}

/// Returns the kind of head, `None` if no extent begins in the cluster.
fn head_kind(kind: u16) -> Option<HeadKind> {
    match kind {
        0 => Some(HeadKind::Plain),
        1 => Some(HeadKind::First),
        3 => Some(HeadKind::Second),
        _ => None,
    }
}
