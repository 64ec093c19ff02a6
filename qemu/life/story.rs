//! What happens to the machine, boot by boot, and what has to come of it.

use super::Boot;
use crate::images::Offer;
use crate::keys;
use crate::witness::{Findings, Step};
use support::keys::Authority;
use support::trees::Tree;

/// A version of an extension. Each version has its own content under a path that all versions have.
fn version(name: &str, version: &str, authority: &Authority, source: &'static str) -> Offer {
    let full = format!("{name}_{version}");
    let tree = Tree::sysext(&full).file(&format!("usr/share/{name}/version"), format!("{version}\n").as_bytes());
    Offer::with_tree(&full, &tree, authority, source)
}

fn web() -> Offer {
    version("web", "1.0", keys::db(), "db")
}

fn newer_web() -> Offer {
    version("web", "1.1", keys::db(), "db")
}

/// Signed by the vendor, whom this firmware doesn't know: the running system has to find the sealed certificate.
fn net() -> Offer {
    version("net", "1.0", keys::vendor(), "sealed")
}

/// The passive system's own.
fn spare() -> Offer {
    version("spare", "1.0", keys::kek(), "KEK")
}

/// On the installation medium.
fn medium() -> Offer {
    version("medium", "1.0", keys::db(), "db")
}

/// What there is no room for.
fn more() -> Offer {
    version("more", "1.0", keys::db(), "db")
}

/// Nobody's.
fn stray() -> Offer {
    version("stray", "1.0", keys::stranger(), "db")
}

/// Files that are at hand in each boot.
pub fn brought() -> Vec<(String, Vec<u8>)> {
    let at = |directory: &'static str| move |offer: Offer| (format!("{directory}{}", offer.file), offer.bytes.to_vec());
    let stick = [web(), newer_web(), net(), spare(), more(), stray()].into_iter().map(at(""));
    let medium = [medium()].into_iter().map(at("medium/"));
    // What else is at the root of an installation medium.
    let iso = [("medium/rootfs.squashfs".to_owned(), b"not an extension".to_vec())];
    stick.chain(medium).chain(iso).collect()
}

/// The boots, in their order.
pub fn boots() -> Vec<Boot> {
    let boot = |script, entry, offers: &[Offer], check| Boot { script, entry, offers: offers.to_vec(), check };
    vec![
        boot("1-install", "active", &[], installed),
        boot("2-update", "active", &[web(), net()], updated),
        boot("3-remove", "active", &[web(), newer_web(), net(), medium()], removed),
        boot("4-fill", "active", &[web(), medium()], filled),
        boot("5-passive", "passive", &[spare(), medium()], passive),
        boot("6-corrupt", "recovery", &[web().rejected("entry-denied")], corrupted),
        boot("7-last", "active", &[web(), net(), medium().rejected("corrupt")], last),
    ]
}

fn installed(findings: &Findings) {
    let step = |name| findings.step(name);
    step("active").ended(0);
    let files = step("passive").json(0);
    assert_eq!(files["files"][0]["action"], "installed", "{files}");
    says(&step("recovery"), 1, &["recovery", "entries.deny"]);
    says(&step("stranger"), 1, &["stray_1.0", "unknown-signer"]);
    says(&step("company"), 1, &["stray_1.0", "unknown-signer", "1 of 2"]);
    step("refused").ended(0);

    says(&step("again"), 0, &["unchanged"]);
    assert_eq!(step("before").ended(0), step("after").ended(0), "sectors written by installing the same again");
}

fn updated(findings: &Findings) {
    let step = |name| findings.step(name);
    says(&step("status"), 0, &["entry active", "2 found, 2 merged", "web_1.0", "net_1.0"]);
    listed(
        &step("list"),
        &[("active", &net(), Some("merged")), ("active", &web(), Some("merged")), ("passive", &spare(), None)],
    );
    step("update").ended(0);
    says(&step("medium"), 0, &["2 of 2 files done"]);
    listed(
        &step("list-after"),
        &[
            ("active", &medium(), Some("not yet")),
            ("active", &net(), Some("merged")),
            ("active", &web(), Some("merged")),
            ("active", &newer_web(), Some("not yet")),
            ("passive", &medium(), None),
            ("passive", &spare(), None),
        ],
    );
}

fn removed(findings: &Findings) {
    let step = |name| findings.step(name);
    assert_eq!(step("content").ended(0), "1.1\n");
    let wins = |line: &str| line.contains("web_1.1.sysext.raw") && line.ends_with("overrides web_1.0");
    let table = step("table");
    assert!(table.ended(0).lines().any(wins), "{table:#?}");
    if super::yip().is_some() {
        says(&step("forget"), 0, &["active: medium_1.0.sysext.raw removed", "passive: medium_1.0.sysext.raw removed"]);
        step("yip").ended(0);
        step("same").ended(0);
    } else {
        eprintln!("{}: there is no yip to run its file with", super::NAME);
    }
    step("remove").ended(0);
    step("disable").ended(0);
    let gone = step("list").json(0)["gone"].clone();
    assert_eq!(gone, serde_json::json!([net().file, newer_web().file]), "merged and no longer there or disabled");
    let files = step("files");
    let name = |line: &str| line.split_whitespace().nth(1).unwrap().trim_start_matches("EFI/kairos/").to_owned();
    let names: Vec<_> = files.ended(0).lines().map(name).collect();
    assert_eq!(
        names,
        [
            "active.efi.extra.d/medium_1.0.sysext.raw",
            "active.efi.extra.d/net_1.0.sysext.raw.disabled",
            "active.efi.extra.d/web_1.0.sysext.raw",
            "passive.efi.extra.d/medium_1.0.sysext.raw",
            "passive.efi.extra.d/spare_1.0.sysext.raw",
        ]
    );
}

fn filled(findings: &Findings) {
    let step = |name| findings.step(name);
    assert_eq!(step("content").ended(0), "1.0\n");
    step("enable").ended(0);
    says(&step("one"), 0, &["dry run: 1 of 1"]);
    says(&step("full"), 1, &["free"]);
    step("intact").ended(0);
    step("choose").ended(0);
}

fn passive(findings: &Findings) {
    let step = |name| findings.step(name);
    listed(
        &step("list"),
        &[
            ("active", &medium(), None),
            ("active", &net(), None),
            ("active", &web(), None),
            ("passive", &medium(), Some("merged")),
            ("passive", &spare(), Some("merged")),
        ],
    );
    step("copy").ended(0);
    step("choose").ended(0);
}

fn corrupted(findings: &Findings) {
    says(&findings.step("status"), 3, &["web_1.0", "entry-denied"]);
    findings.step("differs").ended(1);
}

fn last(findings: &Findings) {
    let status = findings.step("status");
    let names = |line: &&str| line.contains("medium_1.0") && line.contains("rejected  corrupt");
    assert_eq!(status.ended(3).lines().filter(names).count(), 1, "{status:#?}");
    listed(
        &findings.step("list"),
        &[
            ("active", &medium(), Some("corrupt")),
            ("active", &net(), Some("merged")),
            ("active", &web(), Some("merged")),
            ("passive", &medium(), None),
            ("passive", &spare(), None),
            ("recovery", &web(), None),
        ],
    );
    assert_eq!(findings.step("content").ended(0), "1.0\n");
}

/// What `sextant list --json` says of the enabled files: entry, file, and what this boot made of it.
fn listed(step: &Step, expected: &[(&str, &Offer, Option<&str>)]) {
    let list = step.json(0);
    let rows = list["files"].as_array().unwrap().iter().filter(|row| row["enabled"] == true);
    let found: Vec<_> = rows
        .map(|row| (row["entry"].as_str().unwrap(), row["file"].as_str().unwrap(), row["this_boot"].as_str()))
        .collect();
    let expected: Vec<_> = expected.iter().map(|(entry, offer, fate)| (*entry, offer.file.as_str(), *fate)).collect();
    assert_eq!(found, expected, "{list:#}");
    assert_eq!(list["leftovers"], serde_json::json!([]), "{list:#}");
}

/// The step ended so, and said each of these, to whichever end.
fn says(step: &Step, status: i32, words: &[&str]) {
    step.ended(status);
    for word in words {
        assert!(step.out.contains(word) || step.err.contains(word), "{word:?} isn't in {step:#?}");
    }
}
