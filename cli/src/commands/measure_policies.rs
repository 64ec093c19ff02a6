//! Options of `sextant measure` that make policies of what is predicted.

use super::output_options::OutputOptions;
use super::signing_options::SigningOptions;
use crate::measure::{Bank, Digests, Event};
use crate::policies::{Component, Recorded, Row, Signatures, Sort, Variant, uncommon_size};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use ddi::bytes::hex;
use ddi::text::Text;
use serde::Serialize;
use serde_json::json;
use sextant::durable;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Largest file with signatures in bytes.
const MAX_SIGNATURES: u64 = 1 << 20;

/// Policies
#[derive(Debug, Args)]
pub(super) struct PolicyOptions {
    /// Record the values of the boot entries for systemd-pcrlock, as variants in DIR/670-sextant.pcrlock.d. What was recorded
    /// for an entry before stays admitted until --booted
    #[arg(long, value_name = "DIR", conflicts_with = "images", help_heading = "Policies")]
    pcrlock: Option<PathBuf>,
    /// Remove the former sets of the entries whose recorded set this machine has booted. Reads the TPM, not the partition
    #[arg(
        long,
        requires = "pcrlock",
        conflicts_with_all = ["esp", "entry", "add", "remove", "check", "sign"],
        help_heading = "Policies"
    )]
    booted: bool,
    /// Sign the values with --private-key, and write the signatures to FILE (format: tpm2-pcr-signature.json of systemd)
    #[arg(long, value_name = "FILE", requires_all = ["private_key", "certificate"], help_heading = "Policies")]
    sign: Option<PathBuf>,
    /// Keep the signatures in FILE, such as those of sets that may still boot
    #[arg(long, value_name = "FILE", requires = "sign", help_heading = "Policies")]
    append: Option<PathBuf>,
    #[command(flatten)]
    signing: SigningOptions,
}

/// What is predicted of a boot.
#[derive(Clone, Copy)]
pub(super) struct Predicted<'a> {
    /// Name of the boot entry; empty for files without one.
    pub(super) entry: &'a str,
    pub(super) events: &'a [Event],
    /// Value of PCR 13.
    pub(super) value: &'a Digests,
}

/// What was recorded for an entry.
#[derive(Serialize)]
struct Record {
    entry: Text,
    file: Text,
    action: &'static str,
    /// Number of other variants that are admitted for this entry.
    former: usize,
}

/// What was made of the values.
#[derive(Default, Serialize)]
pub(super) struct Policies {
    #[serde(skip_serializing_if = "Option::is_none")]
    pcrlock: Option<Vec<Record>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signatures: Option<PathBuf>,
}

impl PolicyOptions {
    /// The directory, where former variants are to be removed.
    pub(super) fn booted(&self) -> Option<&Path> {
        self.pcrlock.as_deref().filter(|_| self.booted)
    }

    /// Records and signs what is predicted. `all` tells whether these are all boot entries of the partition.
    pub(super) fn apply(&self, rows: &[Predicted<'_>], all: bool) -> Result<Policies> {
        // A key that can't be used is found before anything is written.
        let signed = self.sign.as_deref().map(|path| Ok::<_, anyhow::Error>((path, self.signed(rows)?))).transpose()?;
        let pcrlock = self.pcrlock.as_deref().map(|directory| record(directory, rows, all)).transpose()?;
        if let Some((path, signatures)) = &signed {
            let written = durable::write(path, signatures.to_json().as_bytes(), 0o644);
            written.with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(Policies { pcrlock, signatures: signed.map(|(path, _)| path.to_owned()) })
    }

    fn signed(&self, rows: &[Predicted<'_>]) -> Result<Signatures> {
        let mut signatures = match &self.append {
            Some(path) => read_signatures(path).with_context(|| format!("reading {}", path.display()))?,
            None => Signatures::default(),
        };
        let key = self.signing.read()?;
        if let Some(bits) = uncommon_size(&key)? {
            super::warn(format_args!("the key has {bits} bits: many TPMs verify signatures of 2048 bits only"));
        }
        for row in rows {
            signatures.add(&key, row.value).context("signing values of PCR 13")?;
        }
        Ok(signatures)
    }
}

impl Policies {
    /// Adds them to the document with the values.
    pub(super) fn add_to(&self, mut document: serde_json::Value) -> serde_json::Value {
        if let (Some(document), Ok(serde_json::Value::Object(more))) =
            (document.as_object_mut(), serde_json::to_value(self))
        {
            document.extend(more);
        }
        document
    }

    /// A line for each, after the values.
    pub(super) fn text(&self) -> String {
        let record = |Record { entry, file, action, former }: &Record| {
            let more = match former {
                0 => String::new(),
                1 => ", 1 other set admitted until the entry has booted".to_owned(),
                count => format!(", {count} other sets admitted until the entry has booted"),
            };
            format!("{action}: {file} for {entry}{more}\n")
        };
        let records: String = self.pcrlock.iter().flatten().map(record).collect();
        let signatures =
            self.signatures.iter().map(|path| format!("signatures: {}\n", Text::from_os(path.as_os_str())));
        let lines = records + &signatures.collect::<String>();
        if lines.is_empty() { lines } else { format!("\n{lines}") }
    }
}

fn read_signatures(path: &Path) -> Result<Signatures> {
    let mut content = Vec::new();
    File::open(path)?.take(MAX_SIGNATURES.saturating_add(1)).read_to_end(&mut content)?;
    ensure!(content.len() as u64 <= MAX_SIGNATURES, "more than {MAX_SIGNATURES} bytes");
    Ok(Signatures::parse(&content)?)
}

fn record(directory: &Path, rows: &[Predicted<'_>], all: bool) -> Result<Vec<Record>> {
    let component = Component::create(directory, waiting(directory))?;
    warn_of_others(&component, &component.read()?);
    let mut records = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        let is_other = |other: &Predicted<'_>| other.entry == row.entry && other.events != row.events;
        ensure!(!rows.iter().take(number).any(is_other), "two boot entries are called {}", Text::new(row.entry));
        let changed = component.record(row.entry, &Variant::of(row.events), &[])?;
        records.push((row.entry, if changed { "recorded" } else { "unchanged" }));
    }
    if all {
        let is_gone = |name: &str| rows.iter().all(|row| row.entry != name);
        let recorded = component.read()?;
        for gone in recorded.rows.iter().filter(|row| row.sort == Sort::Next && is_gone(&row.entry)) {
            component.retire(gone)?;
            super::warn(format_args!(
                "boot entry {} is gone: its set stays admitted until the next boot",
                Text::new(&gone.entry)
            ));
        }
    }
    let recorded = component.read()?;
    let record = |(entry, action): (&str, &'static str)| {
        let of_entry = || recorded.rows.iter().filter(|row| row.entry == entry);
        let file = of_entry().find(|row| row.sort == Sort::Next).map(|row| component.path().join(&row.file));
        let file = file.map_or_else(|| Text::new(""), |path| Text::from_os(path.as_os_str()));
        let former = of_entry().filter(|row| row.sort == Sort::Former).count();
        Record { entry: Text::new(entry), file, action, former }
    };
    Ok(records.into_iter().map(record).collect())
}

/// Removes former variants of what this machine has booted since.
pub(super) fn settle(directory: &Path, measured: &[(Bank, Vec<u8>)], output: &OutputOptions) -> Result<ExitCode> {
    let removed = match Component::open(directory, waiting(directory))? {
        Some(component) => remove_obsolete(&component, measured)?,
        None => Vec::new(),
    };
    let document = || {
        let removed = removed.iter().map(|row| json!({ "entry": Text::new(&row.entry), "file": row.file }));
        Ok(json!({ "version": 1, "directory": directory, "removed": removed.collect::<Vec<_>>() }))
    };
    let text = || {
        let removed = removed.iter().map(|row| format!("{}: {} removed\n", Text::new(&row.entry), row.file));
        Ok(if removed.len() == 0 { "nothing to remove\n".to_owned() } else { removed.collect() })
    };
    output.show(document, text)?;
    Ok(ExitCode::SUCCESS)
}

fn remove_obsolete(component: &Component, measured: &[(Bank, Vec<u8>)]) -> Result<Vec<Row>> {
    let recorded = component.read()?;
    warn_of_others(component, &recorded);
    if recorded.rows.iter().all(|row| row.sort == Sort::Next) {
        return Ok(Vec::new());
    }
    let (bank, value) = measured.first().context("the TPM has no value of PCR 13")?;
    let Some(obsolete) = recorded.obsolete(*bank, value)? else {
        bail!(
            "nothing removed: this machine booted a set of extensions that is not recorded in {} (PCR 13, {bank}: {})",
            component.path().display(),
            hex(value)
        );
    };
    let obsolete: Vec<Row> = obsolete.into_iter().cloned().collect();
    obsolete.iter().try_for_each(|row| component.remove(row))?;
    Ok(obsolete)
}

/// What is said before another process of sextant is waited for.
pub(super) fn waiting(directory: &Path) -> impl FnOnce() + '_ {
    || super::warn(format_args!("waiting for another sextant process to release {}", directory.display()))
}

/// Warns of files that widen the policy, or have systemd-pcrlock fail.
pub(super) fn warn_of_others(component: &Component, recorded: &Recorded) {
    for line in &recorded.others {
        super::warn(format_args!("{}: {line}", component.path().display()));
    }
}
