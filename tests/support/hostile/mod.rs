//! The table of hostile images: what is wrong with each, and the token that it must get. Used by the tests of the
//! agent on a directory tree, and by those on a virtual machine, whose firmware gets [`db`] and [`dbx`].
#![allow(unreachable_pub, clippy::unwrap_used, clippy::missing_panics_doc, clippy::must_use_candidate)]

mod contents;
mod names;
mod partitions;
mod signatures;
mod table;

use crate::ddi::{Blueprint, RawImage, good};
use crate::efi::{self, List};
use crate::keys::{self, Authority, Key};
use crate::pkcs7::Digest;
use std::ffi::OsString;
use std::path::Path;

/// Name that hostile images are built for.
pub const NAME: &str = "hostile";

/// One way to be wrong.
pub struct Row {
    /// What is wrong.
    pub what: &'static str,
    /// Name of the file.
    pub file: OsString,
    /// Puts the file there.
    pub place: Box<dyn Fn(&Path) + Sync>,
    /// The token that it must get.
    pub token: &'static str,
}

impl Row {
    /// An image under the usual name.
    pub fn image(token: &'static str, what: &'static str, image: impl Into<Vec<u8>>) -> Self {
        Self::file(token, what, format!("{NAME}.sysext.raw"), image)
    }

    /// An image under another name.
    pub fn file(token: &'static str, what: &'static str, file: impl Into<OsString>, image: impl Into<Vec<u8>>) -> Self {
        let image = image.into();
        Self::placed(token, what, file, move |path| std::fs::write(path, &image).unwrap())
    }

    /// Anything.
    pub fn placed(
        token: &'static str,
        what: &'static str,
        file: impl Into<OsString>,
        place: impl Fn(&Path) + Sync + 'static,
    ) -> Self {
        Self { what, file: file.into(), place: Box::new(place), token }
    }
}

impl From<RawImage> for Vec<u8> {
    fn from(image: RawImage) -> Self {
        image.bytes
    }
}

impl From<Blueprint> for Vec<u8> {
    fn from(blueprint: Blueprint) -> Self {
        blueprint.render().bytes
    }
}

/// The key that signs good images.
pub fn vendor() -> &'static Authority {
    keys::rsa("Vendor")
}

/// A key that nobody trusts.
pub fn stranger() -> &'static Authority {
    keys::rsa("Stranger")
}

/// Keys in db, though images signed with them are refused.
pub fn weak_rsa() -> &'static Authority {
    keys::self_signed("Weak", Key::Rsa(1024))
}

/// A certificate of a kind that PKCS#7 can't carry a signature of.
pub fn edwards() -> &'static Authority {
    keys::self_signed("Edwards", Key::Ed25519)
}

/// A trusted certificate that may issue others.
pub fn authority() -> &'static Authority {
    keys::ca("Authority")
}

/// Signers that dbx revokes, each in another way.
pub fn revoked() -> [(&'static str, &'static Authority); 4] {
    [
        ("signer revoked by its certificate", keys::ec("Revoked")),
        ("signer revoked by SHA-256, always", keys::ec("Revoked 256")),
        ("signer revoked by SHA-384, since a day", keys::ec("Revoked 384")),
        ("signer revoked by SHA-512, always", keys::ec("Revoked 512")),
    ]
}

/// A root hash that the configuration denies.
pub fn denied() -> Blueprint {
    good("denied", vendor())
}

/// Whom the firmware trusts.
pub fn db() -> Vec<u8> {
    let [whole, sha256, sha384, sha512] = revoked().map(|(_, authority)| authority);
    efi::certificates(&[vendor(), weak_rsa(), edwards(), authority(), whole, sha256, sha384, sha512])
}

/// Whom it revokes.
pub fn dbx() -> Vec<u8> {
    let [whole, sha256, sha384, sha512] = revoked().map(|(_, authority)| authority);
    efi::lists(&[
        List::new(efi::SHA256, [vec![1; 32], vec![2; 32]]),
        List::certificate(whole),
        List::revoked(sha256, Digest::Sha256, efi::ALWAYS),
        List::revoked(sha384, Digest::Sha384, efi::SOME_TIME),
        List::revoked(sha512, Digest::Sha512, efi::ALWAYS),
    ])
}

/// The configuration that denies what [`denied`] says, and old versions of "aged".
pub fn config() -> String {
    format!("deny:\n  root_hashes:\n    - {}\nminimum:\n  aged: 1.30\n", denied().root_hash)
}

/// All rows.
pub fn rows() -> Vec<Row> {
    [names::rows(), table::rows(), partitions::rows(), signatures::rows(), contents::rows()]
        .into_iter()
        .flatten()
        .collect()
}
