//! The trust anchors as systemd reads them.

use super::{Anchor, Source};
use crate::durable;
use crate::root::Root;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;

/// Where systemd looks for certificates that may sign images (systemd 257, `validate_signature_userspace`).
const DIRECTORY: &str = "/run/verity.d";

/// Writes each anchor to its file under `/run/verity.d`, one PEM certificate a file since systemd reads no
/// more, and removes files that an earlier run wrote for certificates no longer trusted.
///
/// # Errors
/// The first file that can't be written or removed.
pub fn export(root: &Root, anchors: &[Anchor]) -> Result<()> {
    let context = || format!("writing trust anchors to {DIRECTORY}");
    let directory = root.make_directory(DIRECTORY).with_context(context)?;
    let mut names = BTreeSet::new();
    for anchor in anchors {
        let name = anchor.file_name();
        let pem = anchor.certificate().x509().to_pem().with_context(|| format!("encoding {name}"))?;
        durable::write(&directory.join(&name), &pem, 0o444).with_context(|| format!("writing {DIRECTORY}/{name}"))?;
        names.insert(name);
    }
    for name in root.list(DIRECTORY).with_context(context)?.unwrap_or_default() {
        let Some(name) = name.to_str() else { continue };
        if is_ours(name) && !names.contains(name) {
            fs::remove_file(directory.join(name)).with_context(|| format!("removing {DIRECTORY}/{name}"))?;
        }
    }
    Ok(())
}

fn is_ours(name: &str) -> bool {
    Source::CONFIGURABLE.iter().any(|source| {
        name.strip_prefix(source.as_str())
            .and_then(|rest| rest.strip_prefix('-'))
            .and_then(|rest| rest.strip_suffix(".crt"))
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    })
}
