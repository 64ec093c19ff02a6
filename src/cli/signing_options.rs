//! Options that say who signs, shared by the commands that make images.

use crate::build::{MAX_PASSPHRASE, SigningKey};
use anyhow::{Context, Result};
use clap::Args;
use std::io;
use std::path::{Path, PathBuf};

/// Environment variable with the passphrase of an encrypted key.
const VARIABLE: &str = "SEXTANT_PASSPHRASE";

/// Who signs
#[derive(Debug, Args)]
#[command(next_help_heading = "Signing")]
pub(super) struct SigningOptions {
    /// Sign with the private key in KEY (PEM, RSA or EC). If it is encrypted, the passphrase is taken from
    /// --passphrase-file, else from the environment's `SEXTANT_PASSPHRASE`, else asked for
    #[arg(long, value_name = "KEY")]
    pub(super) private_key: Option<PathBuf>,
    /// The certificate (PEM) that belongs to the key, and that machines trust
    #[arg(long, value_name = "CERT")]
    pub(super) certificate: Option<PathBuf>,
    /// The first line of FILE is the passphrase of the key
    #[arg(long, value_name = "FILE", requires = "private_key")]
    passphrase_file: Option<PathBuf>,
}

impl SigningOptions {
    /// Reads the key and its certificate, and makes sure that they can be used, before any work begins.
    pub(super) fn read(&self) -> Result<SigningKey> {
        let missing = || super::usage("signing needs --private-key KEY and --certificate CERT");
        let key_path = self.private_key.as_deref().ok_or_else(missing)?;
        let certificate = self.read_certificate()?;
        let key = read(key_path)?;
        let passphrase = &mut |buf: &mut [u8]| self.passphrase(key_path, buf);
        SigningKey::read(&key, &certificate, passphrase)
            .with_context(|| format!("reading private key {}", key_path.display()))
    }

    /// The bytes of the certificate's file.
    pub(super) fn read_certificate(&self) -> Result<Vec<u8>> {
        read(self.certificate.as_deref().ok_or_else(|| super::usage("signing needs --certificate CERT"))?)
    }

    fn passphrase(&self, key: &Path, buf: &mut [u8]) -> io::Result<usize> {
        let text = if let Some(path) = &self.passphrase_file {
            let text = std::fs::read_to_string(path)
                .map_err(|error| io::Error::new(error.kind(), format!("reading {}: {error}", path.display())))?;
            text.lines().next().unwrap_or_default().to_owned()
        } else if let Ok(text) = std::env::var(VARIABLE) {
            text
        } else {
            rpassword::prompt_password(format!("Passphrase of {}: ", key.display())).map_err(|error| {
                let advice = format!(
                    "there is no terminal to ask for the passphrase ({error}): use --passphrase-file or {VARIABLE}"
                );
                io::Error::new(error.kind(), advice)
            })?
        };
        let bytes = text.as_bytes();
        let target = buf.get_mut(..bytes.len()).filter(|_| bytes.len() <= MAX_PASSPHRASE);
        target
            .ok_or_else(|| io::Error::other(format!("a passphrase has at most {MAX_PASSPHRASE} bytes")))?
            .copy_from_slice(bytes);
        Ok(bytes.len())
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("reading {}", path.display()))
}
