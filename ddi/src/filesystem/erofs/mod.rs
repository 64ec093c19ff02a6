//! erofs as in Linux 6.12 (`fs/erofs/erofs_fs.h`), with one device and without 48-bit addresses.

mod cluster;
mod data;
mod directory;
mod inode;
mod xattr;

use super::format::{Format, Places, Visitor};
use super::mask::Mask;
use super::meter::Meter;
use super::{EntryKind, FilesystemError};
use crate::bytes::{u16_at, u32_at, u64_at};
use crate::filesystem::format::Attributes;
use inode::Inode;

/// Offset of the superblock in bytes. The space before it is for boot code.
const SUPERBLOCK: u64 = 1024;
const MAGIC: u32 = 0xe0f5_e1e2;

/// Logarithm of the block size: 512 bytes to 64 KiB. A kernel mounts block sizes up to its page size.
const BLOCK_BITS: std::ops::RangeInclusive<u8> = 9..=16;

/// Incompatible features, `EROFS_FEATURE_INCOMPAT_*`.
mod feature {
    /// LZ4 data is at the end of its cluster, after zeros.
    pub(super) const ZERO_PADDING: u32 = 0x1;
    /// The superblock lists the compressions in use.
    pub(super) const CONFIGURATIONS: u32 = 0x2;
    /// Files may end in a fragment of the packed file.
    pub(super) const FRAGMENTS: u32 = 0x20;
    /// All features that this reader and Linux 6.12 support.
    pub(super) const KNOWN: u32 = 0x7f;
}

/// A parsed superblock.
#[derive(Debug)]
pub(super) struct Erofs {
    block_bits: u32,
    block_size: u64,
    /// Offset in bytes from which inodes are numbered.
    meta: u64,
    /// Offset in bytes from which shared attributes are numbered.
    shared_xattrs: u64,
    root: u64,
    /// Size in bytes, by the number of blocks in the superblock.
    used: u64,
    /// Number of the inode of the packed file, which has the fragments.
    packed: Option<u64>,
    zero_padding: bool,
    /// A bit for each available compression.
    algorithms: u16,
}

impl Erofs {
    /// Returns the size of a block in bytes.
    pub(super) fn block_size(&self) -> u64 {
        self.block_size
    }

    /// Reads the superblock. Returns `None` without the magic number of erofs.
    pub(super) fn open(meter: &Meter<'_>, len: u64) -> Result<Option<Self>, FilesystemError> {
        if len < SUPERBLOCK.saturating_add(128) {
            return Ok(None);
        }
        let bytes = meter.metadata::<128>(SUPERBLOCK, "superblock")?;
        if u32_at(&bytes, 0) != Some(MAGIC) {
            return Ok(None);
        }
        Self::parse(&bytes).map(Some)
    }

    fn parse(bytes: &[u8; 128]) -> Result<Self, FilesystemError> {
        let corrupt = || FilesystemError::corrupt("superblock", SUPERBLOCK);
        let byte = |offset: usize| bytes.get(offset).copied().ok_or_else(corrupt);
        let u16 = |offset| u16_at(bytes, offset).ok_or_else(corrupt);
        let u32 = |offset| u32_at(bytes, offset).ok_or_else(corrupt);
        let bits = byte(12)?;
        if !BLOCK_BITS.contains(&bits) {
            return Err(FilesystemError::Unsupported {
                what: "erofs block size of two to the power of",
                value: bits.into(),
            });
        }
        let features = u32(80)?;
        if features & !feature::KNOWN != 0 {
            let value = u64::from(features & !feature::KNOWN);
            return Err(FilesystemError::Unsupported { what: "erofs feature", value });
        }
        if u16(86)? != 0 {
            return Err(FilesystemError::Unsupported {
                what: "erofs with additional devices, number",
                value: u16(86)?.into(),
            });
        }
        if byte(90)? != 0 {
            return Err(FilesystemError::Unsupported { what: "erofs directory block size", value: byte(90)?.into() });
        }
        let block_bits = u32::from(bits);
        let block_size = 1_u64.checked_shl(block_bits).ok_or_else(corrupt)?;
        let packed = u64_at(bytes, 96).filter(|nid| *nid != 0 && features & feature::FRAGMENTS != 0);
        Ok(Self {
            block_bits,
            block_size,
            meta: u64::from(u32(40)?).saturating_mul(block_size),
            shared_xattrs: u64::from(u32(44)?).saturating_mul(block_size),
            root: u16(14)?.into(),
            used: u64::from(u32(36)?).saturating_mul(block_size),
            packed,
            zero_padding: features & feature::ZERO_PADDING != 0,
            algorithms: if features & feature::CONFIGURATIONS == 0 { 1 } else { u16(84)? },
        })
    }

    /// Returns the offset within a block.
    fn within_block(&self, offset: u64) -> u64 {
        offset & self.block_size.saturating_sub(1)
    }
}

impl Format for Erofs {
    type Node = Inode;

    fn root(&self) -> u64 {
        self.root
    }

    fn node(&self, meter: &Meter<'_>, nid: u64) -> Result<Inode, FilesystemError> {
        Inode::read(self, meter, nid)
    }

    fn kind(node: &Inode) -> EntryKind {
        node.kind
    }

    fn size(node: &Inode) -> u64 {
        node.size
    }

    fn attributes(&self, meter: &Meter<'_>, node: &Inode) -> Result<Attributes, FilesystemError> {
        node.attributes(meter)
    }

    fn visit(&self, meter: &Meter<'_>, inode: &Inode, visitor: &mut Visitor<'_>) -> Result<(), FilesystemError> {
        directory::visit(self, meter, inode, visitor)
    }

    fn content(&self, meter: &Meter<'_>, inode: &Inode, len: usize) -> Result<Vec<u8>, FilesystemError> {
        let mut content = vec![0; len];
        data::read(self, meter, inode, 0, &mut content)?;
        Ok(content)
    }

    fn places(&self, meter: &Meter<'_>, inode: &Inode, see: &mut Places<'_>) -> Result<(), FilesystemError> {
        match inode.kind {
            EntryKind::File | EntryKind::Directory | EntryKind::Symlink => data::places(self, meter, inode, see),
            _ => Ok(()),
        }
    }

    fn used(&self) -> u64 {
        self.used
    }

    fn device(inode: &Inode) -> Option<u32> {
        // For a device, `i_u` is its number; for a file, the first block.
        matches!(inode.kind, EntryKind::CharacterDevice | EntryKind::BlockDevice).then_some(inode.location)
    }

    fn mask(&self, meter: &Meter<'_>, inode: &Inode) -> Result<Option<Mask>, FilesystemError> {
        xattr::mask(self, meter, inode)
    }

    fn user_xattr(&self, meter: &Meter<'_>, inode: &Inode, name: &[u8]) -> Result<Option<Vec<u8>>, FilesystemError> {
        xattr::user(self, meter, inode, name)
    }
}
