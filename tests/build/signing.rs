//! Who signs, and what is found out about that before and after.

use crate::desk::{Desk, Said};
use ddi::{Guid, PartitionKind};
use openssl::symm::Cipher;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use support::ddi::{Blueprint, Part};
use support::keys::{self, Authority, Key, Recipe};
use support::trees::{Tree, noise};

fn vendor() -> &'static Authority {
    keys::rsa("Vendor")
}

/// A desk with a tree on it.
fn desk(authority: &Authority) -> Desk {
    let desk = Desk::of(authority);
    desk.file("tree/usr/bin/tool", b"#!/bin/sh\n");
    desk
}

/// Fails unless the run was refused with these words and left nothing behind.
fn nothing_made(desk: &Desk, said: &Said, words: &[&str]) {
    said.refuses(words);
    assert!(!desk.names().iter().any(|name| name.contains(".sysext.") || name.starts_with('.')), "{:?}", desk.names());
}

pub(crate) fn an_image_is_one_that_a_boot_accepts() {
    for authority in [vendor(), keys::ec("Vendor"), keys::self_signed("Vendor", Key::P384)] {
        let desk = desk(authority);
        let said = desk.build("tool", "tree", &[]).good();
        assert_eq!(desk.verdict("tool.sysext.raw"), "");
        let root_hash = said.stdout.trim().rsplit(' ').next().unwrap();
        assert!(said.stdout.starts_with("./tool.sysext.raw  "), "{said:?}");
        assert_eq!(root_hash.len(), 64, "{said:?}");
        assert_eq!(said.stderr, "");
    }
}

pub(crate) fn the_verdict_is_another_one_for_a_machine_that_trusts_somebody_else() {
    let desk = desk(vendor());
    desk.build("tool", "tree", &[]).good();
    desk.file("crt.pem", &keys::rsa("Somebody else").pem());
    assert_eq!(desk.verdict("tool.sysext.raw"), "unknown-signer");
}

pub(crate) fn an_encrypted_key_is_opened_with_a_passphrase_from_a_file_or_the_environment() {
    let desk = desk(vendor());
    let pem = vendor().key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"open sesame").unwrap();
    desk.file("key.pem", &pem);
    desk.file("passphrase", b"open sesame\nsecond line\n");
    desk.build("tool", "tree", &["--passphrase-file", "passphrase"]).good();
    assert_eq!(desk.verdict("tool.sysext.raw"), "");
    fs::remove_file(desk.path("tool.sysext.raw")).unwrap();

    let arguments = ["build", "tool", "tree", "--private-key", "key.pem", "--certificate", "crt.pem"];
    let with =
        |passphrase: &str| Said::from(desk.command(&arguments).env("SEXTANT_PASSPHRASE", passphrase).output().unwrap());
    nothing_made(&desk, &with("sesame"), &["reading private key key.pem: passphrase is wrong"]);
    nothing_made(&desk, &with(&"x".repeat(2000)), &["a passphrase has at most 1024 bytes"]);
    with("open sesame").good();
    assert_eq!(desk.verdict("tool.sysext.raw"), "");
}

pub(crate) fn an_encrypted_key_without_anybody_to_ask_says_how_to_go_on() {
    let desk = desk(vendor());
    let pem = vendor().key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"x").unwrap();
    desk.file("key.pem", &pem);
    // A session of its own has no terminal.
    let mut command = Command::new("setsid");
    command.arg("--wait").arg(env!("CARGO_BIN_EXE_tool-under-test")).current_dir(desk.path("."));
    command.args(["build", "tool", "tree", "--private-key", "key.pem", "--certificate", "crt.pem"]);
    let said = Said::from(command.env_remove("SEXTANT_PASSPHRASE").output().unwrap());
    nothing_made(&desk, &said, &["no terminal for the passphrase prompt", "--passphrase-file or SEXTANT_PASSPHRASE"]);
}

pub(crate) fn what_no_machine_would_accept_is_refused_before_work_begins() {
    let desk = desk(vendor());
    // There is no such source: whoever had begun to work would say so.
    let refused = |authority: &Authority, key: &Authority, words: &[&str]| {
        desk.file("crt.pem", &authority.pem());
        desk.file("key.pem", &key.key.private_key_to_pem_pkcs8().unwrap());
        nothing_made(&desk, &desk.build("tool", "nowhere", &[]), words);
    };
    refused(vendor(), keys::rsa("Somebody else"), &["private key", "does not belong to the certificate"]);
    refused(vendor(), keys::ec("Vendor"), &["does not belong to the certificate"]);
    let weak = Recipe::new("Weak").key(Key::Rsa(1024)).make();
    refused(&weak, &weak, &["every boot rejects signatures of this key", "weak-signature"]);
    let other = Recipe::new("Edwards").key(Key::Ed25519).make();
    refused(&other, &other, &["key.pem"]);
}

pub(crate) fn files_that_are_no_keys_are_named() {
    let desk = desk(vendor());
    let good = fs::read(desk.path("key.pem")).unwrap();
    desk.file("key.pem", &vendor().pem());
    nothing_made(
        &desk,
        &desk.build("tool", "tree", &[]),
        &["key.pem: not a private key: file has a PEM block with the label CERTIFICATE"],
    );
    desk.file("crt.pem", &good);
    desk.file("key.pem", &good);
    nothing_made(&desk, &desk.build("tool", "tree", &[]), &["no usable certificate: "]);
    desk.file("crt.pem", &vendor().pem());
    fs::remove_file(desk.path("key.pem")).unwrap();
    nothing_made(&desk, &desk.build("tool", "tree", &[]), &["reading", "key.pem: No such file"]);
    let said = desk.run(&["build", "tool", "tree"]);
    assert_eq!((said.status, said.stdout.as_str()), (Some(2), ""), "{said:?}");
    assert!(said.stderr.contains("signing needs --private-key KEY and --certificate CERT"), "{said:?}");
}

/// What an HSM's or a KMS's client does, done by OpenSSL's program.
fn sign_elsewhere(desk: &Desk, authority: &Authority, form: &str) {
    desk.file("away.key", &authority.key.private_key_to_pem_pkcs8().unwrap());
    desk.file("away.crt", &authority.pem());
    let mut command = Command::new("openssl");
    command.args(["cms", "-sign", "-binary", "-noattr", "-outform", form, "-in", "tool.sysext.roothash"]);
    command.args(["-inkey", "away.key", "-signer", "away.crt", "-out", "signature"]).current_dir(desk.path("."));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

pub(crate) fn a_signature_made_elsewhere_completes_the_image() {
    let desk = desk(vendor());
    desk.build("tool", "tree", &[]).good();
    let signed_at_once = fs::read(desk.path("tool.sysext.raw")).unwrap();
    fs::remove_file(desk.path("tool.sysext.raw")).unwrap();

    let said = desk.run(&["build", "tool", "tree", "--unsigned"]).good();
    assert!(said.stdout.contains("tool.sysext.roothash  sign this file, then run: sextant sign"), "{said:?}");
    let root_hash = fs::read_to_string(desk.path("tool.sysext.roothash")).unwrap();
    assert!(root_hash.len() == 64 && said.stdout.contains(&root_hash), "{root_hash:?} {said:?}");
    // It is whole, and what it lacks is no fault of it.
    let said = desk.run(&["inspect", "--certificate", "crt.pem", "tool.sysext.unsigned"]).good();
    assert!(said.stdout.contains("Verdict: unknown: image is not signed (use `sextant sign`)"), "{said:?}");
    for form in ["DER", "PEM"] {
        sign_elsewhere(&desk, vendor(), form);
        let arguments =
            ["sign", "tool.sysext.unsigned", "--signature", "signature", "--certificate", "crt.pem", "--output", form];
        fs::create_dir(desk.path(form)).unwrap();
        desk.run(&arguments).good();
        let image = format!("{form}/tool.sysext.raw");
        assert_eq!(desk.verdict(&image), "", "{form}");
        // All but the signature, its place in the table, and the table's copy behind it.
        let signed = fs::read(desk.path(&image)).unwrap();
        assert!(signed[1 << 20..(1 << 20) + 4096] == signed_at_once[1 << 20..(1 << 20) + 4096], "{form}");
    }
}

pub(crate) fn a_signature_that_no_boot_would_accept_makes_no_image() {
    let desk = desk(vendor());
    desk.run(&["build", "tool", "tree", "--unsigned"]).good();
    let sign = |more: &[&str]| {
        let said = desk.run(&[&["sign", "tool.sysext.unsigned", "--certificate", "crt.pem"], more].concat());
        assert!(!desk.path("tool.sysext.raw").exists());
        said
    };
    sign_elsewhere(&desk, keys::rsa("Somebody else"), "DER");
    sign(&["--signature", "signature"]).refuses(&["(unknown-signer)"]);
    sign_elsewhere(&desk, keys::impostor(vendor()), "DER");
    sign(&["--signature", "signature"]).refuses(&["(bad-signature)"]);
    desk.file("signature", b"no signature");
    sign(&["--signature", "signature"]).refuses(&["(bad-signature)"]);
    desk.file("signature", b"-----BEGIN CMS-----\nAAAA\n-----END CMS-----\n");
    sign(&["--signature", "signature"]).refuses(&["reading signature signature"]);
    desk.file("signature", &vec![0; 4 << 20]);
    sign(&["--signature", "signature"]).refuses(&["signature: file is larger than 65534 bytes"]);
    // Of another image.
    desk.file("tool.sysext.roothash", "00".repeat(32).as_bytes());
    sign_elsewhere(&desk, vendor(), "DER");
    sign(&["--signature", "signature"]).refuses(&["(bad-signature)"]);
    let said = sign(&[]);
    assert_eq!((said.status, said.stdout.as_str()), (Some(2), ""), "{said:?}");
    assert!(said.stderr.contains("signing needs --private-key KEY"), "{said:?}");
}

pub(crate) fn what_was_damaged_since_it_was_built_is_not_signed() {
    let desk = desk(vendor());
    desk.run(&["build", "tool", "tree", "--unsigned"]).good();
    let good = fs::read(desk.path("tool.sysext.unsigned")).unwrap();
    // The file system begins at one MiB; the hash tree stands behind it.
    for (offset, words) in
        [((1 << 20) + 200, "may have been damaged since it was built"), (600, "signing tool.sysext.unsigned")]
    {
        let mut bad = good.clone();
        bad[offset] ^= 1;
        desk.file("tool.sysext.unsigned", &bad);
        let arguments = ["sign", "tool.sysext.unsigned", "--private-key", "key.pem", "--certificate", "crt.pem"];
        desk.run(&arguments).refuses(&[words]);
        assert!(!desk.path("tool.sysext.raw").exists());
    }
    let said = desk.run(&["sign", "tree", "--private-key", "key.pem", "--certificate", "crt.pem"]);
    said.refuses(&["file name must be NAME.sysext.unsigned or NAME.sysext.raw"]);
}

/// Partition UUIDs that don't derive from the root hash are worth a warning at a boot, and no reason not to sign.
pub(crate) fn an_image_is_signed_anew_whatever_its_uuids_are() {
    let desk = desk(vendor());
    let uuids = |blueprint: Blueprint| {
        let other = |part: &mut Part| part.uuid = Guid::from_bytes([3; 16]);
        blueprint.change(PartitionKind::Root, other).change(PartitionKind::RootVerity, other)
    };
    let large = Tree::sysext("tool").file("usr/share/noise", &noise(50_000)).squashfs();
    let small = Tree::sysext("tool").squashfs();
    let sign = ["sign", "tool.sysext.raw", "--private-key", "key.pem", "--certificate", "crt.pem"];
    for data in [&large, &small] {
        desk.file("tool.sysext.raw", &uuids(Blueprint::new("tool", data, vendor())).render().bytes);
        assert_eq!(desk.verdict("tool.sysext.raw"), "");
        desk.run(&sign).good();
        assert_eq!(desk.verdict("tool.sysext.raw"), "");
    }
    // What was damaged since it was signed still isn't, although the tree of one block says nothing.
    let mut damaged = uuids(Blueprint::new("tool", &small, vendor())).render().bytes;
    damaged[(1 << 20) + 200] ^= 1;
    desk.file("tool.sysext.raw", &damaged);
    desk.run(&sign).refuses(&["its data has been damaged since it was signed"]);
}

/// As `ssh` says it of its keys; no other process can open a pipe.
pub(crate) fn keys_that_others_can_read_are_told_about() {
    let desk = desk(vendor());
    let build = |more: &[&str]| desk.build("tool", "tree", more).good().stderr;
    assert_eq!(build(&[]), "");
    for mode in [0o644, 0o640, 0o604] {
        fs::set_permissions(desk.path("key.pem"), fs::Permissions::from_mode(mode)).unwrap();
        let expected =
            format!("sextant: key.pem is readable by other users (mode {mode:04o}): run chmod 600 key.pem\n");
        assert_eq!(build(&[]), expected);
    }
    let script = r#"exec "$0" build tool tree --certificate crt.pem --private-key <(cat key.pem)"#;
    let output = Command::new("bash")
        .args(["-c", script, env!("CARGO_BIN_EXE_tool-under-test")])
        .current_dir(desk.path("."))
        .output();
    let said = Said::from(output.unwrap()).good();
    assert_eq!(said.stderr, "");
    // Nothing of a key or a passphrase is in what is said.
    let pem = vendor().key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"open sesame").unwrap();
    desk.file("key.pem", &pem);
    fs::set_permissions(desk.path("key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    desk.file("passphrase", b"hunter2\n");
    let said = desk.build("tool", "tree", &["--passphrase-file", "passphrase"]);
    assert!(said.stderr.contains("passphrase is readable by other users"), "{said:?}");
    assert_eq!((said.status, said.stderr.contains("hunter2")), (Some(1), false), "{said:?}");
    desk.file("key.pem", &vec![b'k'; 100_000]);
    desk.build("tool", "tree", &[]).refuses(&["reading private key key.pem: more than 65536 bytes"]);
}

pub(crate) fn an_image_is_signed_anew_for_other_machines() {
    let desk = desk(vendor());
    desk.build("tool", "tree", &[]).good();
    desk.file("key.pem", &keys::ec("Rotated").key.private_key_to_pem_pkcs8().unwrap());
    desk.file("crt.pem", &keys::ec("Rotated").pem());
    assert_eq!(desk.verdict("tool.sysext.raw"), "unknown-signer");
    desk.run(&["sign", "tool.sysext.raw", "--private-key", "key.pem", "--certificate", "crt.pem"]).good();
    assert_eq!(desk.verdict("tool.sysext.raw"), "");
}
