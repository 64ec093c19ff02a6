//! A mounted file system, read through the kernel.

use crate::root::Root;
use ddi::filesystem::{DirEntry, EntryKind, FilesystemError, Tree};
use nix::errno::Errno;
use rustix::fs::fgetxattr;
use std::fs::{File, FileType};
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Maximum number of links in a path (Linux 6.12, `MAXSYMLINKS`).
const MAX_LINKS: usize = 40;
/// Maximum length in bytes of the value of an extended attribute (the kernel's `XATTR_SIZE_MAX`).
const MAX_XATTR: usize = 65_536;

/// The tree below a directory. Links in it cannot leave it.
#[derive(Debug)]
pub struct MountedTree {
    root: Root,
}

impl MountedTree {
    /// Opens `directory`.
    ///
    /// # Errors
    /// If it is not a directory or cannot be opened.
    pub fn open(directory: &Path) -> io::Result<Self> {
        Ok(Self { root: Root::open(directory)? })
    }

    fn place(&self, directory: &str) -> Result<Option<PathBuf>, FilesystemError> {
        Ok(absent_is_none(self.root.directory(or_root(directory)))?.flatten())
    }

    fn open_file(&self, path: &str) -> Result<Option<File>, FilesystemError> {
        absent_is_none(self.root.open_file(path))
    }
}

impl Tree for MountedTree {
    fn read_file(&self, path: &str, max_len: usize) -> Result<Option<Vec<u8>>, FilesystemError> {
        let Some(file) = self.open_file(path)? else { return Ok(None) };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(FilesystemError::NotAFile { found: kind(metadata.file_type()) });
        }
        let limit = u64::try_from(max_len).unwrap_or(u64::MAX);
        let mut content = Vec::new();
        file.take(limit.saturating_add(1)).read_to_end(&mut content)?;
        if content.len() > max_len {
            return Err(FilesystemError::TooLarge { size: metadata.len(), limit });
        }
        Ok(Some(content))
    }

    fn entry(&self, path: &str) -> Result<Option<EntryKind>, FilesystemError> {
        absent_is_none(self.root.metadata(path)).map(|found| found.map(|metadata| kind(metadata.file_type())))
    }

    fn entry_nofollow(&self, directory: &str, name: &str) -> Result<Option<EntryKind>, FilesystemError> {
        let Some(directory) = self.place(directory)? else { return Ok(None) };
        absent_is_none(directory.join(name).symlink_metadata())
            .map(|found| found.map(|metadata| kind(metadata.file_type())))
    }

    fn list(&self, directory: &str) -> Result<Option<Vec<DirEntry>>, FilesystemError> {
        let Some(names) = absent_is_none(self.root.list(or_root(directory)))?.flatten() else { return Ok(None) };
        let Some(place) = self.place(directory)? else { return Ok(None) };
        let entry = |name: std::ffi::OsString| {
            let kind = kind(place.join(&name).symlink_metadata()?.file_type());
            Ok(DirEntry { name, kind })
        };
        names.into_iter().map(entry).collect::<Result<_, FilesystemError>>().map(Some)
    }

    fn link_target(&self, directory: &str, name: &str) -> Result<Option<Vec<u8>>, FilesystemError> {
        let Some(directory) = self.place(directory)? else { return Ok(None) };
        match directory.join(name).read_link() {
            // The file is not a link.
            Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => Ok(None),
            result => absent_is_none(result).map(|found| found.map(|target| target.into_os_string().into_vec())),
        }
    }

    fn xattr(&self, path: &str, name: &str) -> Result<Option<Vec<u8>>, FilesystemError> {
        if !name.starts_with("user.") {
            return Ok(None);
        }
        let Some(file) = self.open_file(path)? else { return Ok(None) };
        let mut value = vec![0; MAX_XATTR];
        match fgetxattr(&file, name, value.as_mut_slice()) {
            Ok(len) => {
                value.truncate(len);
                Ok(Some(value))
            }
            Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => Ok(None),
            Err(errno) => Err(io::Error::from(errno).into()),
        }
    }
}

/// Replaces the empty path, which the kernel refuses, by the root.
fn or_root(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

/// Turns "not found" into `None`, and separates errors of the path from those of the file system.
fn absent_is_none<T>(result: io::Result<T>) -> Result<Option<T>, FilesystemError> {
    let error = match result {
        Ok(found) => return Ok(Some(found)),
        Err(error) => error,
    };
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT) => Ok(None),
        Some(Errno::ENOTDIR) => Err(FilesystemError::NotADirectory { found: EntryKind::File }),
        Some(Errno::ELOOP) => Err(FilesystemError::TooManySteps { limit: MAX_LINKS }),
        _ => Err(error.into()),
    }
}

fn kind(file_type: FileType) -> EntryKind {
    match file_type {
        found if found.is_file() => EntryKind::File,
        found if found.is_dir() => EntryKind::Directory,
        found if found.is_symlink() => EntryKind::Symlink,
        found if found.is_char_device() => EntryKind::CharacterDevice,
        found if found.is_block_device() => EntryKind::BlockDevice,
        found if found.is_fifo() => EntryKind::Fifo,
        _ => EntryKind::Socket,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn it_answers_like_the_reader_in_this_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        std::fs::create_dir_all(path.join("usr/lib")).unwrap();
        std::fs::write(path.join("usr/lib/file"), "content").unwrap();
        symlink("/usr/lib/file", path.join("link")).unwrap();
        symlink("/nowhere", path.join("dangling")).unwrap();
        symlink("circle", path.join("circle")).unwrap();
        let tree = MountedTree::open(path).unwrap();
        assert_eq!(tree.read_file("link", 7).unwrap().unwrap(), b"content");
        assert!(matches!(tree.read_file("link", 6), Err(FilesystemError::TooLarge { size: 7, limit: 6 })));
        assert!(matches!(tree.read_file("usr", 6), Err(FilesystemError::NotAFile { found: EntryKind::Directory })));
        assert!(tree.read_file("absent", 6).unwrap().is_none());
        assert_eq!(tree.entry("link").unwrap(), Some(EntryKind::File));
        assert_eq!(tree.entry("dangling").unwrap(), None);
        assert_eq!(tree.entry_nofollow("", "dangling").unwrap(), Some(EntryKind::Symlink));
        assert_eq!(tree.list("").unwrap().unwrap().len(), 4);
        assert_eq!(tree.link_target("", "dangling").unwrap().unwrap(), b"/nowhere");
        assert_eq!(tree.entry_nofollow("/", "dangling").unwrap(), Some(EntryKind::Symlink));
        assert_eq!(tree.entry_nofollow("usr/lib", "absent").unwrap(), None);
        assert_eq!(tree.link_target("/", "link").unwrap().unwrap(), b"/usr/lib/file");
        assert_eq!(tree.link_target("usr/lib", "file").unwrap(), None);
        assert_eq!(tree.link_target("usr/lib", "absent").unwrap(), None);
        assert_eq!(tree.link_target("absent", "link").unwrap(), None);
        assert!(matches!(tree.entry("circle"), Err(FilesystemError::TooManySteps { .. })));
        assert!(tree.entry("usr/lib/file/below").unwrap_err().is_about_path());
        let names: Vec<_> = tree.list("usr/lib").unwrap().unwrap();
        assert_eq!(names, [DirEntry { name: "file".into(), kind: EntryKind::File }]);
        assert!(tree.list("absent").unwrap().is_none());
        assert_eq!(tree.xattr("link", "user.absent").unwrap(), None);
        assert_eq!(tree.xattr("link", "security.capability").unwrap(), None);
    }
}
