//! Candidates: files with the name of an extension, not read yet.

use crate::reason::{Reason, Refusal};
use crate::stamp::Stamp;
use ddi::Class;
use ddi::ExtensionName;
use ddi::io::{FileSource, Observer, ReadAt};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;

/// An open regular file with a valid name. Nothing else has been checked.
#[derive(Debug)]
pub struct Candidate {
    name: ExtensionName,
    class: Class,
    source: FileSource,
    stamp: Stamp,
}

impl Candidate {
    /// Opens `path` as an extension of `class`.
    ///
    /// # Errors
    /// [`Reason::BadName`] if it is not a regular file or its name is invalid, [`Reason::Unreadable`] if it cannot be
    /// opened.
    pub fn open(path: &Path, class: Class) -> Result<Self, Refusal> {
        let file_name = path.file_name().unwrap_or_default();
        extension_name(file_name, class)?;
        Self::from_file(open_regular(path)?, file_name, class)
    }

    /// Makes a candidate from an open file with the name `file_name`.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn from_file(file: File, file_name: &OsStr, class: Class) -> Result<Self, Refusal> {
        Self::named(file, extension_name(file_name, class)?, class)
    }

    /// Makes a candidate from an open file with the extension name `name`.
    ///
    /// # Errors
    /// [`Reason::BadName`] if it is not a regular file, [`Reason::Unreadable`] if its metadata cannot be read.
    pub(crate) fn named(file: File, name: ExtensionName, class: Class) -> Result<Self, Refusal> {
        let kind = file.metadata().map_err(|error| Refusal::new(Reason::Unreadable, error))?.file_type();
        if !kind.is_file() {
            return Err(not_regular(kind));
        }
        // Before the length is taken and the first byte is read, so that later changes are detected.
        let stamp = Stamp::of(&file).map_err(|error| Stamp::refusal(&error))?;
        let source = FileSource::new(file).map_err(|error| Refusal::new(Reason::Unreadable, error))?;
        Ok(Self { name, class, source, stamp })
    }

    /// Has `observer` called for each read of the file, to show progress.
    #[must_use]
    pub fn observed(self, observer: Observer) -> Self {
        Self { source: self.source.observed(observer), ..self }
    }

    /// Returns the extension's name.
    #[must_use]
    pub fn name(&self) -> &ExtensionName {
        &self.name
    }

    /// Returns the class, which the file name determines.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// Returns the file.
    #[must_use]
    pub fn source(&self) -> &FileSource {
        &self.source
    }

    /// Returns the file's stamp when it was opened.
    pub(crate) fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Returns the file.
    pub(super) fn into_source(self) -> FileSource {
        self.source
    }

    /// Makes a candidate of the same extension from another file with the stamp that it had before its first byte was
    /// verified.
    pub(super) fn replaced(self, source: FileSource, stamp: Stamp) -> Self {
        Self { source, stamp, ..self }
    }

    /// Returns the size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.source.len()
    }
}

/// Returns the name of the extension in a file called `NAME.sysext.raw` or `NAME.confext.raw`.
///
/// # Errors
/// [`Reason::BadName`] if the file name has another form or class, or `NAME` is invalid.
pub fn extension_name(file_name: &OsStr, class: Class) -> Result<ExtensionName, Refusal> {
    let bad = |detail: &dyn std::fmt::Display| Refusal::new(Reason::BadName, detail);
    let file_name = file_name.to_str().ok_or_else(|| bad(&"the name is not UTF-8"))?;
    let named = Class::of_file_name(file_name).filter(|(found, _)| *found == class);
    let (_, stem) = named.ok_or_else(|| bad(&format_args!("the name does not end in {}", class.file_suffix())))?;
    ExtensionName::new(stem).map_err(|error| bad(&error))
}

/// Opens a regular file. Links are not followed, FIFOs do not block, and devices are not opened.
fn open_regular(path: &Path) -> Result<File, Refusal> {
    // The type is checked before opening, because opening some devices has side effects.
    let metadata = path.symlink_metadata().map_err(|error| Refusal::new(Reason::Unreadable, error))?;
    if !metadata.is_file() {
        return Err(not_regular(metadata.file_type()));
    }
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    open(path, flags, Mode::empty()).map(File::from).map_err(|error| Refusal::new(Reason::Unreadable, error))
}

fn not_regular(kind: std::fs::FileType) -> Refusal {
    use std::os::unix::fs::FileTypeExt;
    let what = match kind {
        kind if kind.is_symlink() => "a symbolic link",
        kind if kind.is_dir() => "a directory",
        kind if kind.is_fifo() => "a FIFO",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    };
    Refusal::new(Reason::BadName, format_args!("{what} where a regular file is expected"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_suffix_names_the_class_in_any_case() {
        let name = |text: &str, class| extension_name(OsStr::new(text), class).map(|name| name.to_string()).ok();
        assert_eq!(name("k3s.sysext.raw", Class::Sysext).as_deref(), Some("k3s"));
        assert_eq!(name("k3s_1.2.SysExt.RAW", Class::Sysext).as_deref(), Some("k3s_1.2"));
        assert_eq!(name("k3s.confext.raw", Class::Confext).as_deref(), Some("k3s"));
        assert_eq!(name("k3s.confext.raw", Class::Sysext), None);
        assert_eq!(name("k3s.raw", Class::Sysext), None);
        assert_eq!(name(".sysext.raw", Class::Sysext), None);
        assert_eq!(name("ä.raw", Class::Sysext), None);
        assert_eq!(name("", Class::Sysext), None);
    }

    #[test]
    fn anything_but_a_regular_file_is_refused_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let place = |kind: &str| dir.path().join(format!("{kind}.sysext.raw"));
        std::fs::write(place("file"), "123").unwrap();
        std::os::unix::fs::symlink(place("file"), place("link")).unwrap();
        std::fs::create_dir(place("directory")).unwrap();
        nix::unistd::mkfifo(&place("fifo"), Mode::S_IRWXU).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(place("socket")).unwrap();
        let refused = |found: Result<Candidate, Refusal>| {
            let refusal = found.unwrap_err();
            assert_eq!(refusal.reason(), Reason::BadName);
            refusal.detail().to_string()
        };
        for (kind, what) in
            [("link", "a symbolic link"), ("directory", "a directory"), ("fifo", "a FIFO"), ("socket", "a socket")]
        {
            let expected = format!("{what} where a regular file is expected");
            assert_eq!(refused(Candidate::open(&place(kind), Class::Sysext)), expected);
        }
        let named =
            |path: &Path| Candidate::from_file(File::open(path).unwrap(), OsStr::new("x.sysext.raw"), Class::Sysext);
        assert_eq!(refused(named(Path::new("/dev/null"))), "a device where a regular file is expected");
        assert_eq!(refused(named(dir.path())), "a directory where a regular file is expected");
        assert_eq!(Candidate::open(&place("file"), Class::Sysext).unwrap().size(), 3);
        let missing = Candidate::open(&place("missing"), Class::Sysext).unwrap_err();
        assert_eq!(missing.reason(), Reason::Unreadable);
    }

    /// Between the question what a file is and its opening, another can take its place.
    #[test]
    fn a_file_is_opened_without_following_waiting_or_passing_on() {
        use nix::fcntl::{FcntlArg, FdFlag, fcntl};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "").unwrap();
        let file = open_regular(&path).unwrap();
        let flags = OFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GETFL).unwrap());
        assert!(flags.contains(OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK), "{flags:?}");
        let flags = FdFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GETFD).unwrap());
        assert!(flags.contains(FdFlag::FD_CLOEXEC), "{flags:?}");
    }
}
