//! Strict parser of the GUID partition table (UEFI specification 2.10, section 5.3).
//!
//! No signature covers the table, so every byte outside the partitions is constrained: the two headers agree, the
//! checksums are correct, the entries are where every other tool reads them, and all bytes outside headers, entries and
//! partitions are zero. Otherwise an attacker could plant the magic number of a file system in unsigned bytes of a
//! signed image. libblkid would find a file system on the whole disk, and systemd would refuse the image and with it
//! the merge of all others.

mod beginning;
mod copy;
mod error;

pub use beginning::Beginning;
pub use error::GptError;

use super::Guid;
use crate::bytes::{array, u16_at, u32_at, u64_at};
use crate::io::{ReadAt, Window};
use crate::verity::first_nonzero;
use serde::{Deserialize, Serialize};
use std::io;

/// Sector sizes in bytes at which systemd looks for a table (systemd 257, `probe_sector_size`).
pub const SECTOR_SIZES: [u32; 4] = [512, 1024, 2048, 4096];
const SIGNATURE: &[u8; 8] = b"EFI PART";
const REVISION: u32 = 0x0001_0000;
/// Size of a header in bytes, the only one in revision 1.0.
const HEADER_SIZE: usize = 92;
/// Size of an entry in bytes, the only one that libblkid and the kernel accept.
const ENTRY_SIZE: usize = 128;
/// Number of entries, the same in every tool. In a larger table a partition could have a number above 255, which the
/// kernel (`disk_max_parts`), and so systemd, refuses on a loop device.
const ENTRY_COUNT: u32 = 128;
/// Offset of the name in an entry, in bytes.
const ENTRY_NAME: usize = 56;

/// Bit 63 of an entry's flags: not to be used automatically (Discoverable Partitions Specification).
pub const FLAG_NO_AUTO: u64 = 1 << 63;

/// A partition. Offset and length are in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Number of its entry, from 1.
    pub index: usize,
    /// `PartitionTypeGUID`.
    pub type_guid: Guid,
    /// `UniquePartitionGUID`.
    pub uuid: Guid,
    /// Offset of its first byte in the image.
    pub start: u64,
    /// Length in bytes.
    pub len: u64,
    /// `Attributes`.
    pub flags: u64,
    /// `PartitionName`.
    pub name: String,
}

/// A partition table that passed all checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Sector size in bytes.
    pub sector_size: u32,
    /// `DiskGUID`.
    pub disk_guid: Guid,
    /// Partitions in the order of their offsets.
    pub partitions: Vec<Partition>,
}

impl Table {
    /// Reads and checks the table of an image.
    ///
    /// # Errors
    /// [`GptError`] for the first fault.
    pub fn read(image: &dyn ReadAt) -> Result<Self, GptError> {
        let sector_size = probe_sector_size(image)?;
        let sector = u64::from(sector_size);
        check_protective_mbr(&read_bytes(image, 0, sector_size)?)?;

        let primary_bytes = read_bytes(image, sector, sector_size)?;
        let primary = Header::parse(&primary_bytes, "primary", 1)?;
        let last_lba = primary.alternate_lba;
        copy::check_length(image.len(), last_lba, sector_size)?;
        primary.expect("PartitionEntryLBA", primary.entries_lba, 2)?;
        let backup_bytes = read_bytes(image, last_lba.saturating_mul(sector), sector_size)?;
        copy::check_end(image, &backup_bytes, last_lba)?;
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

    /// Checks that partitions do not overlap, and that all bytes between them are zero.
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
        // The unused bytes of the last sector of the backup's entries.
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
        None => Err(GptError::NoTable(Beginning::read(image).map_err(|cause| GptError::Io { offset: 0, cause })?)),
        // At 1024 bytes the disk GUID, which can have any value, is where libblkid reads the magic number of ext2.
        Some(found @ (1024 | 2048)) => Err(GptError::SectorSize { found }),
        Some(size) => Ok(size),
    }
}

/// Checks the protective MBR (UEFI specification 2.10, section 5.2.3). libblkid accepts a table only with such an MBR.
/// An extension needs no boot code, and boot code could contain the magic numbers of file systems.
fn check_protective_mbr(sector: &[u8]) -> Result<(), GptError> {
    const ENTRIES: usize = 446;
    if sector.get(510..512) != Some(&[0x55, 0xaa]) {
        return Err(GptError::ProtectiveMbr("has no boot signature"));
    }
    let zero = |range: std::ops::Range<usize>| sector.get(range).is_some_and(|part| part.iter().all(|byte| *byte == 0));
    // Bytes 440 to 445 are a disk signature, unused by the specification and set by some tools.
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

/// The header fields that its checksum covers.
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

/// Parses a name in UTF-16LE. Only printable ASCII is accepted: with all of Unicode a name could contain the magic
/// number of a file system (that of ext4 is U+EF53 at a certain offset).
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
