//! Images that a person names, by themselves or by the directory that they are in.

use anyhow::{Context, Result};
use ddi::Class;
use sextant::verify::extension_name;
use std::path::{Path, PathBuf};

/// The images that are named, and those in directories that are named.
pub(super) fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in paths {
        if !path.is_dir() {
            found.push(path.clone());
            continue;
        }
        let context = || format!("listing {}", path.display());
        let mut inside = Vec::new();
        for entry in path.read_dir().with_context(context)? {
            let entry = entry.with_context(context)?.path();
            if is_extension(&entry) {
                inside.push(entry);
            }
        }
        inside.sort();
        found.extend(inside);
    }
    Ok(found)
}

/// Whether a file's name is that of an extension, of whichever kind.
fn is_extension(path: &Path) -> bool {
    Class::ALL.iter().any(|class| extension_name(path.file_name().unwrap_or_default(), *class).is_ok())
}
