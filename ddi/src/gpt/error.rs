//! Errors of the partition table: first the cause for an operator, then the field of the table.

use super::ENTRY_COUNT;
use super::beginning::{Beginning, Bytes, Sizes};
use std::io;
use thiserror::Error;

/// Errors of [`Table::read`](super::Table::read).
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum GptError {
    /// Reading the image failed.
    #[error("reading at offset {offset}: {cause}")]
    Io {
        /// Offset in bytes.
        offset: u64,
        /// Error of the system call.
        cause: io::Error,
    },
    /// No header at any sector size.
    #[error("{0}")]
    NoTable(Beginning),
    /// The file ends before the disk that the table describes does.
    #[error(
        "incomplete copy: the table describes {}; missing: {} (primary header: AlternateLBA is {alternate_lba}, \
         expected {})",
        Sizes { described: *described, found: *found }, Bytes(described.saturating_sub(*found)),
        last_lba(*found, *sector_size)
    )]
    Incomplete {
        /// Bytes of the disk that the table describes.
        described: u64,
        /// Bytes of the file.
        found: u64,
        /// What the primary header says.
        alternate_lba: u64,
        /// Sector size in bytes.
        sector_size: u32,
    },
    /// The file goes on after the disk that the table describes.
    #[error(
        "bytes follow the image: the table describes {}; too many: {} (primary header: AlternateLBA is \
         {alternate_lba}, expected {})",
        Sizes { described: *described, found: *found }, Bytes(found.saturating_sub(*described)),
        last_lba(*found, *sector_size)
    )]
    Followed {
        /// Bytes of the disk that the table describes.
        described: u64,
        /// Bytes of the file.
        found: u64,
        /// What the primary header says.
        alternate_lba: u64,
        /// Sector size in bytes.
        sector_size: u32,
    },
    /// The end of the file was never written.
    #[error(
        "incomplete copy: {}the last {} of {} are zero (no backup header in sector {lba})",
        if *is_more { "at least " } else { "" }, Bytes(*zeros), Bytes(*found)
    )]
    ZeroEnd {
        /// Bytes at the end that are zero.
        zeros: u64,
        /// Whether there may be more in front of them.
        is_more: bool,
        /// Bytes of the file.
        found: u64,
        /// Where the backup header was looked for.
        lba: u64,
    },
    /// Headers were found at two sector sizes.
    #[error("partition tables for sector sizes of {first} and {second} bytes")]
    Ambiguous {
        /// The smaller sector size in bytes.
        first: u32,
        /// The larger sector size in bytes.
        second: u32,
    },
    /// The header is at a sector size that no disk has.
    #[error("partition table for sectors of {found} bytes; expected 512 or 4096")]
    SectorSize {
        /// Sector size in bytes.
        found: u32,
    },
    /// The protective MBR is missing, or has boot code or other partitions.
    #[error("the protective MBR {0}")]
    ProtectiveMbr(&'static str),
    /// A field of a header has a wrong value.
    #[error("{header} header: {field} is {found}; expected {expected}")]
    Field {
        /// `primary` or `backup`.
        header: &'static str,
        /// Name of the field in the specification.
        field: &'static str,
        /// Value in the header.
        found: u64,
        /// Expected value.
        expected: u64,
    },
    /// A header is missing.
    #[error("no {header} header in sector {lba}")]
    NoHeader {
        /// `primary` or `backup`.
        header: &'static str,
        /// Sector in which the header is expected.
        lba: u64,
    },
    /// A checksum is wrong.
    #[error("{header} {what}: checksum is {found:08x}; computed {computed:08x}")]
    Checksum {
        /// `primary` or `backup`.
        header: &'static str,
        /// `header` or `entries`.
        what: &'static str,
        /// Checksum in the header.
        found: u32,
        /// Computed checksum.
        computed: u32,
    },
    /// The two headers describe different tables.
    #[error("primary and backup header disagree")]
    Disagree,
    /// The number of entries is not 128.
    #[error("{found} entries; expected {ENTRY_COUNT}")]
    EntryCount {
        /// Number in the header.
        found: u32,
    },
    /// The range of usable sectors overlaps the table or the end of the disk.
    #[error("usable sectors {first} to {last} do not fit the disk")]
    UsableRange {
        /// First usable sector.
        first: u64,
        /// Last usable sector.
        last: u64,
    },
    /// An entry without type has other bytes that are not zero.
    #[error("unused entry {index} is not all zero")]
    UnusedEntry {
        /// Number of the entry, from 1.
        index: usize,
    },
    /// A partition is not in the range of usable sectors, or ends before it begins.
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
    /// A name has characters other than printable ASCII, or bytes after its end.
    #[error("the name of partition {index} is not plain ASCII followed by zeros")]
    Name {
        /// Number of the entry, from 1.
        index: usize,
    },
    /// A byte outside headers, entries and partitions is not zero.
    #[error("byte {offset}, outside of all partitions, is not zero")]
    Stray {
        /// Offset in bytes.
        offset: u64,
    },
}

/// Number of the last whole sector of a file of `len` bytes.
fn last_lba(len: u64, sector_size: u32) -> u64 {
    len.checked_div(u64::from(sector_size)).unwrap_or_default().saturating_sub(1)
}
