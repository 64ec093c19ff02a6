//! Detects changes of files of the host.

use std::os::unix::fs::MetadataExt;

/// Identity of a file when the directory was read. The file has changed if it differs when the content is read.
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
