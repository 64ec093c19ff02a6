//! Boot entries: their names, and the paths of their UKIs.

use crate::similar::Available;
use ddi::bytes::strip_suffix_ignore_case;
use ddi::text::{Message, Text};
use sextant::firmware::entry::{BootEntry, from_file_name};
use sextant::root::Root;
use std::borrow::Cow;
use std::fmt;
use std::io;
use thiserror::Error;

/// Directory of systemd-boot's entry files (UAPI.1, "Type #1 Boot Loader Specification Entries").
const ENTRIES: &str = "/loader/entries";
/// Directories of UKIs: that of Kairos, and that of UAPI.1 ("Type #2 EFI Unified Kernel Images").
const UKI_DIRECTORIES: [&str; 2] = ["/EFI/kairos", "/EFI/Linux"];
/// Largest entry file that is read, in bytes.
const MAX_FILE: u64 = 64 << 10;
/// Maximum number of files to read in a directory.
pub(super) const MAX_FILES: usize = 4096;

/// A boot entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Name, from `active.conf`, or from `active.efi` if no entry file names that UKI.
    pub name: String,
    /// Path of its UKI on the partition, with a leading slash.
    pub uki: String,
}

impl Entry {
    /// Returns the directory of its extensions on the partition. The boot counter in the UKI's name is removed, because it changes
    /// from boot to boot (systemd 255 and later, `src/boot/util.c`, `get_extra_dir`).
    #[must_use]
    pub fn extra_directory(&self) -> String {
        format!("{}.extra.d", without_counter(&self.uki))
    }

    /// Returns the first entry for each set of extensions. All entries of a UKI share one set, with any boot counter. (FAT ignores
    /// case.)
    pub fn by_uki(entries: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut found: Vec<Self> = Vec::new();
        for entry in entries {
            let directory = entry.extra_directory();
            if !found.iter().any(|other| other.extra_directory().eq_ignore_ascii_case(&directory)) {
                found.push(entry);
            }
        }
        found
    }

    /// Returns the names of a boot of this entry: that of the entry and that of the UKI.
    #[must_use]
    pub fn boot_entry(&self) -> BootEntry {
        let file = self.uki.rsplit('/').next().unwrap_or_default();
        BootEntry { loader: Some(self.name.clone()), stub: from_file_name(file) }
    }
}

/// Removes the boot counter from a path as systemd-stub does: at the first plus sign of the whole path, if it is followed by
/// numbers and then the end or a dot (systemd 255 to 258, `src/boot/util.c`, `remove_boot_count`). So `6.1+deb+3` keeps its counter,
/// and `1+2.3` loses a part of its version.
fn without_counter(path: &str) -> Cow<'_, str> {
    let stripped = || {
        let (stem, rest) = path.split_once('+')?;
        let rest = after_number(rest)?;
        let rest = rest.strip_prefix('-').map_or(Some(rest), after_number)?;
        (rest.is_empty() || rest.starts_with('.')).then(|| format!("{stem}{rest}"))
    };
    stripped().map_or(Cow::Borrowed(path), Cow::Owned)
}

/// Returns the text behind a decimal number of 64 bits (systemd, `src/boot/efi-string.c`, `parse_number16`).
fn after_number(text: &str) -> Option<&str> {
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end)?;
    digits.parse::<u64>().ok().map(|_| rest)
}

/// Error of finding a boot entry.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EntryError {
    /// No entry has this name.
    #[error("no boot entry {name:?} with a UKI; {}", Available(.name, .known))]
    Unknown {
        /// Requested name.
        name: String,
        /// Names of all entries.
        known: Vec<String>,
    },
    /// Several UKIs have this name.
    #[error("boot entry {name:?} is ambiguous: it has several UKIs: {}", Names(.ukis))]
    Ambiguous {
        /// Requested name.
        name: String,
        /// Paths of the UKIs.
        ukis: Vec<String>,
    },
}

struct Names<'a>(&'a [String]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

/// The boot entries of a partition.
#[derive(Debug, Clone, Default)]
pub struct Entries {
    /// Entries by name.
    pub found: Vec<Entry>,
    /// Entries and files that could not be read, as sentences.
    pub left_out: Vec<Message>,
}

impl Entries {
    /// Returns the boot entry called `name`, ignoring case as FAT does.
    ///
    /// # Errors
    /// [`EntryError`]
    pub fn named(&self, name: &str) -> Result<Entry, EntryError> {
        named(self.found.clone(), name)
    }

    fn leave_out(&mut self, path: &str, cause: &dyn fmt::Display) {
        self.left_out.push(Message::new(format_args!("{path} is left out: {cause}")));
    }
}

fn named(entries: Vec<Entry>, name: &str) -> Result<Entry, EntryError> {
    let known = entries.iter().map(|entry| entry.name.clone()).collect();
    // Names with and without a boot counter are one entry.
    let mut found = Entry::by_uki(entries.into_iter().filter(|entry| entry.name.eq_ignore_ascii_case(name)));
    match found.len() {
        0 => Err(EntryError::Unknown { name: name.to_owned(), known }),
        1 => Ok(found.remove(0)),
        _ => {
            let ukis = found.into_iter().map(|entry| entry.uki).collect();
            Err(EntryError::Ambiguous { name: name.to_owned(), ukis })
        }
    }
}

/// Reads all entries.
pub(super) fn all(root: &Root) -> io::Result<Entries> {
    let mut entries = Entries::default();
    for file in files(root, ENTRIES, ".conf", &mut entries)? {
        let path = format!("{ENTRIES}/{file}");
        let content = match root.read(&path, MAX_FILE) {
            Ok(content) => content.unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                entries.leave_out(&path, &format_args!("more than {MAX_FILE} bytes"));
                continue;
            }
            Err(error) => {
                entries.leave_out(&path, &error);
                continue;
            }
        };
        let (Some(name), Some(uki)) = (from_file_name(&file), uki_of(&String::from_utf8_lossy(&content))) else {
            continue;
        };
        match root.metadata(&uki) {
            Ok(metadata) if metadata.is_file() => entries.found.push(Entry { name, uki }),
            Ok(_) => entries.leave_out(&path, &format_args!("{uki} is not a file")),
            // The UKI does not exist, so the entry boots nothing.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => entries.leave_out(&path, &format_args!("looking for {uki}: {error}")),
        }
    }
    for directory in UKI_DIRECTORIES {
        for file in files(root, directory, "", &mut entries)? {
            let uki = format!("{directory}/{file}");
            if strip_suffix_ignore_case(&file, ".efi").is_none() {
                note_unread(&uki, &mut entries);
                continue;
            }
            match root.metadata(&uki) {
                Ok(metadata) if metadata.is_file() => {}
                Ok(_) => {
                    entries.leave_out(&uki, &"not a regular file");
                    continue;
                }
                Err(error) => {
                    entries.leave_out(&uki, &error);
                    continue;
                }
            }
            let is_known = entries.found.iter().any(|entry| entry.uki.eq_ignore_ascii_case(&uki));
            if let Some(name) = from_file_name(&file).filter(|_| !is_known) {
                entries.found.push(Entry { name, uki });
            }
        }
    }
    entries.found.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| a.uki.cmp(&b.uki)));
    // Several boot counters, which an interrupted rename may leave, are one entry.
    entries.found.dedup_by(|later, first| {
        later.name == first.name && later.extra_directory().eq_ignore_ascii_case(&first.extra_directory())
    });
    Ok(entries)
}

/// Reports a directory of extensions that no boot reads, because its name has a boot counter.
fn note_unread(path: &str, entries: &mut Entries) {
    let stripped = without_counter(path);
    let is_extra = strip_suffix_ignore_case(path, ".efi.extra.d").is_some();
    if is_extra && stripped != path {
        let read = Text::new(&stripped);
        entries
            .leave_out(Text::new(path).as_ref(), &format_args!("systemd-stub reads {read}, without the boot counter"));
    }
}

/// Lists files with this suffix, ignoring case.
fn files(root: &Root, directory: &str, end: &str, entries: &mut Entries) -> io::Result<Vec<String>> {
    let names = match root.list(directory) {
        Ok(names) => names.unwrap_or_default(),
        // Only this directory is skipped.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            entries.leave_out(directory, &"not a directory");
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    if names.len() > MAX_FILES {
        let line = format_args!("{directory}: only the first {MAX_FILES} of {} files are read", names.len());
        entries.left_out.push(Message::new(line));
    }
    let mut files = Vec::new();
    for name in names.into_iter().take(MAX_FILES) {
        match name.into_string() {
            Ok(name) if strip_suffix_ignore_case(&name, end).is_some() => files.push(name),
            Ok(_) => {}
            Err(name) => {
                entries.leave_out(&format!("{directory}/{}", Text::from_os(&name)), &"file name is not UTF-8");
            }
        }
    }
    Ok(files)
}

/// Returns the UKI that an entry file names, as a path with a leading slash; `None` if it names none, or if the path is invalid.
/// (UAPI.1: `uki` and `efi` name an EFI program, keys end at white space.)
fn uki_of(text: &str) -> Option<String> {
    let value = text.lines().find_map(|line| {
        let (key, value) = line.trim_start().split_once(char::is_whitespace)?;
        matches!(key, "efi" | "uki").then(|| value.trim())
    })?;
    let path = value.replace('\\', "/");
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let sound = !parts.is_empty() && !parts.contains(&"..") && !path.chars().any(char::is_control);
    sound.then(|| format!("/{}", parts.join("/")))
}

/// Returns the files that lines `extra` of an entry's files name, as they are written (UAPI.1; systemd-boot 261 and later).
pub(super) fn extra_lines(root: &Root, entry: &Entry) -> io::Result<Vec<Text>> {
    let mut lines = Vec::new();
    for file in files(root, ENTRIES, ".conf", &mut Entries::default())? {
        if from_file_name(&file).as_ref() != Some(&entry.name) {
            continue;
        }
        let content = root.read(&format!("{ENTRIES}/{file}"), MAX_FILE)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&content);
        if uki_of(&text).as_ref() == Some(&entry.uki) {
            let pairs = text.lines().filter_map(|line| line.trim_start().split_once(char::is_whitespace));
            lines.extend(pairs.filter(|(key, _)| *key == "extra").map(|(_, value)| Text::new(value.trim())));
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;
    use std::path::Path;

    fn write(directory: &Path, file: &str, content: &str) {
        let path = directory.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn found(directory: &Path) -> Vec<(String, String)> {
        let root = Root::open(directory).unwrap();
        all(&root).unwrap().found.into_iter().map(|entry| (entry.name, entry.uki)).collect()
    }

    fn pair(name: &str, uki: &str) -> (String, String) {
        (name.to_owned(), uki.to_owned())
    }

    #[test]
    fn an_entry_is_a_file_that_names_a_uki_or_the_uki_itself() {
        let dir = tempfile::tempdir().unwrap();
        for uki in ["active", "passive", "work"] {
            write(dir.path(), &format!("EFI/kairos/{uki}.efi"), "");
        }
        write(dir.path(), "EFI/Linux/other_1.2.EFI", "");
        write(dir.path(), "loader/entries/active+3.conf", "title Active\nefi /EFI/kairos/active.efi\n");
        write(dir.path(), "loader/entries/mine.conf", "# mine\nuki\t\\EFI\\kairos\\work.efi\n");
        write(dir.path(), "loader/entries/gone.conf", "efi /EFI/kairos/gone.efi\n");
        write(dir.path(), "loader/entries/linux.conf", "linux /vmlinuz\n");
        assert_eq!(
            found(dir.path()),
            [
                pair("active", "/EFI/kairos/active.efi"),
                pair("mine", "/EFI/kairos/work.efi"),
                pair("other_1.2", "/EFI/Linux/other_1.2.EFI"),
                pair("passive", "/EFI/kairos/passive.efi"),
            ]
        );
    }

    /// Reports: systemd/systemd#29636 (the counter is ignored), #37217, #37235; systemd/mkosi#1633 (`+3` in the name).
    #[test]
    fn the_directory_of_a_uki_has_no_boot_counter() {
        for (uki, directory) in [
            ("/EFI/kairos/active.efi", "/EFI/kairos/active.efi.extra.d"),
            ("/EFI/kairos/active+3.efi", "/EFI/kairos/active.efi.extra.d"),
            ("/EFI/kairos/active+2-1.efi", "/EFI/kairos/active.efi.extra.d"),
            ("/EFI/kairos/active+0-3.EFI", "/EFI/kairos/active.EFI.extra.d"),
            ("/EFI/Linux/foo_1.2+3.efi", "/EFI/Linux/foo_1.2.efi.extra.d"),
            // What is no counter stays.
            ("/EFI/Linux/foo+.efi", "/EFI/Linux/foo+.efi.extra.d"),
            ("/EFI/Linux/foo+3x.efi", "/EFI/Linux/foo+3x.efi.extra.d"),
            ("/EFI/Linux/foo+3-.efi", "/EFI/Linux/foo+3-.efi.extra.d"),
            ("/EFI/Linux/foo+-1.efi", "/EFI/Linux/foo+-1.efi.extra.d"),
            ("/EFI/Linux/foo+3-1-2.efi", "/EFI/Linux/foo+3-1-2.efi.extra.d"),
            ("/EFI/Linux/foo+99999999999999999999.efi", "/EFI/Linux/foo+99999999999999999999.efi.extra.d"),
            // systemd-stub looks at the first plus sign alone, and takes any dot for the end.
            ("/EFI/Linux/6.1+rpt+3.efi", "/EFI/Linux/6.1+rpt+3.efi.extra.d"),
            ("/EFI/a+b/active+3.efi", "/EFI/a+b/active+3.efi.extra.d"),
            ("/EFI/Linux/foo+1.2.efi", "/EFI/Linux/foo.2.efi.extra.d"),
        ] {
            let entry = Entry { name: "x".to_owned(), uki: uki.to_owned() };
            assert_eq!(entry.extra_directory(), directory, "{uki}");
        }
    }

    #[test]
    fn whatever_its_counter_a_uki_is_one_entry() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["active+3.efi", "active+2-1.efi", "passive+3.efi"] {
            write(dir.path(), &format!("EFI/kairos/{file}"), "");
        }
        fs::create_dir(dir.path().join("EFI/kairos/active+3.efi.extra.d")).unwrap();
        fs::create_dir(dir.path().join("EFI/kairos/active.efi.extra.d")).unwrap();
        let all = all(&Root::open(dir.path()).unwrap()).unwrap();
        let names: Vec<_> = all.found.iter().map(|entry| (entry.name.as_str(), entry.extra_directory())).collect();
        let directory = |name: &str| format!("/EFI/kairos/{name}.efi.extra.d");
        assert_eq!(names, [("active", directory("active")), ("passive", directory("passive"))]);
        assert_eq!(all.named("active").unwrap().extra_directory(), directory("active"));
        let left_out: Vec<_> = all.left_out.iter().map(Message::as_str).collect();
        let expected = "/EFI/kairos/active+3.efi.extra.d is left out: systemd-stub reads \
                        /EFI/kairos/active.efi.extra.d, without the boot counter";
        assert_eq!(left_out, [expected]);
    }

    #[test]
    fn what_is_no_directory_or_no_file_is_named_and_the_rest_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "EFI/kairos/active.efi", "");
        write(dir.path(), "EFI/Linux", "a file");
        write(dir.path(), "loader/entries", "a file");
        fs::create_dir(dir.path().join("EFI/kairos/passive.efi")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("EFI/kairos/dangling.efi")).unwrap();
        let found = all(&Root::open(dir.path()).unwrap()).unwrap();
        assert_eq!(found.found.len(), 1, "{found:?}");
        let left_out: Vec<_> = found.left_out.iter().map(Message::as_str).collect();
        assert_eq!(
            left_out,
            [
                "/loader/entries is left out: not a directory",
                "/EFI/kairos/dangling.efi is left out: No such file or directory (os error 2)",
                "/EFI/kairos/passive.efi is left out: not a regular file",
                "/EFI/Linux is left out: not a directory",
            ]
        );
        fs::remove_file(dir.path().join("loader/entries")).unwrap();
        write(dir.path(), "loader/entries/odd.conf", "uki /EFI/kairos/passive.efi\n");
        let found = all(&Root::open(dir.path()).unwrap()).unwrap();
        let first = found.left_out[0].as_str();
        assert_eq!(first, "/loader/entries/odd.conf is left out: /EFI/kairos/passive.efi is not a file");
    }

    #[test]
    fn a_file_leads_nowhere_outside_of_the_partition() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["efi ../../etc/passwd", "efi /EFI/../../x.efi", "efi", "efi /\u{1b}[2J.efi", "efi /"] {
            assert_eq!(uki_of(text), None, "{text:?}");
        }
        std::os::unix::fs::symlink("/etc", dir.path().join("link")).unwrap();
        write(dir.path(), "loader/entries/evil.conf", "efi /link/passwd\n");
        assert_eq!(found(dir.path()), []);
    }

    #[test]
    fn what_is_not_looked_at_is_named() {
        use std::os::unix::ffi::OsStrExt;
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "EFI/kairos/active.efi", "");
        write(dir.path(), "loader/entries/active.conf", "efi /EFI/kairos/active.efi\n");
        write(dir.path(), "loader/entries/large.conf", &" ".repeat((64 << 10) + 1));
        fs::create_dir_all(dir.path().join("loader/entries/directory.conf")).unwrap();
        let odd = std::ffi::OsStr::from_bytes(b"\xff.conf");
        fs::write(dir.path().join("loader/entries").join(odd), "").unwrap();
        for number in 0..MAX_FILES {
            write(dir.path(), &format!("EFI/Linux/{number:04}.txt"), "");
        }
        write(dir.path(), "EFI/Linux/last.efi", "");
        let found = all(&Root::open(dir.path()).unwrap()).unwrap();
        assert_eq!(found.found.len(), 1, "{found:?}");
        let left_out: Vec<_> = found.left_out.iter().map(Message::as_str).collect();
        assert_eq!(
            left_out,
            [
                "/loader/entries/\\xff.conf is left out: file name is not UTF-8",
                "/loader/entries/directory.conf is left out: not a regular file",
                "/loader/entries/large.conf is left out: more than 65536 bytes",
                "/EFI/Linux: only the first 4096 of 4097 files are read",
            ]
        );
    }

    #[test]
    fn a_name_that_two_ukis_have_is_not_guessed_about() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "EFI/kairos/active.efi", "");
        write(dir.path(), "EFI/Linux/active.efi", "");
        let entries = || all(&Root::open(dir.path()).unwrap()).unwrap().found;
        let error = named(entries(), "active").unwrap_err().to_string();
        assert!(error.contains("/EFI/Linux/active.efi, /EFI/kairos/active.efi"), "{error}");
        let error = named(entries(), "passive").unwrap_err().to_string();
        assert!(error.contains("\"passive\"") && error.contains("active, active"), "{error}");
        fs::remove_file(dir.path().join("EFI/Linux/active.efi")).unwrap();
        assert_eq!(named(entries(), "Active").unwrap().uki, "/EFI/kairos/active.efi");
        for file in ["active.conf", "active+2.conf"] {
            write(dir.path(), &format!("loader/entries/{file}"), "efi /EFI/Kairos/active.efi\n");
        }
        write(dir.path(), "EFI/Kairos/active.efi", "");
        assert_eq!(named(entries(), "active").unwrap().uki, "/EFI/Kairos/active.efi", "one UKI under two names");
    }

    #[test]
    fn both_names_of_a_boot_can_be_asked_about() {
        let entry = Entry { name: "work".to_owned(), uki: "/EFI/kairos/recovery.efi".to_owned() };
        assert_eq!(entry.boot_entry().matched_by(&["recovery".to_owned()]), Some("recovery"));
        assert_eq!(entry.extra_directory(), "/EFI/kairos/recovery.efi.extra.d");
    }
}
