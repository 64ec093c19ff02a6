//! Atomic writes: other processes see a file completely or not at all.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Prefix of temporary names.
const PREFIX: &str = ".#";
/// Suffix of temporary names. It differs from `.raw` and `.crt`, so that no reader of the directory takes a temporary
/// file for an image or certificate.
const SUFFIX: &str = ".tmp";

/// Writes `content` to a temporary file beside `path`, syncs it, and renames it to `path`.
///
/// # Errors
/// The first error. The temporary file is then removed, and a file at `path` is unchanged.
pub fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut temporary = Temporary::create(temporary_name(path)?)?;
    temporary.file.write_all(content)?;
    temporary.persist(path, mode)
}

/// Reads a file from its first byte.
///
/// # Errors
/// Errors of `open(2)` and `read(2)`; [`io::ErrorKind::FileTooLarge`] if the file is larger than `limit` bytes.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut content)?;
    if content.len() as u64 > limit {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(content)
}

/// Removes a file, which may not exist.
///
/// # Errors
/// Errors of `unlink(2)`.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Returns the temporary path for `path`, in the same directory.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] if `path` has no file name.
pub fn temporary_name(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut temporary = std::ffi::OsString::from(PREFIX);
    temporary.push(name);
    temporary.push(SUFFIX);
    Ok(path.with_file_name(temporary))
}

/// Returns the final name for a temporary name. Returns `None` if `temporary` is not a temporary name.
#[must_use]
pub fn final_name(temporary: &str) -> Option<&str> {
    temporary.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)
}

/// A file with a temporary name. It is removed on drop unless it was renamed.
#[derive(Debug)]
pub struct Temporary {
    file: File,
    path: PathBuf,
    kept: bool,
}

impl Temporary {
    /// Makes an empty file at `path`, readable by its owner only. A file that a killed process left there is replaced.
    ///
    /// # Errors
    /// Errors of `open(2)` and `unlink(2)`.
    pub fn create(path: PathBuf) -> io::Result<Self> {
        remove(&path)?;
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { file, path, kept: false })
    }

    /// Returns the open file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Renames the file to `path` and does not sync anything. The caller syncs in the order that it needs.
    ///
    /// # Errors
    /// Errors of `dup(2)` and `rename(2)`.
    pub fn rename(mut self, path: &Path) -> io::Result<File> {
        let file = self.file.try_clone()?;
        fs::rename(&self.path, path)?;
        self.kept = true;
        Ok(file)
    }

    /// Sets the mode, syncs the file, and renames it to `path`.
    pub(crate) fn persist(self, path: &Path, mode: u32) -> io::Result<()> {
        self.file.set_permissions(Permissions::from_mode(mode))?;
        self.place(path)
    }

    /// Syncs the file and renames it to `path`. Apart from the rename the file is unchanged.
    pub(crate) fn place(mut self, path: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, path)?;
        self.kept = true;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent)?.sync_all()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.kept {
            // A failure cannot be handled here. The next run removes the file as well.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn nothing_is_cut_off_silently() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("note");
        fs::write(&path, b"12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert_eq!(read(&path, 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report.json");
        write(&path, b"old", 0o644).unwrap();
        let temporary = Temporary::create(temporary_name(&path).unwrap()).unwrap();
        temporary.file().write_all(b"half").unwrap();
        drop(temporary);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        write(&path, b"new", 0o444).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o444);
    }

    trait WriteAll {
        fn write_all(self, bytes: &[u8]) -> io::Result<()>;
    }

    impl WriteAll for &File {
        fn write_all(mut self, bytes: &[u8]) -> io::Result<()> {
            Write::write_all(&mut self, bytes)
        }
    }
}
