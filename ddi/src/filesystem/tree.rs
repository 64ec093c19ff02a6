//! The interface to the files of an extension, whether read by this process or by the kernel.

use super::{DirEntry, EntryKind, Filesystem, FilesystemError};

/// A tree of files. Paths begin at its root, with or without a slash. Symbolic links cannot leave it.
pub trait Tree {
    /// Reads a file as [`Filesystem::read_file`] does.
    ///
    /// # Errors
    /// Those of [`Filesystem::read_file`].
    fn read_file(&self, path: &str, max_len: usize) -> Result<Option<Vec<u8>>, FilesystemError>;

    /// Returns a type as [`Filesystem::entry`] does.
    ///
    /// # Errors
    /// Those of [`Filesystem::entry`].
    fn entry(&self, path: &str) -> Result<Option<EntryKind>, FilesystemError>;

    /// Returns a type as [`Filesystem::entry_nofollow`] does.
    ///
    /// # Errors
    /// Those of [`Filesystem::entry_nofollow`].
    fn entry_nofollow(&self, directory: &str, name: &str) -> Result<Option<EntryKind>, FilesystemError>;

    /// Lists a directory as [`Filesystem::list`] does.
    ///
    /// # Errors
    /// Those of [`Filesystem::list`].
    fn list(&self, directory: &str) -> Result<Option<Vec<DirEntry>>, FilesystemError>;

    /// Returns the target of a link as [`Filesystem::link_target`] does.
    ///
    /// # Errors
    /// Those of [`Filesystem::link_target`].
    fn link_target(&self, directory: &str, name: &str) -> Result<Option<Vec<u8>>, FilesystemError>;

    /// Returns the value of an attribute as [`Filesystem::xattr`] does.
    ///
    /// # Errors
    /// Those of [`Filesystem::xattr`].
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
