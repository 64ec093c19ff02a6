//! The directory beside a UKI: which extensions are in it, and which of them systemd-stub takes.

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

/// Stands behind the name of a file that is there and not to be taken: systemd-stub takes `*.raw` only.
const DISABLED: &str = ".disabled";

/// The name of `file` when it is disabled.
#[must_use]
pub fn disabled(file: &str) -> String {
    format!("{file}{DISABLED}")
}

/// A file that systemd-stub takes, or would take if it weren't disabled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// Its name when it is enabled.
    pub file: String,
    /// The extension's name; `None` where the file's name gives none, so that a boot rejects it.
    pub name: Option<String>,
    /// What it would extend.
    pub class: Class,
    /// Whether systemd-stub takes it.
    pub enabled: bool,
    /// Size in bytes.
    pub size: u64,
}

impl Item {
    /// Name of the file as it is now.
    #[must_use]
    pub fn file_now(&self) -> String {
        if self.enabled { self.file.clone() } else { disabled(&self.file) }
    }

    /// Whether a person who says `word` means this one: the extension's whole name, or the file's.
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
    /// The extensions, in the order in which systemd lays them over one another.
    pub items: Vec<Item>,
    /// What an interrupted change left: names of temporary files.
    pub leftovers: Vec<String>,
    /// Names of extensions that are no files, so that no boot takes them.
    pub odd: Vec<String>,
    place: Option<PathBuf>,
}

impl Extra {
    /// The extensions in `directory`, whatever it belongs to.
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
            // systemd-stub doesn't see names that aren't ASCII, and no directories.
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

    /// Where the directory is; `None` where there is none yet.
    #[must_use]
    pub fn place(&self) -> Option<&Path> {
        self.place.as_deref()
    }

    /// Those that `word` means. Several only where one file is there enabled and disabled, or as sysext and confext.
    #[must_use]
    pub fn called(&self, word: &str) -> Vec<&Item> {
        self.items.iter().filter(|item| item.is_called(word)).collect()
    }
}

/// Refuses to look at a directory with more files than are looked at: what to do with one depends on all the others.
pub(crate) fn check_count(count: usize) -> io::Result<()> {
    if count > MAX_FILES {
        let cause = format!("{count} files; the limit is {MAX_FILES}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, cause));
    }
    Ok(())
}

/// What a file is by its name; `None` where it is none of our business.
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
