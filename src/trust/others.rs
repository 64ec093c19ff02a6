//! Certificates that other programs put where systemd looks for signers of images.
//!
//! immucore writes all of PK, KEK and db there and does not consult dbx, so systemd would trust a signer that dbx
//! revokes (immucore 0.20.4, `pkg/state/steps_uki.go`, `ExtractCerts`).

use super::{Anchor, Fingerprint, SealedFile, Source};
use crate::root::Root;
use anyhow::{Context, Result, bail};
use ddi::text::{Message, Text};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Directory in which systemd looks for signers of images (systemd 257, `validate_signature_userspace`).
pub(super) const DIRECTORY: &str = "/run/verity.d";
/// Maximum number of removed files that are listed.
const MAX_LISTED: usize = 64;

/// The files that were removed.
#[derive(Debug, Default)]
pub struct Removed {
    /// The first files, with the reasons.
    pub files: Vec<(Text, Message)>,
    /// Number of further files.
    pub more: usize,
}

/// Files in [`DIRECTORY`] that sextant did not write.
pub(super) struct Others<'a> {
    root: &'a Root,
    directory: &'a Path,
    anchors: BTreeSet<[u8; 32]>,
    pub(super) removed: Removed,
}

impl<'a> Others<'a> {
    pub(super) fn new(root: &'a Root, directory: &'a Path, anchors: &[Anchor]) -> Self {
        let anchors = anchors.iter().map(|anchor| *anchor.certificate().fingerprint().as_bytes()).collect();
        Self { root, directory, anchors, removed: Removed::default() }
    }

    /// Removes the file `name`, unless systemd ignores it or it is a trust anchor.
    ///
    /// systemd reads regular files, and links to them, with a name that ends in `.crt` (systemd 257, `conf_files_list`
    /// with `CONF_FILES_REGULAR`). The target of a link can change before systemd reads it, so all links are removed.
    pub(super) fn judge(&mut self, name: &OsStr) -> Result<()> {
        let path = self.directory.join(name);
        let Ok(metadata) = path.symlink_metadata() else { return Ok(()) };
        if !name.as_bytes().ends_with(b".crt") || metadata.is_dir() {
            return Ok(());
        }
        let Some(cause) = self.fault(name, metadata.is_file()) else { return Ok(()) };
        let file = Text::from_os(name);
        self.is_in_memory().with_context(|| format!("removing {DIRECTORY}/{file}"))?;
        fs::remove_file(&path).with_context(|| format!("removing {DIRECTORY}/{file}"))?;
        if self.removed.files.len() < MAX_LISTED {
            self.removed.files.push((file, cause));
        } else {
            self.removed.more = self.removed.more.saturating_add(1);
        }
        Ok(())
    }

    /// Returns the reason why systemd must not read the file, `None` if it is a trust anchor.
    fn fault(&self, name: &OsStr, is_file: bool) -> Option<Message> {
        if !is_file {
            return Some("not a regular file".into());
        }
        let Some(name) = name.to_str() else { return Some("its name is not UTF-8".into()) };
        match SealedFile::read(self.root, format!("{DIRECTORY}/{name}")).offer(Source::File).certificate {
            Ok(certificate) if self.is_anchor(&certificate.fingerprint()) => None,
            Ok(certificate) => {
                Some(Message::new(format_args!("{} is no trust anchor of this boot", certificate.subject())))
            }
            Err(error) => Some(Message::new(error)),
        }
    }

    fn is_anchor(&self, fingerprint: &Fingerprint) -> bool {
        self.anchors.contains(fingerprint.as_bytes())
    }

    /// Checks that the directory is in memory. Files on a disk are never deleted, and the directory can be a mount.
    fn is_in_memory(&self) -> Result<()> {
        let device = |path: &str| self.root.metadata(path).map(|metadata| metadata.dev());
        if device(DIRECTORY)? != device("/run")? {
            bail!("{DIRECTORY} is on another file system than /run");
        }
        Ok(())
    }
}
