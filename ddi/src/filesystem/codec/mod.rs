//! Decompression up to a given length.

mod lz4;
mod lzo;
mod xz;

use super::FilesystemError;
use super::meter::Meter;
use lzma_rust2::LzmaReader;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};
use ruzstd::decoding::StreamingDecoder;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Maximum window of Zstandard in bytes, the same in mkfs.erofs (`dictsize`) and mksquashfs (its block).
const MAX_ZSTD_WINDOW: usize = 1 << 20;

/// A compression format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    /// LZ4 block without a frame.
    Lz4,
    /// LZO1X.
    Lzo,
    /// Deflate without a header (RFC 1951).
    Deflate,
    /// Deflate in a zlib stream (RFC 1950).
    Zlib,
    /// LZMA as in an .lzma file with a header of one byte, the complement of the properties.
    MicroLzma,
    /// The .xz container.
    Xz,
    /// One Zstandard frame.
    Zstd,
}

impl Codec {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Lz4 => "lz4",
            Self::Lzo => "lzo",
            Self::Deflate => "deflate",
            Self::Zlib => "gzip",
            Self::MicroLzma => "microlzma",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
        }
    }

    /// Decompresses at most the first `max` bytes of `input`'s content. The rest of `input` is ignored. `offset` is for
    /// the error only.
    pub(super) fn decode(
        self,
        meter: &Meter<'_>,
        input: &[u8],
        max: usize,
        offset: u64,
    ) -> Result<Vec<u8>, FilesystemError> {
        meter.charge(max)?;
        let decode = || match self {
            Self::Lz4 => lz4::decode(input, max),
            Self::Lzo => lzo::decode(input, max),
            Self::Deflate => inflate(input, max, 0),
            Self::Zlib => inflate(input, max, inflate_flags::TINFL_FLAG_PARSE_ZLIB_HEADER),
            Self::MicroLzma => micro_lzma(input, max),
            Self::Xz => xz::decode(input, max),
            Self::Zstd => zstd(input, max),
        };
        // Most of these are third-party code. A panic in it is treated as an error of the data.
        catch_unwind(AssertUnwindSafe(decode))
            .ok()
            .flatten()
            .ok_or(FilesystemError::Compressed { codec: self.name(), offset })
    }
}

fn inflate(input: &[u8], max: usize, flags: u32) -> Option<Vec<u8>> {
    use miniz_oxide::inflate::TINFLStatus::{Done, HasMoreOutput};
    let mut output = vec![0; max];
    let flags = flags | inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let mut state = Box::<DecompressorOxide>::default();
    let (status, _, written) = decompress(&mut state, input, &mut output, 0, flags);
    output.truncate(written);
    matches!(status, Done | HasMoreOutput).then_some(output)
}

fn micro_lzma(input: &[u8], max: usize) -> Option<Vec<u8>> {
    let (complement, rest) = input.split_first()?;
    let properties = u32::from(!complement);
    if properties >= 9 * 5 * 5 {
        return None;
    }
    let (lc, lp, pb) =
        (properties.checked_rem(9)?, properties.checked_div(9)?.checked_rem(5)?, properties.checked_div(45)?);
    // The property byte has replaced the first byte of the range coder, which is zero. No match refers to bytes before
    // the beginning of the output, so a window of its size is enough, whatever dictionary size the file system has.
    let input = [0_u8].as_slice().chain(rest);
    let reader = LzmaReader::new(input, u64::MAX, lc, lp, pb, window(max)?, None).ok()?;
    up_to(reader, max)
}

fn zstd(input: &[u8], max: usize) -> Option<Vec<u8>> {
    let limit = u64::try_from(max.max(MAX_ZSTD_WINDOW)).ok()?;
    up_to(StreamingDecoder::new_with_max_window_size(input, limit).ok()?, max)
}

/// Returns the size of an LZMA window that covers the whole output.
fn window(max: usize) -> Option<u32> {
    u32::try_from(max.max(4096)).ok()
}

/// Reads to the end, or until there are `max` bytes.
fn up_to(mut reader: impl Read, max: usize) -> Option<Vec<u8>> {
    let mut output = vec![0; max];
    let mut done = 0_usize;
    while let Some(rest) = output.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest).ok()? {
            0 => break,
            n => done = done.checked_add(n)?,
        }
    }
    output.truncate(done);
    Some(output)
}
