//! `sextant sign`

use super::interrupt;
use super::output_options::JsonOptions;
use super::progress::Steps;
use super::signing_options::SigningOptions;
use super::target;
use crate::build::{SigningKey, Workshop};
use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use ddi::Class;
use ddi::ExtensionName;
use ddi::io::{FileSource, ReadAt};
use ddi::verity::default_threads;
use ddi::write::{Parts, fingerprint, take_apart};
use openssl::x509::X509;
use sextant::reason::{Reason, Refusal};
use sextant::verify::cms;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Most bytes of a signature's file: the largest signature in base64, in lines, with room for text around it.
const MAX_FILE: usize = 2 * cms::MAX_SIZE;
/// What PEM calls a signature: `openssl cms`, `openssl smime` and RFC 2315's name for it.
const LABELS: [&str; 3] = ["CMS", "PKCS7", "PKCS #7 SIGNED DATA"];

/// Sign an unsigned image, or re-sign a signed one
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sextant sign k3s.sysext.unsigned --private-key db.key --certificate db.crt
        sign with a key in a file
  sextant sign k3s.sysext.unsigned \\
      --private-key 'pkcs11:token=release;object=db' --certificate db.crt
        sign with a key in a token, and prompt for its PIN
  openssl cms -sign -binary -noattr -outform DER -in k3s.sysext.roothash \\
      -inkey \"$KEY\" -signer db.crt -out k3s.sysext.roothash.p7s
  sextant sign k3s.sysext.unsigned --signature k3s.sysext.roothash.p7s \\
      --certificate db.crt
        attach a signature that OpenSSL made, also on another machine
  sextant sign k3s.sysext.raw --private-key new.key --certificate new.crt \\
      --output resigned
        replace the signature of a signed image

The image is verified before it gets its final name: a machine that trusts CERT accepts it.

Exit status: 0 signed; 1 not signed; 2 usage.")]
pub(super) struct Arguments {
    /// Image written by `build --unsigned`, or a signed image
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
    /// Attach the signature of the root hash in FILE (PKCS#7, DER or PEM)
    #[arg(long, value_name = "FILE", conflicts_with = "private_key")]
    signature: Option<PathBuf>,
    /// Write to the directory DIR, or to FILE, which must be named NAME.sysext.raw [default: directory of the image]
    #[arg(short, long, value_name = "DIR|FILE")]
    output: Option<PathBuf>,
    /// Overwrite an existing file that is not an extension image
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    signing: SigningOptions,
    #[command(flatten)]
    json: JsonOptions,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let path = &arguments.image;
    let (class, name) = name(path)?;
    let context = || format!("signing {}", path.display());
    let beside = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file_name = target::file_name(&name, class, true);
    let output = target::directory(arguments.output.as_deref().unwrap_or(beside), &file_name)?;
    target::check_replaced(&output.join(&file_name), arguments.force)?;
    let (signer, certificate) = if let Some(file) = &arguments.signature {
        let certificates = arguments.signing.read_certificates()?;
        let certificate = certificates.first().with_context(context)?.to_owned();
        (Signature::Made(read_signature(file)?), certificate)
    } else {
        let key = arguments.signing.read()?;
        let certificate = key.certificate().to_owned();
        (Signature::Key(key), certificate)
    };
    let steps = Arc::new(Steps::begin());
    let watch = steps.watch();
    let source = FileSource::new(File::open(path).with_context(context)?).with_context(context)?;
    // It is read twice: for its hash tree, and when it is copied.
    let (observer, total) = (Arc::clone(&watch), source.len().saturating_mul(2));
    let source = source.observed(Arc::new(move |bytes| observer("checking and copying the image", total, bytes)));
    let mut data = None;
    let parts = take_apart(&source, &mut data, default_threads()).with_context(context)?;
    let parts = signer.apply(parts, &certificate).with_context(context)?;
    let workshop = Workshop::open(&output)?;
    interrupt::clean_up(workshop.directory().to_owned()).context("listening for signals")?;
    let draft = workshop.draft(&file_name).with_context(context)?;
    draft.write(&parts).with_context(context)?;
    let finished = workshop.finish(&draft, class, parts.architecture, &certificate, &watch).with_context(context)?;
    steps.end();
    let (file, bytes) = (finished.display(), finished.metadata().with_context(context)?.len());
    let document = || {
        Ok(serde_json::json!({
            "version": 1, "file": file.to_string(), "name": name.as_str(), "class": class, "size": bytes,
            "root_hash": parts.root_hash,
        }))
    };
    let text = || Ok(format!("{file}  {}  root hash {}\n", super::size(bytes), parts.root_hash));
    arguments.json.show(document, text)?;
    Ok(ExitCode::SUCCESS)
}

enum Signature {
    Key(SigningKey),
    Made(Vec<u8>),
}

impl Signature {
    fn apply<'a>(&self, parts: Parts<'a>, certificate: &X509) -> Result<Parts<'a>> {
        Ok(match self {
            Self::Key(key) => parts.sign(&key.signer())?,
            Self::Made(pkcs7) => parts.attach(pkcs7, &fingerprint(certificate)?),
        })
    }
}

/// What the file name says: `NAME.sysext.unsigned`, or `NAME.sysext.raw`.
fn name(path: &Path) -> Result<(Class, ExtensionName)> {
    let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if let Some((class, stem)) = Class::of_file_name(file).or_else(|| Class::of_unsigned_file_name(file)) {
        let name = ExtensionName::new(stem).with_context(|| format!("signing {}", path.display()))?;
        return Ok((class, name));
    }
    bail!("signing {}: file name must be NAME.sysext.unsigned or NAME.sysext.raw (or .confext)", path.display())
}

/// The DER form of a signature.
fn read_signature(path: &Path) -> Result<Vec<u8>> {
    let context = || format!("reading signature {}", path.display());
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_FILE).unwrap_or(u64::MAX);
    File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes)).with_context(context)?;
    if bytes.len() > MAX_FILE {
        bail!("{}: file is larger than {MAX_FILE} bytes", context());
    }
    let der = match std::str::from_utf8(&bytes) {
        Ok(text) if text.contains("-----BEGIN ") => from_pem(text).with_context(context)?,
        _ => bytes,
    };
    cms::parse(&der).map_err(|error| Refusal::new(Reason::BadSignature, &error)).with_context(context)?;
    Ok(der)
}

/// The first signature of a PEM text (RFC 7468).
fn from_pem(text: &str) -> Result<Vec<u8>> {
    let found = LABELS.iter().find_map(|label| {
        let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
        rest.split_once(&format!("-----END {label}-----")).map(|(base64, _)| base64)
    });
    let Some(base64) = found else { bail!("file has no PEM block with the label {}", LABELS.join(", ")) };
    let base64: String = base64.split_ascii_whitespace().collect();
    STANDARD.decode(base64).context("decoding base64")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_signature_is_found_between_the_lines_of_a_pem_file() {
        for label in LABELS {
            let text = format!("note\n-----BEGIN {label}-----\r\nMA\nA=\n-----END {label}-----\n");
            assert_eq!(from_pem(&text).unwrap(), [0x30, 0], "{label}");
        }
        for wrong in ["-----BEGIN CMS-----\nMAA=\n", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----"] {
            assert!(from_pem(wrong).unwrap_err().to_string().contains("no PEM block"), "{wrong}");
        }
        assert!(from_pem("-----BEGIN CMS-----\n*\n-----END CMS-----").is_err());
    }
}
