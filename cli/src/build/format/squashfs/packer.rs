//! Compresses single blocks.

use super::BLOCK_SIZE;
use backhand::compression::{CompressionAction, DefaultCompressor};
use backhand::{BackhandError, FilesystemCompressor};

/// How blocks are compressed.
#[derive(Clone, Copy)]
pub(super) struct Packing {
    pub(super) library: FilesystemCompressor,
    /// Level of Zstandard, if it is that.
    pub(super) zstd_level: Option<i32>,
}

/// Compresses blocks, with the memory of the block before.
pub(super) struct Packer {
    packing: Packing,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    /// Room for a block that does not become smaller.
    buffer: Vec<u8>,
}

impl Packer {
    pub(super) fn new(packing: Packing) -> Self {
        Self { packing, zstd: None, buffer: Vec::new() }
    }

    /// Returns the same bytes as the library.
    pub(super) fn pack(&mut self, block: &[u8]) -> Result<Vec<u8>, BackhandError> {
        let Some(level) = self.packing.zstd_level else {
            return DefaultCompressor.compress(block, self.packing.library, BLOCK_SIZE);
        };
        let zstd = match &mut self.zstd {
            Some(zstd) => zstd,
            none => none.insert(zstd::bulk::Compressor::new(level)?),
        };
        let bound = zstd::zstd_safe::compress_bound(block.len());
        if self.buffer.len() < bound {
            self.buffer.resize(bound, 0);
        }
        let len = zstd.compress_to_buffer(block, self.buffer.as_mut_slice())?;
        // What waits for the library takes no more memory than it needs.
        Ok(self.buffer.get(..len).unwrap_or_default().to_vec())
    }
}
