//! Telling systemd-sysext and systemd-confext where to merge.
//!
//! Wherever one of them is run, the drop-in of its unit reads a file of ours (`EnvironmentFile=`, which overrides
//! `Environment=`, systemd.exec(5)). Without the file what the distribution has set stays in force.

use crate::durable;
use crate::image::Class;
use crate::policy::Hierarchies;
use crate::root::Root;
use anyhow::{Context, Result};

const DIRECTORY: &str = "/run/sextant";

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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::policy::HierarchyList;
    use std::fs;

    #[test]
    fn what_is_configured_is_written_and_nothing_else_stays() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let read = |file: &str| fs::read_to_string(dir.path().join("run/sextant").join(file)).ok();
        let list = |paths: &[&str]| HierarchyList::new(paths.iter().map(|path| (*path).to_owned()).collect()).ok();
        let both = Hierarchies { sysext: list(&["/usr/bin", "/usr/local/lib"]), confext: list(&["/etc/a"]) };
        limit(&root, &both).unwrap();
        assert_eq!(read("sysext.env").unwrap(), "SYSTEMD_SYSEXT_HIERARCHIES=/usr/bin:/usr/local/lib\n");
        assert_eq!(read("confext.env").unwrap(), "SYSTEMD_CONFEXT_HIERARCHIES=/etc/a\n");
        limit(&root, &Hierarchies { confext: None, ..both }).unwrap();
        assert!(read("sysext.env").is_some() && read("confext.env").is_none());
        limit(&root, &Hierarchies::default()).unwrap();
        assert!(read("sysext.env").is_none());
    }
}
