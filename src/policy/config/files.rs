//! Which files make up the configuration: systemd's rule for a main file and drop-ins (systemd 257,
//! `man/standard-conf.xml`), as far as sealing allows it. Nothing in `/run` counts, and what systemd passes over with a
//! message is an error here.

use super::kept;
use super::{ConfigError, Document, Documents};
use crate::root::Root;
use ddi::text::Text;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Paths of the main file. The first that exists is used.
pub const CONFIG_PATHS: [&str; 2] = ["/etc/sextant.yaml", "/usr/lib/sextant.yaml"];
/// Directories of drop-ins. A file in the first replaces one of the same name in the second.
pub const DROP_IN_DIRECTORIES: [&str; 2] = ["/etc/sextant.yaml.d", "/usr/lib/sextant.yaml.d"];
/// Maximum number of drop-ins that count.
pub const MAX_DROP_INS: usize = 64;
/// Maximum size in bytes of all files together.
pub const MAX_TOTAL: u64 = 1 << 20;

/// Maximum number of names in a directory of drop-ins, of whatever kind.
const MAX_NAMES: usize = 1024;
/// Target of a link that masks a file, as systemd has it.
const NULL: &str = "/dev/null";
/// Directories of the root in which a boot has file systems that no signature covers, or into which systemd-stub unpacks
/// files of the ESP.
const UNSEALED: [&str; 10] = ["run", "proc", "sys", "dev", "tmp", "sysroot", ".extra", "efi", "boot", "oem"];

/// A system whose configuration is read: a machine, or the contents of an initrd. Paths are absolute; links are followed
/// inside the system.
pub trait Place {
    /// Returns the names in a directory, at most `limit`. Returns `None` if there is no such directory.
    ///
    /// # Errors
    /// If the directory cannot be read.
    fn names(&self, directory: &str, limit: usize) -> io::Result<Option<Vec<OsString>>>;

    /// Returns the target of the link at `path`, as the link has it. Returns `None` if there is no link.
    ///
    /// # Errors
    /// If the system cannot be read.
    fn link(&self, path: &str) -> io::Result<Option<Vec<u8>>>;

    /// Returns the absolute path, without links, of what is at `path`. Returns `None` if there is nothing.
    ///
    /// # Errors
    /// If the system cannot be read.
    fn resolved(&self, path: &str) -> io::Result<Option<PathBuf>>;

    /// Reads a regular file of at most `limit` bytes. Returns `None` if it does not exist.
    ///
    /// # Errors
    /// If the file cannot be read; [`io::ErrorKind::FileTooLarge`] if it is larger than `limit`.
    fn read(&self, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>>;
}

impl Place for Root {
    fn names(&self, directory: &str, limit: usize) -> io::Result<Option<Vec<OsString>>> {
        self.list_some(directory, limit)
    }

    fn link(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        Self::link(self, path)
    }

    fn resolved(&self, path: &str) -> io::Result<Option<PathBuf>> {
        Self::resolved(self, path)
    }

    fn read(&self, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        Self::read(self, path, limit)
    }
}

/// Returns whether a name in a directory of drop-ins is that of a drop-in: it ends in `.yaml` and is not hidden.
#[must_use]
pub fn is_drop_in(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.ends_with(b".yaml") && !name.starts_with(b".")
}

/// Returns whether the signature of the UKI covers `path`, an absolute path without links in the initrd.
#[must_use]
pub fn is_sealed(path: &Path) -> bool {
    let first = path.components().find_map(|component| match component {
        Component::Normal(name) => Some(name),
        _ => None,
    });
    first.is_some_and(|name| !UNSEALED.iter().any(|unsealed| name == *unsealed))
}

/// Reads the configuration of a system: the main file, then the drop-ins of both directories in the order of their names.
#[must_use]
pub fn find(place: &dyn Place) -> Documents {
    let mut reader = Reader { place, found: Vec::new(), left: MAX_TOTAL };
    for path in CONFIG_PATHS {
        if reader.add(path, None) {
            break;
        }
    }
    let mut drop_ins: BTreeMap<OsString, (&str, Option<&str>)> = BTreeMap::new();
    // The directory that prevails is the last one here.
    for directory in DROP_IN_DIRECTORIES.into_iter().rev() {
        match drop_in_names(place, directory) {
            Ok(names) => {
                for name in names {
                    let replaced = drop_ins.get(&name).map(|(directory, _)| *directory);
                    drop_ins.insert(name, (directory, replaced));
                }
            }
            Err(error) => reader.found.push(Err(error)),
        }
    }
    for (index, (name, (directory, replaced))) in drop_ins.into_iter().enumerate() {
        let path = format!("{directory}/{}", Text::from_os(&name));
        if index >= MAX_DROP_INS {
            reader.found.push(Err(ConfigError::TooMany { path, limit: MAX_DROP_INS, what: "drop-ins" }));
            break;
        }
        match name.to_str() {
            Some(name) => {
                let replaced = replaced.map(|directory| format!("{directory}/{name}"));
                reader.add(&format!("{directory}/{name}"), replaced.as_deref());
            }
            None => reader.found.push(Err(ConfigError::Name { path })),
        }
    }
    Documents(reader.found)
}

/// The names of the drop-ins in a directory.
fn drop_in_names(place: &dyn Place, directory: &str) -> Result<Vec<OsString>, ConfigError> {
    let error = |cause| ConfigError::Io { path: directory.to_owned(), cause };
    if locate(place, directory)?.is_none() {
        return Ok(Vec::new());
    }
    let names = place.names(directory, MAX_NAMES.saturating_add(1)).map_err(error)?;
    let mut names = names.ok_or_else(|| error(io::ErrorKind::NotADirectory.into()))?;
    if names.len() > MAX_NAMES {
        return Err(ConfigError::TooMany { path: directory.to_owned(), limit: MAX_NAMES, what: "files" });
    }
    names.retain(|name| is_drop_in(name));
    Ok(names)
}

/// Finds what is at `path`, if anything is. A dangling link is an error, because it was meant to be a configuration; and so
/// is one to a place that is not sealed.
fn locate(place: &dyn Place, path: &str) -> Result<Option<PathBuf>, ConfigError> {
    let shown = || Text::new(path).to_string();
    let error = |cause| ConfigError::Io { path: shown(), cause };
    match place.resolved(path).map_err(error)? {
        Some(target) if is_sealed(&target) => Ok(Some(target)),
        Some(target) => {
            let target = Text::from_os(target.as_os_str()).to_string();
            Err(ConfigError::Unsealed { path: shown(), target })
        }
        None if place.link(path).map_err(error)?.is_some() => Err(error(io::ErrorKind::NotFound.into())),
        None => Ok(None),
    }
}

struct Reader<'p> {
    place: &'p dyn Place,
    found: Vec<Result<Document, ConfigError>>,
    /// Bytes that the files that follow may have.
    left: u64,
}

impl Reader<'_> {
    /// Adds the file at `path`, or why it cannot be read. Returns `false` if there is none.
    fn add(&mut self, path: &str, replaces: Option<&str>) -> bool {
        let shown = |path: &str| Text::new(path).to_string();
        match self.read(path) {
            Ok(None) => return false,
            Ok(Some(content)) => {
                self.left = self.left.saturating_sub(content.len() as u64);
                self.found.push(Ok(Document { path: shown(path), content, replaces: replaces.map(shown) }));
            }
            Err(error) => self.found.push(Err(error)),
        }
        true
    }

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ConfigError> {
        let error = |cause: io::Error| {
            let path = Text::new(path).to_string();
            match cause.kind() {
                io::ErrorKind::FileTooLarge => ConfigError::TooLarge { path },
                _ => ConfigError::Io { path, cause },
            }
        };
        if self.place.link(path).map_err(error)?.as_deref() == Some(NULL.as_bytes()) {
            return Ok(Some(Vec::new()));
        }
        match locate(self.place, path)? {
            Some(_) => {
                let content = self.place.read(path, self.left).map_err(error)?;
                content.map(Some).ok_or_else(|| error(io::ErrorKind::NotFound.into()))
            }
            None => Ok(None),
        }
    }
}

/// Reads the configuration in given files. Later ones apply over earlier ones. The copy that the agent keeps stands for all
/// the files in it.
#[must_use]
pub fn find_files<P: AsRef<Path>>(paths: &[P]) -> Documents {
    let mut found = Vec::new();
    let mut left = MAX_TOTAL;
    for path in paths.iter().map(AsRef::as_ref) {
        let shown = Text::from_os(path.as_os_str()).to_string();
        let read = || {
            let mut content = Vec::new();
            File::open(path)?.take(kept::MAX_KEPT.saturating_add(1)).read_to_end(&mut content)?;
            Ok(content)
        };
        match read() {
            Ok(content) => {
                let Documents(documents) = kept::from_bytes(&shown, content);
                for document in documents {
                    let size = document.as_ref().map_or(0, |document| document.content.len() as u64);
                    found.push(if size > left { Err(ConfigError::TooLarge { path: shown.clone() }) } else { document });
                    left = left.saturating_sub(size);
                }
            }
            Err(cause) => found.push(Err(ConfigError::Io { path: shown, cause })),
        }
    }
    Documents(found)
}
