//! What is sealed into the initrd: configuration and certificates, read as the agent reads them.

use super::check::{Checks, Group};
use super::look::{File, Look};
use ddi::text::{Message, Text};
use serde::Serialize;
use sextant::firmware::signature_list::SignatureDatabase;
use sextant::policy::{self, CONFIG_PATHS, Policy};
use sextant::trust::{SEALED_DIRECTORIES, SealedFile, Source, TrustStore};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// Largest configuration or certificate, as for the agent.
const MAX_FILE: usize = 1 << 20;

/// What is sealed.
#[derive(Debug, Default, Serialize)]
pub struct Sealed {
    /// The configuration that counts; `null` without one
    pub configuration: Option<Text>,
    /// Certificates that may sign extensions, besides those of the firmware
    pub certificates: Vec<CertificateRow>,
}

/// A sealed certificate.
#[derive(Debug, Serialize)]
pub struct CertificateRow {
    /// Its file
    pub path: Text,
    /// Its subject; `null` if the file holds no certificate
    pub subject: Option<Text>,
    /// Its fingerprint
    pub sha256: Option<String>,
    /// Why it is not trusted
    pub ignored: Option<Message>,
}

impl Sealed {
    pub(super) fn check(look: &Look<'_>, checks: &mut Checks) -> io::Result<Self> {
        let (configuration, policy) = configuration(look, checks)?;
        // Which certificates a broken configuration admits is unknown: nothing is staged then.
        let certificates = certificates(look, &policy.unwrap_or_default(), checks)?;
        Ok(Self { configuration, certificates })
    }
}

/// The first configuration that is there.
fn configuration(look: &Look<'_>, checks: &mut Checks) -> io::Result<(Option<Text>, Option<Policy>)> {
    let effect = "the agent stages nothing (bad-configuration): no extension is merged";
    for path in CONFIG_PATHS {
        let problem = match look.read(path, MAX_FILE)? {
            File::Absent if look.has_name(path)? => Message::from("there is no regular file"),
            File::Absent => continue,
            File::Unreadable(cause) => cause,
            File::Bytes(content) => match policy::parse(path, &content) {
                Ok(policy) => {
                    checks.ok(Group::Configuration, path, None);
                    return Ok((Some(path.into()), Some(policy)));
                }
                Err(error) => Message::new(super::chain(&error)),
            },
        };
        checks.wrong(Group::Configuration, path, problem, effect);
        return Ok((Some(path.into()), None));
    }
    checks.ok(Group::Configuration, "defaults", Some("no configuration is sealed".into()));
    Ok((None, None))
}

/// As the agent picks the files of these directories (`src/trust/sealed.rs`).
fn is_certificate(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "crt")
}

fn certificates(look: &Look<'_>, policy: &Policy, checks: &mut Checks) -> io::Result<Vec<CertificateRow>> {
    let mut paths = BTreeMap::new();
    for directory in SEALED_DIRECTORIES {
        for name in look.names(directory)?.into_iter().filter(|name| is_certificate(name)) {
            paths.entry(name.clone()).or_insert_with(|| format!("{directory}/{name}"));
        }
    }
    let mut files = Vec::new();
    for path in paths.into_values() {
        let content = match look.read(&path, MAX_FILE)? {
            File::Bytes(content) => Ok(content),
            File::Absent => Err(io::ErrorKind::NotFound.into()),
            File::Unreadable(cause) => Err(io::Error::other(cause.to_string())),
        };
        files.push(SealedFile { path, content });
    }
    let offers: Vec<_> = files.iter().map(|file| file.offer(Source::Sealed)).collect();
    let store = TrustStore::decide_among(offers.clone(), &policy.sources, &SignatureDatabase::default());
    let mut rows = Vec::new();
    for offer in offers {
        let certificate = offer.certificate.as_ref().ok();
        let told = store.ignored().iter().find(|ignored| ignored.origin == offer.origin);
        let is_anchor = certificate.is_some_and(|it| store.anchors().iter().any(|anchor| anchor.certificate() == it));
        let ignored = told.map(|ignored| ignored.reason.clone());
        let ignored = ignored.or_else(|| offer.certificate.as_ref().err().map(Message::new));
        let path = offer.origin.as_str();
        match (&ignored, is_anchor) {
            (None, _) => checks.ok(Group::Certificates, path, certificate.map(|it| Message::new(it.subject()))),
            // A twin does no harm.
            (Some(reason), true) => checks.note(Group::Certificates, path, reason.clone()),
            (Some(reason), false) => {
                let effect = "images that it signed are rejected as unknown-signer unless the firmware has it";
                checks.wrong(Group::Certificates, path, reason.clone(), effect);
            }
        }
        rows.push(CertificateRow {
            path: offer.origin.clone(),
            subject: certificate.map(|it| it.subject().clone()),
            sha256: certificate.map(|it| it.fingerprint().to_string()),
            ignored,
        });
    }
    Ok(rows)
}
