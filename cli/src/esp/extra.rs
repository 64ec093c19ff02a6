//! Lists the extensions in the directory of a UKI, and which of them systemd-stub loads.

use super::entry::MAX_FILES;
use ddi::Class;
use ddi::compare_versions;
use serde::Serialize;
use sextant::durable;
use sextant::root::Root;
use sextant::verify::extension_name;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

/// Suffix of disabled extensions. systemd-stub loads `*.raw` only.
const DISABLED: &str = ".disabled";

/// Returns the name of `file` when it is disabled.
#[must_use]
pub fn disabled(file: &str) -> String {
    format!("{file}{DISABLED}")
}

/// An enabled or disabled extension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// File name without the suffix of disabled extensions.
    pub file: String,
    /// Name of the extension; `None` if the file name is invalid, so that a boot rejects it.
    pub name: Option<String>,
    /// Class, from the file name.
    pub class: Class,
    /// Whether it is enabled, so that systemd-stub loads it.
    pub enabled: bool,
    /// Size in bytes.
    pub size: u64,
}

impl Item {
    /// Returns the present file name.
    #[must_use]
    pub fn file_now(&self) -> String {
        if self.enabled { self.file.clone() } else { disabled(&self.file) }
    }

    /// Returns whether `word` is the full name of the extension or the file name.
    #[must_use]
    pub fn is_called(&self, word: &str) -> bool {
        self.name.as_deref() == Some(word) || self.file == word || self.file_now() == word
    }
}

/// The extensions of an entry.
#[derive(Debug)]
pub struct Extra {
    /// The directory on the partition, with a leading slash.
    pub directory: String,
    /// The extensions, in merge order.
    pub items: Vec<Item>,
    /// Temporary files of an interrupted change.
    pub leftovers: Vec<String>,
    /// Names of extensions that are not regular files, so that no boot loads them.
    pub odd: Vec<String>,
    place: Option<PathBuf>,
}

impl Extra {
    /// Reads the extensions in `directory`.
    pub(super) fn read_directory(root: &Root, directory: String) -> io::Result<Self> {
        let place = root.directory(&directory)?;
        let (mut items, mut leftovers, mut odd) = (Vec::new(), Vec::new(), Vec::new());
        let names = root.list(&directory)?.unwrap_or_default();
        check_count(names.len())?;
        for found in names {
            let Some(place) = &place else { continue };
            let metadata = match place.join(&found).symlink_metadata() {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            // systemd-stub ignores directories and names that are not ASCII.
            let Some(found) = found.to_str() else { continue };
            if !metadata.is_file() {
                odd.extend(item(found, 0).map(|_| found.to_owned()));
                continue;
            }
            if durable::final_name(found).is_some() {
                leftovers.push(found.to_owned());
            } else if let Some(item) = item(found, metadata.len()) {
                items.push(item);
            }
        }
        items.sort_by(|a, b| compare_versions(&a.file, &b.file).then_with(|| a.file_now().cmp(&b.file_now())));
        Ok(Self { directory, items, leftovers, odd, place })
    }

    /// Returns the path of the directory; `None` if it does not exist.
    #[must_use]
    pub fn place(&self) -> Option<&Path> {
        self.place.as_deref()
    }

    /// Returns the extensions that `word` names. There are several only if an extension is both enabled and disabled, or both a sysext
    /// and a confext.
    #[must_use]
    pub fn called(&self, word: &str) -> Vec<&Item> {
        self.items.iter().filter(|item| item.is_called(word)).collect()
    }
}

/// Refuses a directory with too many files. All of them have to be read, because decisions about one depend on the others.
pub(crate) fn check_count(count: usize) -> io::Result<()> {
    if count > MAX_FILES {
        let cause = format!("{count} files; the limit is {MAX_FILES}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, cause));
    }
    Ok(())
}

/// Classifies a file by its name; `None` if it is not an extension.
pub(crate) fn item(found: &str, size: u64) -> Option<Item> {
    let stem = found.strip_suffix(DISABLED);
    let file = stem.unwrap_or(found);
    let is_raw = Path::new(file).extension().is_some_and(|end| end.eq_ignore_ascii_case("raw"));
    let class = Class::of_file_name(file).map_or(Class::Sysext, |(class, _)| class);
    is_raw.then(|| Item {
        file: file.to_owned(),
        class,
        name: extension_name(OsStr::new(file), class).ok().map(|name| name.to_string()),
        enabled: stem.is_none(),
        size,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::entry::Entry;
    use super::*;
    use std::fs;

    #[test]
    fn a_directory_with_too_many_files_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let extra = dir.path().join("x.efi.extra.d");
        fs::create_dir(&extra).unwrap();
        let entry = Entry { name: "x".to_owned(), uki: "/x.efi".to_owned() };
        let read = || Extra::read_directory(&Root::open(dir.path()).unwrap(), entry.extra_directory());
        for number in 0..MAX_FILES {
            fs::write(extra.join(format!("{number}.sysext.raw")), "").unwrap();
        }
        assert_eq!(read().unwrap().items.len(), MAX_FILES);
        fs::write(extra.join("one.more"), "").unwrap();
        let error = read().unwrap_err().to_string();
        assert_eq!(error, "4097 files; the limit is 4096");
    }

    #[test]
    fn what_the_stub_takes_is_listed_in_the_order_of_the_merge() {
        let dir = tempfile::tempdir().unwrap();
        let extra = dir.path().join("EFI/kairos/active.efi.extra.d");
        fs::create_dir_all(extra.join("directory.sysext.raw")).unwrap();
        for file in [
            "k3s_1.10.sysext.raw",
            "k3s_1.9.sysext.raw",
            "a.confext.RAW.disabled",
            "odd.raw",
            "initrd.addon.efi",
            "notes.txt.disabled",
            ".#k3s_1.11.sysext.raw.tmp",
        ] {
            fs::write(extra.join(file), "12345").unwrap();
        }
        let root = Root::open(dir.path()).unwrap();
        let entry = Entry { name: "active".to_owned(), uki: "/EFI/kairos/active.efi".to_owned() };
        let found = Extra::read_directory(&root, entry.extra_directory()).unwrap();
        let rows: Vec<_> =
            found.items.iter().map(|item| (item.file.as_str(), item.name.as_deref(), item.enabled)).collect();
        assert_eq!(
            rows,
            [
                ("a.confext.RAW", Some("a"), false),
                ("k3s_1.9.sysext.raw", Some("k3s_1.9"), true),
                ("k3s_1.10.sysext.raw", Some("k3s_1.10"), true),
                ("odd.raw", None, true),
            ]
        );
        assert_eq!(found.items[0].class, Class::Confext);
        assert_eq!(found.leftovers, [".#k3s_1.11.sysext.raw.tmp"]);
        assert_eq!(found.odd, ["directory.sysext.raw"]);
        assert_eq!(found.called("k3s"), Vec::<&Item>::new());
        assert_eq!(found.called("k3s_1.9")[0].size, 5);
        assert_eq!(found.called("a.confext.RAW.disabled").len(), 1);
        let other = Entry { name: "x".to_owned(), uki: "/EFI/kairos/x.efi".to_owned() };
        assert!(Extra::read_directory(&root, other.extra_directory()).unwrap().place().is_none());
    }
}
