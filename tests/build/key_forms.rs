//! Keys and certificates in the forms in which people have them: files of all kinds, bundles, providers and tokens.

use crate::desk::{Desk, Said};
use openssl::pkcs12::Pkcs12;
use openssl::symm::Cipher;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use support::harness::left_out;
use support::keys::{self, Authority, Key, Recipe};
use support::toolbox::Toolbox;

fn desk(authority: &Authority) -> Desk {
    let desk = Desk::of(authority);
    desk.file("tree/usr/bin/tool", b"#!/bin/sh\n");
    desk
}

/// Writes a file that nobody else reads.
fn secret(desk: &Desk, name: &str, content: &[u8]) {
    fs::set_permissions(desk.file(name, content), Permissions::from_mode(0o600)).unwrap();
}

/// `sextant build` with these files or URIs.
fn build(desk: &Desk, key: &str, certificate: &str, more: &[&str]) -> Said {
    let fixed = ["build", "tool", "tree", "--private-key", key, "--certificate", certificate];
    let said = desk.run(&[&fixed[..], more].concat());
    if said.status == Some(0) {
        assert_eq!(desk.verdict("tool.sysext.raw"), "", "{key} {certificate}");
        fs::remove_file(desk.path("tool.sysext.raw")).unwrap();
    }
    said
}

/// OpenSSL's program, here; its standard output.
fn openssl(desk: &Desk, words: &str) {
    let output = Command::new("openssl").args(words.split(' ')).current_dir(desk.path(".")).output().unwrap();
    assert!(output.status.success(), "{words}: {output:?}");
}

pub(crate) fn every_usual_form_of_a_file_is_read() {
    for authority in [keys::rsa("Vendor"), keys::ec("Vendor"), keys::self_signed("Vendor", Key::P384)] {
        let desk = desk(authority);
        let key = &authority.key;
        let old = match (key.rsa(), key.ec_key()) {
            (Ok(rsa), _) => (rsa.private_key_to_pem().unwrap(), rsa.private_key_to_der().unwrap()),
            (_, Ok(ec)) => (ec.private_key_to_pem().unwrap(), ec.private_key_to_der().unwrap()),
            _ => unreachable!(),
        };
        let cipher = Cipher::aes_256_cbc();
        secret(&desk, "passphrase", b"open sesame\n");
        secret(&desk, "wrong", b"sesame\n");
        let forms = [
            key.private_key_to_pem_pkcs8().unwrap(),
            key.private_key_to_pkcs8().unwrap(),
            old.0,
            old.1,
            key.private_key_to_pem_pkcs8_passphrase(cipher, b"open sesame").unwrap(),
            key.private_key_to_pkcs8_passphrase(cipher, b"open sesame").unwrap(),
        ];
        for (number, form) in forms.iter().enumerate() {
            secret(&desk, "key", form);
            assert_eq!(
                build(&desk, "key", "crt.pem", &["--passphrase-file", "passphrase"]).good().stderr,
                "",
                "{number}"
            );
            if number > 3 {
                build(&desk, "key", "crt.pem", &["--passphrase-file", "wrong"]).refuses(&["key: passphrase is wrong"]);
            }
        }
        desk.file("crt.der", &authority.der());
        build(&desk, "key.pem", "crt.der", &[]).good();
        // Key and certificate in one file, in either order, and a chain in which others come first.
        let (pem, certificate) = (key.private_key_to_pem_pkcs8().unwrap(), authority.pem());
        let other = keys::rsa("Somebody else");
        for bundle in [
            [pem.as_slice(), &certificate].concat(),
            [b"Bag Attributes\n".as_slice(), &certificate, &pem].concat(),
            [other.pem().as_slice(), &keys::ec("Another").pem(), &certificate, &pem].concat(),
        ] {
            secret(&desk, "bundle.pem", &bundle);
            assert_eq!(build(&desk, "bundle.pem", "bundle.pem", &[]).good().stderr, "");
        }
        build(&desk, "other.pem", "bundle.pem", &[]).refuses(&["reading private key other.pem: No such file"]);
        secret(&desk, "other.pem", &keys::rsa("Unrelated").key.private_key_to_pem_pkcs8().unwrap());
        build(&desk, "other.pem", "bundle.pem", &[]).refuses(&["the private key does not belong to the certificate"]);
        // `verify` takes what `build` takes.
        desk.build("tool", "tree", &[]).good();
        let said = desk.run(&["verify", "--certificate", "crt.der", "tool.sysext.raw"]);
        assert_eq!(said.status, Some(0), "{said:?}");
    }
}

/// One sentence says what it is, and what is accepted.
pub(crate) fn what_no_boot_accepts_is_named() {
    let desk = desk(keys::ec("Vendor"));
    let accepted = "supported keys: RSA of 2048 bits or more (PKCS#1 v1.5), ECDSA on P-256, P-384 or \
                    P-521, in PEM or DER";
    let edwards = Recipe::new("Edwards").key(Key::Ed25519).make();
    secret(&desk, "ed25519.pem", &edwards.key.private_key_to_pem_pkcs8().unwrap());
    desk.file("ed25519.crt", &edwards.pem());
    let said = build(&desk, "ed25519.pem", "ed25519.crt", &[]);
    said.refuses(&["reading private key ed25519.pem: every boot rejects signatures of Ed25519 keys", accepted]);
    openssl(
        &desk,
        "req -x509 -newkey rsa-pss -pkeyopt rsa_keygen_bits:2048 -nodes -keyout pss.pem -out pss.crt -subj /CN=PSS",
    );
    build(&desk, "pss.pem", "pss.crt", &[]).refuses(&["every boot rejects signatures of RSA-PSS keys", accepted]);
    assert_eq!(said.stderr.lines().count(), 1, "{said:?}");

    let vendor = keys::ec("Vendor");
    let mut container = Pkcs12::builder();
    let container = container.name("x").pkey(&vendor.key).cert(&vendor.certificate).build2("x").unwrap();
    secret(&desk, "vendor.p12", &container.to_der().unwrap());
    let openssh = b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n";
    secret(&desk, "id_ecdsa", openssh);
    secret(&desk, "public.pem", &vendor.key.public_key_to_pem().unwrap());
    secret(&desk, "junk", b"junk");
    secret(&desk, "empty", b"");
    let rows = [
        ("vendor.p12", "file is a PKCS#12 container: unpack it with `openssl pkcs12 -in FILE -out KEY.pem`"),
        ("id_ecdsa", "file is an OpenSSH key"),
        ("public.pem", "file has a PEM block with the label PUBLIC KEY"),
        ("crt.pem", "file has a PEM block with the label CERTIFICATE"),
        ("junk", ""),
        ("empty", ""),
    ];
    for (file, words) in rows {
        let said = build(&desk, file, "crt.pem", &[]);
        said.refuses(&["not a private key: ", words, accepted]);
        assert!(said.stderr.contains(file), "{said:?}");
        assert_eq!(
            said.stderr.lines().filter(|line| !line.contains("is readable by other users")).count(),
            1,
            "{said:?}"
        );
    }
    for (file, words) in rows.iter().filter(|(file, _)| *file != "crt.pem") {
        let form = if words.is_empty() { "; expected PEM or DER" } else { words };
        build(&desk, "key.pem", file, &[])
            .refuses(&[&format!("reading certificate {file}: no usable certificate: "), form]);
    }
    build(&desk, "key.pem", "key.pem", &[]).refuses(&["file has a PEM block with the label PRIVATE KEY"]);
}

/// The way that tokens take, with the provider that is always there.
pub(crate) fn a_provider_gives_key_and_certificate() {
    let vendor = keys::rsa("Vendor");
    let desk = desk(vendor);
    let uri = |name: &str| format!("file:{}", desk.path(name).display());
    let pem = vendor.key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"open sesame").unwrap();
    secret(&desk, "encrypted.pem", &pem);
    secret(&desk, "passphrase", b"open sesame\n");
    secret(&desk, "wrong", b"sesame\n");
    let default = ["--private-key-source", "provider:default"];
    let both = [&default[..], &["--certificate-source", "provider:default"]].concat();
    build(&desk, &uri("key.pem"), "crt.pem", &default).good();
    build(&desk, &uri("key.pem"), &uri("crt.pem"), &both).good();
    let with = |file: &str| {
        build(&desk, &uri("encrypted.pem"), "crt.pem", &[&default[..], &["--passphrase-file", file]].concat())
    };
    with("passphrase").good();
    with("wrong").refuses(&[&format!("reading private key {}: ", uri("encrypted.pem"))]);
    with("nowhere").refuses(&["reading nowhere: No such file"]);
    build(&desk, &uri("crt.pem"), "crt.pem", &default).refuses(&["reading private key file:"]);
    build(&desk, &uri("nowhere.pem"), "crt.pem", &default).refuses(&["nowhere.pem: OpenSSL: "]);
    build(&desk, "key.pem", "crt.pem", &["--private-key-source", "provider:absent"])
        .refuses(&["reading private key key.pem: loading OpenSSL provider absent: "]);
    for wrong in ["engine:pkcs11", "provider:", "provider", "token"] {
        let said = build(&desk, "key.pem", "crt.pem", &["--private-key-source", wrong]);
        assert_eq!((said.status, said.stdout.as_str()), (Some(2), ""), "{wrong}: {said:?}");
    }
    // PINs of a URI are shown nowhere.
    for uri in ["pkcs11:object=x?pin-value=hunter2", "pkcs11:object=x;pin-value=hunter2"] {
        let said = build(&desk, uri, "crt.pem", &["--private-key-source", "provider:default"]);
        said.refuses(&["the PIN is part of the command line", "reading private key pkcs11:object=x: "]);
        assert!(!said.stderr.contains("hunter2"), "{said:?}");
    }
    build(&desk, "pkcs11:object=x?pin-source=|cat", "crt.pem", &[]).refuses(&["pin-source of the URI is not a file"]);
    build(&desk, "pkcs11:object=x?pin-value=%zz", "crt.pem", &[])
        .refuses(&["pin-value of the URI is not percent-encoded"]);
}

/// As passphrases of files are, and once: a token is locked after a few wrong ones.
pub(crate) fn a_pin_is_asked_for_on_a_terminal_once() {
    let vendor = keys::rsa("Vendor");
    let desk = desk(vendor);
    let pem = vendor.key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"open sesame").unwrap();
    secret(&desk, "encrypted.pem", &pem);
    let program = env!("CARGO_BIN_EXE_tool-under-test");
    let line = format!(
        "{program} build tool tree --private-key file:{} --private-key-source provider:default --certificate crt.pem",
        desk.path("encrypted.pem").display()
    );
    for (answer, status) in [("open sesame", 0), ("sesame", 1)] {
        // Whatever is typed before the question is asked would be shown, and thrown away.
        let typed = format!("(sleep 1; echo '{answer}'; sleep 1) | script -qec '{line}' /dev/null");
        let output = Command::new("sh").args(["-c", &typed]).current_dir(desk.path(".")).output().unwrap();
        let said = Said::from(output);
        assert_eq!(said.status, Some(status), "{said:?}");
        assert_eq!(said.stdout.matches("PIN or passphrase of file:/").count(), 1, "{said:?}");
        assert!(!said.stdout.contains("sesame"), "{said:?}");
    }
    assert_eq!(desk.verdict("tool.sysext.raw"), "");
}

/// What `tests/toolbox/run` runs: makes a token with two keys and a certificate.
const TOKEN: &str = r#"
    cd "$1"
    export SOFTHSM2_CONF=$1/softhsm2.conf
    mkdir tokens
    echo "directories.tokendir = $1/tokens" >softhsm2.conf
    softhsm2-util --init-token --free --label release --pin 1234 --so-pin 5678
    softhsm2-util --import rsa.pem --token release --label rsa --id 01 --pin 1234
    softhsm2-util --import ec.pem --token release --label ec --id 02 --pin 1234
    for key in rsa:01 ec:02; do
        pkcs11-tool --module /usr/lib/softhsm/libsofthsm2.so --token-label release --login --pin 1234 \
            --write-object "${key%:*}.der" --type cert --label "${key%:*}" --id "${key#*:}"
    done
"#;

/// `sextant` inside of the toolbox, with the token.
fn with_token(toolbox: &Toolbox, desk: &Desk, environment: &str, arguments: &[&str]) -> Said {
    let script = format!(
        r#"
        cd "$1"
        export SOFTHSM2_CONF=$1/softhsm2.conf PKCS11_PROVIDER_MODULE=/usr/lib/softhsm/libsofthsm2.so {environment}
        shift
        exec "$@"
        "#
    );
    let place = desk.path("");
    let program = Path::new(env!("CARGO_BIN_EXE_tool-under-test"));
    let arguments =
        [&[place.as_os_str(), program.as_os_str()], arguments.iter().map(AsRef::as_ref).collect::<Vec<_>>().as_slice()]
            .concat();
    Said::from(toolbox.script(&script, &arguments))
}

/// `SoftHSM` keeps the keys; OpenSSL's provider for PKCS#11 signs with them.
pub(crate) fn a_key_in_a_token_signs() {
    let Some(toolbox) = Toolbox::find() else { return };
    let probe = "command -v softhsm2-util pkcs11-tool && test -e /usr/lib/*/ossl-modules/pkcs11.so";
    if !toolbox.script(probe, &[]).status.success() {
        return left_out("no SoftHSM in the toolbox: run tests/toolbox/prepare");
    }
    let (rsa, ec) = (keys::rsa("Vendor"), keys::ec("Vendor"));
    let desk = desk(rsa);
    for (name, authority) in [("rsa", rsa), ("ec", ec)] {
        secret(&desk, &format!("{name}.pem"), &authority.key.private_key_to_pem_pkcs8().unwrap());
        desk.file(&format!("{name}.der"), &authority.der());
        desk.file(&format!("{name}.crt"), &authority.pem());
    }
    toolbox.succeed(TOKEN, &[desk.path("").as_os_str()]);
    secret(&desk, "pin", b"1234\n");
    secret(&desk, "wrong", b"4321\n");
    let build = |environment: &str, key: &str, certificate: &str, more: &[&str]| {
        let fixed = ["build", "tool", "tree", "--private-key", key, "--certificate", certificate];
        with_token(&toolbox, &desk, environment, &[&fixed[..], more].concat())
    };
    let good = |said: Said, authority: &Authority| {
        let said = said.good();
        desk.file("crt.pem", &authority.pem());
        assert_eq!(desk.verdict("tool.sysext.raw"), "");
        fs::remove_file(desk.path("tool.sysext.raw")).unwrap();
        assert!(!said.stderr.contains("1234"), "{said:?}");
        said
    };
    for (name, authority) in [("rsa", rsa), ("ec", ec)] {
        let (key, certificate) = (format!("pkcs11:token=release;object={name}"), format!("{name}.crt"));
        good(build("SEXTANT_PASSPHRASE=1234", &key, &certificate, &[]), authority);
        good(build("", &key, &certificate, &["--passphrase-file", "pin"]), authority);
        let source = format!("{key}?pin-source=file:{}", desk.path("pin").display());
        let said = good(build("", &source, &certificate, &["--private-key-source", "provider:pkcs11"]), authority);
        assert_eq!(said.stderr, "");
        let said = good(build("", &format!("{key}?pin-value=1234"), &certificate, &[]), authority);
        assert!(said.stderr.contains("the PIN is part of the command line"), "{said:?}");
        // The certificate out of the token, and all keys of the token: the one that belongs to it is taken.
        good(build("SEXTANT_PASSPHRASE=1234", "pkcs11:token=release;type=private", &key, &[]), authority);
    }
    build("", "pkcs11:token=release;object=rsa", "rsa.crt", &["--passphrase-file", "wrong"])
        .refuses(&["reading private key pkcs11:token=release;object=rsa: "]);
    build("SEXTANT_PASSPHRASE=1234", "pkcs11:token=release;object=absent", "rsa.crt", &[])
        .refuses(&["reading private key pkcs11:token=release;object=absent: "]);
    build("SEXTANT_PASSPHRASE=1234", "pkcs11:token=release;object=ec", "rsa.crt", &[])
        .refuses(&["the private key does not belong to the certificate"]);
    // What was built without the key at hand.
    desk.run(&["build", "tool", "tree", "--unsigned"]).good();
    let sign =
        ["sign", "tool.sysext.unsigned", "--private-key", "pkcs11:token=release;object=ec", "--certificate", "ec.crt"];
    good(with_token(&toolbox, &desk, "SEXTANT_PASSPHRASE=1234", &sign), ec);
}
