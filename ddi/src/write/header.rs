//! The header of a GUID partition table (UEFI specification 2.10, section 5.3.2), for writing.

use crate::Guid;

/// Size of a header in bytes. The rest of its sector is zero.
pub const HEADER_SIZE: usize = 92;
/// Offset of `HeaderCRC32` in a header.
const HEADER_CRC: usize = 16;

/// The fields of a GPT header, named as in the specification (table 5-5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// `Signature`
    pub signature: [u8; 8],
    /// `Revision`
    pub revision: u32,
    /// `HeaderSize` in bytes
    pub header_size: u32,
    /// `HeaderCRC32`; `None` computes it.
    pub header_crc: Option<u32>,
    /// `MyLBA`
    pub my_lba: u64,
    /// `AlternateLBA`
    pub alternate_lba: u64,
    /// `FirstUsableLBA`
    pub first_usable_lba: u64,
    /// `LastUsableLBA`
    pub last_usable_lba: u64,
    /// `DiskGUID`
    pub disk_guid: Guid,
    /// `PartitionEntryLBA`
    pub entries_lba: u64,
    /// `NumberOfPartitionEntries`
    pub entry_count: u32,
    /// `SizeOfPartitionEntry` in bytes
    pub entry_size: u32,
    /// `PartitionEntryArrayCRC32`
    pub entries_crc: u32,
}

impl Header {
    /// Returns the 92 bytes of the header.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let with_crc = |crc: u32| {
            [
                self.signature.as_slice(),
                &self.revision.to_le_bytes(),
                &self.header_size.to_le_bytes(),
                &crc.to_le_bytes(),
                &[0; 4],
                &self.my_lba.to_le_bytes(),
                &self.alternate_lba.to_le_bytes(),
                &self.first_usable_lba.to_le_bytes(),
                &self.last_usable_lba.to_le_bytes(),
                &self.disk_guid.to_bytes(),
                &self.entries_lba.to_le_bytes(),
                &self.entry_count.to_le_bytes(),
                &self.entry_size.to_le_bytes(),
                &self.entries_crc.to_le_bytes(),
            ]
            .concat()
        };
        with_crc(self.header_crc.unwrap_or_else(|| crc32fast::hash(&with_crc(0))))
    }
}

/// Recomputes the checksum of the header at the start of `sector`, after a change of a field.
pub fn fix_header_crc(sector: &mut [u8]) {
    if let Some(header) = sector.get_mut(..HEADER_SIZE) {
        let end = HEADER_CRC.saturating_add(4);
        if let Some(field) = header.get_mut(HEADER_CRC..end) {
            field.fill(0);
        }
        let crc = crc32fast::hash(header).to_le_bytes();
        if let Some(field) = header.get_mut(HEADER_CRC..end) {
            field.copy_from_slice(&crc);
        }
    }
}
