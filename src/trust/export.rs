//! Export of the trust anchors for systemd.

use super::others::{DIRECTORY, Others, Removed};
use super::{Anchor, SealedFile, Source};
use crate::durable;
use crate::root::Root;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;

/// Writes each anchor to its file in `/run/verity.d`, one PEM certificate per file, because systemd reads only the
/// first. Removes files that an earlier run wrote for certificates that are no longer trusted. Also removes files of
/// other programs that are not an anchor, because systemd would trust them, and returns these.
///
/// # Errors
/// The first file that cannot be written or removed.
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

/// Reads the certificates that were sealed in the initrd of this boot, as [`export`] wrote them: on the host, the
/// sealed directories of the initrd no longer exist. The result includes files that cannot be read.
///
/// # Errors
/// If the directory exists and cannot be listed.
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
