//! Options that say which partition and which boot entries are meant.

use crate::esp::{self, Entries, Entry, Esp};
use crate::policy::{self, Policy};
use crate::root::Root;
use anyhow::{Context, Result};
use clap::Args;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Where the boot entries are
#[derive(Debug, Args)]
pub(super) struct EspOptions {
    /// The EFI system partition [default: the mounted one that this machine booted from]
    #[arg(long, value_name = "DIR")]
    esp: Option<PathBuf>,
}

impl EspOptions {
    /// Opens the partition.
    pub(super) fn open(&self) -> Result<Esp> {
        let path = match &self.esp {
            Some(path) => path.clone(),
            None => esp::find().context("looking for the EFI system partition (name it with --esp)")?,
        };
        Esp::open(&path).with_context(|| format!("opening the EFI system partition {}", path.display()))
    }
}

/// For which boot entries
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(super) struct EntryOptions {
    /// In the extensions of the boot entry NAME; may be given several times
    #[arg(long, value_name = "NAME", conflicts_with = "all")]
    entry: Vec<String>,
    /// In those of all boot entries
    #[arg(long)]
    all: bool,
}

impl EntryOptions {
    /// Whether no entry is named.
    pub(super) fn is_all(&self) -> bool {
        self.all
    }

    /// The entries that are meant.
    pub(super) fn entries(&self, esp: &Esp) -> Result<Vec<Entry>> {
        if self.all { Ok(all_entries(esp)?.found) } else { entries(esp, &self.entry) }
    }
}

/// All boot entries. What had to be left out is said on standard error.
pub(super) fn all_entries(esp: &Esp) -> Result<Entries> {
    let entries = esp.entries().with_context(|| listing(esp))?;
    for line in &entries.left_out {
        super::warn(line);
    }
    Ok(entries)
}

/// The entries of these names, each UKI once.
pub(super) fn entries(esp: &Esp, names: &[String]) -> Result<Vec<Entry>> {
    let all = all_entries(esp)?;
    let found = names.iter().map(|name| all.named(name).with_context(|| listing(esp)));
    Ok(Entry::by_uki(found.collect::<Result<Vec<_>>>()?))
}

/// Has the partition to itself, until what is returned is dropped.
pub(super) fn lock(esp: &Esp) -> Result<File> {
    let path = esp.path().display();
    let waiting = || super::warn(format_args!("waiting for another sextant that is changing {path}"));
    esp.lock(waiting).with_context(|| format!("locking {path}"))
}

/// What is being done while entries are looked for.
pub(super) fn listing(esp: &Esp) -> String {
    format!("listing the boot entries of {}", esp.path().display())
}

/// The configuration that decides which entries may have extensions: `file`, else what the running system has. (On a
/// machine whose UKI holds the whole system that is what the UKI seals.)
pub(super) fn policy(file: Option<&Path>) -> Result<Policy> {
    match file {
        Some(file) => Ok(policy::load_file(file)?),
        None => Ok(policy::load(&Root::open(Path::new("/")).context("opening /")?)?),
    }
}
