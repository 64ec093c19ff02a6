//! What the agent does with a machine as a whole: firmware, configuration, staging, report, exit statuses.
#![allow(clippy::unwrap_used)]

mod support;

use nix::unistd::{Gid, Uid, chown};
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use support::ddi::{Blueprint, good, good_image, with_tree};
use support::efi::{self, Firmware, List};
use support::keys::{self, Authority};
use support::machine::Machine;
use support::pkcs7::{SignedData, SignerInfo};
use support::trees::{Tree, noise};

fn vendor() -> &'static Authority {
    keys::rsa("Vendor")
}

fn confext(name: &str) -> Vec<u8> {
    Blueprint::new(name, &Tree::confext(name).squashfs(), vendor()).render().bytes
}

#[test]
fn good_images_of_both_classes_are_staged_byte_for_byte_and_read_only() {
    let image = good_image("k3s", vendor());
    let machine = Machine::trusting(&[vendor()])
        .sysext("k3s.sysext.raw", &image)
        .sysext("tool_1.2.SYSEXT.RAW", &with_tree("tool_1.2", &Tree::sysext("tool"), vendor()).render().bytes)
        .confext("net.confext.raw", &confext("net"));
    let outcome = machine.stage();
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    assert_eq!(machine.staged_names(), ["k3s", "tool_1.2"]);
    assert_eq!(machine.staged_confexts(), ["net"]);
    let staged = machine.path("run/extensions/k3s.raw");
    assert_eq!(fs::read(&staged).unwrap(), image);
    assert_eq!(fs::metadata(&staged).unwrap().mode() & 0o7777, 0o444);
    assert_eq!(machine.exported_certificates(), ["db-1.crt"]);
    assert_eq!(fs::read(machine.path("run/verity.d/db-1.crt")).unwrap(), vendor().pem());
    assert_eq!(machine.left_in_extra(), ["k3s.sysext.raw", "tool_1.2.SYSEXT.RAW"], "good images stay where they are");
    assert_eq!(fs::read_dir(machine.path("run/sextant/staging")).unwrap().count(), 0);
}

#[test]
fn the_report_says_everything_that_its_schema_promises() {
    let blueprint = good("k3s", vendor());
    let machine = Machine::new()
        .firmware(
            &Firmware::enforcing()
                .pk(&efi::certificates(&[keys::ec("Owner")]))
                .db(&efi::certificates(&[vendor(), vendor()]))
                .entry("active.conf"),
        )
        .sysext("k3s.sysext.raw", &blueprint.render().bytes)
        .sysext("junk.sysext.raw", b"junk");
    let outcome = machine.stage();
    let report = &outcome.report;
    assert_eq!(report["version"], 1);
    assert_eq!(report["firmware"], json!({"secure_boot": "enforcing", "entry": "active"}));
    assert_eq!(report["merge"], Value::Null);
    assert_eq!(report["error"], Value::Null);
    assert_eq!(
        report["trust"],
        json!([
            {"source": "PK", "subject": "CN=Owner", "sha256": keys::ec("Owner").fingerprint(), "file": "PK-1.crt"},
            {"source": "db", "subject": "CN=Vendor", "sha256": vendor().fingerprint(), "file": "db-1.crt"},
        ])
    );
    assert_eq!(
        report["ignored_certificates"],
        json!([{"source": "db", "sha256": vendor().fingerprint(), "reason": "the same certificate as db-1.crt"}])
    );
    let mut row = outcome.row("k3s.sysext.raw").clone();
    let times = ["verify_usec", "stage_usec"].map(|field| row[field].take().as_u64().unwrap());
    assert!(times[0] > 0, "verifying takes time");
    assert_eq!(
        row,
        json!({
            "file": "k3s.sysext.raw", "directory": "/.extra/sysext", "name": "k3s", "class": "sysext", "verdict": "staged", "reason": null,
            "detail": null, "warnings": [], "root_hash": blueprint.root_hash.to_string(),
            "signer": {"source": "db", "subject": "CN=Vendor", "sha256": vendor().fingerprint()},
            "size": blueprint.render().bytes.len(), "verify_usec": null, "stage_usec": null,
        })
    );
    let junk = outcome.row("junk.sysext.raw");
    assert_eq!((&junk["verdict"], &junk["reason"]), (&json!("rejected"), &json!("bad-gpt")));
    assert_eq!(junk["detail"], "no GUID partition table");
    assert_eq!((&junk["name"], &junk["signer"], &junk["root_hash"]), (&json!("junk"), &Value::Null, &Value::Null));
    assert!(
        outcome.stderr.contains("verifying junk.sysext.raw: no GUID partition table (bad-gpt)"),
        "{}",
        outcome.stderr
    );
}

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
fn a_broken_configuration_stages_nothing_and_says_where_it_is_broken() {
    let machine = Machine::trusting(&[vendor()])
        .config("secure_boot: require\nlimits:\n  imags: 3\n")
        .sysext("good.sysext.raw", &good_image("good", vendor()))
        .sysext("junk.raw", b"");
    let outcome = machine.stage();
    assert_eq!(outcome.status, Some(1));
    assert!(machine.staged_names().is_empty() && machine.exported_certificates().is_empty());
    for part in ["/etc/sextant.yaml", "imags", "line 3"] {
        assert!(outcome.report["error"].as_str().unwrap().contains(part), "{}", outcome.report["error"]);
        assert!(outcome.stderr.contains(part), "{}", outcome.stderr);
    }
    assert_eq!(outcome.verdict("good.sysext.raw"), ("rejected", "bad-configuration"));
    assert_eq!(outcome.verdict("junk.raw"), ("rejected", "bad-name"));
}

#[test]
fn the_configuration_comes_from_sealed_places_only_and_etc_comes_first() {
    let good = good_image("good", vendor());
    let machine = Machine::trusting(&[vendor()])
        .file("usr/lib/sextant.yaml", b"trust:\n  sources: [PK]\n")
        .file("run/sextant.yaml", b"nonsense: true\n")
        .sysext("good.sysext.raw", &good);
    assert_eq!(machine.stage().verdict("good.sysext.raw"), ("rejected", "unknown-signer"));
    let machine = machine.config("# defaults\n").sysext("good.sysext.raw", &good);
    assert_eq!(machine.stage().verdict("good.sysext.raw"), ("staged", ""));

    let file = machine.path("own.yaml");
    fs::write(&file, "entries: {deny: []}\nlimits: {images: 0}\n").unwrap();
    let machine = machine.sysext("good.sysext.raw", &good);
    let outcome = machine.stage_with(&["--config", file.to_str().unwrap()]);
    assert_eq!(outcome.verdict("good.sysext.raw"), ("rejected", "too-many"));
    let outcome = machine.sysext("good.sysext.raw", &good).stage_with(&["--config", "/nowhere/sextant.yaml"]);
    assert_eq!((outcome.status, outcome.verdict("good.sysext.raw").1), (Some(1), "bad-configuration"));
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
fn limits_hold_for_each_and_for_all_and_leave_the_rest_its_chance() {
    let small = good_image("small", vendor());
    let large =
        with_tree("large", &Tree::sysext("large").file("usr/share/noise", &noise(300_000)), vendor()).render().bytes;
    let machine = |config: String| {
        Machine::trusting(&[vendor()])
            .config(&config)
            .sysext("large.sysext.raw", &large)
            .sysext("small.sysext.raw", &small)
    };
    let limited = machine(format!("limits:\n  image_size: {}\n", small.len()));
    assert_eq!(limited.stage().verdict("large.sysext.raw"), ("rejected", "too-large"));
    assert_eq!(limited.staged_names(), ["small"]);
    let limited = machine(format!("limits:\n  total_size: {}\n", large.len() - 1));
    assert_eq!(limited.stage().verdict("large.sysext.raw"), ("rejected", "too-large"));
    assert_eq!(limited.staged_names(), ["small"]);
    let limited = machine("limits:\n  images: 1\n".to_owned());
    assert_eq!(limited.stage().verdict("small.sysext.raw"), ("rejected", "too-many"));
    assert_eq!(limited.staged_names(), ["large"]);
    let limited = machine(format!("limits:\n  memory: {}\n", small.len()));
    assert_eq!(limited.stage().verdict("large.sysext.raw"), ("rejected", "too-large"));
    assert_eq!(limited.staged_names(), ["small"]);
}

#[test]
fn without_room_an_image_is_refused_before_a_byte_of_it_is_written() {
    if !Command::new("unshare")
        .args(["--map-root-user", "--mount", "true"])
        .status()
        .is_ok_and(|status| status.success())
    {
        println!("ignored: this system gives no mount namespace to its users");
        assert_ne!(std::env::var("SEXTANT_REQUIRE_TOOLBOX").as_deref(), Ok("1"));
        return;
    }
    let large =
        with_tree("large", &Tree::sysext("large").file("usr/share/noise", &noise(3_000_000)), vendor()).render().bytes;
    let mut corrupt =
        with_tree("worse", &Tree::sysext("worse").file("usr/share/noise", &noise(3_000_000)), vendor()).render();
    corrupt = corrupt.flip(sextant::image::PartitionKind::Root, 1_000_000);
    let machine = Machine::trusting(&[vendor()])
        .config("limits:\n  keep_free: 256KiB\n")
        .sysext("large.sysext.raw", &large)
        .sysext("small.sysext.raw", &good_image("small", vendor()))
        .sysext("worse.sysext.raw", &corrupt.bytes);
    // The staged files are gone with the namespace, so what is asked is asked inside.
    let agent = machine.agent("stage");
    let script = format!(
        "mount -t tmpfs -o size=3m tmpfs '{run}' && \"$@\"; status=$?; ls '{run}/extensions' >&2; cp '{run}/sextant/report.json' '{out}'; exit $status",
        run = machine.path("run").display(),
        out = machine.path("report.json").display()
    );
    let mut command = Command::new("unshare");
    command
        .args(["--map-root-user", "--mount", "sh", "-c", &script, "sh"])
        .arg(agent.get_program())
        .args(agent.get_args());
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let report: Value = serde_json::from_slice(&fs::read(machine.path("report.json")).unwrap()).unwrap();
    let reasons: Vec<_> = report["images"].as_array().unwrap().iter().map(|row| row["reason"].as_str()).collect();
    assert_eq!(reasons, [Some("no-space"), None, Some("corrupt")], "a worse fault is told first\n{stderr}");
    assert!(stderr.ends_with("small.raw\n"), "{stderr}");
}

#[test]
fn one_name_is_staged_once_and_the_first_directory_wins() {
    let [first, second] = ["one", "two"].map(|text| {
        with_tree("tool", &Tree::sysext("tool").file("usr/share/which", text.as_bytes()), vendor()).render().bytes
    });
    let machine = Machine::trusting(&[vendor()])
        .sysext("tool.sysext.raw", &first)
        .file(".extra/global_sysext/tool.sysext.raw", &second)
        .file(".extra/global_sysext/other.sysext.raw", &good_image("other", vendor()))
        .confext("tool.confext.raw", &confext("tool"));
    let outcome = machine.stage();
    let rows: Vec<_> =
        outcome.rows().iter().map(|row| (row["file"].as_str().unwrap(), row["reason"].as_str())).collect();
    assert_eq!(
        rows,
        [
            ("tool.sysext.raw", None),
            ("other.sysext.raw", None),
            ("tool.sysext.raw", Some("duplicate-name")),
            ("tool.confext.raw", None)
        ]
    );
    assert_eq!(fs::read(machine.path("run/extensions/tool.raw")).unwrap(), first);
    assert_eq!(fs::read(machine.path(".extra/rejected/global_sysext/tool.sysext.raw")).unwrap(), second);
    // A name whose first image was refused is still free.
    let machine = Machine::trusting(&[vendor()])
        .sysext("tool.sysext.raw", b"junk")
        .file(".extra/global_sysext/tool.sysext.raw", &second);
    machine.stage();
    assert_eq!(fs::read(machine.path("run/extensions/tool.raw")).unwrap(), second);
}

#[test]
fn unusual_signatures_that_systemd_accepts_are_accepted() {
    type Sign = fn(&str) -> Vec<u8>;
    let kinds: [(&str, Sign); 6] = [
        ("attributes", |text| SignedData::new(text).signer(SignerInfo::new(vendor()).attributes()).build()),
        ("attached", |text| SignedData::new(text).attached().signer(SignerInfo::new(vendor())).build()),
        ("bare", |text| SignedData::new(text).signer(SignerInfo::new(vendor())).build()),
        ("certificates", |text| {
            SignedData::new(text)
                .signer(SignerInfo::new(vendor()))
                .certificate(keys::ec("Second"))
                .certificate(vendor())
                .build()
        }),
        ("two", |text| {
            SignedData::new(text).signer(SignerInfo::new(vendor())).signer(SignerInfo::new(keys::ec("Second"))).build()
        }),
        ("sha512", |text| {
            SignedData::new(text).signer(SignerInfo::new(vendor()).digest(support::pkcs7::Digest::Sha512)).build()
        }),
    ];
    let mut machine = Machine::trusting(&[vendor(), keys::ec("Second")]);
    for (name, sign) in kinds {
        machine = machine.sysext(&format!("{name}.sysext.raw"), &good(name, vendor()).signed_by(sign).render().bytes);
    }
    let outcome = machine.stage();
    assert_eq!(
        machine.staged_names(),
        ["attached", "attributes", "bare", "certificates", "sha512", "two"],
        "{}",
        outcome.stderr
    );
}

#[test]
fn what_deserves_a_warning_is_accepted_with_one() {
    let expired = keys::expired("Expired");
    let genuine = good("fingerprint", vendor()).pkcs7();
    let zeros = good("fingerprint", vendor()).with_pkcs7(&genuine);
    let other_uuid = good("uuid", vendor())
        .change(sextant::image::PartitionKind::Root, |part| part.uuid = sextant::image::Guid::from_bytes([3; 16]));
    let machine = Machine::trusting(&[vendor(), expired])
        .sysext("expired.sysext.raw", &good_image("expired", expired))
        .sysext("fingerprint.sysext.raw", &zeros.render().bytes)
        .sysext("uuid.sysext.raw", &other_uuid.render().bytes);
    let outcome = machine.stage();
    assert_eq!(machine.staged_names(), ["expired", "fingerprint", "uuid"], "{}", outcome.stderr);
    for (file, word) in
        [("expired", "has expired"), ("fingerprint", "certificateFingerprint"), ("uuid", "does not derive")]
    {
        let warnings = outcome.row(&format!("{file}.sysext.raw"))["warnings"].as_array().unwrap();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].as_str().unwrap().contains(word), "{warnings:?}");
    }
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

#[test]
fn real_sector_and_block_sizes_are_accepted() {
    let filesystem = Tree::sysext("tool").file("usr/share/noise", &noise(50_000)).squashfs();
    let mut machine = Machine::trusting(&[vendor()]);
    let mut names = Vec::new();
    let sizes: [(u32, &[(u32, u32)]); 2] =
        [(512, &[(4096, 4096), (512, 512), (1024, 4096), (4096, 1024)]), (4096, &[(4096, 4096)])];
    for (sector_size, blocks) in sizes {
        for &(data, hash) in blocks {
            let name = format!("tool_{sector_size}_{data}_{hash}");
            let params = sextant::build::VerityParams {
                data_block_size: data,
                hash_block_size: hash,
                ..sextant::build::VerityParams::derived(b"")
            };
            let builder = sextant::build::DdiBuilder::new(&name).sector_size(sector_size).verity(params);
            let image = Blueprint::build(&builder, &filesystem, Some(vendor())).render();
            machine = machine.sysext(&format!("{name}.sysext.raw"), &image.bytes);
            names.push(name);
        }
    }
    let outcome = machine.stage();
    names.sort();
    assert_eq!(machine.staged_names(), names, "{}", outcome.stderr);
}

#[test]
fn a_file_that_cannot_be_read_is_refused_and_the_others_are_staged() {
    let machine = Machine::trusting(&[vendor()])
        .sysext("good.sysext.raw", &good_image("good", vendor()))
        .sysext("secret.sysext.raw", &good_image("secret", vendor()));
    let secret = machine.path(".extra/sysext/secret.sysext.raw");
    fs::set_permissions(&secret, Permissions::from_mode(0o000)).unwrap();
    let mut command = machine.agent("stage");
    if Uid::effective().is_root() {
        // Permissions mean nothing to root, so somebody else runs the agent, from where he can reach it.
        let nobody = 65534;
        let copy = machine.path("agent");
        fs::copy(command.get_program(), &copy).unwrap();
        fs::set_permissions(machine.root(), Permissions::from_mode(0o755)).unwrap();
        give_away(machine.root(), nobody);
        chown(&secret, Some(Uid::from_raw(0)), Some(Gid::from_raw(0))).unwrap();
        let mut as_nobody = Command::new(copy);
        as_nobody.args(command.get_args()).uid(nobody).gid(nobody);
        command = as_nobody;
    }
    let outcome = machine.outcome(command);
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    assert_eq!(outcome.verdict("secret.sysext.raw"), ("rejected", "unreadable"));
    assert_eq!(machine.staged_names(), ["good"]);
}

fn give_away(path: &Path, uid: u32) {
    chown(path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(uid))).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give_away(&entry.unwrap().path(), uid);
        }
    }
}

#[test]
fn an_old_run_leaves_nothing_that_a_new_one_would_not_put_there() {
    let machine = Machine::trusting(&[vendor()])
        .sysext("tool.sysext.raw", &good_image("tool", vendor()))
        .file("run/sextant/staging/image", b"half a copy of a killed agent")
        .file("run/verity.d/db-7.crt", b"a certificate of an earlier run");
    machine.stage();
    let before = fs::metadata(machine.path("run/extensions/tool.raw")).unwrap().ino();
    let outcome = machine.stage();
    assert_eq!(outcome.verdict("tool.sysext.raw"), ("staged", ""), "a second run finds the same");
    assert_eq!(machine.staged_names(), ["tool"]);
    assert_ne!(fs::metadata(machine.path("run/extensions/tool.raw")).unwrap().ino(), before, "replaced whole");
    assert_eq!(machine.exported_certificates(), ["db-1.crt"]);
    assert_eq!(fs::read_dir(machine.path("run/sextant/staging")).unwrap().count(), 0);
}

#[test]
fn a_machine_without_images_boots_as_if_there_were_none() {
    let machine = Machine::trusting(&[vendor()]);
    let outcome = machine.stage();
    assert_eq!(outcome.status, Some(0));
    assert_eq!(outcome.rows().len(), 0);
    assert_eq!(machine.exported_certificates(), ["db-1.crt"]);
    let bare = Machine::trusting(&[vendor()]).with(|root| fs::remove_dir_all(root.join(".extra")).unwrap());
    assert_eq!(bare.stage().status, Some(0));
}

#[test]
fn exit_statuses_are_those_documented() {
    let agent = || Command::new(env!("CARGO_BIN_EXE_sextant-agent"));
    let status = |command: &mut Command| command.output().unwrap().status.code();
    assert_eq!(status(&mut agent()), Some(2));
    assert_eq!(status(agent().arg("stagger")), Some(2));
    assert_eq!(status(agent().args(["stage", "--nonsense"])), Some(2));
    assert_eq!(status(agent().args(["stage", "--root", "/nowhere"])), Some(1));
    assert_eq!(status(agent().arg("--help")), Some(0));
    let help = agent().args(["stage", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.contains("Examples:") && help.contains("Exit status:"), "{help}");
    // A place where no report can be written is a failure too.
    let machine = Machine::trusting(&[vendor()]).with(|root| {
        fs::remove_dir_all(root.join("run")).unwrap();
        fs::write(root.join("run"), "").unwrap();
    });
    assert_eq!(machine.stage().status, Some(1));
}

#[test]
fn junk_takes_nothing_from_the_limits() {
    let denied = good("denied", vendor());
    let corrupt = good_image("corrupt", vendor());
    let size = corrupt.len();
    let machine = Machine::trusting(&[vendor()])
        .config(&format!(
            "limits: {{images: 1, total_size: {size}, memory: {size}}}\ndeny: {{root_hashes: [{}]}}\n",
            denied.root_hash
        ))
        .sysext("a.sysext.raw", b"junk")
        .sysext("b.sysext.raw", &denied.render().bytes)
        .sysext("renamed.sysext.raw", &good_image("other", vendor()))
        .sysext("z.sysext.raw", &good_image("z", vendor()))
        .with(|root| {
            let hole = fs::File::create(root.join(".extra/sysext/c.sysext.raw")).unwrap();
            hole.set_len(u64::try_from(size).unwrap()).unwrap();
        });
    let outcome = machine.stage();
    assert_eq!(machine.staged_names(), ["z"], "{}", outcome.stderr);
}

#[test]
fn a_run_that_trusts_less_takes_back_what_an_earlier_one_staged() {
    let machine = || {
        let machine = Machine::trusting(&[vendor()])
            .sysext("tool.sysext.raw", &good_image("tool", vendor()))
            .confext("net.confext.raw", &confext("net"))
            .file("run/extensions/somebody-else.raw", b"not ours");
        machine.stage();
        assert_eq!(machine.staged_names(), ["somebody-else", "tool"]);
        machine
    };
    for (what, machine) in [
        ("Secure Boot off", machine().firmware(&Firmware::disabled().db(&efi::certificates(&[vendor()])))),
        ("a broken configuration", machine().config("nonsense\n")),
        ("another signer", machine().firmware(&Firmware::enforcing().db(&efi::certificates(&[keys::ec("Other")])))),
    ] {
        machine.stage();
        assert_eq!(machine.staged_names(), ["somebody-else"], "{what}");
        assert!(machine.staged_confexts().is_empty(), "{what}");
        assert_ne!(fs::read(machine.path("run/verity.d/db-1.crt")).ok(), Some(vendor().pem()), "{what}");
    }
}

#[test]
fn nothing_leaves_the_tree_through_links() {
    let outside = tempfile::tempdir().unwrap();
    let outside = outside.path();
    fs::write(outside.join("outside.sysext.raw"), good_image("outside", vendor())).unwrap();
    let machine = Machine::trusting(&[vendor()]).with(|root| {
        for directory in [".extra/sysext", "run"] {
            fs::remove_dir_all(root.join(directory)).unwrap();
            std::os::unix::fs::symlink(outside, root.join(directory)).unwrap();
        }
    });
    let outcome = machine.stage();
    assert_eq!(outcome.status, Some(1), "there is no place for a report\n{}", outcome.stderr);
    assert_eq!(fs::read_dir(outside).unwrap().count(), 1, "nothing was written or moved");

    // A link that leads to a directory of the tree is as good as the directory.
    let machine =
        Machine::trusting(&[vendor()]).sysext("tool.sysext.raw", &good_image("tool", vendor())).with(|root| {
            fs::rename(root.join("run"), root.join("var-run")).unwrap();
            std::os::unix::fs::symlink("/var-run", root.join("run")).unwrap();
        });
    let outcome = machine.stage();
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    assert!(machine.path("var-run/extensions/tool.raw").is_file());
}

#[test]
fn a_configuration_that_is_a_dangling_link_is_broken_not_absent() {
    let machine =
        Machine::trusting(&[vendor()]).sysext("tool.sysext.raw", &good_image("tool", vendor())).with(|root| {
            std::os::unix::fs::symlink("/nowhere", root.join("etc/sextant.yaml")).unwrap();
        });
    let outcome = machine.stage();
    assert_eq!((outcome.status, outcome.verdict("tool.sysext.raw").1), (Some(1), "bad-configuration"));
}

#[test]
fn rejected_files_of_one_name_are_all_kept() {
    let machine = Machine::trusting(&[vendor()]);
    for content in ["first", "second"] {
        fs::write(machine.path(".extra/sysext/junk.sysext.raw"), content).unwrap();
        machine.stage();
    }
    let kept = |name: &str| fs::read_to_string(machine.path(".extra/rejected/sysext").join(name)).unwrap();
    assert_eq!((kept("junk.sysext.raw"), kept("junk.sysext.raw.1")), ("first".to_owned(), "second".to_owned()));
}

#[test]
fn every_reason_is_explained_in_the_documentation_in_its_order() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reasons.md")).unwrap();
    let rows: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let tokens: Vec<_> = sextant::reason::Reason::ALL.iter().map(|reason| reason.token()).collect();
    assert_eq!(rows, tokens);
}

#[test]
fn a_file_system_with_blocks_smaller_than_those_of_its_device_is_not_mountable() {
    // Block size as a power of two, in the superblock of erofs.
    let mut filesystem = Tree::sysext("tool").erofs(&[]).to_vec();
    assert_eq!(std::mem::replace(&mut filesystem[1024 + 12], 9), 12);
    let outcome = Machine::trusting(&[vendor()])
        .sysext("tool.sysext.raw", &Blueprint::new("tool", &filesystem, vendor()).render().bytes)
        .stage();
    assert_eq!(outcome.verdict("tool.sysext.raw"), ("rejected", "not-mountable"));
    let detail = outcome.row("tool.sysext.raw")["detail"].as_str().unwrap();
    assert!(detail.contains("blocks of 512 bytes on a device with blocks of 4096"), "{detail}");
}
