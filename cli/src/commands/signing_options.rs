//! Options that say who signs, shared by the commands that make images.

use crate::build::pkcs11::{Pin, Uri, is_pkcs11};
use crate::build::{Certificates, KeyProvider, MAX_PASSPHRASE, PrivateKeys, SigningKey};
use anyhow::{Context, Result};
use clap::Args;
use ddi::text::Text;
use std::cell::Cell;
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
    /// Sign with the private key in the file KEY (PEM or DER; RSA, or ECDSA on P-256, P-384 or P-521), or with the key that a
    /// URI names (`pkcs11:token=NAME;object=NAME`). The passphrase of an encrypted key, or the PIN of a token, comes from
    /// `pin-source` of the URI, --passphrase-file, `SEXTANT_PASSPHRASE` in the environment, or a prompt
    #[arg(long, value_name = "KEY|URI")]
    pub(super) private_key: Option<PathBuf>,
    /// Source of the key: `file`, or `provider:NAME` with the name of an OpenSSL provider [default: provider:pkcs11 for a
    /// pkcs11: URI, else file]
    #[arg(long, value_name = "SOURCE", value_parser = KeySource::parse, requires = "private_key")]
    private_key_source: Option<KeySource>,
    /// Certificate of the key, a trust anchor of the target machines: a file (PEM or DER, also with the key or a chain in
    /// it), or a URI
    #[arg(long, value_name = "CERT|URI")]
    pub(super) certificate: Option<PathBuf>,
    /// Source of the certificate, in the same form
    #[arg(long, value_name = "SOURCE", value_parser = KeySource::parse, requires = "certificate")]
    certificate_source: Option<KeySource>,
    /// Read the passphrase of the key, or the PIN of the token, from the first line of FILE
    #[arg(long, value_name = "FILE", requires = "private_key")]
    passphrase_file: Option<PathBuf>,
}

/// Where a key or certificate is, in the form of systemd-repart(8).
#[derive(Debug, Clone, PartialEq, Eq)]
enum KeySource {
    File,
    Provider(String),
}

impl KeySource {
    fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "file" => Ok(Self::File),
            Some(("provider", name)) if !name.is_empty() => Ok(Self::Provider(name.to_owned())),
            Some(("engine", _)) => {
                Err("engines are no longer supported by OpenSSL; use provider:NAME, such as provider:pkcs11".into())
            }
            _ => Err("a source is `file` or `provider:NAME`".into()),
        }
    }

    /// The source that is named, or that the location itself names.
    fn of(named: Option<&Self>, location: &Path) -> Self {
        let is_uri = location.to_str().is_some_and(is_pkcs11);
        named.cloned().unwrap_or(if is_uri { Self::Provider("pkcs11".into()) } else { Self::File })
    }
}

impl SigningOptions {
    /// Reads the key and its certificate, and makes sure that they can be used, before any work begins.
    pub(super) fn read(&self) -> Result<SigningKey> {
        let missing = || super::usage("signing needs --private-key KEY and --certificate CERT");
        let location = self.private_key.as_deref().ok_or_else(missing)?;
        let (certificates, loaded) = self.certificates()?;
        let (keys, shown) = match KeySource::of(self.private_key_source.as_ref(), location) {
            KeySource::File => {
                let shown = location.display().to_string();
                let read = || -> Result<PrivateKeys> {
                    let bytes = read_secret(location)?;
                    let ask = &mut |buf: &mut [u8]| self.secret(&format!("Passphrase of {shown}"), buf);
                    Ok(PrivateKeys::read(&bytes, ask)?)
                };
                (read().with_context(|| format!("reading private key {shown}"))?, shown)
            }
            KeySource::Provider(name) => {
                let uri = Located::parse(location).context("reading --private-key")?;
                let context = || format!("reading private key {}", uri.text);
                // Never one after the other: a module that was finalized with the first one may crash in the second
                // (SoftHSM 2.6).
                let provider = match loaded {
                    Some((of, provider)) if of == name => provider,
                    _ => KeyProvider::load(&name).with_context(context)?,
                };
                let keys = PrivateKeys::of_provider(provider, &uri.text, &mut |buf| self.pin(&uri, buf));
                (keys.with_context(context)?, uri.text)
            }
        };
        SigningKey::pair(keys, certificates).with_context(|| format!("reading private key {shown}"))
    }

    /// The certificates of the file or token.
    pub(super) fn read_certificates(&self) -> Result<Certificates> {
        Ok(self.certificates()?.0)
    }

    /// The certificates, and the provider that was loaded for them, with its name.
    fn certificates(&self) -> Result<(Certificates, Option<(String, KeyProvider)>)> {
        let missing = || super::usage("signing needs --certificate CERT");
        let location = self.certificate.as_deref().ok_or_else(missing)?;
        match KeySource::of(self.certificate_source.as_ref(), location) {
            KeySource::File => {
                let context = || format!("reading certificate {}", location.display());
                // A bundle has the key in it too.
                let bytes = Zeroizing::new(std::fs::read(location).with_context(context)?);
                Ok((Certificates::read(&bytes).with_context(context)?, None))
            }
            KeySource::Provider(name) => {
                let uri = Located::parse(location).context("reading --certificate")?;
                let context = || format!("reading certificate {}", uri.text);
                let provider = KeyProvider::load(&name).with_context(context)?;
                let found = Certificates::of_provider(&provider, &uri.text, &mut |buf| self.pin(&uri, buf));
                Ok((found.with_context(context)?, Some((name, provider))))
            }
        }
    }

    /// The PIN of a token: what its URI names comes first.
    fn pin(&self, located: &Located, buf: &mut [u8]) -> io::Result<usize> {
        if located.asked.replace(true) {
            // A token is locked after a few wrong ones.
            return Err(io::Error::other("the PIN or passphrase is wrong"));
        }
        match &located.pin {
            Some(Pin::Value(value)) => first_line(value, buf),
            Some(Pin::File(path)) => first_line(&read_named(path)?, buf),
            None => self.secret(&format!("PIN or passphrase of {}", Text::new(&located.text)), buf),
        }
    }

    /// A passphrase or PIN out of a file or the environment, or from the terminal.
    fn secret(&self, prompt: &str, buf: &mut [u8]) -> io::Result<usize> {
        let secret = if let Some(path) = &self.passphrase_file {
            read_named(path)?
        } else if let Some(text) = std::env::var_os(VARIABLE) {
            Zeroizing::new(text.into_vec())
        } else {
            let asked = rpassword::prompt_password(format!("{prompt}: "));
            let asked = asked.map_err(|error| {
                let advice =
                    format!("no terminal for the passphrase prompt ({error}): use --passphrase-file or {VARIABLE}");
                io::Error::new(error.kind(), advice)
            })?;
            Zeroizing::new(asked.into_bytes())
        };
        first_line(&secret, buf)
    }
}

/// A URI for a provider, and the PIN that was in it.
struct Located {
    text: String,
    pin: Option<Pin>,
    /// Whether the PIN was asked for already.
    asked: Cell<bool>,
}

impl Located {
    fn parse(location: &Path) -> Result<Self> {
        let text = location.to_str().context("URI isn't UTF-8")?;
        let uri = if is_pkcs11(text) { Uri::parse(text)? } else { Uri { text: text.to_owned(), pin: None } };
        if matches!(uri.pin, Some(Pin::Value(_))) {
            super::warn(
                "the PIN is part of the command line, which other users of this machine can read: \
                 use pin-source=file:/PATH in the URI, --passphrase-file or SEXTANT_PASSPHRASE, or leave it out to be asked",
            );
        }
        Ok(Self { text: uri.text, pin: uri.pin, asked: Cell::new(false) })
    }
}

/// Writes the first line of a secret into a buffer, and returns its length.
fn first_line(secret: &[u8], buf: &mut [u8]) -> io::Result<usize> {
    let line = secret.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let bytes = line.strip_suffix(b"\r").unwrap_or(line);
    let target = buf.get_mut(..bytes.len()).filter(|_| bytes.len() <= MAX_PASSPHRASE);
    target
        .ok_or_else(|| io::Error::other(format!("a passphrase has at most {MAX_PASSPHRASE} bytes")))?
        .copy_from_slice(bytes);
    Ok(bytes.len())
}

/// The same as [`read_secret`], with the path in the error.
fn read_named(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    read_secret(path).map_err(|error| io::Error::new(error.kind(), format!("reading {}: {error}", path.display())))
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
