//! Files of the host, known again.

use std::os::unix::fs::MetadataExt;

/// What a file was when it was seen, so that it is noticed when it is another by the time it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    dev: u64,
    ino: u64,
    pub(super) len: u64,
    ctime: (i64, i64),
}

impl Stamp {
    pub(super) fn of(metadata: &std::fs::Metadata) -> Self {
        let ctime = (metadata.ctime(), metadata.ctime_nsec());
        Self { dev: metadata.dev(), ino: metadata.ino(), len: metadata.len(), ctime }
    }
}
