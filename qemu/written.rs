//! Parts of pages that `make comparison` writes.

use crate::toolbox::repository;
use std::fs;

const BEGIN: &str = "<!-- Written by `make comparison`; changes by hand are lost. -->\n";
const END: &str = "<!-- The end of what `make comparison` writes. -->\n";

/// Writes `text` into the page at this path of the repository, in place of what was written there before.
///
/// # Errors
/// If the page can't be read or written, or doesn't say where.
pub fn write(page: &str, text: &str) -> Result<(), String> {
    let path = repository().join(page);
    let before = fs::read_to_string(&path).map_err(|error| format!("reading {page}: {error}"))?;
    fs::write(&path, put(&before, text).ok_or_else(|| format!("{page} lacks {BEGIN}or {END}"))?)
        .map_err(|error| format!("writing {page}: {error}"))
}

fn put(page: &str, text: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{text}\n{END}{after}"))
}
