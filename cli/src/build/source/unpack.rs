//! Decompresses archives into temporary files without names.

use super::{Options, SourceError, Spool};
use ddi::io::ReadAt;
use flate2::read::MultiGzDecoder;
use std::io::{self, BufReader, Read, Write};

/// Largest window of Zstandard, as a power of two: the default limit of `zstd` (without `--long`).
const ZSTD_WINDOW: u32 = 27;

/// Decompresses `spool`, or returns it if it is not compressed. The first bytes decide: a media type may be wrong, and old
/// archives have none.
pub(super) fn unpack(spool: &Spool, what: &str, options: &Options) -> Result<Spool, SourceError> {
    let mut magic = [0; 6];
    let start = magic.len().min(usize::try_from(spool.len()).unwrap_or(usize::MAX));
    let read = spool.read_exact_at(&mut magic[..start], 0);
    read.map_err(SourceError::io(format!("reading {what}")))?;
    let reader = BufReader::with_capacity(1 << 18, spool.reader());
    let wrap = SourceError::io(format!("unpacking {what}"));
    let other = |algorithm| SourceError::Compression { what: what.to_owned(), algorithm };
    match magic {
        [0x1f, 0x8b, ..] => write(&mut MultiGzDecoder::new(reader), what, options),
        // Zstandard, or one of its skippable frames, into which eStargz and zstd:chunked put metadata (RFC 8878, 3.1.2).
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            let mut decoder = zstd::Decoder::with_buffer(reader).map_err(wrap)?;
            decoder.window_log_max(ZSTD_WINDOW).map_err(SourceError::io(format!("unpacking {what}")))?;
            write(&mut decoder, what, options)
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Err(other("xz")),
        [b'B', b'Z', b'h', ..] => Err(other("bzip2")),
        _ => Ok(spool.clone()),
    }
}

fn write(from: &mut dyn Read, what: &str, options: &Options) -> Result<Spool, SourceError> {
    let mut sink = Sink::new(what, options)?;
    let mut buf = vec![0; 1 << 18];
    loop {
        let count = match from.read(&mut buf) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(SourceError::io(format!("unpacking {what}"))(error)),
        };
        let Some(read) = buf.get(..count).filter(|read| !read.is_empty()) else { break };
        sink.write(read)?;
    }
    sink.finish()
}

/// A temporary file without a name, which grows up to a limit.
pub(super) struct Sink {
    file: std::fs::File,
    len: u64,
    limit: u64,
    what: String,
}

impl Sink {
    pub(super) fn new(what: &str, options: &Options) -> Result<Self, SourceError> {
        let directory = &options.temporary;
        let context = format!("creating a temporary file in {}", directory.display());
        let file = tempfile::tempfile_in(directory).map_err(SourceError::io(context))?;
        Ok(Self { file, len: 0, limit: options.max_size, what: what.to_owned() })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), SourceError> {
        self.len = self.len.saturating_add(bytes.len() as u64);
        if self.len > self.limit {
            return Err(SourceError::TooLarge { what: self.what.clone(), limit: self.limit });
        }
        self.file.write_all(bytes).map_err(SourceError::io(format!("spooling {}", self.what)))
    }

    pub(super) fn finish(self) -> Result<Spool, SourceError> {
        Spool::new(self.file).map_err(SourceError::io(format!("spooling {}", self.what)))
    }
}
