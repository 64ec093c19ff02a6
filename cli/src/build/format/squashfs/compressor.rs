//! The compressor that `backhand` calls.

use super::ahead::Ahead;
use backhand::compression::{CompressionAction, Compressor, DefaultCompressor};
use backhand::kind::Kind;
use backhand::{BackhandError, FilesystemCompressor, SuperBlock};
use std::cell::RefCell;
use std::sync::Arc;

thread_local! {
    /// Of the file system that this thread writes. The library calls its compressor on the thread that calls the library, and
    /// keeps it as a `'static` reference.
    static AHEAD: RefCell<Option<Arc<Ahead>>> = const { RefCell::new(None) };
}

/// Calls [`Ahead::compress`].
struct FromAhead;

static FROM_AHEAD: FromAhead = FromAhead;

/// Returns the kind of squashfs whose blocks are compressed by the `Ahead` of [`Installed`].
pub(super) fn kind() -> Kind {
    Kind::new_v4(&FROM_AHEAD)
}

/// Proof that this thread has an `Ahead` until this is dropped.
pub(super) struct Installed(());

impl Installed {
    pub(super) fn new(ahead: &Arc<Ahead>) -> Self {
        AHEAD.set(Some(Arc::clone(ahead)));
        Self(())
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        AHEAD.set(None);
    }
}

impl CompressionAction for FromAhead {
    type Error = BackhandError;
    type Compressor = Compressor;
    type FilesystemCompressor = FilesystemCompressor;
    type SuperBlock = SuperBlock;

    fn decompress(&self, bytes: &[u8], out: &mut Vec<u8>, compressor: Compressor) -> Result<(), BackhandError> {
        DefaultCompressor.decompress(bytes, out, compressor)
    }

    fn compress(&self, bytes: &[u8], fc: FilesystemCompressor, size: u32) -> Result<Vec<u8>, BackhandError> {
        match AHEAD.with_borrow(Clone::clone) {
            Some(ahead) => ahead.compress(bytes),
            None => DefaultCompressor.compress(bytes, fc, size),
        }
    }

    fn compression_options(
        &self,
        superblock: &mut SuperBlock,
        kind: &Kind,
        fc: FilesystemCompressor,
    ) -> Result<Option<Vec<u8>>, BackhandError> {
        DefaultCompressor.compression_options(superblock, kind, fc)
    }
}
