//! Certificates in files: sealed into the initrd, or named on the command line.

use super::{Certificate, CertificateError, Fingerprint, Offer, Source};
use crate::root::Root;
use ddi::text::Text;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// Directories of the initrd that the UKI's signature covers. A file in the first overrides a file of the same name in
/// the second, as in all configuration of systemd (systemd.unit(5), `conf_files_list`).
pub const SEALED_DIRECTORIES: [&str; 2] = ["/etc/verity.d", "/usr/lib/verity.d"];
/// Maximum size in bytes of a file that is read.
const MAX_FILE: u64 = 1 << 20;

/// A file of a certificate.
#[derive(Debug)]
pub struct SealedFile {
    /// Path, for people.
    pub path: String,
    /// Content, or the error of reading it.
    pub content: io::Result<Vec<u8>>,
}

impl SealedFile {
    /// Reads the file at `path`.
    pub(super) fn read(root: &Root, path: String) -> Self {
        let content = root.read(&path, MAX_FILE).and_then(|content| content.ok_or(io::ErrorKind::NotFound.into()));
        Self { path, content }
    }

    /// Parses the file as a certificate of `source`.
    #[must_use]
    pub fn offer(&self, source: Source) -> Offer {
        let (certificate, sha256) = match &self.content {
            Ok(content) => {
                let certificate = Certificate::from_pem(content);
                let sha256 = certificate.as_ref().ok().map(Certificate::fingerprint);
                (certificate, sha256.or_else(|| Some(Fingerprint::of(content))))
            }
            Err(error) => (Err(CertificateError::Unreadable { message: Text::new(error) }), None),
        };
        Offer { certificate, source, origin: Text::new(&self.path), sha256 }
    }
}

/// Reads `*.crt` of the sealed directories, sorted by name, as systemd does.
///
/// # Errors
/// If a directory exists and cannot be listed. A file that cannot be read is part of the result.
pub fn read_sealed(root: &Root) -> io::Result<Vec<SealedFile>> {
    let mut files = BTreeMap::new();
    for directory in SEALED_DIRECTORIES {
        for name in root.list(directory)?.unwrap_or_default() {
            if Path::new(&name).extension().is_none_or(|extension| extension != "crt") {
                continue;
            }
            let Some(name) = name.to_str() else { continue };
            files.entry(name.to_owned()).or_insert_with(|| format!("{directory}/{name}"));
        }
    }
    Ok(files.into_values().map(|path| SealedFile::read(root, path)).collect())
}
