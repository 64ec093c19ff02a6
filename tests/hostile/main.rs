//! Every way to be wrong, each between good neighbours.
//!
//! One row is one file. It is put beside two good extensions, one before and one after it in the order in
//! which the agent looks at them; the agent must reject it for the right reason and stage the good ones.
//! Then all rows are put on one machine together.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::missing_panics_doc, clippy::must_use_candidate)]

mod contents;
mod names;
mod partitions;
mod signatures;
#[path = "../support/mod.rs"]
mod support;
mod table;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use support::ddi::{Blueprint, RawImage, good, good_image};
use support::efi::{self, Firmware, List};
use support::keys::{self, Authority, Key};
use support::machine::{Machine, Outcome};
use support::pkcs7::Digest;

/// Name that hostile images are built for.
const NAME: &str = "hostile";

/// One way to be wrong.
pub struct Row {
    /// What is wrong.
    what: &'static str,
    /// Name of the file.
    file: OsString,
    /// Puts the file there.
    place: Box<dyn Fn(&Path) + Sync>,
    /// The token that it must get.
    token: &'static str,
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

fn machine() -> Machine {
    let [whole, sha256, sha384, sha512] = revoked().map(|(_, authority)| authority);
    let db = efi::certificates(&[vendor(), weak_rsa(), edwards(), authority(), whole, sha256, sha384, sha512]);
    let dbx = efi::lists(&[
        List::new(efi::SHA256, [vec![1; 32], vec![2; 32]]),
        List::certificate(whole),
        List::revoked(sha256, Digest::Sha256, efi::ALWAYS),
        List::revoked(sha384, Digest::Sha384, efi::SOME_TIME),
        List::revoked(sha512, Digest::Sha512, efi::ALWAYS),
    ]);
    let deny = format!("deny:\n  root_hashes:\n    - {}\n", denied().root_hash);
    Machine::new()
        .firmware(&Firmware::enforcing().db(&db).dbx(&dbx).entry("active.conf"))
        .config(&deny)
        .file("sysroot/etc/os-release", b"ID=testos\nVERSION_ID=1.0\n")
        .sysext("aaa-good.sysext.raw", &good_image("aaa-good", vendor()))
        .sysext("zzz-good.sysext.raw", &good_image("zzz-good", vendor()))
}

fn rows() -> Vec<Row> {
    [names::rows(), table::rows(), partitions::rows(), signatures::rows(), contents::rows()]
        .into_iter()
        .flatten()
        .collect()
}

/// Checks one row of a report against what is expected; returns what is wrong.
fn judge(outcome: &Outcome, row: &Row, file: &OsString) -> Option<String> {
    let shown = sextant::reason::printable(&file.to_string_lossy());
    let found = outcome.rows().iter().find(|found| found["file"] == shown.as_str());
    let Some(found) = found else { return Some(format!("{}: no row for {shown}", row.what)) };
    let verdict = (found["verdict"].as_str().unwrap_or_default(), found["reason"].as_str().unwrap_or_default());
    let detail = found["detail"].as_str().unwrap_or_default();
    if verdict != ("rejected", row.token) {
        return Some(format!("{}: expected {}, found {verdict:?}: {detail}", row.what, row.token));
    }
    if detail.len() < 10 || !outcome.stderr.contains(&format!("({})", row.token)) {
        return Some(format!("{}: said too little: {detail:?}\n{}", row.what, outcome.stderr));
    }
    None
}

#[test]
fn each_hostile_image_is_refused_for_its_own_reason_and_harms_nobody() {
    let rows = rows();
    assert!(rows.len() >= 70, "{} rows", rows.len());
    let half = rows.len() / 2;
    let check = |rows: &[Row]| rows.iter().flat_map(check_alone).collect::<Vec<_>>();
    let wrong = std::thread::scope(|scope| {
        let first = scope.spawn(|| check(&rows[..half]));
        let second = check(&rows[half..]);
        [first.join().unwrap(), second].concat()
    });
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    println!("{} hostile images", rows.len());
}

fn check_alone(row: &Row) -> Vec<String> {
    let machine = machine();
    (row.place)(&machine.path(".extra/sysext").join(&row.file));
    let outcome = machine.stage();
    let mut wrong: Vec<_> = judge(&outcome, row, &row.file).into_iter().collect();
    if outcome.status != Some(0) || machine.staged_names() != ["aaa-good", "zzz-good"] {
        let staged = machine.staged_names();
        wrong.push(format!("{}: status {:?}, staged {staged:?}\n{}", row.what, outcome.status, outcome.stderr));
    }
    if machine.left_in_extra() != ["aaa-good.sysext.raw", "zzz-good.sysext.raw"] {
        wrong.push(format!("{}: left in the way: {:?}", row.what, machine.left_in_extra()));
    }
    wrong
}

#[test]
fn all_of_them_together_harm_nobody_either() {
    let machine = machine();
    let mut placed = Vec::new();
    for (number, row) in rows().into_iter().enumerate() {
        // What is wrong with some is their very name; the others get names that keep them apart.
        let usual = row.file == *format!("{NAME}.sysext.raw");
        let file = if usual { OsString::from(format!("{NAME}_{number}.sysext.raw")) } else { row.file.clone() };
        (row.place)(&machine.path(".extra/sysext").join(&file));
        placed.push((row, file));
    }
    let outcome = machine.stage();
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    let wrong: Vec<_> = placed.iter().filter_map(|(row, file)| judge(&outcome, row, file)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(machine.staged_names(), ["aaa-good", "zzz-good"]);
    assert_eq!(outcome.rows().len(), placed.len() + 2, "one row for each file found");
    assert!(placed.iter().all(|(_, file)| !file.as_bytes().is_empty()));
}

#[test]
fn the_files_are_found_again_where_they_were_moved() {
    let machine = machine().sysext("junk.sysext.raw", b"junk");
    machine.stage();
    assert_eq!(std::fs::read(machine.path(".extra/rejected/sysext/junk.sysext.raw")).unwrap(), b"junk");
}
