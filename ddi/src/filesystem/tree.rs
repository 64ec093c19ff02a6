//! What an extension is looked into with, whoever reads its file system: this process, or the kernel.

use super::{DirEntry, EntryKind, Filesystem, FilesystemError};

/// A tree of files. Paths begin at its root, with or without a slash, and symbolic links never lead out of it.
pub trait Tree {
    /// As [`Filesystem::read_file`].
    ///
    /// # Errors
    /// As there.
    fn read_file(&self, path: &str, max_len: usize) -> Result<Option<Vec<u8>>, FilesystemError>;

    /// As [`Filesystem::entry`].
    ///
    /// # Errors
    /// As there.
    fn entry(&self, path: &str) -> Result<Option<EntryKind>, FilesystemError>;

    /// As [`Filesystem::entry_nofollow`].
    ///
    /// # Errors
    /// As there.
    fn entry_nofollow(&self, directory: &str, name: &str) -> Result<Option<EntryKind>, FilesystemError>;

    /// As [`Filesystem::list`].
    ///
    /// # Errors
    /// As there.
    fn list(&self, directory: &str) -> Result<Option<Vec<DirEntry>>, FilesystemError>;

    /// As [`Filesystem::link_target`].
    ///
    /// # Errors
    /// As there.
    fn link_target(&self, directory: &str, name: &str) -> Result<Option<Vec<u8>>, FilesystemError>;

    /// As [`Filesystem::xattr`].
    ///
    /// # Errors
    /// As there.
    fn xattr(&self, path: &str, name: &str) -> Result<Option<Vec<u8>>, FilesystemError>;
}

impl Tree for Filesystem<'_> {
    fn read_file(&self, path: &str, max_len: usize) -> Result<Option<Vec<u8>>, FilesystemError> {
        Filesystem::read_file(self, path, max_len)
    }

    fn entry(&self, path: &str) -> Result<Option<EntryKind>, FilesystemError> {
        Filesystem::entry(self, path)
    }

    fn entry_nofollow(&self, directory: &str, name: &str) -> Result<Option<EntryKind>, FilesystemError> {
        Filesystem::entry_nofollow(self, directory, name)
    }

    fn list(&self, directory: &str) -> Result<Option<Vec<DirEntry>>, FilesystemError> {
        Filesystem::list(self, directory)
    }

    fn link_target(&self, directory: &str, name: &str) -> Result<Option<Vec<u8>>, FilesystemError> {
        Filesystem::link_target(self, directory, name)
    }

    fn xattr(&self, path: &str, name: &str) -> Result<Option<Vec<u8>>, FilesystemError> {
        Filesystem::xattr(self, path, name)
    }
}
