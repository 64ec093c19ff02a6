//! What has been staged, so that a later run can take it back.
//!
//! A run that finds less to trust than the one before it must not leave what only the earlier one
//! trusted. Files of others in the same directories are none of our business.

use crate::extension::ExtensionName;
use crate::image::Class;
use crate::root::Root;
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::io;

const DIRECTORY: &str = "/run/sextant/staged";

/// Notes that an image is about to be staged. Noted first: rather a note without file than a file
/// without note.
pub(super) fn note(root: &Root, class: Class, name: &ExtensionName) -> io::Result<()> {
    let directory = root.make_directory(&format!("{DIRECTORY}/{class}"))?;
    File::create(directory.join(format!("{name}.raw"))).map(drop)
}

/// Takes back everything that earlier runs staged.
///
/// # Errors
/// The first file that can't be removed.
pub fn withdraw(root: &Root) -> Result<()> {
    for class in Class::ALL {
        let directory = format!("{DIRECTORY}/{class}");
        let context = || format!("taking back what {directory} lists");
        let Some(notes) = root.directory(&directory).with_context(context)? else { continue };
        let staged = root.directory(class.staging_directory()).with_context(context)?;
        for name in root.list(&directory).with_context(context)?.unwrap_or_default() {
            if let Some(staged) = &staged {
                remove(&staged.join(&name)).with_context(context)?;
            }
            remove(&notes.join(&name)).with_context(context)?;
        }
    }
    Ok(())
}

fn remove(path: &std::path::Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
