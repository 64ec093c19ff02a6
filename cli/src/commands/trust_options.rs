//! Options that select trust anchors, shared by the commands that verify.

use anyhow::{Context, Result, bail};
use clap::Args;
use openssl::x509::X509;
use sextant::firmware::signature_list::SignatureDatabase;
use sextant::firmware::{DirectoryVariables, EFIVARFS, Firmware, SecureBoot, SystemVariables};
use sextant::root::Root;
use sextant::trust::{Certificate, Offer, SealedFile, Source, TrustStore, offers_of_firmware, read_exported_sealed};
use std::path::{Path, PathBuf};

/// Trust anchors
#[derive(Debug, Args)]
#[command(next_help_heading = DEFAULT_TRUST)]
pub(super) struct TrustOptions {
    /// Trust the certificate in FILE (PEM or DER); repeatable
    #[arg(long, value_name = "FILE")]
    certificate: Vec<PathBuf>,
    /// Trust PK, KEK and db, less dbx, of the firmware variables in DIR (format: efivarfs)
    #[arg(long, value_name = "DIR")]
    efivars: Option<PathBuf>,
    /// Trust the first certificate of each *.crt file in DIR, as systemd does with /etc/verity.d
    #[arg(long, value_name = "DIR")]
    verity_dir: Option<PathBuf>,
}

// The doc comment of a flattened struct would be taken for that of the command.
#[derive(Debug, Args)]
pub(super) struct RootedTrustOptions {
    #[command(flatten)]
    pub(super) options: TrustOptions,
    /// Take the default ones from the tree at DIR, below which `sextant-agent stage --root DIR` worked [default: /]
    #[arg(
        long,
        value_name = "DIR",
        conflicts_with_all = ["certificate", "efivars", "verity_dir"],
        help_heading = DEFAULT_TRUST
    )]
    pub(super) root: Option<PathBuf>,
}

impl RootedTrustOptions {
    /// As [`TrustOptions::read`].
    pub(super) fn read(&self, sources: &[Source]) -> Result<Trust> {
        self.options.read_below(self.root.as_deref(), sources)
    }

    /// Whether anybody is named.
    pub(super) fn is_given(&self) -> bool {
        self.options.is_given() || self.root.is_some()
    }
}

/// Heading of the options.
const DEFAULT_TRUST: &str = "Trust anchors (default: firmware of this machine and sealed certificates)";

/// What the options lead to.
pub(super) struct Trust {
    pub(super) store: TrustStore,
    /// What the firmware says, where one was asked.
    pub(super) firmware: Option<Firmware>,
}

impl TrustOptions {
    /// Reads everything that the options name. Of the firmware only what `sources` admits counts; what is
    /// named by file counts in any case.
    pub(super) fn read(&self, sources: &[Source]) -> Result<Trust> {
        self.read_below(None, sources)
    }

    /// The same; where the options name nothing, what the tree at `root` has.
    fn read_below(&self, root: Option<&Path>, sources: &[Source]) -> Result<Trust> {
        let mut files = Vec::new();
        for path in &self.certificate {
            let content = std::fs::read(path).with_context(|| format!("reading certificate {}", path.display()))?;
            // systemd reads PEM only, but what is named here is converted in passing.
            let content = match X509::from_der(&content) {
                Ok(certificate) => certificate.to_pem()?,
                Err(_) => content,
            };
            // A file that was meant to be trusted and can't be is a mistake of whoever named it.
            Certificate::from_pem(&content).with_context(|| format!("reading certificate {}", path.display()))?;
            files.push(SealedFile { path: path.display().to_string(), content: Ok(content) });
        }
        if let Some(directory) = &self.verity_dir {
            files.extend(read_directory(directory)?);
        }
        let firmware = self.firmware(root)?;
        let empty = SignatureDatabase::default();
        let dbx = firmware.as_ref().map_or(&empty, |firmware| &firmware.dbx);
        let mut offers: Vec<Offer> = firmware.as_ref().map(offers_of_firmware).unwrap_or_default();
        if !self.is_given() {
            let root = open(root)?;
            let sealed = read_exported_sealed(&root).context("listing the sealed certificates of this boot")?;
            offers.extend(sealed.iter().map(|file| file.offer(Source::Sealed)));
        }
        offers.extend(files.iter().map(|file| file.offer(Source::File)));
        let mut store = TrustStore::decide_among(offers, &[sources, &[Source::File]].concat(), dbx);
        if let Some(firmware) = &firmware {
            store.note_faults(firmware);
        }
        Ok(Trust { store, firmware })
    }

    /// Whether anybody is named.
    pub(super) fn is_given(&self) -> bool {
        !self.certificate.is_empty() || self.efivars.is_some() || self.verity_dir.is_some()
    }

    fn firmware(&self, root: Option<&Path>) -> Result<Option<Firmware>> {
        match &self.efivars {
            Some(directory) => {
                // What isn't there is a mistake here, not a machine without firmware. The slash asks for a directory.
                let context = || format!("reading firmware variables from {}", directory.display());
                directory.join("").metadata().with_context(context)?;
                Ok(Some(Firmware::read(&DirectoryVariables::new(directory))?))
            }
            None if !self.is_given() => {
                let firmware = match root {
                    None => Firmware::read(&SystemVariables)?,
                    Some(_) => Firmware::read(&variables(&open(root)?)?)?,
                };
                if firmware.secure_boot == SecureBoot::Unavailable {
                    let subject = if root.is_some() { "this tree" } else { "this machine" };
                    bail!(
                        "reading firmware variables: {subject} has no firmware with Secure Boot; \
                         give trust anchors with --certificate, --efivars or --verity-dir"
                    );
                }
                Ok(Some(firmware))
            }
            None => Ok(None),
        }
    }
}

/// Opens the root of the machine, or that of a tree.
fn open(root: Option<&Path>) -> Result<Root> {
    let path = root.unwrap_or(Path::new("/"));
    Root::open(path).with_context(|| format!("opening {}", path.display()))
}

/// The firmware variables of a tree.
fn variables(root: &Root) -> Result<DirectoryVariables> {
    let directory = root.directory(EFIVARFS).with_context(|| format!("opening {EFIVARFS} of the tree"))?;
    Ok(DirectoryVariables::new(directory.with_context(|| format!("the tree has no firmware variables in {EFIVARFS}"))?))
}

fn read_directory(directory: &Path) -> Result<Vec<SealedFile>> {
    let context = || format!("listing certificates in {}", directory.display());
    let mut paths = Vec::new();
    for entry in directory.read_dir().with_context(context)? {
        let path = entry.with_context(context)?.path();
        if path.extension().is_some_and(|extension| extension == "crt") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths
        .into_iter()
        .map(|path| SealedFile { path: path.display().to_string(), content: std::fs::read(&path) })
        .collect())
}
