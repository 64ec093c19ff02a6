//! Options that say who signs, shared by the commands that make images.

use crate::build::{MAX_PASSPHRASE, SigningKey};
use anyhow::{Context, Result};
use clap::Args;
use ddi::text::Text;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Environment variable with the passphrase of an encrypted key.
const VARIABLE: &str = "SEXTANT_PASSPHRASE";

/// Largest file with a key or passphrase in bytes.
const MAX_SECRET: u64 = 64 << 10;

/// Key and certificate of the signer
#[derive(Debug, Args)]
#[command(next_help_heading = "Signing")]
pub(super) struct SigningOptions {
    /// Sign with the private key in KEY (PEM; RSA or EC). The passphrase of an encrypted key comes from
    /// --passphrase-file, `SEXTANT_PASSPHRASE` in the environment, or a prompt
    #[arg(long, value_name = "KEY")]
    pub(super) private_key: Option<PathBuf>,
    /// Certificate of the key (PEM), a trust anchor of the target machines
    #[arg(long, value_name = "CERT")]
    pub(super) certificate: Option<PathBuf>,
    /// Read the passphrase of the key from the first line of FILE
    #[arg(long, value_name = "FILE", requires = "private_key")]
    passphrase_file: Option<PathBuf>,
}

impl SigningOptions {
    /// Reads the key and its certificate, and makes sure that they can be used, before any work begins.
    pub(super) fn read(&self) -> Result<SigningKey> {
        let missing = || super::usage("signing needs --private-key KEY and --certificate CERT");
        let key_path = self.private_key.as_deref().ok_or_else(missing)?;
        let certificate = self.read_certificate()?;
        let key = read_secret(key_path).with_context(|| format!("reading private key {}", key_path.display()))?;
        let passphrase = &mut |buf: &mut [u8]| self.passphrase(key_path, buf);
        SigningKey::read(&key, &certificate, passphrase)
            .with_context(|| format!("reading private key {}", key_path.display()))
    }

    /// The bytes of the certificate's file.
    pub(super) fn read_certificate(&self) -> Result<Vec<u8>> {
        read(self.certificate.as_deref().ok_or_else(|| super::usage("signing needs --certificate CERT"))?)
    }

    fn passphrase(&self, key: &Path, buf: &mut [u8]) -> io::Result<usize> {
        let secret = if let Some(path) = &self.passphrase_file {
            read_secret(path)
                .map_err(|error| io::Error::new(error.kind(), format!("reading {}: {error}", path.display())))?
        } else if let Some(text) = std::env::var_os(VARIABLE) {
            Zeroizing::new(text.into_vec())
        } else {
            let asked = rpassword::prompt_password(format!("Passphrase of {}: ", key.display()));
            let asked = asked.map_err(|error| {
                let advice =
                    format!("no terminal for the passphrase prompt ({error}): use --passphrase-file or {VARIABLE}");
                io::Error::new(error.kind(), advice)
            })?;
            Zeroizing::new(asked.into_bytes())
        };
        let line = secret.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let bytes = line.strip_suffix(b"\r").unwrap_or(line);
        let target = buf.get_mut(..bytes.len()).filter(|_| bytes.len() <= MAX_PASSPHRASE);
        target
            .ok_or_else(|| io::Error::other(format!("a passphrase has at most {MAX_PASSPHRASE} bytes")))?
            .copy_from_slice(bytes);
        Ok(bytes.len())
    }
}

/// Reads a file with a key or passphrase, whose memory is wiped afterwards, and warns if others can read it as well.
fn read_secret(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    // No other process can open a pipe, such as a shell's `<(…)`.
    if metadata.is_file() && metadata.mode() & 0o044 != 0 {
        let shown = Text::from_os(path.as_os_str());
        let mode = metadata.mode() & 0o7777;
        super::warn(format_args!("{shown} is readable by other users (mode {mode:04o}): run chmod 600 {shown}"));
    }
    // A vector that grows would leave copies behind.
    let limit = MAX_SECRET.saturating_add(1);
    let mut content = Zeroizing::new(Vec::with_capacity(usize::try_from(limit).unwrap_or_default()));
    file.take(limit).read_to_end(&mut content)?;
    if content.len() as u64 > MAX_SECRET {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {MAX_SECRET} bytes")));
    }
    Ok(content)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("reading {}", path.display()))
}
