//! Policies about PCR 13: `sextant measure --pcrlock` and `--sign`, and `--pcrlock` of the commands that change a partition. That
//! systemd and a TPM accept them is shown by `tests/real_tools/policies.rs` and by boots (`qemu/policies/`).

use crate::installation::{desk, extra, files, install};
use crate::{Desk, Said};
use base64::Engine;
use openssl::hash::MessageDigest;
use openssl::sign::Verifier;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use support::keys;
use support::uki::with_stub;

const COMPONENT: &str = "pcrlock.d/670-sextant.pcrlock.d";

/// The variants, by name of their file.
fn variants(desk: &Desk) -> BTreeMap<String, Value> {
    let Ok(entries) = fs::read_dir(desk.path().join(COMPONENT)) else { return BTreeMap::new() };
    let variant = |entry: fs::DirEntry| {
        let content: Value = serde_json::from_slice(&fs::read(entry.path()).unwrap()).unwrap();
        (entry.file_name().into_string().unwrap(), content)
    };
    entries.map(|entry| variant(entry.unwrap())).collect()
}

fn names(desk: &Desk) -> Vec<String> {
    variants(desk).into_keys().collect()
}

fn record(desk: &Desk, more: &[&str]) -> Said {
    desk.run(&[&["measure", "--esp", "esp", "--pcrlock", "pcrlock.d"], more].concat())
}

/// The values of PCR 13 after the next boot of an entry.
fn value(desk: &Desk, entry: &str) -> String {
    let said = desk.run(&["measure", "--esp", "esp", "--entry", entry, "--json"]);
    said.json()["entries"][0]["pcr13"]["sha256"].as_str().unwrap().to_owned()
}

/// What the machine measured of which the value is this.
fn booted(desk: Desk, value: &str) -> (Desk, Said) {
    let desk = desk.file("tpm/pcr-sha256/13", format!("{value}\n").as_bytes());
    let said = desk.run(&["measure", "--pcrlock", "pcrlock.d", "--booted", "--tpm", "tpm"]);
    (desk, said)
}

fn former(entry: &str, value: &str) -> String {
    format!("{entry}@{}.pcrlock", &value[..16])
}

#[test]
fn each_entry_has_a_variant_with_the_digests_of_its_archives() {
    let desk = desk().file(extra("active", "a.sysext.raw"), b"a").file(extra("active", "c.confext.raw"), b"c");
    let said = record(&desk, &["--json"]);
    let unknown = "unknown version of systemd-stub: PCR 13 may or may not cover configuration extensions";
    assert!(said.status == Some(1) && said.stderr.contains(unknown), "{said:?}");
    let desk = desk.file("esp/EFI/kairos/active.efi", &with_stub("257.13"));
    let said = record(&desk, &["--json"]);
    assert_eq!((said.status, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    let document = said.json();
    let rows: Vec<_> = document["pcrlock"].as_array().unwrap().iter().map(|row| row["action"].clone()).collect();
    assert_eq!(rows, ["recorded", "recorded", "recorded"]);
    assert_eq!(names(&desk), ["active.pcrlock", "passive.pcrlock", "recovery.pcrlock"]);
    let event = &document["entries"][0]["events"][0];
    let digest = |bank: &str| serde_json::json!({ "hashAlg": bank, "digest": event[bank] });
    let expected = serde_json::json!({ "records": [{ "pcr": 13, "digests": [digest("sha256"), digest("sha384")] }] });
    let all = variants(&desk);
    assert_eq!(all["active.pcrlock"], expected, "configuration extensions are not in PCR 13");
    assert_eq!(all["passive.pcrlock"], serde_json::json!({ "records": [] }));
    let again = record(&desk, &[]);
    let line = "unchanged: pcrlock.d/670-sextant.pcrlock.d/active.pcrlock for active\n";
    assert!(again.stdout.contains(line), "{again:?}");
    // Not a word about partitions.
    record(&desk, &["IMAGE"]).complains(2, &["cannot be used with"]);
}

#[test]
fn the_former_set_stays_admitted_until_the_new_one_has_booted() {
    let desk = desk().file(extra("active", "a.sysext.raw"), b"a");
    let old = value(&desk, "active");
    record(&desk, &[]);
    // Announced before it is done.
    let desk = desk.file("b.sysext.raw", b"b");
    let said = record(&desk, &["--entry", "active", "--add", "b.sysext.raw"]);
    let line = "active.pcrlock for active, 1 other set admitted until the entry has booted\n";
    assert!(said.stdout.contains(line), "{said:?}");
    let all = ["active.pcrlock", &former("active", &old), "passive.pcrlock", "recovery.pcrlock"];
    assert_eq!(names(&desk), all);
    let desk = desk.file(extra("active", "b.sysext.raw"), b"b");
    let new = value(&desk, "active");
    // PCR 13 of the former set, of another entry, and of a set that was never recorded.
    let (desk, said) = booted(desk, &old);
    assert_eq!((said.status, said.stdout.as_str()), (Some(0), "nothing to remove\n"), "{said:?}");
    let (desk, said) = booted(desk, &"0".repeat(64));
    assert_eq!((said.status, said.stdout.as_str()), (Some(0), "nothing to remove\n"), "{said:?}");
    let (desk, said) = booted(desk, &"f".repeat(64));
    said.complains(1, &["nothing removed: this machine booted a set of extensions that is not recorded", "ffff"]);
    assert_eq!(names(&desk), all);
    let (desk, said) = booted(desk, &new);
    assert_eq!(said.stdout, format!("active: {} removed\n", former("active", &old)), "{said:?}");
    assert_eq!(names(&desk), ["active.pcrlock", "passive.pcrlock", "recovery.pcrlock"]);
    let (_, said) = booted(desk, &"f".repeat(64));
    assert_eq!((said.status, said.stdout.as_str()), (Some(0), "nothing to remove\n"), "no former one: {said:?}");
}

#[test]
fn an_entry_that_is_gone_is_admitted_until_the_next_boot() {
    let desk = desk().file(extra("passive", "a.sysext.raw"), b"a");
    record(&desk, &[]);
    let gone = value(&desk, "passive");
    for file in ["esp/EFI/kairos/passive.efi", "esp/loader/entries/passive.conf"] {
        fs::remove_file(desk.path().join(file)).unwrap();
    }
    record(&desk, &["--entry", "active"]);
    assert!(names(&desk).contains(&"passive.pcrlock".to_owned()), "only one entry was asked about");
    let said = record(&desk, &[]);
    assert!(said.stderr.contains("boot entry passive is gone: its set stays admitted until the next boot"), "{said:?}");
    assert_eq!(names(&desk), ["active.pcrlock", &former("passive", &gone), "recovery.pcrlock"]);
    let (desk, _) = booted(desk, &"0".repeat(64));
    assert_eq!(names(&desk), ["active.pcrlock", "recovery.pcrlock"]);
}

#[test]
fn all_states_of_an_installation_are_admitted_before_it_begins() {
    let desk = desk().image("tools").file(extra("active", "a.sysext.raw"), b"a");
    let old = value(&desk, "active");
    let images = ["k3s.sysext.raw", "tools.sysext.raw", "--entry", "active", "--pcrlock=pcrlock.d"];
    let before = files(&desk);
    let said = install(&desk, &[&images[..], &["--dry-run"]].concat());
    assert_eq!((said.status, names(&desk)), (Some(0), vec![]), "a dry run records nothing: {said:?}");
    let said = install(&desk, &images);
    assert_eq!((said.status, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    assert_ne!(files(&desk), before);
    let new = value(&desk, "active");
    // Old, new, and what a power loss between the two renames leaves.
    fs::rename(desk.path().join(extra("active", "tools.sysext.raw")), desk.path().join("kept")).unwrap();
    let between = value(&desk, "active");
    let mut expected = ["active.pcrlock".to_owned(), former("active", &old), former("active", &between)];
    expected[1..].sort();
    let mut found = names(&desk);
    found.sort_by_key(|name| (name.contains('@'), name.clone()));
    assert_eq!(found, expected);
    // That state is a known one, from which the command can be repeated.
    let said = install(&desk, &images);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert_eq!(value(&desk, "active"), new);
    let (desk, _) = booted(desk, &new);
    assert_eq!(names(&desk), ["active.pcrlock"]);
}

#[test]
fn what_another_person_put_there_is_not_admitted_by_an_update() {
    let desk = desk().file(extra("active", "a.sysext.raw"), b"a");
    record(&desk, &[]);
    let recorded = names(&desk);
    let desk = desk.file(extra("active", "evil.sysext.raw"), b"evil");
    let before = files(&desk);
    let said = install(&desk, &["k3s.sysext.raw", "--entry", "active", "--pcrlock=pcrlock.d"]);
    said.complains(
        1,
        &[
            "nothing installed: the extensions of boot entry active are not those that were recorded",
            "sextant measure --entry active --pcrlock pcrlock.d",
        ],
    );
    let disable = ["disable", "--esp", "esp", "--entry", "active", "a.sysext.raw", "--pcrlock=pcrlock.d"];
    desk.run(&disable).complains(1, &["nothing disabled: the extensions of boot entry active are not those"]);
    assert_eq!((files(&desk), names(&desk)), (before, recorded));
    // Others are not concerned.
    let said = install(&desk, &["k3s.sysext.raw", "--entry", "passive", "--pcrlock=pcrlock.d"]);
    assert_eq!(said.status, Some(0), "{said:?}");
}

#[test]
fn enabling_disabling_and_removing_keep_the_variants_in_step() {
    let desk = desk().file(extra("active", "a.sysext.raw"), b"a").file(extra("active", "b.sysext.raw"), b"b");
    record(&desk, &[]);
    let change = |desk: Desk, verb: &str, file: &str| -> Desk {
        let said = desk.run(&[verb, "--esp", "esp", "--entry", "active", file, "--pcrlock=pcrlock.d"]);
        assert_eq!((said.status, said.stderr.as_str()), (Some(0), ""), "{said:?}");
        let now = value(&desk, "active");
        // The variant of the next boot is what the partition gives, and the former one goes after that boot.
        assert_eq!(names(&desk).len(), 4, "{:?}", names(&desk));
        let (desk, said) = booted(desk, &now);
        assert!(said.stdout.starts_with("active: active@"), "{said:?}");
        assert_eq!(names(&desk), ["active.pcrlock", "passive.pcrlock", "recovery.pcrlock"]);
        desk
    };
    let desk = change(desk, "disable", "b.sysext.raw");
    let desk = change(desk, "enable", "b.sysext.raw");
    let desk = change(desk, "disable", "a.sysext.raw");
    // What no boot loads makes no difference.
    let said = desk.run(&["remove", "--esp", "esp", "--entry", "active", "a.sysext.raw", "--pcrlock=pcrlock.d"]);
    assert_eq!((said.status, names(&desk).len()), (Some(0), 3), "{said:?}");
    let desk = change(desk, "remove", "b.sysext.raw");
    assert_eq!(variants(&desk)["active.pcrlock"], serde_json::json!({ "records": [] }));
    let kairos = ["disable", "--store", "kairos", "--root", ".", "--entry", "active", "x", "--pcrlock"];
    let said = desk.run(&kairos);
    assert_ne!(said.status, Some(0), "{said:?}");
}

#[test]
fn extensions_for_all_entries_change_the_variants_of_all_that_load_them() {
    let uki = |version: &str| with_stub(version);
    let desk =
        desk().file("esp/EFI/kairos/active.efi", &uki("262.1")).file("esp/EFI/kairos/passive.efi", &uki("257.13"));
    let desk = desk.file("esp/EFI/kairos/recovery.efi", &uki("258"));
    record(&desk, &[]);
    let said = install(&desk, &["k3s.sysext.raw", "--store", "global", "--pcrlock=pcrlock.d"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    let none = "0".repeat(64);
    let expected =
        ["active.pcrlock", &former("active", &none), "passive.pcrlock", "recovery.pcrlock", &former("recovery", &none)];
    assert_eq!(names(&desk), expected);
    assert_eq!(variants(&desk)["passive.pcrlock"], serde_json::json!({ "records": [] }), "its stub doesn't know them");
}

#[test]
fn junk_beside_the_variants_is_named() {
    let desk = desk().file(format!("{COMPONENT}/junk.pcrlock"), b"{\"records\":[{\"pcr\":99}]}");
    let said = record(&desk, &[]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(said.stderr.contains("pcrlock.d/670-sextant.pcrlock.d: junk.pcrlock is no variant of sextant"), "{said:?}");
    let elsewhere = desk.file("elsewhere/x", b"");
    fs::remove_dir_all(elsewhere.path().join(COMPONENT)).unwrap();
    std::os::unix::fs::symlink("../elsewhere", elsewhere.path().join(COMPONENT)).unwrap();
    record(&elsewhere, &[]).complains(1, &["670-sextant.pcrlock.d is not a directory"]);
}

#[test]
fn values_are_signed_as_systemd_reads_them() {
    let signer = keys::rsa("PCR signer");
    let desk = desk().file(extra("active", "a.sysext.raw"), b"a").file("pcr.crt", &signer.pem());
    let desk = desk.file("pcr.key", &signer.key.private_key_to_pem_pkcs8().unwrap());
    let sign = |desk: &Desk, more: &[&str]| {
        let keys = ["--private-key", "pcr.key", "--certificate", "pcr.crt", "--sign", "signatures.json"];
        desk.run(&[&["measure", "--esp", "esp", "--entry", "active"], &keys[..], more].concat())
    };
    let said = sign(&desk, &[]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(said.stdout.ends_with("\nsignatures: signatures.json\n"), "{said:?}");
    let read = |desk: &Desk| -> Value {
        serde_json::from_slice(&fs::read(desk.path().join("signatures.json")).unwrap()).unwrap()
    };
    let document = read(&desk);
    for bank in ["sha256", "sha384"] {
        let rows = document[bank].as_array().unwrap();
        assert_eq!((rows.len(), &rows[0]["pcrs"]), (1, &serde_json::json!([13])));
        let policy = sextant_cli::policies::unhex(rows[0]["pol"].as_str().unwrap()).unwrap();
        let signature = base64::engine::general_purpose::STANDARD.decode(rows[0]["sig"].as_str().unwrap()).unwrap();
        let public = signer.certificate.public_key().unwrap();
        let mut verifier = Verifier::new(MessageDigest::sha256(), &public).unwrap();
        assert!(verifier.verify_oneshot(&signature, &policy).unwrap());
    }
    // The set before an update and that after it.
    let desk = desk.file("b.sysext.raw", b"b");
    let both = ["--add", "b.sysext.raw", "--append", "signatures.json"];
    assert_eq!(sign(&desk, &both).status, Some(0));
    let updated = read(&desk);
    assert_eq!((updated["sha256"].as_array().unwrap().len(), &updated["sha256"][0]), (2, &document["sha256"][0]));
    assert_eq!(sign(&desk, &both).status, Some(0));
    assert_eq!(read(&desk), updated, "nothing is there twice");
    sign(&desk.file("signatures.json", b"{\"sha256\":1}"), &both).complains(1, &["not a list of signatures"]);
}

#[test]
fn keys_that_systemd_has_no_use_for_are_refused() {
    let signer = keys::ec("PCR signer");
    let desk = desk().file("pcr.crt", &signer.pem()).file("pcr.key", &signer.key.private_key_to_pem_pkcs8().unwrap());
    let keys = ["--private-key", "pcr.key", "--certificate", "pcr.crt", "--sign", "signatures.json"];
    let said = desk.run(&[&["measure", "--esp", "esp", "--pcrlock", "pcrlock.d"], &keys[..]].concat());
    said.complains(1, &["not an RSA key"]);
    assert!(!desk.path().join("signatures.json").exists() && names(&desk).is_empty(), "nothing is written");
    desk.run(&["measure", "--esp", "esp", "--sign", "signatures.json"]).complains(2, &["--private-key"]);
}
