//! What is sealed into the initrd: configuration and certificates, read as the agent reads them.

use super::check::{Checks, Group};
use super::look::{File, Look};
use ddi::text::{Message, Text};
use serde::Serialize;
use sextant::firmware::signature_list::SignatureDatabase;
use sextant::policy::{self, CONFIG_PATHS, ConfigError, DROP_IN_DIRECTORIES, Document, Policy, is_drop_in};
use sextant::trust::{SEALED_DIRECTORIES, SealedFile, Source, TrustStore};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// Largest certificate, as for the agent.
const MAX_FILE: usize = 1 << 20;

/// What is sealed.
#[derive(Debug, Default, Serialize)]
pub struct Sealed {
    /// The main file of the configuration that counts; `null` without one
    pub configuration: Option<Text>,
    /// Its drop-ins that count, in the order in which they apply
    pub drop_ins: Vec<Text>,
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
        let (Files { main: configuration, drop_ins }, policy) = configuration(look, checks)?;
        // Which certificates a broken configuration admits is unknown: nothing is staged then.
        let certificates = certificates(look, &policy.unwrap_or_default(), checks)?;
        Ok(Self { configuration, drop_ins, certificates })
    }
}

/// The files of the configuration, and what they come to together; `None` if the agent refuses them.
fn configuration(look: &Look<'_>, checks: &mut Checks) -> io::Result<(Files, Option<Policy>)> {
    let effect = "the agent stages nothing (bad-configuration): no extension is merged";
    let wrong = |checks: &mut Checks, error: &ConfigError| {
        checks.wrong(Group::Configuration, error.path(), Message::new(super::chain(error)), effect);
    };
    let documents = policy::find(look);
    let (mut files, mut is_good) = (Files::default(), true);
    for found in documents.iter() {
        let (path, checked) = match found {
            Ok(document) => (document.path(), document.check()),
            Err(error) => {
                wrong(checks, error);
                files.add(error.path());
                is_good = false;
                continue;
            }
        };
        files.add(path);
        match checked {
            Ok(()) => checks.ok(Group::Configuration, path, found.ok().and_then(role)),
            Err(error) => wrong(checks, &error),
        }
    }
    let is_empty = documents.iter().next().is_none();
    let policy = match documents.parse() {
        Ok(policy) => Some(policy),
        Err(error @ ConfigError::Together { .. }) if is_good => {
            wrong(checks, &error);
            None
        }
        // It is among the checks already.
        Err(_) => None,
    };
    ignored(look, checks)?;
    if is_empty {
        checks.ok(Group::Configuration, "defaults", Some("no configuration is sealed".into()));
    }
    Ok((files, policy))
}

/// What a file does besides its keys.
fn role(document: &Document) -> Option<Message> {
    match (document.replaces(), document.is_empty()) {
        (Some(other), true) => Some(Message::new(format_args!("masks {other}"))),
        (Some(other), false) => Some(Message::new(format_args!("replaces {other}"))),
        (None, true) => Some("empty".into()),
        (None, false) => None,
    }
}

/// Files beside the drop-ins that do not count. One that begins with a dot is not meant to.
fn ignored(look: &Look<'_>, checks: &mut Checks) -> io::Result<()> {
    for directory in DROP_IN_DIRECTORIES {
        for name in look.names(directory)? {
            if !name.starts_with('.') && !is_drop_in(name.as_ref()) {
                let path = format!("{directory}/{name}");
                checks.note(Group::Configuration, &path, "does not count: its name does not end in .yaml");
            }
        }
    }
    Ok(())
}

/// The files of a configuration.
#[derive(Default)]
struct Files {
    main: Option<Text>,
    drop_ins: Vec<Text>,
}

impl Files {
    fn add(&mut self, path: &str) {
        if CONFIG_PATHS.contains(&path) {
            self.main = Some(path.into());
        } else {
            self.drop_ins.push(path.into());
        }
    }
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
