//! The trust anchors as systemd reads them.

use super::others::{DIRECTORY, Others, Removed};
use super::{Anchor, SealedFile, Source};
use crate::durable;
use crate::root::Root;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;

/// Writes each anchor to its file under `/run/verity.d`, one PEM certificate a file since systemd reads no
/// more. Removes files that an earlier run wrote for certificates no longer trusted, and those of others that hold anything
/// but an anchor: systemd would trust them. Returns what it removed of others.
///
/// # Errors
/// The first file that can't be written or removed.
pub fn export(root: &Root, anchors: &[Anchor]) -> Result<Removed> {
    let context = || format!("writing trust anchors to {DIRECTORY}");
    let directory = root.make_directory(DIRECTORY).with_context(context)?;
    let mut names = BTreeSet::new();
    for anchor in anchors {
        let name = anchor.file_name();
        let pem = anchor.certificate().x509().to_pem().with_context(|| format!("encoding {name}"))?;
        durable::write(&directory.join(&name), &pem, 0o444).with_context(|| format!("writing {DIRECTORY}/{name}"))?;
        names.insert(name);
    }
    let mut others = Others::new(root, &directory, anchors);
    for name in root.list(DIRECTORY).with_context(context)?.unwrap_or_default() {
        match name.to_str() {
            Some(ours) if names.contains(ours) => {}
            Some(ours) if is_ours(ours) && !directory.join(ours).is_dir() => {
                fs::remove_file(directory.join(ours)).with_context(|| format!("removing {DIRECTORY}/{ours}"))?;
            }
            _ => others.judge(&name)?,
        }
    }
    Ok(others.removed)
}

/// The certificates that the initrd of this boot sealed, as [`export`] left them: on the host the sealed
/// directories of the initrd are gone. Files that can't be read are in the result.
///
/// # Errors
/// Where the directory is there and can't be listed.
pub fn read_exported_sealed(root: &Root) -> std::io::Result<Vec<SealedFile>> {
    let names = root.list(DIRECTORY)?.unwrap_or_default();
    let sealed = names.iter().filter_map(|name| name.to_str()).filter(|name| is_of(Source::Sealed, name));
    Ok(sealed.map(|name| SealedFile::read(root, format!("{DIRECTORY}/{name}"))).collect())
}

fn is_ours(name: &str) -> bool {
    Source::CONFIGURABLE.iter().any(|source| is_of(*source, name))
}

fn is_of(source: Source, name: &str) -> bool {
    name.strip_prefix(source.as_str())
        .and_then(|rest| rest.strip_prefix('-'))
        .and_then(|rest| rest.strip_suffix(".crt"))
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_what_was_sealed_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        assert!(read_exported_sealed(&root).unwrap().is_empty());
        let directory = dir.path().join("run/verity.d");
        fs::create_dir_all(&directory).unwrap();
        for name in ["sealed-2.crt", "sealed-1.crt", "db-1.crt", "sealed-x.crt", "mine.crt"] {
            fs::write(directory.join(name), name).unwrap();
        }
        let found = read_exported_sealed(&root).unwrap();
        let paths: Vec<_> = found.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["/run/verity.d/sealed-1.crt", "/run/verity.d/sealed-2.crt"]);
        assert_eq!(found[0].content.as_ref().unwrap(), b"sealed-1.crt");
    }
}
