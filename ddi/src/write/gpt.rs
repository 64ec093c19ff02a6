//! Writer of a GUID partition table (UEFI specification 2.10, section 5.3) and of the partitions.
//!
//! This is the low level. It writes any list of partitions, and every field of the headers can be overridden, because
//! the tests of the parser need invalid tables that no other tool writes.

pub use super::header::{HEADER_SIZE, Header, fix_header_crc};
use crate::Guid;
use crate::io::ReadAt;
use std::io::{self, Seek, SeekFrom, Write};
use thiserror::Error;

/// Offset of the first partition in bytes, as in libfdisk and `systemd-repart`.
pub const FIRST_PARTITION: u64 = 1 << 20;
/// Alignment of partitions in bytes (`systemd-repart`'s grain for image files).
pub const ALIGNMENT: u64 = 4096;
/// Number of entries in the table, used or not: the minimum in the specification for entries of this size.
pub const ENTRY_COUNT: u32 = 128;
/// Size of an entry in bytes.
pub const ENTRY_SIZE: u32 = 128;
/// First sector of the primary table's entries.
pub const PRIMARY_ENTRIES_LBA: u64 = 2;
/// Maximum length of a name in UTF-16 units.
pub const NAME_UNITS: usize = 36;
/// Flag of a partition that should be mounted read-only (Discoverable Partitions Specification).
pub const FLAG_READ_ONLY: u64 = 1 << 60;

/// Number of bytes that are copied at once.
const CHUNK: usize = 1 << 20;
const ENTRIES_LEN: u64 = 128 * 128;

/// Errors of writing a table.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum GptError {
    /// No disk has this sector size.
    #[error("sector size {found} is none of 512, 1024, 2048, 4096")]
    SectorSize {
        /// Requested sector size in bytes.
        found: u32,
    },
    /// There are more partitions than entries.
    #[error("{found} partitions don't fit into {ENTRY_COUNT} entries")]
    TooMany {
        /// Number of partitions.
        found: usize,
    },
    /// A partition has no content.
    #[error("partition {name:?} has no bytes")]
    Empty {
        /// Its name.
        name: String,
    },
    /// A name is longer than its field.
    #[error("partition name {name:?} has {found} UTF-16 units, the most is {NAME_UNITS}")]
    Name {
        /// The name.
        name: String,
        /// Its length in UTF-16 units.
        found: usize,
    },
    /// The image would exceed the maximum length of a file.
    #[error("the image would be larger than a file can be")]
    TooLarge,
    /// Reading a partition's content or writing the image failed.
    #[error("copying partition table or content: {0}")]
    Io(io::Error),
}

impl From<io::Error> for GptError {
    fn from(cause: io::Error) -> Self {
        Self::Io(cause)
    }
}

/// A partition before the layout.
#[derive(Clone)]
pub struct NewPartition<'a> {
    /// Type, in the byte order of the disk.
    pub type_guid: Guid,
    /// Unique ID, in the byte order of the disk.
    pub uuid: Guid,
    /// Name, at most [`NAME_UNITS`] UTF-16 units.
    pub name: String,
    /// Attribute bits.
    pub flags: u64,
    /// Content. The partition has its length, rounded up to [`ALIGNMENT`].
    pub content: &'a dyn ReadAt,
}

/// A partition and the fields of its entry. They are written unchanged, even if they are invalid.
#[derive(Clone)]
pub struct RawPartition<'a> {
    /// `PartitionTypeGUID`
    pub type_guid: Guid,
    /// `UniquePartitionGUID`
    pub uuid: Guid,
    /// `PartitionName`
    pub name: String,
    /// `Attributes`
    pub flags: u64,
    /// `StartingLBA`
    pub first_lba: u64,
    /// `EndingLBA`, the last sector of the partition.
    pub last_lba: u64,
    /// Offset of the content in bytes, normally that of the first sector.
    pub start: u64,
    /// Content, written at `start`.
    pub content: &'a dyn ReadAt,
}

impl RawPartition<'_> {
    /// Returns the 128 bytes of the entry.
    ///
    /// # Errors
    /// [`GptError::Name`].
    pub fn entry(&self) -> Result<Vec<u8>, GptError> {
        let mut name: Vec<u8> = self.name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let field = NAME_UNITS.saturating_mul(2);
        if name.len() > field {
            return Err(GptError::Name { name: self.name.clone(), found: self.name.encode_utf16().count() });
        }
        name.resize(field, 0);
        Ok([
            self.type_guid.to_bytes().as_slice(),
            &self.uuid.to_bytes(),
            &self.first_lba.to_le_bytes(),
            &self.last_lba.to_le_bytes(),
            &self.flags.to_le_bytes(),
            &name,
        ]
        .concat())
    }
}

/// A whole disk: its size, its partitions in the order of their entries, and their offsets.
#[derive(Clone)]
pub struct Table<'a> {
    /// Sector size in bytes.
    pub sector_size: u32,
    /// `DiskGUID`
    pub disk_guid: Guid,
    /// Length of the image in sectors.
    pub sectors: u64,
    /// The partitions.
    pub partitions: Vec<RawPartition<'a>>,
}

impl<'a> Table<'a> {
    /// Places `partitions` one after the other from [`FIRST_PARTITION`] on, with space for the backup table after the
    /// last.
    ///
    /// # Errors
    /// [`GptError`] except `Io`.
    pub fn place(
        sector_size: u32,
        disk_guid: Guid,
        partitions: impl IntoIterator<Item = NewPartition<'a>>,
    ) -> Result<Self, GptError> {
        let sector = check_sector_size(sector_size)?;
        let mut position = FIRST_PARTITION;
        let mut placed = Vec::new();
        for partition in partitions {
            let NewPartition { type_guid, uuid, name, flags, content } = partition;
            if content.is_empty() {
                return Err(GptError::Empty { name });
            }
            let start = position;
            position = content
                .len()
                .checked_next_multiple_of(ALIGNMENT)
                .and_then(|len| start.checked_add(len))
                .ok_or(GptError::TooLarge)?;
            let lba = |offset: u64| offset.checked_div(sector).ok_or(GptError::TooLarge);
            let (first_lba, last_lba) = (lba(start)?, lba(position)?.saturating_sub(1));
            placed.push(RawPartition { type_guid, uuid, name, flags, first_lba, last_lba, start, content });
        }
        let sectors = ENTRIES_LEN
            .checked_add(sector)
            .and_then(|backup| backup.checked_add(position))
            .and_then(|end| end.checked_next_multiple_of(ALIGNMENT))
            .filter(|end| i64::try_from(*end).is_ok())
            .and_then(|end| end.checked_div(sector))
            .ok_or(GptError::TooLarge)?;
        Ok(Self { sector_size, disk_guid, sectors, partitions: placed })
    }

    /// Returns the length of the image in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.sectors.saturating_mul(u64::from(self.sector_size))
    }

    /// Returns whether the length is zero. That of a table made by [`Table::place`] never is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the 16 KiB of entries. Unused ones are zero.
    ///
    /// # Errors
    /// [`GptError::Name`], [`GptError::TooMany`].
    pub fn entries(&self) -> Result<Vec<u8>, GptError> {
        let mut bytes = Vec::new();
        for partition in &self.partitions {
            bytes.extend(partition.entry()?);
        }
        let len = usize::try_from(ENTRIES_LEN).map_err(|_| GptError::TooLarge)?;
        if bytes.len() > len {
            return Err(GptError::TooMany { found: self.partitions.len() });
        }
        bytes.resize(len, 0);
        Ok(bytes)
    }

    /// Returns the header for the second sector.
    ///
    /// # Errors
    /// As [`Table::entries`].
    pub fn primary_header(&self) -> Result<Header, GptError> {
        let sector = check_sector_size(self.sector_size)?;
        let entry_sectors = ENTRIES_LEN.div_ceil(sector);
        let last = self.sectors.checked_sub(1).ok_or(GptError::TooLarge)?;
        Ok(Header {
            signature: *b"EFI PART",
            revision: 0x0001_0000,
            header_size: 92,
            header_crc: None,
            my_lba: 1,
            alternate_lba: last,
            first_usable_lba: FIRST_PARTITION.checked_div(sector).ok_or(GptError::TooLarge)?,
            last_usable_lba: last.saturating_sub(entry_sectors).saturating_sub(1),
            disk_guid: self.disk_guid,
            entries_lba: PRIMARY_ENTRIES_LBA,
            entry_count: ENTRY_COUNT,
            entry_size: ENTRY_SIZE,
            entries_crc: crc32fast::hash(&self.entries()?),
        })
    }

    /// Returns the header for the last sector.
    ///
    /// # Errors
    /// As [`Table::entries`].
    pub fn backup_header(&self) -> Result<Header, GptError> {
        let primary = self.primary_header()?;
        Ok(Header {
            my_lba: primary.alternate_lba,
            alternate_lba: primary.my_lba,
            entries_lba: primary.last_usable_lba.saturating_add(1),
            ..primary
        })
    }

    /// Writes the image to `out`, from its start on. Contents are streamed, and the gaps between them are written as
    /// zeros. `out` need not be empty before, but should not be longer than the image.
    ///
    /// # Errors
    /// [`GptError`].
    pub fn write_to(&self, out: &mut (impl Write + Seek)) -> Result<(), GptError> {
        self.write_with(out, &self.primary_header()?, &self.backup_header()?)
    }

    /// Writes the image as [`Table::write_to`] does, except the content of its first partition, which `out` has in
    /// place already.
    ///
    /// # Errors
    /// [`GptError`].
    pub fn write_around(&self, out: &mut (impl Write + Seek)) -> Result<(), GptError> {
        self.write_parts(out, &self.primary_header()?, &self.backup_header()?, 1)
    }

    /// Writes the image as [`Table::write_to`] does, with given headers. They are written where valid ones would be,
    /// whatever their fields are.
    ///
    /// # Errors
    /// [`GptError`].
    pub fn write_with(&self, out: &mut (impl Write + Seek), primary: &Header, backup: &Header) -> Result<(), GptError> {
        self.write_parts(out, primary, backup, 0)
    }

    /// Writes all but the content of as many partitions as are in place, the first ones of the image.
    fn write_parts(
        &self,
        out: &mut (impl Write + Seek),
        primary: &Header,
        backup: &Header,
        in_place: usize,
    ) -> Result<(), GptError> {
        let honest = self.backup_header()?;
        let sector = check_sector_size(self.sector_size)?;
        let entries = self.entries()?;
        let mut image = Writer { out, end: 0 };
        image.put(0, &protective_mbr(self.sectors))?;
        image.put(sector, &primary.to_bytes())?;
        image.put(sector.saturating_mul(PRIMARY_ENTRIES_LBA), &entries)?;
        let mut sorted: Vec<_> = self.partitions.iter().collect();
        sorted.sort_by_key(|partition| partition.start);
        for (number, partition) in sorted.into_iter().enumerate() {
            if number < in_place {
                image.zeros_up_to(partition.start)?;
                image.end = image.end.max(partition.start.saturating_add(partition.content.len()));
            } else {
                image.copy(partition.start, partition.content)?;
            }
        }
        image.put(honest.entries_lba.saturating_mul(sector), &entries)?;
        image.put(honest.my_lba.saturating_mul(sector), &backup.to_bytes())?;
        image.zeros_up_to(self.len())?;
        image.out.flush()?;
        Ok(())
    }
}

fn check_sector_size(size: u32) -> Result<u64, GptError> {
    match size {
        512 | 1024 | 2048 | 4096 => Ok(u64::from(size)),
        found => Err(GptError::SectorSize { found }),
    }
}

/// An output that has been written completely up to `end`.
struct Writer<'a, W> {
    out: &'a mut W,
    end: u64,
}

impl<W: Write + Seek> Writer<'_, W> {
    fn zeros_up_to(&mut self, end: u64) -> io::Result<()> {
        self.out.seek(SeekFrom::Start(self.end))?;
        if let Some(gap) = end.checked_sub(self.end) {
            io::copy(&mut io::Read::take(io::repeat(0), gap), self.out)?;
            self.end = end;
        }
        Ok(())
    }

    fn put(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.zeros_up_to(offset)?;
        self.out.seek(SeekFrom::Start(offset))?;
        self.out.write_all(bytes)?;
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.end = self.end.max(offset.saturating_add(len));
        Ok(())
    }

    fn copy(&mut self, start: u64, content: &dyn ReadAt) -> io::Result<()> {
        let mut buffer = vec![0; CHUNK];
        let mut done = 0;
        while done < content.len() {
            let left = usize::try_from(content.len().saturating_sub(done)).unwrap_or(CHUNK).min(CHUNK);
            let chunk = buffer.get_mut(..left).unwrap_or_default();
            content.read_exact_at(chunk, done)?;
            self.put(start.saturating_add(done), chunk)?;
            done = done.saturating_add(u64::try_from(left).unwrap_or(u64::MAX));
        }
        Ok(())
    }
}

/// Returns the first 512 bytes: an MBR with one partition of type 0xEE over the whole disk (UEFI specification 2.10,
/// section 5.2.3).
fn protective_mbr(sectors: u64) -> [u8; 512] {
    let covered = u32::try_from(sectors.saturating_sub(1)).unwrap_or(u32::MAX);
    let mut entry = [0, 0x00, 0x02, 0x00, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0];
    let mut mbr = [0; 512];
    let size = covered.to_le_bytes();
    entry.iter_mut().skip(12).zip(size).for_each(|(slot, byte)| *slot = byte);
    mbr.iter_mut().skip(446).zip(entry).for_each(|(slot, byte)| *slot = byte);
    mbr.iter_mut().skip(510).zip([0x55, 0xaa]).for_each(|(slot, byte)| *slot = byte);
    mbr
}

#[cfg(test)]
#[path = "gpt_tests.rs"]
mod tests;
