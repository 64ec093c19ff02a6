//! What the host has of its own that takes part in a merge: units that say where extensions are merged, and extensions
//! that sextant hasn't staged.
//!
//! Nothing here decides whether an image is sound. It is read to be stricter, so what isn't there yet, or can't be read, is left
//! out: early in an initrd of dracut's kind nothing of the host is mounted, and Kairos writes its drop-in late.

use crate::kernel::COMMAND_LINE;
use crate::policy::HostHierarchies;
use crate::root::Root;
use ddi::Class;
use nix::sys::statfs::{PROC_SUPER_MAGIC, SYSFS_MAGIC, fstatfs};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// Where units are (systemd.unit(5)).
const UNITS: [&str; 4] =
    ["/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system"];
/// Where the manager's environment is set (systemd-system.conf(5)).
const MANAGER: [&str; 4] = ["/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd"];
/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 64 << 10;
/// Most names of one directory that are looked at, and most extensions that are counted there.
pub(super) const MAX_NAMES: usize = 1024;
/// Most files that are read, and most bytes of them all.
const MAX_FILES: usize = 512;
const MAX_BYTES: u64 = 2 << 20;
/// Most files that are read for a class because a unit names them (`EnvironmentFile=`).
const MAX_ENVIRONMENT_FILES: usize = 64;

/// Returns where the units of the host merge extensions, as far as they say so and can be seen.
///
/// Read are the units and drop-ins of systemd-sysext and systemd-confext, the files of their `EnvironmentFile=`, and the
/// manager's configuration, of the host below `/sysroot` and of `root`; on a machine the kernel's command line too
/// (`systemd.setenv=`). Which of several assignments counts isn't asked: all of them do.
#[must_use]
pub fn host_hierarchies(root: &Root) -> HostHierarchies {
    let mut found = HostHierarchies::default();
    let mut budget = Budget { files: MAX_FILES, bytes: MAX_BYTES };
    let mut take = |classes: &[Class], text: &str| {
        for class in classes {
            assigned(text, class.hierarchies_variable()).for_each(|list| found.add(*class, list));
        }
    };
    if root.is_machine()
        && let Ok(text) = fs::read_to_string(COMMAND_LINE)
    {
        take(&Class::ALL, &text);
    }
    // The host's disk comes last: what it holds must not use up what is left for the rest.
    for host in [Some(root), root.sysroot().as_ref()].into_iter().flatten() {
        budget.each_text(host, &mut take);
    }
    found
}

/// Returns the names of the extensions that systemd will find on the host, those that are staged among them (systemd 254,
/// 257 and 262, `src/shared/discover-image.c`, `image_search_path`).
#[must_use]
pub fn host_extensions(root: &Root, class: Class) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    collect(root, class, class.staging_directory(), &mut names);
    let sysroot = root.sysroot();
    // What an initrd keeps there isn't the host's.
    let own = (!root.is_initrd()).then_some(root);
    for host in [sysroot.as_ref(), own].into_iter().flatten() {
        for directory in host_directories(class) {
            collect(host, class, directory, &mut names);
        }
    }
    names
}

/// Where a host keeps extensions of its own (`image_search_path`, as above).
#[must_use]
pub fn host_directories(class: Class) -> &'static [&'static str] {
    match class {
        Class::Sysext => &["/etc/extensions", "/var/lib/extensions"],
        Class::Confext => &["/var/lib/confexts", "/usr/local/lib/confexts", "/usr/lib/confexts"],
    }
}

/// Names of files in one of [`host_directories`] that systemd takes for images, at most `limit`, in their order.
///
/// # Errors
/// Where the directory is there and can't be listed.
pub fn host_images(root: &Root, directory: &str, limit: usize) -> std::io::Result<Vec<OsString>> {
    let found = root.list_some(directory, limit)?.unwrap_or_default();
    let is_image =
        |file: &OsString| file.to_str().is_some_and(|file| !file.starts_with(".#") && has_extension(file, "raw"));
    Ok(found.into_iter().filter(is_image).collect())
}

fn collect(host: &Root, class: Class, directory: &str, names: &mut BTreeSet<String>) {
    for file in host.list_some(directory, MAX_NAMES).ok().flatten().unwrap_or_default() {
        let Some(file) = file.to_str() else { continue };
        let Ok(metadata) = host.metadata(&format!("{directory}/{file}")) else { continue };
        if is_extension(file, &metadata) {
            names.insert(image_name(class, file).to_owned());
        }
    }
}

/// Whether systemd takes a file of that name for an extension.
pub(super) fn is_extension(file: &str, metadata: &Metadata) -> bool {
    let kind = metadata.file_type();
    kind.is_dir() || kind.is_block_device() || (kind.is_file() && has_extension(file, "raw"))
}

pub(super) fn has_extension(file: &str, extension: &str) -> bool {
    Path::new(file).extension().is_some_and(|found| found == extension)
}

/// What systemd calls the image in a file or directory of that name (systemd 257, `src/basic/os-util.c`,
/// `path_extract_image_name`; `.v` is a directory of versions).
pub(crate) fn image_name(class: Class, file: &str) -> &str {
    let mut name = file;
    for end in [".v", ".raw"] {
        name = name.strip_suffix(end).unwrap_or(name);
    }
    name.strip_suffix(class.as_str()).and_then(|name| name.strip_suffix('.')).unwrap_or(name)
}

/// What is left to be read of the host's files. Its disk may be an attacker's, and links make files cheap.
struct Budget {
    files: usize,
    bytes: u64,
}

impl Budget {
    /// Calls `take` with each text in which the host can say where extensions are merged, and with the classes that it can
    /// say it for, while there is anything left.
    fn each_text(&mut self, host: &Root, take: &mut dyn FnMut(&[Class], &str)) {
        let mut named = BTreeSet::new();
        let mut take_unit = |classes: &[Class], text: &str| {
            for class in classes {
                let room = MAX_ENVIRONMENT_FILES.saturating_sub(named.iter().filter(|(_, of)| of == class).count());
                named.extend(environment_files(text).take(room).map(|path| (path.to_owned(), *class)));
            }
            take(classes, text);
        };
        for directory in UNITS {
            for class in &Class::ALL {
                let (unit, class) = (class.unit(), std::slice::from_ref(class));
                self.read(host, &format!("{directory}/{unit}"), &mut |text| take_unit(class, text));
                self.read_all(host, &format!("{directory}/{unit}.d"), &mut |text| take_unit(class, text));
            }
            for drop_in in ["systemd-.service.d", "service.d"] {
                self.read_all(host, &format!("{directory}/{drop_in}"), &mut |text| take_unit(&Class::ALL, text));
            }
        }
        for directory in MANAGER {
            self.read(host, &format!("{directory}/system.conf"), &mut |text| take_unit(&Class::ALL, text));
            self.read_all(host, &format!("{directory}/system.conf.d"), &mut |text| take_unit(&Class::ALL, text));
        }
        for (path, class) in named {
            self.read(host, &path, &mut |text| take(&[class], text));
        }
    }

    fn read_all(&mut self, host: &Root, directory: &str, take: &mut dyn FnMut(&str)) {
        let names = host.list_some(directory, MAX_NAMES).ok().flatten().unwrap_or_default();
        for name in names.iter().filter_map(|name| name.to_str()).filter(|name| has_extension(name, "conf")) {
            self.read(host, &format!("{directory}/{name}"), take);
        }
    }

    fn read(&mut self, host: &Root, path: &str, take: &mut dyn FnMut(&str)) {
        if self.files == 0 || self.bytes == 0 {
            return;
        }
        let Ok(file) = host.open_file(path) else { return };
        self.files = self.files.saturating_sub(1);
        // What the kernel shows as files isn't the host's, and reading some of it takes it away from others.
        let is_kernels =
            fstatfs(&file).map_or(true, |status| [PROC_SUPER_MAGIC, SYSFS_MAGIC].contains(&status.filesystem_type()));
        let is_small = file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() <= MAX_FILE);
        if is_kernels || !is_small {
            return;
        }
        let mut content = Vec::new();
        if file.take(MAX_FILE.min(self.bytes)).read_to_end(&mut content).is_ok() {
            self.bytes = self.bytes.saturating_sub(u64::try_from(content.len()).unwrap_or(u64::MAX));
            take(&String::from_utf8_lossy(&content));
        }
    }
}

/// Lines that aren't comments.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']))
}

/// The paths of `EnvironmentFile=`; ours is left out, for what is in it is the configuration's.
fn environment_files(text: &str) -> impl Iterator<Item = &str> {
    let values = lines(text).filter_map(|line| line.strip_prefix("EnvironmentFile")?.trim_start().strip_prefix('='));
    let paths = values.map(|value| value.trim().trim_matches(['"', '\'']).trim_start_matches('-'));
    paths.filter(|path| path.starts_with('/') && !path.starts_with("/run/sextant/"))
}

/// The values that `variable` gets, wherever in a line that is: `Environment="NAME=VALUE"`, `env NAME=VALUE program`,
/// `NAME='VALUE'`. No list that systemd can use has a quote or white space in it.
fn assigned<'t>(text: &'t str, variable: &'t str) -> impl Iterator<Item = &'t str> {
    lines(text).flat_map(move |line| line.match_indices(variable).filter_map(move |(at, _)| line.get(at..))).filter_map(
        move |rest| {
            let value = rest.strip_prefix(variable)?.strip_prefix('=')?;
            let value = value.strip_prefix(['"', '\'']).unwrap_or(value);
            value.split(|end: char| end.is_whitespace() || matches!(end, '"' | '\'')).next()
        },
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn write(dir: &Path, path: &str, content: &str) {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn sysext(dir: &Path) -> Vec<String> {
        host_hierarchies(&Root::open(dir).unwrap()).paths(Class::Sysext).map(str::to_owned).collect()
    }

    #[test]
    fn units_say_where_extensions_are_merged_wherever_they_do() {
        let dir = tempfile::tempdir().unwrap();
        assert!(sysext(dir.path()).is_empty());
        let service = "systemd/system/systemd-sysext.service";
        for (path, content) in [
            (format!("usr/lib/{service}"), "[Service]\nEnvironment=A=b SYSTEMD_SYSEXT_HIERARCHIES=/unit:/opt C=d\n"),
            (format!("etc/{service}.d/kairos.conf"), "Environment=\"SYSTEMD_SYSEXT_HIERARCHIES=/drop-in\"\n"),
            (format!("run/{service}.d/a.conf"), "EnvironmentFile=-/etc/default/sysext\n"),
            (
                format!("run/{service}.d/b.conf"),
                "#Environment=SYSTEMD_SYSEXT_HIERARCHIES=/no\nEnvironmentFile=/run/sextant/no\n",
            ),
            (format!("etc/{service}.d/no.txt"), "Environment=SYSTEMD_SYSEXT_HIERARCHIES=/no\n"),
            ("run/sextant/no".to_owned(), "SYSTEMD_SYSEXT_HIERARCHIES=/no\n"),
            ("etc/default/sysext".to_owned(), "SYSTEMD_SYSEXT_HIERARCHIES='/file'\nSYSTEMD_CONFEXT_HIERARCHIES=/no\n"),
            (
                "etc/systemd/system.conf.d/x.conf".to_owned(),
                "[Manager]\nDefaultEnvironment=SYSTEMD_SYSEXT_HIERARCHIES=/manager\n",
            ),
            (
                "sysroot/etc/systemd/system/service.d/x.conf".to_owned(),
                "[Service]\n Environment = 'SYSTEMD_SYSEXT_HIERARCHIES=/host/'\n",
            ),
        ] {
            write(dir.path(), &path, content);
        }
        assert_eq!(sysext(dir.path()), ["/drop-in", "/file", "/host", "/manager", "/opt", "/unit"]);
    }

    #[test]
    fn what_the_host_can_make_the_agent_read_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "x/file", &"\u{fffd}".repeat(21 << 10));
        for number in 0..2000 {
            std::os::unix::fs::symlink("file", dir.path().join(format!("x/{number:04}.conf"))).unwrap();
        }
        for directory in UNITS {
            let directory = dir.path().join(directory.trim_start_matches('/'));
            fs::create_dir_all(&directory).unwrap();
            for drop_in in ["systemd-sysext.service.d", "systemd-.service.d", "service.d"] {
                std::os::unix::fs::symlink("/x", directory.join(drop_in)).unwrap();
            }
        }
        let root = Root::open(dir.path()).unwrap();
        let mut budget = Budget { files: MAX_FILES, bytes: MAX_BYTES };
        let (mut texts, mut bytes) = (0, 0);
        budget.each_text(&root, &mut |_, text| {
            texts += 1;
            bytes += text.len();
        });
        // The last text may end in the middle of a character.
        assert!(bytes <= usize::try_from(MAX_BYTES).unwrap() + 3, "{bytes}");
        assert!((1..MAX_FILES).contains(&texts), "{texts}: the bytes are what ends it here");
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let directory = "etc/systemd/system/systemd-sysext.service.d";
        let large = format!("Environment=SYSTEMD_SYSEXT_HIERARCHIES=/large\n{}", "#".repeat(1 << 17));
        write(dir.path(), &format!("{directory}/large.conf"), &large);
        write(dir.path(), &format!("{directory}/z.conf"), "Environment=SYSTEMD_SYSEXT_HIERARCHIES=/found\n");
        let fifo = dir.path().join(directory).join("fifo.conf");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::os::unix::fs::symlink("loop.conf", dir.path().join(directory).join("loop.conf")).unwrap();
        assert_eq!(sysext(dir.path()), ["/found"]);
    }

    #[test]
    fn extensions_of_the_host_are_found_where_systemd_looks() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        for path in [
            "etc/extensions/directory/usr/x",
            "var/lib/extensions/versions.raw.v/x",
            "var/lib/extensions/image.sysext.raw",
            "var/lib/extensions/notes.txt",
            "run/extensions/other.raw",
            "usr/lib/extensions/nowhere.raw",
            "usr/lib/confexts/conf.confext.raw",
        ] {
            write(dir.path(), path, "");
        }
        let names = |class| host_extensions(&root, class).into_iter().collect::<Vec<_>>();
        assert_eq!(names(Class::Sysext), ["directory", "image", "other", "versions"]);
        assert_eq!(names(Class::Confext), ["conf"]);

        // In an initrd only what lies in /run will be the host's.
        write(dir.path(), "etc/initrd-release", "");
        assert_eq!(names(Class::Sysext), ["other"]);
        write(dir.path(), "sysroot/var/lib/extensions/host/usr/x", "");
        assert_eq!(names(Class::Sysext), ["host", "other"]);
    }

    #[test]
    fn images_of_the_host_are_files_that_systemd_takes_for_some() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let names = |limit| host_images(&root, "/var/lib/extensions", limit).unwrap();
        assert!(names(9).is_empty());
        for name in ["b.raw", "a.raw", ".#hidden.raw", "notes.txt", ".#notes.txt"] {
            write(dir.path(), &format!("var/lib/extensions/{name}"), "");
        }
        assert_eq!(names(9), ["a.raw", "b.raw"]);
    }
}
