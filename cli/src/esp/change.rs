//! Changes files beside a UKI so that a power loss leaves the old or the new file, never a part of one.
//!
//! FAT has no journal. Linux renames by writing one directory entry and deleting another, which may lie in different
//! sectors, and writes the first cluster of a file into its entry whenever it writes the inode (Linux 6.12,
//! `fs/fat/namei_vfat.c`, `vfat_rename`; `fs/fat/inode.c`, `__fat_write_inode`). So the order of the syncs matters:
//!
//! - Replacing a file: the remaining entry is written in one piece, and names the old file until then. First
//!   the deletion of the temporary entry is synced, then the inode of the new file. The old file stays open meanwhile, because
//!   its clusters are freed on the last close.
//! - Adding a file: the new entry is empty until the inode is written, so the inode is synced first. Between the
//!   two steps there are two entries for the same clusters.
//! - Deleting a file: first the entry, then the clusters, again by keeping the file open.
//!
//! A power loss can leave two entries for the same clusters. Both can be read, but deleting one destroys the other, and Linux
//! makes the file system read-only when the second is deleted. [`Twin`] is the error for that case.

use super::extra::{Extra, disabled};
use ddi::bytes::hex;
use ddi::io::{FileSource, Pieces, ReadAt};
use nix::errno::Errno;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use openssl::sha::Sha256;
use sextant::durable::{self, Temporary};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Error of a file that may share its clusters with another one.
#[derive(Debug, Error)]
#[error(
    "{file} and {other} have the same contents and may share clusters after a power loss: deleting one could destroy the \
     other. Unmount the partition and run `fsck.vfat -a`; if one of them is a copy that you made, delete it"
)]
pub struct Twin {
    /// Name of the file.
    pub file: String,
    /// Name of the other file.
    pub other: String,
}

/// A complete file under a temporary name, deleted unless [`Written::put`] is called.
#[derive(Debug)]
pub struct Written {
    temporary: Temporary,
    path: PathBuf,
    /// SHA-256 of the written bytes.
    digest: [u8; 32],
}

impl Written {
    /// Copies `source` to a temporary file beside `file` in `directory`, and syncs it. `advance` is called with the length of each
    /// piece in bytes.
    ///
    /// # Errors
    /// I/O errors, after which the temporary file is deleted; [`io::ErrorKind::UnexpectedEof`] if `source` has become shorter.
    pub fn copy(directory: &Path, file: &str, source: &dyn ReadAt, advance: &dyn Fn(u64)) -> io::Result<Self> {
        let path = directory.join(file);
        let temporary = Temporary::create(durable::temporary_name(&path)?)?;
        let mut target = temporary.file();
        let digest = each_piece(source, &mut |piece| {
            target.write_all(piece)?;
            advance(piece.len() as u64);
            Ok(())
        })?;
        target.sync_all()?;
        Ok(Self { temporary, path, digest })
    }

    /// Reads the file back and compares it with the written bytes. The kernel is asked to read from the disk, not from memory.
    /// `advance` is called with the length of each piece in bytes.
    ///
    /// # Errors
    /// I/O errors of `pread(2)`; [`io::ErrorKind::InvalidData`] if the bytes differ.
    pub fn read_back(&self, advance: &dyn Fn(u64)) -> io::Result<()> {
        let file = self.temporary.file();
        // The kernel may ignore this advice; the comparison is with its memory then.
        let _ = posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
        let source = FileSource::new(file.try_clone()?)?;
        let digest = each_piece(&source, &mut |piece| {
            advance(piece.len() as u64);
            Ok(())
        })?;
        if digest == self.digest {
            return Ok(());
        }
        let (found, expected) = (hex(&digest), hex(&self.digest));
        let cause = format!("file read back differs from what was written: SHA-256 is {found}, expected {expected}");
        Err(io::Error::new(io::ErrorKind::InvalidData, cause))
    }

    /// Returns the open file.
    #[must_use]
    pub fn file(&self) -> &File {
        self.temporary.file()
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// I/O errors of `rename(2)` and `fsync(2)`.
    pub fn put(self) -> io::Result<()> {
        let directory = open_parent(&self.path)?;
        let old = match File::open(&self.path) {
            Ok(old) => Some(old),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let new = self.temporary.rename(&self.path)?;
        if old.is_some() {
            directory.sync_all()?;
            new.sync_all()?;
        } else {
            new.sync_all()?;
            directory.sync_all()?;
        }
        drop(old);
        Ok(())
    }
}

/// Renames a file of `directory`.
///
/// # Errors
/// I/O errors of `rename(2)` and `fsync(2)`; [`io::ErrorKind::AlreadyExists`] if the new name exists.
pub fn rename(directory: &Path, from: &str, to: &str) -> io::Result<()> {
    let target = directory.join(to);
    if target.symlink_metadata().is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let file = File::open(directory.join(from))?;
    fs::rename(directory.join(from), target)?;
    file.sync_all()?;
    File::open(directory)?.sync_all()
}

/// Deletes a file of `directory`.
///
/// # Errors
/// I/O errors of `unlink(2)` and `fsync(2)`.
pub fn remove(directory: &Path, file: &str) -> io::Result<()> {
    let path = directory.join(file);
    let held = File::open(&path)?;
    fs::remove_file(&path)?;
    File::open(directory)?.sync_all()?;
    drop(held);
    Ok(())
}

/// Writes all pending data of the partition at `path`, and flushes the disk's cache, which FAT does in `fsync` only (Linux 6.12,
/// `fs/fat/file.c`, `fat_file_fsync`).
///
/// # Errors
/// I/O errors of `syncfs(2)` and `fsync(2)`.
pub fn sync(path: &Path) -> io::Result<()> {
    let directory = File::open(path)?;
    nix::unistd::syncfs(&directory)?;
    directory.sync_all()
}

/// Checks that no file with the same content may share its clusters with `file`: one of another state of `file`, or one with a
/// short name. (A power loss can leave the 8.3 name of an entry whose long name was in the sector before.)
///
/// # Errors
/// [`io::Error`] if files can't be compared; inside it `Err` with the [`Twin`].
pub fn check_twins(extra: &Extra, file: &str) -> io::Result<Result<(), Twin>> {
    let Some(directory) = extra.place() else { return Ok(Ok(())) };
    let temporary = durable::temporary_name(Path::new(file))?.to_string_lossy().into_owned();
    let own = [file.to_owned(), disabled(file), temporary];
    let mut names: Vec<String> = own.to_vec();
    for entry in fs::read_dir(directory)? {
        // A short name is ASCII.
        let Ok(name) = entry?.file_name().into_string() else { continue };
        if is_short(&name) && !own.contains(&name) {
            names.push(name);
        }
    }
    let present: Vec<String> = names.into_iter().filter(|name| directory.join(name).is_file()).collect();
    for (index, one) in present.iter().enumerate().filter(|(_, one)| own.contains(one)) {
        for other in present.iter().skip(index + 1) {
            if same_content(&open(&directory.join(one))?, &open(&directory.join(other))?)? {
                return Ok(Err(Twin { file: one.clone(), other: other.clone() }));
            }
        }
    }
    Ok(Ok(()))
}

/// Returns whether a name is the 8.3 form of a long name (Microsoft, "FAT File System Specification" 1.03, "The Numeric-Tail
/// Generation Algorithm").
fn is_short(name: &str) -> bool {
    let (base, end) = name.split_once('.').unwrap_or((name, ""));
    base.len() <= 8 && end.len() <= 3 && !end.contains('.') && base.contains('~')
}

/// Returns advice for errors of a FAT file system that the kernel has made read-only; empty for other errors.
#[must_use]
pub fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EIO | Errno::EROFS) => {
            " (see `dmesg`; after a power loss, unmount the partition and run `fsck.vfat -a`)"
        }
        _ => "",
    }
}

/// Returns whether both have the same bytes.
///
/// # Errors
/// I/O errors; [`io::ErrorKind::UnexpectedEof`] if one of them has become shorter.
pub fn same_content(one: &dyn ReadAt, other: &dyn ReadAt) -> io::Result<bool> {
    if one.len() != other.len() {
        return Ok(false);
    }
    let (mut one, mut other) = (Pieces::of(one), Pieces::of(other));
    while let (Some(a), Some(b)) = (one.read_next()?, other.read_next()?) {
        if a != b {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Opens a file of the partition for a comparison.
///
/// # Errors
/// I/O errors of `open(2)`.
pub fn open(path: &Path) -> io::Result<FileSource> {
    File::open(path).and_then(FileSource::new)
}

/// Calls `look` with all bytes in order, and returns their SHA-256 digest.
fn each_piece(source: &dyn ReadAt, look: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<[u8; 32]> {
    let (mut pieces, mut digest) = (Pieces::of(source), Sha256::new());
    while let Some(piece) = pieces.read_next()? {
        digest.update(piece);
        look(piece)?;
    }
    Ok(digest.finish())
}

fn open_parent(path: &Path) -> io::Result<File> {
    File::open(path.parent().unwrap_or(Path::new(".")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::entry::Entry;
    use super::*;
    use sextant::root::Root;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_under_its_name_only_when_it_is_put_there() {
        let dir = tempfile::tempdir().unwrap();
        let write = |content: &[u8]| Written::copy(dir.path(), "a.sysext.raw", &content.to_vec(), &|_| {}).unwrap();
        let written = write(b"new");
        assert_eq!(names(dir.path()), [".#a.sysext.raw.tmp"]);
        drop(written);
        assert_eq!(names(dir.path()), Vec::<String>::new());
        write(b"old").put().unwrap();
        write(b"new").put().unwrap();
        assert_eq!(names(dir.path()), ["a.sysext.raw"]);
        assert_eq!(fs::read(dir.path().join("a.sysext.raw")).unwrap(), b"new");
    }

    #[test]
    fn other_bytes_than_were_written_are_noticed_when_they_are_read_back() {
        let dir = tempfile::tempdir().unwrap();
        for size in [0, 1, Pieces::SIZE, Pieces::SIZE + 1] {
            let told = std::cell::Cell::new(0);
            let advance = |bytes| told.set(told.get() + bytes);
            let written = Written::copy(dir.path(), "a.sysext.raw", &vec![7; size], &advance).unwrap();
            written.read_back(&advance).unwrap();
            assert_eq!(told.get(), 2 * size as u64);
            let (path, len) = (dir.path().join(".#a.sysext.raw.tmp"), size.max(1));
            fs::write(&path, vec![8; len]).unwrap();
            let error = written.read_back(&|_| {}).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        }
    }

    #[test]
    fn a_source_that_has_become_shorter_leaves_nothing() {
        let (dir, file) = (tempfile::tempdir().unwrap(), tempfile::tempfile().unwrap());
        file.set_len(100).unwrap();
        let source = FileSource::new(file.try_clone().unwrap()).unwrap();
        file.set_len(99).unwrap();
        let error = Written::copy(dir.path(), "a.sysext.raw", &source, &|_| {}).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(names(dir.path()), Vec::<String>::new());
    }

    #[test]
    fn no_name_that_is_taken_is_given_away() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "a").unwrap();
        fs::write(dir.path().join("b"), "b").unwrap();
        assert_eq!(rename(dir.path(), "a", "b").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        rename(dir.path(), "a", "c").unwrap();
        remove(dir.path(), "b").unwrap();
        assert_eq!(names(dir.path()), ["c"]);
        assert!(remove(dir.path(), "b").is_err());
    }

    #[test]
    fn what_may_be_the_same_clusters_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("x.efi.extra.d");
        fs::create_dir(&place).unwrap();
        let root = Root::open(dir.path()).unwrap();
        let entry = Entry { name: "x".to_owned(), uki: "/x.efi".to_owned() };
        let check =
            || check_twins(&Extra::read_directory(&root, entry.extra_directory()).unwrap(), "a.sysext.raw").unwrap();
        assert!(check().is_ok());
        fs::write(place.join("a.sysext.raw"), vec![1; 3 << 20]).unwrap();
        fs::write(place.join(".#a.sysext.raw.tmp"), vec![1; 2 << 20]).unwrap();
        assert!(check().is_ok(), "a part of it is no twin");
        fs::write(place.join(".#a.sysext.raw.tmp"), vec![1; 3 << 20]).unwrap();
        let twin = check().unwrap_err().to_string();
        assert!(twin.contains("a.sysext.raw and .#a.sysext.raw.tmp"), "{twin}");
        fs::remove_file(place.join(".#a.sysext.raw.tmp")).unwrap();
        fs::write(place.join("a.sysext.raw.disabled"), vec![1; 3 << 20]).unwrap();
        assert!(check().is_err());
        fs::rename(place.join("a.sysext.raw.disabled"), place.join("b.sysext.raw")).unwrap();
        assert!(check().is_ok(), "another extension");
        fs::rename(place.join("b.sysext.raw"), place.join("ASYSEX~1.RAW")).unwrap();
        let twin = check().unwrap_err().to_string();
        assert!(twin.contains("a.sysext.raw and ASYSEX~1.RAW"), "{twin}");
    }
}
