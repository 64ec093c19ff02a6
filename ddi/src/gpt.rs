//! The GUID partition table (UEFI specification 2.10, section 5.3), read strictly.
//!
//! Nothing signs the table. So all of it that could mean something is constrained: two headers that agree,
//! sound checksums, entries where every other tool looks for them, and no byte in use outside of headers,
//! entries and partitions. Otherwise one could take a signed image and plant, in bytes that no signature
//! covers, what makes libblkid see a file system on the bare disk: systemd would refuse it, and with it
//! the merge of all others.

use super::Guid;
use crate::bytes::{array, u16_at, u32_at, u64_at};
use crate::io::{ReadAt, Window};
use crate::verity::first_nonzero;
use serde::{Deserialize, Serialize};
use std::io;
use thiserror::Error;

/// Sector sizes at which systemd looks for a table (systemd 257, `probe_sector_size`), in bytes.
pub const SECTOR_SIZES: [u32; 4] = [512, 1024, 2048, 4096];
const SIGNATURE: &[u8; 8] = b"EFI PART";
const REVISION: u32 = 0x0001_0000;
/// Size of a header in bytes; revision 1.0 has no other.
const HEADER_SIZE: usize = 92;
/// Size of an entry in bytes; libblkid and the kernel accept no other.
const ENTRY_SIZE: usize = 128;
/// Number of entries. Every tool makes 128; with more, a partition could have a number beyond 255, which the
/// kernel refuses on a loop device (`disk_max_parts`), and systemd with it.
const ENTRY_COUNT: u32 = 128;
/// Fields of an entry in front of its name, in bytes.
const ENTRY_NAME: usize = 56;

/// Bit 63 of an entry's flags: not to be used automatically (Discoverable Partitions Specification).
pub const FLAG_NO_AUTO: u64 = 1 << 63;

/// Why a table isn't accepted.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum GptError {
    /// The image can't be read.
    #[error("reading at offset {offset}: {cause}")]
    Io {
        /// Where.
        offset: u64,
        /// What the system said.
        cause: io::Error,
    },
    /// No header at any sector size.
    #[error("no GUID partition table")]
    NoTable,
    /// Headers at two sector sizes.
    #[error("partition tables for sector sizes of {first} and {second} bytes")]
    Ambiguous {
        /// The smaller size.
        first: u32,
        /// The next one.
        second: u32,
    },
    /// A table at a sector size that no disk has.
    #[error("partition table for sectors of {found} bytes; expected 512 or 4096")]
    SectorSize {
        /// The size.
        found: u32,
    },
    /// The file doesn't end with a sector.
    #[error("{length} bytes are not a whole number of {sector_size}-byte sectors")]
    Length {
        /// Length of the file.
        length: u64,
        /// Sector size.
        sector_size: u32,
    },
    /// No protective MBR, or one with boot code or other partitions.
    #[error("the protective MBR {0}")]
    ProtectiveMbr(&'static str),
    /// A field of a header isn't what it must be.
    #[error("{header} header: {field} is {found}; expected {expected}")]
    Field {
        /// `primary` or `backup`.
        header: &'static str,
        /// Name in the specification.
        field: &'static str,
        /// What it says.
        found: u64,
        /// What it must say.
        expected: u64,
    },
    /// No header where one must be.
    #[error("no {header} header in sector {lba}")]
    NoHeader {
        /// `primary` or `backup`.
        header: &'static str,
        /// Where it was looked for.
        lba: u64,
    },
    /// A checksum doesn't fit.
    #[error("{header} {what}: checksum is {found:08x}; computed {computed:08x}")]
    Checksum {
        /// `primary` or `backup`.
        header: &'static str,
        /// `header` or `entries`.
        what: &'static str,
        /// What the header says.
        found: u32,
        /// What the bytes give.
        computed: u32,
    },
    /// The two headers describe different tables.
    #[error("primary and backup header disagree")]
    Disagree,
    /// More entries than are looked at, or none.
    #[error("{found} entries; expected {ENTRY_COUNT}")]
    EntryCount {
        /// What the header says.
        found: u32,
    },
    /// The range for partitions overlaps the table or leaves the disk.
    #[error("usable sectors {first} to {last} do not fit the disk")]
    UsableRange {
        /// First usable sector.
        first: u64,
        /// Last usable sector.
        last: u64,
    },
    /// An entry without type that isn't empty.
    #[error("unused entry {index} is not all zero")]
    UnusedEntry {
        /// Number of the entry, from 1.
        index: usize,
    },
    /// A partition outside of the usable range, or one that ends before it begins.
    #[error("partition {index} (sectors {first} to {last}) is outside of the usable sectors")]
    OutOfRange {
        /// Number of the entry, from 1.
        index: usize,
        /// First sector.
        first: u64,
        /// Last sector.
        last: u64,
    },
    /// Two partitions share sectors.
    #[error("partitions {first} and {second} overlap")]
    Overlap {
        /// Number of the entry that begins first.
        first: usize,
        /// Number of the other.
        second: usize,
    },
    /// A name with anything but printable ASCII, or bytes after its end.
    #[error("the name of partition {index} is not plain ASCII followed by zeros")]
    Name {
        /// Number of the entry, from 1.
        index: usize,
    },
    /// A byte in use where nothing belongs.
    #[error("byte {offset}, outside of all partitions, is not zero")]
    Stray {
        /// Where.
        offset: u64,
    },
}

/// A partition, with its place in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Number of its entry, from 1.
    pub index: usize,
    /// `PartitionTypeGUID`.
    pub type_guid: Guid,
    /// `UniquePartitionGUID`.
    pub uuid: Guid,
    /// First byte within the image.
    pub start: u64,
    /// Length in bytes.
    pub len: u64,
    /// `Attributes`.
    pub flags: u64,
    /// `PartitionName`.
    pub name: String,
}

/// A table that holds together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Sector size in bytes.
    pub sector_size: u32,
    /// `DiskGUID`.
    pub disk_guid: Guid,
    /// Partitions in the order of their place.
    pub partitions: Vec<Partition>,
}

impl Table {
    /// Reads and checks the table of an image.
    ///
    /// # Errors
    /// [`GptError`]: the first thing that is wrong.
    pub fn read(image: &dyn ReadAt) -> Result<Self, GptError> {
        let sector_size = probe_sector_size(image)?;
        let sector = u64::from(sector_size);
        if image.len().checked_rem(sector) != Some(0) {
            return Err(GptError::Length { length: image.len(), sector_size });
        }
        let last_lba =
            image.len().checked_div(sector).and_then(|count| count.checked_sub(1)).ok_or(GptError::NoTable)?;
        check_protective_mbr(&read_bytes(image, 0, sector_size)?)?;

        let primary_bytes = read_bytes(image, sector, sector_size)?;
        let primary = Header::parse(&primary_bytes, "primary", 1)?;
        primary.expect("AlternateLBA", primary.alternate_lba, last_lba)?;
        primary.expect("PartitionEntryLBA", primary.entries_lba, 2)?;
        let backup_bytes = read_bytes(image, last_lba.saturating_mul(sector), sector_size)?;
        let backup = Header::parse(&backup_bytes, "backup", last_lba)?;
        backup.expect("AlternateLBA", backup.alternate_lba, 1)?;
        if !primary.agrees_with(&backup) {
            return Err(GptError::Disagree);
        }

        let entries_len = u64::from(primary.entry_count).saturating_mul(128);
        let entries_sectors = entries_len.div_ceil(sector);
        backup.expect("PartitionEntryLBA", backup.entries_lba, last_lba.saturating_sub(entries_sectors))?;
        let (first, last) = (primary.first_usable, primary.last_usable);
        if first < entries_sectors.saturating_add(2) || last >= backup.entries_lba || first > last {
            return Err(GptError::UsableRange { first, last });
        }

        let entries = primary.read_entries(image, sector)?;
        if backup.read_entries(image, sector)? != entries {
            return Err(GptError::Disagree);
        }
        let mut partitions = Vec::new();
        for (index, entry) in entries.chunks_exact(ENTRY_SIZE).enumerate() {
            partitions.extend(parse_entry(entry, index.saturating_add(1), sector, first..=last)?);
        }
        partitions.sort_by_key(|partition| partition.start);
        let table = Self { sector_size, disk_guid: primary.disk_guid, partitions };
        table.check_gaps(image, entries_len, backup.entries_lba.saturating_mul(sector))?;
        Ok(table)
    }

    /// Partitions must not overlap, and what lies between them must be zero.
    fn check_gaps(&self, image: &dyn ReadAt, entries_len: u64, end: u64) -> Result<(), GptError> {
        let sector = u64::from(self.sector_size);
        let mut position = sector.saturating_mul(2).saturating_add(entries_len);
        let mut before = 0;
        for partition in &self.partitions {
            if partition.start < position {
                return Err(GptError::Overlap { first: before, second: partition.index });
            }
            check_zero(image, position, partition.start)?;
            position = partition.start.saturating_add(partition.len);
            before = partition.index;
        }
        check_zero(image, position, end)?;
        // Between the backup's entries and its header lies what is left of a sector.
        check_zero(image, end.saturating_add(entries_len), image.len().saturating_sub(sector))
    }
}

fn check_zero(image: &dyn ReadAt, start: u64, end: u64) -> Result<(), GptError> {
    let Some(gap) = Window::new(image, start, end.saturating_sub(start)) else {
        return Err(GptError::Io { offset: start, cause: io::ErrorKind::UnexpectedEof.into() });
    };
    match first_nonzero(&gap, 0) {
        Ok(None) => Ok(()),
        Ok(Some(offset)) => Err(GptError::Stray { offset: start.saturating_add(offset) }),
        Err(cause) => Err(GptError::Io { offset: start, cause }),
    }
}

fn read_bytes(image: &dyn ReadAt, offset: u64, len: u32) -> Result<Vec<u8>, GptError> {
    let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
    image.read_exact_at(&mut bytes, offset).map_err(|cause| GptError::Io { offset, cause })?;
    Ok(bytes)
}

fn probe_sector_size(image: &dyn ReadAt) -> Result<u32, GptError> {
    let mut found = None;
    for size in SECTOR_SIZES {
        let offset = u64::from(size);
        if offset.saturating_mul(2) > image.len() || read_bytes(image, offset, 8)? != SIGNATURE {
            continue;
        }
        if let Some(first) = found.replace(size) {
            return Err(GptError::Ambiguous { first, second: size });
        }
    }
    match found {
        None => Err(GptError::NoTable),
        // At 1024 bytes the disk's GUID lies where libblkid looks for ext2, and nothing constrains a GUID.
        Some(found @ (1024 | 2048)) => Err(GptError::SectorSize { found }),
        Some(size) => Ok(size),
    }
}

/// UEFI specification 2.10, section 5.2.3. libblkid takes a table only behind such an MBR; boot code
/// means nothing to an extension and would be room for the magic numbers of file systems.
fn check_protective_mbr(sector: &[u8]) -> Result<(), GptError> {
    const ENTRIES: usize = 446;
    if sector.get(510..512) != Some(&[0x55, 0xaa]) {
        return Err(GptError::ProtectiveMbr("has no boot signature"));
    }
    let zero = |range: std::ops::Range<usize>| sector.get(range).is_some_and(|part| part.iter().all(|byte| *byte == 0));
    // Bytes 440 to 445 hold a disk signature that the specification leaves unused and some tools set.
    if !zero(0..440) || !zero(512..sector.len()) {
        return Err(GptError::ProtectiveMbr("holds something besides partitions"));
    }
    if sector.get(ENTRIES.saturating_add(4)) != Some(&0xee) || u32_at(sector, ENTRIES.saturating_add(8)) != Some(1) {
        return Err(GptError::ProtectiveMbr("does not protect the table with its first entry"));
    }
    if !zero(ENTRIES.saturating_add(16)..510) {
        return Err(GptError::ProtectiveMbr("has further entries"));
    }
    Ok(())
}

/// The fields of a header that its checksum vouches for.
struct Header {
    which: &'static str,
    alternate_lba: u64,
    first_usable: u64,
    last_usable: u64,
    disk_guid: Guid,
    entries_lba: u64,
    entry_count: u32,
    entries_crc: u32,
}

impl Header {
    fn parse(sector: &[u8], which: &'static str, lba: u64) -> Result<Self, GptError> {
        let missing = || GptError::NoHeader { header: which, lba };
        let header = sector.get(..HEADER_SIZE).filter(|header| header.starts_with(SIGNATURE)).ok_or_else(missing)?;
        let u32_at = |offset| u32_at(header, offset).ok_or_else(missing);
        let u64_at = |offset| u64_at(header, offset).ok_or_else(missing);
        let parsed = Self {
            which,
            alternate_lba: u64_at(32)?,
            first_usable: u64_at(40)?,
            last_usable: u64_at(48)?,
            disk_guid: Guid::from_bytes(array(header, 56).ok_or_else(missing)?),
            entries_lba: u64_at(72)?,
            entry_count: u32_at(80)?,
            entries_crc: u32_at(88)?,
        };
        parsed.expect("Revision", u64::from(u32_at(8)?), u64::from(REVISION))?;
        parsed.expect("HeaderSize", u64::from(u32_at(12)?), 92)?;
        parsed.expect("Reserved", u64::from(u32_at(20)?), 0)?;
        parsed.expect("MyLBA", u64_at(24)?, lba)?;
        parsed.expect("SizeOfPartitionEntry", u64::from(u32_at(84)?), 128)?;
        if parsed.entry_count != ENTRY_COUNT {
            return Err(GptError::EntryCount { found: parsed.entry_count });
        }
        let mut crc = crc32fast::Hasher::new();
        crc.update(header.get(..16).unwrap_or_default());
        crc.update(&[0; 4]);
        crc.update(header.get(20..).unwrap_or_default());
        check_crc(which, "header", u32_at(16)?, crc.finalize())?;
        let rest = sector.get(HEADER_SIZE..).unwrap_or_default();
        match rest.iter().find(|byte| **byte != 0) {
            Some(byte) => {
                Err(GptError::Field { header: which, field: "Reserved", found: u64::from(*byte), expected: 0 })
            }
            None => Ok(parsed),
        }
    }

    fn expect(&self, field: &'static str, found: u64, expected: u64) -> Result<(), GptError> {
        if found == expected { Ok(()) } else { Err(GptError::Field { header: self.which, field, found, expected }) }
    }

    fn agrees_with(&self, other: &Self) -> bool {
        self.first_usable == other.first_usable
            && self.last_usable == other.last_usable
            && self.disk_guid == other.disk_guid
            && self.entry_count == other.entry_count
            && self.entries_crc == other.entries_crc
    }

    fn read_entries(&self, image: &dyn ReadAt, sector: u64) -> Result<Vec<u8>, GptError> {
        let bytes = self.entry_count.saturating_mul(128);
        let entries = read_bytes(image, self.entries_lba.saturating_mul(sector), bytes)?;
        check_crc(self.which, "entries", self.entries_crc, crc32fast::hash(&entries))?;
        Ok(entries)
    }
}

fn check_crc(header: &'static str, what: &'static str, found: u32, computed: u32) -> Result<(), GptError> {
    if found == computed { Ok(()) } else { Err(GptError::Checksum { header, what, found, computed }) }
}

fn parse_entry(
    entry: &[u8],
    index: usize,
    sector: u64,
    usable: std::ops::RangeInclusive<u64>,
) -> Result<Option<Partition>, GptError> {
    let unused = GptError::UnusedEntry { index };
    let (Some(type_guid), Some(uuid), Some(first), Some(last), Some(flags)) =
        (array(entry, 0), array(entry, 16), u64_at(entry, 32), u64_at(entry, 40), u64_at(entry, 48))
    else {
        return Err(unused);
    };
    let type_guid = Guid::from_bytes(type_guid);
    if type_guid == Guid::ZERO {
        return if entry.iter().all(|byte| *byte == 0) { Ok(None) } else { Err(unused) };
    }
    let sectors = last.checked_sub(first).and_then(|difference| difference.checked_add(1));
    let (Some(sectors), true, true) = (sectors, usable.contains(&first), usable.contains(&last)) else {
        return Err(GptError::OutOfRange { index, first, last });
    };
    let name = parse_name(entry.get(ENTRY_NAME..).unwrap_or_default()).ok_or(GptError::Name { index })?;
    Ok(Some(Partition {
        index,
        type_guid,
        uuid: Guid::from_bytes(uuid),
        start: first.saturating_mul(sector),
        len: sectors.saturating_mul(sector),
        flags,
        name,
    }))
}

/// UTF-16LE, of which only printable ASCII is admitted: with all of Unicode a name could spell the magic
/// number of a file system (U+EF53 at the right place is that of ext4).
fn parse_name(units: &[u8]) -> Option<String> {
    let units: Vec<u16> = units.chunks_exact(2).filter_map(|pair| u16_at(pair, 0)).collect();
    let end = units.iter().position(|unit| *unit == 0).unwrap_or(units.len());
    let (name, rest) = units.split_at_checked(end)?;
    if rest.iter().any(|unit| *unit != 0) {
        return None;
    }
    let printable = |unit: &u16| u8::try_from(*unit).ok().filter(|byte| matches!(byte, b' '..=b'~')).map(char::from);
    name.iter().map(printable).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn bytes_outside_of_the_image_are_not_zero() {
        let image = vec![0; 8];
        check_zero(&image, 2, 8).unwrap();
        check_zero(&image, 8, 8).unwrap();
        check_zero(&image, 8, 2).unwrap();
        for (start, end) in [(2, 9), (9, 9), (u64::MAX, u64::MAX)] {
            assert!(matches!(check_zero(&image, start, end), Err(GptError::Io { .. })), "{start} to {end}");
        }
        assert!(matches!(check_zero(&vec![0, 0, 1], 0, 3), Err(GptError::Stray { offset: 2 })));
    }
}
