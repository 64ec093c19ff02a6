//! Who is trusted, and whether this boot may have extensions: firmware, sealed certificates, host.

use super::vendor;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use support::ddi::{good_image, with_tree};
use support::efi::{self, Firmware, List};
use support::keys;
use support::machine::{Machine, Outcome};
use support::pkcs7::Digest;
use support::trees::Tree;

#[test]
fn every_source_of_trust_counts_and_can_be_narrowed() {
    let [pk, kek, db, sealed] = ["Pk", "Kek", "Db", "Sealed"].map(keys::ec);
    let machine = |config: &str| {
        let mut machine = Machine::new()
            .firmware(
                &Firmware::enforcing()
                    .pk(&efi::certificates(&[pk]))
                    .kek(&efi::certificates(&[kek]))
                    .db(&efi::certificates(&[db])),
            )
            .sealed("vendor", sealed)
            .config(config);
        for (name, signer) in [("pk", pk), ("kek", kek), ("db", db), ("sealed", sealed)] {
            machine = machine.sysext(&format!("{name}.sysext.raw"), &good_image(name, signer));
        }
        machine
    };
    let all = machine("");
    let outcome = all.stage();
    assert_eq!(all.staged_names(), ["db", "kek", "pk", "sealed"], "{}", outcome.stderr);
    assert_eq!(all.exported_certificates(), ["KEK-1.crt", "PK-1.crt", "db-1.crt", "sealed-1.crt"]);
    assert_eq!(outcome.row("sealed.sysext.raw")["signer"]["source"], "sealed");

    let narrow = machine("trust:\n  sources: [db, sealed]\n");
    let outcome = narrow.stage();
    assert_eq!(narrow.staged_names(), ["db", "sealed"]);
    assert_eq!(narrow.exported_certificates(), ["db-1.crt", "sealed-1.crt"], "systemd must not trust more");
    assert_eq!(outcome.verdict("pk.sysext.raw"), ("rejected", "unknown-signer"));
    let told: Vec<_> = outcome.report["ignored_certificates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["source"].as_str().unwrap(), one["reason"].as_str().unwrap(), one["sha256"].as_str().unwrap()))
        .collect();
    let reason = "not admitted by the configuration (trust.sources)";
    assert_eq!(told, [("PK", reason, pk.fingerprint().as_str()), ("KEK", reason, kek.fingerprint().as_str())]);
    assert!(outcome.stderr.contains(&format!("ignoring a certificate of KEK: {reason}")), "{}", outcome.stderr);
    let none = machine("trust:\n  sources: []\n");
    none.stage();
    assert!(none.staged_names().is_empty());
}

#[test]
fn broken_entries_between_the_certificates_spoil_nothing() {
    let cut = List::certificate(keys::ec("Cut")).encode();
    let db = [
        List::new(efi::SHA256, [vec![1; 32]]).encode(),
        List::new(efi::X509, [b"not a certificate".to_vec()]).encode(),
        List { header: vec![0; 5], ..List::certificate(vendor()) }.encode(),
        List::new(efi::RSA2048, [vec![3; 256]]).encode(),
        List { entry_size: Some(7), ..List::certificate(keys::ec("Odd")) }.encode(),
        List::certificate(keys::ec("Second")).encode(),
        cut[..cut.len() - 1].to_vec(),
    ]
    .concat();
    let machine = Machine::new()
        .firmware(&Firmware::enforcing().db(&db))
        .sysext("a.sysext.raw", &good_image("a", vendor()))
        .sysext("b.sysext.raw", &good_image("b", keys::ec("Second")))
        .sysext("c.sysext.raw", &good_image("c", keys::ec("Cut")));
    let outcome = machine.stage();
    assert_eq!(outcome.status, Some(0));
    assert_eq!(machine.staged_names(), ["a", "b"], "{}", outcome.stderr);
    let ignored: Vec<_> = outcome.report["ignored_certificates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["reason"].as_str().unwrap())
        .collect();
    assert_eq!(ignored.len(), 3, "{ignored:?}");
    assert!(ignored.iter().any(|reason| reason.contains("not a DER certificate")));
    assert!(ignored.iter().any(|reason| reason.contains("entries of 7 bytes each")));
    assert!(ignored.iter().any(|reason| reason.contains("are left")));
}

#[test]
fn nothing_is_staged_or_trusted_unless_the_firmware_enforces() {
    let db = efi::certificates(&[vendor()]);
    for (firmware, state) in [
        (Firmware::disabled().db(&db), "disabled"),
        (Firmware::setup_mode().db(&db), "setup-mode"),
        (Firmware::enforcing().state("AuditMode", 1).db(&db), "setup-mode"),
        (Firmware::absent(), "unavailable"),
        (Firmware::default().db(&db), "unavailable"),
    ] {
        let machine = Machine::new()
            .firmware(&firmware)
            .sealed("vendor", vendor())
            .sysext("good.sysext.raw", &good_image("good", vendor()));
        let outcome = machine.stage();
        assert_eq!(outcome.status, Some(0));
        assert_eq!(outcome.verdict("good.sysext.raw"), ("rejected", "secure-boot-off"), "{state}");
        assert_eq!(outcome.report["firmware"]["secure_boot"], state);
        assert!(machine.staged_names().is_empty() && machine.exported_certificates().is_empty(), "{state}");
        assert!(outcome.report["trust"].as_array().unwrap().iter().all(|anchor| anchor["file"].is_null()));

        let machine =
            machine.config("secure_boot: optional\n").sysext("good.sysext.raw", &good_image("good", vendor()));
        machine.stage();
        assert_eq!(machine.staged_names(), ["good"], "{state}, which the configuration allows");
    }
}

#[test]
fn boot_entries_without_extensions_get_none() {
    let trusting = || Firmware::enforcing().db(&efi::certificates(&[vendor()]));
    for (firmware, denied) in [
        (trusting().entry("recovery.conf"), true),
        (trusting().entry("autoreset.conf"), true),
        (trusting().entry("statereset+3-1.conf"), true),
        (trusting().stub("\\EFI\\kairos\\recovery.efi"), true),
        (trusting().entry("mine.conf").stub("\\EFI\\kairos\\Recovery.efi"), true),
        (trusting().entry("mine.conf").stub("\\EFI\\kairos\\mine.efi"), false),
        (trusting().entry("passive.conf"), false),
        (trusting(), false),
    ] {
        let machine = Machine::new().firmware(&firmware).sysext("good.sysext.raw", &good_image("good", vendor()));
        let outcome = machine.stage();
        let expected = if denied { ("rejected", "entry-denied") } else { ("staged", "") };
        assert_eq!(outcome.verdict("good.sysext.raw"), expected, "{:?}", outcome.report["firmware"]);
    }
    let machine = Machine::new()
        .firmware(&trusting().entry("recovery.conf"))
        .config("entries:\n  deny: [mine]\n")
        .sysext("good.sysext.raw", &good_image("good", vendor()));
    machine.stage();
    assert_eq!(machine.staged_names(), ["good"]);
}

#[test]
fn firmware_that_cannot_be_read_is_never_taken_for_firmware_that_says_nothing() {
    for name in ["dbx", "db", "SecureBoot"] {
        let machine =
            Machine::trusting(&[vendor()]).sysext("good.sysext.raw", &good_image("good", vendor())).with(|root| {
                let vendor = if name == "SecureBoot" { efi::GLOBAL } else { efi::SECURITY_DATABASE };
                let path = root.join(format!("sys/firmware/efi/efivars/{name}-{vendor}"));
                let _ = fs::remove_file(&path);
                fs::write(path, [7, 0]).unwrap();
            });
        let outcome = machine.stage();
        assert_eq!((outcome.status, outcome.verdict("good.sysext.raw").1), (Some(1), "firmware-unreadable"), "{name}");
        assert!(machine.staged_names().is_empty());
        assert!(outcome.report["error"].as_str().unwrap().contains(&format!("variable {name}")));
    }
}

#[test]
fn firmware_that_may_not_be_listed_or_is_no_directory_is_never_absent() {
    let machine = || {
        Machine::trusting(&[vendor()])
            .config("secure_boot: optional\n")
            .sealed("vendor", vendor())
            .sysext("good.sysext.raw", &good_image("good", vendor()))
    };
    let efivars = "sys/firmware/efi/efivars";
    let check = |outcome: &Outcome, machine: &Machine, what: &str| {
        let verdict = outcome.verdict("good.sysext.raw");
        assert_eq!((outcome.status, verdict), (Some(1), ("rejected", "firmware-unreadable")), "{what}");
        assert!(machine.staged_names().is_empty() && machine.exported_certificates().is_empty(), "{what}");
        assert!(outcome.report["error"].as_str().unwrap().contains(what), "{}", outcome.report["error"]);
    };
    // 0o111: a file can be opened by its name, and no other process can tell whether there is any.
    for mode in [0o000, 0o111] {
        let machine = machine();
        let directory = machine.path(efivars);
        fs::set_permissions(&directory, Permissions::from_mode(mode)).unwrap();
        let outcome = machine.outcome(crate::run::stage_unprivileged(&machine, &directory));
        fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
        check(&outcome, &machine, "Permission denied");
    }
    let file = machine().with(|root| {
        fs::remove_dir_all(root.join(efivars)).unwrap();
        fs::write(root.join(efivars), "").unwrap();
    });
    check(&file.stage(), &file, "Not a directory");
    let absent = machine().with(|root| fs::remove_dir_all(root.join("sys/firmware/efi")).unwrap());
    assert_eq!(absent.stage().verdict("good.sysext.raw"), ("staged", ""), "no directory is no firmware");
}

#[test]
fn a_variable_is_read_from_a_regular_file_of_the_directory_and_from_nothing_else() {
    let outside = tempfile::NamedTempFile::new().unwrap();
    fs::write(outside.path(), [&[7, 0, 0, 0][..], &efi::certificates(&[vendor()])].concat()).unwrap();
    let place: [&dyn Fn(&Path); 3] = [
        &|path| std::os::unix::fs::symlink(outside.path(), path).unwrap(),
        &|path| nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap(),
        &|path| fs::create_dir(path).unwrap(),
    ];
    for place in place {
        let machine =
            Machine::trusting(&[vendor()]).sysext("good.sysext.raw", &good_image("good", vendor())).with(|root| {
                let path = root.join(format!("sys/firmware/efi/efivars/db-{}", efi::SECURITY_DATABASE));
                fs::remove_file(&path).unwrap();
                place(&path);
            });
        let outcome = machine.stage();
        assert_eq!((outcome.status, outcome.verdict("good.sysext.raw").1), (Some(1), "firmware-unreadable"));
        assert!(outcome.stderr.contains("reading variable db: it is not a regular file"), "{}", outcome.stderr);
    }
}

#[test]
fn a_dbx_that_cannot_be_read_whole_closes_the_gate_unless_the_configuration_says_otherwise() {
    let revoked = keys::ec("Revoked");
    let first = List::certificate(revoked).encode();
    let mut cut = List::certificate(keys::ec("Cut")).encode();
    cut.pop();
    let short = List::new(efi::X509_SHA256, [vec![1; 31]]);
    for (what, fault) in [
        ("are left", cut),
        ("too few for a list header", vec![0; 27]),
        ("an X.509 entry of 17 bytes can't be read", List::new(efi::X509, [b"not a certificate".to_vec()]).encode()),
        ("holds 31 bytes", short.encode()),
        ("entries of 7 bytes each", List { entry_size: Some(7), ..List::certificate(revoked) }.encode()),
        ("claims a signature header", List { header_size: Some(9999), ..List::certificate(revoked) }.encode()),
    ] {
        let machine = |config: &str| {
            Machine::new()
                .firmware(
                    &Firmware::enforcing()
                        .db(&efi::certificates(&[vendor(), revoked]))
                        .dbx(&[first.clone(), fault.clone()].concat()),
                )
                .config(config)
                .sysext("good.sysext.raw", &good_image("good", vendor()))
                .sysext("revoked.sysext.raw", &good_image("revoked", revoked))
        };
        let strict = machine("");
        let outcome = strict.stage();
        assert_eq!(outcome.status, Some(1), "{what}");
        for image in ["good.sysext.raw", "revoked.sysext.raw"] {
            assert_eq!(outcome.verdict(image), ("rejected", "dbx-unreadable"), "{what}");
        }
        assert!(strict.staged_names().is_empty() && strict.exported_certificates().is_empty(), "{what}");
        assert!(outcome.report["error"].as_str().unwrap().contains(what), "{}", outcome.report["error"]);
        assert!(outcome.report["trust"].as_array().unwrap().iter().all(|anchor| anchor["file"].is_null()));
        let is_told =
            |line: &str| line.contains("reading dbx: ") && line.contains(what) && line.contains("nothing is staged");
        assert!(outcome.stderr.lines().any(is_told), "{}", outcome.stderr);
        assert!(!outcome.stderr.contains("ignoring a certificate of dbx"), "{}", outcome.stderr);
        let of_dbx =
            outcome.report["ignored_certificates"].as_array().unwrap().iter().filter(|one| one["source"] == "dbx");
        assert!(of_dbx.count() >= 1, "{}", outcome.report);

        let lenient = machine("trust:\n  dbx: lenient\n");
        let outcome = lenient.stage();
        assert_eq!(outcome.status, Some(0), "{what}");
        assert_eq!(lenient.staged_names(), ["good"], "{what}");
        assert_eq!(outcome.verdict("revoked.sysext.raw"), ("rejected", "revoked-signer"), "{what}");
        let is_told = |line: &str| line.contains("reading dbx: ") && line.contains(what) && line.contains("trust.dbx");
        assert!(outcome.stderr.lines().any(is_told), "{}", outcome.stderr);
    }
}

#[test]
fn what_firmware_would_honour_in_dbx_revokes_a_signer_here() {
    let digest = |len: usize| {
        let mut list = List::revoked(vendor(), Digest::Sha256, efi::ALWAYS);
        list.entries[0].resize(len, 0);
        list.encode()
    };
    let padded = |len| List::new(efi::X509, [[vendor().der(), vec![0; len]].concat()]).encode();
    for (what, dbx) in [
        ("padding behind the certificate", padded(4)),
        ("much of it", padded(5000)),
        ("a digest without a time", digest(32)),
        ("a digest and more than a time", digest(50)),
        (
            "behind lists of types that say nothing here",
            [
                List { entry_size: Some(3), ..List::new(efi::SHA256, [vec![1; 32]]) }.encode(),
                List::new("01234567-89ab-cdef-0123-456789abcdef", [vec![1; 5]]).encode(),
                List::new(efi::X509, []).encode(),
                padded(0),
            ]
            .concat(),
        ),
    ] {
        let machine = Machine::new()
            .firmware(&Firmware::enforcing().db(&efi::certificates(&[vendor(), keys::ec("Other")])).dbx(&dbx))
            .sysext("bad.sysext.raw", &good_image("bad", vendor()))
            .sysext("good.sysext.raw", &good_image("good", keys::ec("Other")));
        let outcome = machine.stage();
        assert_eq!(outcome.status, Some(0), "{what}: {}", outcome.stderr);
        assert_eq!(outcome.verdict("bad.sysext.raw"), ("rejected", "revoked-signer"), "{what}");
        assert_eq!(machine.staged_names(), ["good"], "{what}");
        assert_eq!(machine.exported_certificates(), ["db-1.crt"], "{what}");
    }
}

#[test]
fn an_authority_in_dbx_takes_those_it_certified_with_it() {
    let authority = keys::ca("Authority");
    let leaf = keys::leaf("Leaf", authority);
    let machine = Machine::new()
        .firmware(
            &Firmware::enforcing()
                .db(&efi::certificates(&[leaf, vendor()]))
                .dbx(&List::certificate(authority).encode()),
        )
        .sysext("bad.sysext.raw", &good_image("bad", leaf))
        .sysext("good.sysext.raw", &good_image("good", vendor()));
    let outcome = machine.stage();
    assert_eq!(outcome.verdict("bad.sysext.raw"), ("rejected", "revoked-signer"));
    assert_eq!(machine.staged_names(), ["good"]);
}

#[test]
fn the_host_is_judged_where_it_is_known() {
    let image = with_tree("tool", &Tree::empty().release("tool", "ID=testos\nVERSION_ID=2\n"), vendor()).render().bytes;
    let verdict = |machine: Machine| {
        let outcome = machine.sysext("tool.sysext.raw", &image).stage();
        outcome.row("tool.sysext.raw")["reason"].as_str().unwrap_or("staged").to_owned()
    };
    let trusting = || Machine::trusting(&[vendor()]);
    assert_eq!(verdict(trusting()), "staged", "nobody knows the host");
    assert_eq!(verdict(trusting().file("etc/os-release", b"ID=testos\nVERSION_ID=2\n")), "staged");
    assert_eq!(verdict(trusting().file("etc/os-release", b"ID=testos\nVERSION_ID=3\n")), "incompatible-host");
    let initrd = || trusting().file("etc/initrd-release", b"ID=initrd\n").file("etc/os-release", b"ID=initrd\n");
    assert_eq!(verdict(initrd()), "staged", "an initrd's own os-release is not the host's");
    let linked = initrd().file("sysroot/usr/lib/os-release", b"ID=otheros\n").with(|root| {
        fs::create_dir_all(root.join("sysroot/etc")).unwrap();
        std::os::unix::fs::symlink("/usr/lib/os-release", root.join("sysroot/etc/os-release")).unwrap();
    });
    assert_eq!(verdict(linked), "incompatible-host", "an absolute link stays below /sysroot");
}

/// immucore writes PK, KEK and db to where systemd looks, whatever dbx says, under names of its own.
#[test]
fn certificates_of_others_stay_if_they_are_anchors_and_go_if_not() {
    let [pk, revoked, stranger] = ["Pk", "Revoked", "Stranger"].map(keys::ec);
    let firmware = || {
        Firmware::enforcing()
            .pk(&efi::certificates(&[pk]))
            .db(&efi::certificates(&[vendor(), revoked]))
            .dbx(&List::certificate(revoked).encode())
    };
    let machine = |config: &str| {
        let trailing = [vendor().pem(), stranger.pem()].concat();
        Machine::new()
            .firmware(&firmware())
            .config(config)
            .sysext("good.sysext.raw", &good_image("good", vendor()))
            .file("run/verity.d/PK0.crt", &pk.pem())
            .file("run/verity.d/DB0.crt", &vendor().pem())
            .file("run/verity.d/DB1.crt", &revoked.pem())
            .file("run/verity.d/stranger.crt", &stranger.pem())
            // systemd reads the first one only.
            .file("run/verity.d/two.crt", &trailing)
            .file("run/verity.d/unread.pem", &stranger.pem())
            // Left by an earlier run.
            .file("run/verity.d/db-7.crt", &revoked.pem())
    };
    let trusting = machine("");
    let outcome = trusting.stage();
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    assert_eq!(trusting.staged_names(), ["good"]);
    let left = ["DB0.crt", "PK-1.crt", "PK0.crt", "db-1.crt", "two.crt", "unread.pem"];
    assert_eq!(trusting.exported_certificates(), left, "{}", outcome.stderr);
    let told = told_of_removed(&outcome);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("removed DB1.crt from /run/verity.d: ") && told[0].contains("CN=Revoked"), "{told:?}");
    assert!(
        told[1].contains("removed stranger.crt") && told[1].ends_with("is no trust anchor of this boot"),
        "{told:?}"
    );
    assert!(told_of_removed(&trusting.stage()).is_empty(), "the second run finds nothing more");

    let narrow = machine("trust:\n  sources: [db]\n");
    let outcome = narrow.stage();
    assert_eq!(narrow.exported_certificates(), ["DB0.crt", "db-1.crt", "two.crt", "unread.pem"], "{}", outcome.stderr);

    // Where nothing may be staged nothing is to be trusted either, whatever the cause.
    for closed in
        [machine("limitz: 3\n"), machine("").firmware(&Firmware::disabled().db(&efi::certificates(&[vendor()])))]
    {
        closed.stage();
        assert_eq!(closed.exported_certificates(), ["unread.pem"]);
    }
}

fn told_of_removed(outcome: &Outcome) -> Vec<&str> {
    outcome.stderr.lines().filter(|line| line.contains(" from /run/verity.d")).collect()
}

#[test]
fn junk_where_systemd_looks_for_certificates_does_no_harm() {
    let stranger = keys::ec("Stranger");
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("mine.crt"), vendor().pem()).unwrap();
    let machine = Machine::trusting(&[vendor()])
        .sysext("good.sysext.raw", &good_image("good", vendor()))
        .file("run/verity.d/directory.crt/DB0.crt", &stranger.pem())
        .file("run/verity.d/db-3.crt/DB0.crt", &stranger.pem())
        .file("run/verity.d/empty.crt", b"")
        .file("run/verity.d/large.crt", &vec![b'A'; (1 << 20) + 1])
        .file("run/verity.d/der.crt", &vendor().der())
        .file("run/verity.d/.hidden.crt", &stranger.pem())
        .file("run/verity.d/.crt", &stranger.pem())
        .file("elsewhere/good.crt", &vendor().pem())
        .with(|root| {
            let directory = root.join("run/verity.d");
            for (name, target) in [
                ("link.crt", "../../elsewhere/good.crt"),
                ("dangling.crt", "nowhere"),
                ("loop.crt", "loop.crt"),
                ("to-directory.crt", "directory.crt"),
                ("outside.crt", outside.path().join("mine.crt").to_str().unwrap()),
            ] {
                std::os::unix::fs::symlink(target, directory.join(name)).unwrap();
            }
            nix::unistd::mkfifo(&directory.join("fifo.crt"), nix::sys::stat::Mode::S_IRWXU).unwrap();
            let name = std::os::unix::ffi::OsStrExt::from_bytes(b"\xff.crt");
            fs::write(directory.join::<&std::ffi::OsStr>(name), vendor().pem()).unwrap();
            for number in 0..3000 {
                fs::write(directory.join(format!("{number}.crt")), "junk").unwrap();
            }
        });
    let outcome = machine.stage();
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    assert_eq!(machine.staged_names(), ["good"]);
    assert_eq!(machine.exported_certificates(), ["db-1.crt", "db-3.crt", "directory.crt"], "{}", outcome.stderr);
    assert!(machine.path("elsewhere/good.crt").is_file() && outside.path().join("mine.crt").is_file());
    let told = told_of_removed(&outcome);
    assert_eq!(told.len(), 65);
    assert!(told[64].ends_with("removed 2948 more files from /run/verity.d: no trust anchors"), "{}", told[64]);
}
