//! Telling systemd-sysext and systemd-confext where to merge.
//!
//! Wherever one of them is run, the drop-in of its unit reads a file of ours (`EnvironmentFile=`, which overrides
//! `Environment=`, systemd.exec(5)). Without the file what the distribution has set stays in force.

use crate::durable;
use crate::policy::{Hierarchies, HierarchyList};
use crate::root::Root;
use anyhow::{Context, Result};
use ddi::Class;

const DIRECTORY: &str = "/run/sextant";
/// The drop-ins in `systemd-units/` name it too.
const SOURCES: &str = "sources";
/// Largest file that is read, in bytes: 64 paths of 255 bytes, colons between them, and the name.
const MAX_FILE: u64 = 32 << 10;

/// The name of the file, which the drop-ins in `systemd-units/` have too.
fn file_name(class: Class) -> String {
    format!("{class}.env")
}

/// Writes what is configured, and removes what isn't.
///
/// # Errors
/// The first file that can't be written or removed. Nothing should be merged then: it could make
/// directories read-only that have to be writable.
pub fn limit(root: &Root, hierarchies: &Hierarchies) -> Result<()> {
    for class in Class::ALL {
        let (file, variable) = (file_name(class), class.hierarchies_variable());
        let context = || format!("writing {DIRECTORY}/{file}");
        let path = root.make_directory(DIRECTORY).with_context(context)?.join(&file);
        match hierarchies.of(class) {
            // No path in it needs quotes.
            Some(list) => durable::write(&path, format!("{variable}={list}\n").as_bytes(), 0o444),
            None => durable::remove(&path),
        }
        .with_context(context)?;
    }
    Ok(())
}

/// Notes whether there are directories in which to look for extensions before each merge: without this file systemd's units
/// start only where something lies in its own directories.
///
/// # Errors
/// Where the file can't be written or removed.
pub fn expect_sources(root: &Root, any: bool) -> Result<()> {
    let context = || format!("writing {DIRECTORY}/{SOURCES}");
    let path = root.make_directory(DIRECTORY).with_context(context)?.join(SOURCES);
    if any { durable::write(&path, b"", 0o444) } else { durable::remove(&path) }.with_context(context)
}

/// Returns what [`limit`] has written.
///
/// # Errors
/// Where a file is there and can't be read, or isn't what [`limit`] writes.
pub fn configured(root: &Root) -> Result<Hierarchies> {
    let of = |class| -> Result<Option<HierarchyList>> {
        let (file, variable) = (file_name(class), class.hierarchies_variable());
        let context = || format!("reading {DIRECTORY}/{file}");
        let Some(text) = root.read(&format!("{DIRECTORY}/{file}"), MAX_FILE).with_context(context)? else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&text);
        let list = text.trim_end().strip_prefix(variable).and_then(|rest| rest.strip_prefix('='));
        list.unwrap_or_default().parse().map(Some).with_context(context)
    };
    Ok(Hierarchies { sysext: of(Class::Sysext)?, confext: of(Class::Confext)? })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    #[test]
    fn directories_to_look_in_are_noted_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        for any in [true, true, false, false] {
            expect_sources(&root, any).unwrap();
            assert_eq!(dir.path().join("run/sextant/sources").exists(), any);
        }
    }

    #[test]
    fn what_is_configured_is_written_and_nothing_else_stays() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let read = |file: &str| fs::read_to_string(dir.path().join("run/sextant").join(file)).ok();
        let list = |paths: &[&str]| HierarchyList::new(paths.iter().map(|path| (*path).to_owned()).collect()).ok();
        let both = Hierarchies { sysext: list(&["/usr/bin", "/usr/local/lib"]), confext: list(&["/etc/a"]) };
        assert_eq!(configured(&root).unwrap(), Hierarchies::default());
        limit(&root, &both).unwrap();
        assert_eq!(configured(&root).unwrap(), both);
        assert_eq!(read("sysext.env").unwrap(), "SYSTEMD_SYSEXT_HIERARCHIES=/usr/bin:/usr/local/lib\n");
        assert_eq!(read("confext.env").unwrap(), "SYSTEMD_CONFEXT_HIERARCHIES=/etc/a\n");
        limit(&root, &Hierarchies { confext: None, ..both }).unwrap();
        assert!(read("sysext.env").is_some() && read("confext.env").is_none());
        limit(&root, &Hierarchies::default()).unwrap();
        assert!(read("sysext.env").is_none());
        fs::write(dir.path().join("run/sextant/sysext.env"), "junk").unwrap();
        assert!(configured(&root).is_err());
    }
}
