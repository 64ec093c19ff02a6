//! Metadata of squashfs: a chain of blocks of up to 8 KiB, each compressed separately.

use crate::filesystem::FilesystemError;
use crate::filesystem::cache::Block;
use crate::filesystem::codec::Codec;
use crate::filesystem::meter::Meter;
use std::rc::Rc;

/// Maximum size in bytes of a metadata block before compression (`SQUASHFS_METADATA_SIZE`).
pub(super) const BLOCK: usize = 8192;

/// Flag in the header of a block that is not compressed (`SQUASHFS_COMPRESSED_BIT`).
const STORED: u16 = 1 << 15;

/// Reads consecutive metadata across the ends of blocks.
pub(super) struct Cursor<'m, 's> {
    meter: &'m Meter<'s>,
    codec: Codec,
    block: Rc<[u8]>,
    /// Offset in `block`, in bytes.
    position: usize,
    /// Offset of the next block in the image.
    next: u64,
}

impl<'m, 's> Cursor<'m, 's> {
    /// Starts at offset `within` of the metadata block at `start`.
    pub(super) fn new(meter: &'m Meter<'s>, codec: Codec, start: u64, within: usize) -> Result<Self, FilesystemError> {
        let mut cursor = Self { meter, codec, block: Rc::default(), position: 0, next: start };
        cursor.load()?;
        if within > cursor.block.len() {
            return Err(FilesystemError::corrupt("reference to metadata", start));
        }
        cursor.position = within;
        Ok(cursor)
    }

    /// Starts at a reference: the upper 48 bits are the offset of the block from `table`, the lower 16 bits the offset
    /// in the block.
    pub(super) fn at_reference(
        meter: &'m Meter<'s>,
        codec: Codec,
        table: u64,
        reference: u64,
    ) -> Result<Self, FilesystemError> {
        let within = usize::try_from(reference & 0xffff).unwrap_or(usize::MAX);
        Self::new(meter, codec, table.saturating_add(reference >> 16), within)
    }

    /// Reads the next `N` bytes.
    pub(super) fn take<const N: usize>(&mut self) -> Result<[u8; N], FilesystemError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// Fills `buf` with the next bytes.
    pub(super) fn fill(&mut self, mut buf: &mut [u8]) -> Result<(), FilesystemError> {
        self.meter.charge(buf.len())?;
        while !buf.is_empty() {
            let corrupt = || FilesystemError::corrupt("metadata", self.next);
            let available = self.block.get(self.position..).unwrap_or_default();
            if available.is_empty() {
                self.load()?;
                continue;
            }
            let n = available.len().min(buf.len());
            let (now, later) = std::mem::take(&mut buf).split_at_mut_checked(n).ok_or_else(corrupt)?;
            now.copy_from_slice(available.get(..n).ok_or_else(corrupt)?);
            self.position = self.position.saturating_add(n);
            buf = later;
        }
        Ok(())
    }

    fn load(&mut self) -> Result<(), FilesystemError> {
        let at = self.next;
        let block = self.meter.cache().blocks.get(at, || read_block(self.meter, self.codec, at))?;
        self.block = block.content;
        self.position = 0;
        self.next = block.next;
        Ok(())
    }
}

fn read_block(meter: &Meter<'_>, codec: Codec, at: u64) -> Result<Block, FilesystemError> {
    let corrupt = || FilesystemError::corrupt("metadata block", at);
    let header = u16::from_le_bytes(meter.metadata::<2>(at, "metadata block")?);
    let size = usize::from(header & !STORED);
    // An empty block would cause an endless loop.
    if size == 0 || size > BLOCK {
        return Err(corrupt());
    }
    let data_at = at.saturating_add(2);
    let data = meter.data(data_at, size, "metadata block")?;
    let content = if header & STORED == 0 { codec.decode(meter, &data, BLOCK, data_at)? } else { data };
    if content.is_empty() {
        return Err(corrupt());
    }
    let next = data_at.saturating_add(u64::try_from(size).map_err(|_| corrupt())?);
    Ok(Block { content: content.into(), next })
}

/// Reads entry `number`, of `N` bytes, of a table. A table is an array of the offsets of metadata blocks with the
/// entries.
pub(super) fn table_entry<const N: usize>(
    meter: &Meter<'_>,
    codec: Codec,
    table: u64,
    number: u32,
) -> Result<[u8; N], FilesystemError> {
    let corrupt = || FilesystemError::corrupt("table", table);
    let per_block = BLOCK.checked_div(N).ok_or_else(corrupt)?;
    let number = usize::try_from(number).map_err(|_| corrupt())?;
    let block = number.checked_div(per_block).and_then(|n| u64::try_from(n).ok()).ok_or_else(corrupt)?;
    let within = number.checked_rem(per_block).and_then(|n| n.checked_mul(N)).ok_or_else(corrupt)?;
    let pointer = meter.metadata::<8>(table.saturating_add(block.saturating_mul(8)), "table")?;
    Cursor::new(meter, codec, u64::from_le_bytes(pointer), within)?.take()
}
