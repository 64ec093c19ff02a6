//! Writes the manual pages and the completions of both programs: `manual DIRECTORY` makes `DIRECTORY/man/man1/sextant.1`
//! and so on, and `DIRECTORY/completions/SHELL/…`.
//!
//! All of it comes from what the programs say about themselves (`--help`) and from pages of `docs/`, so
//! that nothing can be said twice and differently.

use xtask::pages;

use anyhow::{Result, bail};
use std::path::Path;

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(directory), None) = (arguments.next(), arguments.next()) else {
        bail!("usage: manual DIRECTORY");
    };
    pages::write_all(Path::new(&directory))
}
