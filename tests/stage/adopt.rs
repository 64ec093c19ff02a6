//! What others put where extensions are staged.

use super::{confext, gate, run, vendor};
use ddi::PartitionKind;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use support::ddi::{good, good_image, with_tree};
use support::efi::{Firmware, certificates};
use support::keys;
use support::machine::{Machine, Outcome};
use support::trees::{Tree, noise};

/// Kairos' store on the persistent partition.
const STORE: &str = "var/lib/kairos/extensions";

/// Adopts, which has to succeed.
fn adopt(machine: &Machine) -> Outcome {
    let outcome = run(machine, "adopt");
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    outcome
}

/// Puts an image into the store, enabled for the boot entry `active`, and links it as immucore does.
pub(crate) fn enable(machine: &Machine, file: &str, image: &[u8]) {
    let store = machine.path(STORE);
    fs::create_dir_all(store.join("active")).unwrap();
    fs::write(store.join(file), image).unwrap();
    let _ = fs::remove_file(store.join("active").join(file));
    symlink(format!("../{file}"), store.join("active").join(file)).unwrap();
    link(machine, file, &format!("/{STORE}/active/{file}"));
}

pub(crate) fn link(machine: &Machine, name: &str, target: &str) {
    let directory = machine.path("run/extensions");
    fs::create_dir_all(&directory).unwrap();
    let _ = fs::remove_file(directory.join(name));
    symlink(target, directory.join(name)).unwrap();
}

/// The bytes that systemd would find under the name of an extension.
fn staged(machine: &Machine, name: &str) -> Vec<u8> {
    let path = machine.path(format!("run/extensions/{name}.raw"));
    assert!(path.symlink_metadata().unwrap().is_file(), "{name} is no file of its own");
    fs::read(path).unwrap()
}

pub(crate) fn corrupt(image: &[u8]) -> Vec<u8> {
    let mut image = image.to_vec();
    image[1 << 20] ^= 1;
    image
}

fn store(machine: &Machine) -> Vec<String> {
    let entries = fs::read_dir(machine.path(STORE)).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_good_link_gives_way_to_what_was_verified_and_a_bad_one_goes() {
    let machine = Machine::trusting(&[vendor()]).sysext("esp.sysext.raw", &good_image("esp", vendor()));
    machine.stage();
    let disk = good_image("disk", vendor());
    enable(&machine, "disk.sysext.raw", &disk);
    enable(&machine, "evil.sysext.raw", &good_image("evil", keys::rsa("Mallory")));
    enable(&machine, "tampered.sysext.raw", &corrupt(&good_image("tampered", vendor())));
    enable(&machine, "garbage.sysext.raw", b"garbage");
    enable(
        &machine,
        "unsigned.sysext.raw",
        &good("unsigned", vendor()).remove(PartitionKind::RootVeritySig).render().bytes,
    );
    link(&machine, ".hidden.raw", &format!("/{STORE}/evil.sysext.raw"));
    link(&machine, "nowhere.raw", "/var/lib/nowhere.raw");
    link(&machine, "loop.raw", "loop.raw");
    link(&machine, "device.raw", "/dev/null");
    fs::create_dir_all(machine.path("run/extensions/tree/usr/bin")).unwrap();
    fs::write(machine.path("run/extensions/notes.txt"), "").unwrap();
    let before = store(&machine);
    let outcome = adopt(&machine);
    assert_eq!(machine.staged_names(), ["disk", "esp"], "{}", outcome.stderr);
    assert_eq!(staged(&machine, "disk"), disk);
    assert_eq!(store(&machine), before, "nothing on a disk is deleted or renamed");
    let verdicts = [
        ("esp.sysext.raw", "staged", ""),
        ("disk.sysext.raw", "staged", ""),
        ("evil.sysext.raw", "rejected", "unknown-signer"),
        ("tampered.sysext.raw", "rejected", "corrupt"),
        ("garbage.sysext.raw", "rejected", "bad-gpt"),
        ("unsigned.sysext.raw", "rejected", "no-signature"),
        (".hidden.raw", "rejected", "bad-name"),
        ("nowhere.raw", "rejected", "unreadable"),
        ("loop.raw", "rejected", "unreadable"),
        ("device.raw", "rejected", "unreadable"),
        ("tree", "rejected", "bad-name"),
        ("notes.txt", "rejected", "bad-name"),
    ];
    for (file, verdict, reason) in verdicts {
        assert_eq!(outcome.verdict(file), (verdict, reason), "{file}");
    }
    assert_eq!(outcome.rows().len(), verdicts.len());
    assert!(outcome.stderr.contains("rejected tree: it is, or leads to, a directory"), "{}", outcome.stderr);
    assert!(machine.path("run/sextant/set-aside/sysext/tree/usr/bin").is_dir());
    assert_eq!(run(&machine, "merge").status, Some(0));
    assert!(gate(&machine));
    // Once more there is nothing to do, and nothing to say.
    let outcome = adopt(&machine);
    assert_eq!(outcome.stderr, "");
    assert_eq!((machine.staged_names(), gate(&machine)), (vec!["disk".to_owned(), "esp".to_owned()], true));
}

#[test]
fn of_two_names_of_one_extension_the_staged_one_is_left() {
    let ours = good_image("app", vendor());
    let machine = Machine::trusting(&[vendor()]).sysext("app.sysext.raw", &ours);
    machine.stage();
    // What immucore moved off the ESP is the same file, and nobody's fault.
    enable(&machine, "app.sysext.raw", &ours);
    let outcome = adopt(&machine);
    assert_eq!((outcome.stderr.as_str(), outcome.rows().len()), ("", 1));
    assert_eq!(machine.staged_names(), ["app"]);
    // Another signed build of it is one too many, under either name.
    let other = with_tree("app", &Tree::sysext("app").file("usr/bin/other", b"other"), vendor()).render().bytes;
    for name in ["app.sysext.raw", "app.raw"] {
        enable(&machine, "app.sysext.raw", &other);
        fs::remove_file(machine.path("run/extensions/app.sysext.raw")).unwrap();
        if name == "app.raw" {
            // In place of ours: whoever does that has taken ours away.
            fs::remove_file(machine.path("run/extensions/app.raw")).unwrap();
        }
        link(&machine, name, &format!("/{STORE}/active/app.sysext.raw"));
        let outcome = adopt(&machine);
        if name == "app.raw" {
            assert!(outcome.stderr.contains("it was changed after it had been verified"), "{}", outcome.stderr);
            assert!(machine.staged_names().is_empty());
        } else {
            assert_eq!(staged(&machine, "app"), ours);
            assert!(outcome.stderr.contains("(duplicate-name)"), "{}", outcome.stderr);
        }
    }
}

#[test]
fn what_its_owner_takes_away_or_replaces_is_not_kept() {
    let machine = Machine::trusting(&[vendor()]);
    machine.stage();
    enable(&machine, "app.sysext.raw", &good_image("app", vendor()));
    adopt(&machine);
    assert_eq!(run(&machine, "merge").status, Some(0));
    // An upgrade.
    let newer = with_tree("app", &Tree::sysext("app").file("usr/bin/newer", b"newer"), vendor()).render().bytes;
    fs::remove_file(machine.path(STORE).join("app.sysext.raw")).unwrap();
    fs::write(machine.path(STORE).join("app.sysext.raw"), &newer).unwrap();
    let outcome = adopt(&machine);
    assert_eq!(staged(&machine, "app"), newer, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("the file that it was adopted from was replaced or changed"), "{}", outcome.stderr);
    // A bad one instead: the good one doesn't stay under false pretences.
    fs::write(machine.path(STORE).join("app.sysext.raw"), corrupt(&newer)).unwrap();
    let outcome = adopt(&machine);
    assert!(machine.staged_names().is_empty(), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("(corrupt)"), "{}", outcome.stderr);
    enable(&machine, "app.sysext.raw", &newer);
    adopt(&machine);
    assert_eq!(machine.staged_names(), ["app"]);
    let machine = machine.file("usr/.systemd-sysext/extensions", b"app\n");
    let outcome = run(&machine, "confirm");
    assert_eq!(outcome.report["merge"]["merged"], serde_json::json!(["app"]), "once, however often it was staged");
    assert_eq!(outcome.report["merge"]["missing"], serde_json::json!([]), "{}", outcome.stderr);
    let machine = machine.file("usr/.systemd-sysext/extensions", b"");
    // Disabled.
    fs::remove_file(machine.path(STORE).join("active/app.sysext.raw")).unwrap();
    let outcome = adopt(&machine);
    assert!(machine.staged_names().is_empty(), "{}", outcome.stderr);
    assert!(gate(&machine));
    let said = "app.raw (sysext) will not be merged: the file that it was adopted from was removed";
    assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
    // That is what was wanted, so it is no fault.
    let outcome = run(&machine, "confirm");
    let rows = outcome.report["merge"]["not_merged"].as_array().unwrap();
    let removed = rows.iter().filter(|row| row["cause"].as_str().is_some_and(|cause| cause.contains("was removed")));
    assert!(removed.clone().count() > 0 && removed.clone().all(|row| row["meant"] == true), "{rows:?}");
}

/// immucore before 3.4 copies, and so may an administrator.
#[test]
fn a_file_is_adopted_as_a_link_is() {
    let machine = Machine::trusting(&[vendor()]);
    machine.stage();
    let app = good_image("app", vendor());
    let directory = machine.path("run/extensions");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("app.sysext.raw"), &app).unwrap();
    fs::write(directory.join("evil.sysext.raw"), corrupt(&app)).unwrap();
    let outcome = adopt(&machine);
    assert_eq!(machine.staged_names(), ["app"], "{}", outcome.stderr);
    assert_eq!(outcome.verdict("app.sysext.raw"), ("staged", ""));
    assert_eq!(outcome.row("app.sysext.raw")["directory"], "/run/extensions");
    assert_eq!(outcome.verdict("evil.sysext.raw").0, "rejected");
    // Of several of one name none is lost.
    fs::write(machine.path("run/extensions/evil.sysext.raw"), b"junk").unwrap();
    adopt(&machine);
    for place in ["", "1/"] {
        assert!(machine.path(format!("run/sextant/set-aside/sysext/{place}evil.sysext.raw")).exists(), "{place}");
    }
}

#[test]
fn a_configuration_extension_among_system_extensions_finds_its_place() {
    let machine = Machine::trusting(&[vendor()]);
    machine.stage();
    enable(&machine, "net.confext.raw", &confext("net"));
    adopt(&machine);
    assert_eq!((machine.staged_names(), machine.staged_confexts()), (vec![], vec!["net".to_owned()]));
}

#[test]
fn the_policy_and_the_anchors_are_those_of_the_boot() {
    let image = good("app", vendor());
    let machine = Machine::trusting(&[vendor()]).config("limits:\n  images: 1\n");
    machine.stage();
    // The host has no configuration, or another one, and somebody has enrolled a key.
    let machine = machine
        .config("limits:\n  images: 9\n")
        .firmware(&Firmware::enforcing().db(&certificates(&[vendor(), keys::rsa("Later")])));
    enable(&machine, "a.sysext.raw", &good_image("a", vendor()));
    enable(&machine, "b.sysext.raw", &good_image("b", vendor()));
    enable(&machine, "later.sysext.raw", &good_image("later", keys::rsa("Later")));
    let outcome = adopt(&machine);
    assert_eq!(machine.staged_names(), ["a"], "{}", outcome.stderr);
    assert_eq!(outcome.verdict("b.sysext.raw"), ("rejected", "too-many"));
    // What the firmware revokes from now on is revoked.
    fs::remove_file(machine.path("run/extensions/a.raw")).unwrap();
    let machine =
        machine.firmware(&Firmware::enforcing().db(&certificates(&[vendor()])).dbx(&certificates(&[vendor()])));
    enable(&machine, "app.sysext.raw", &image.render().bytes);
    let outcome = adopt(&machine);
    assert_eq!(outcome.verdict("app.sysext.raw"), ("rejected", "revoked-signer"), "{}", outcome.stderr);
    assert!(machine.staged_names().is_empty());
}

#[test]
fn where_nothing_may_be_staged_nothing_is_adopted() {
    let broken = Machine::trusting(&[vendor()]).config("limits:\n  imags: 1\n");
    let open = Machine::new().firmware(&Firmware::disabled().db(&certificates(&[vendor()])));
    for machine in [broken, open] {
        machine.stage();
        enable(&machine, "app.sysext.raw", &good_image("app", vendor()));
        let outcome = run(&machine, "adopt");
        assert!(machine.staged_names().is_empty(), "{}", outcome.stderr);
    }
    // Without a stage there is no policy.
    let machine = Machine::trusting(&[vendor()]);
    enable(&machine, "app.sysext.raw", &good_image("app", vendor()));
    let outcome = run(&machine, "adopt");
    assert_eq!(outcome.status, Some(1));
    assert!(outcome.stderr.contains("nothing was verified in this boot"), "{}", outcome.stderr);
    assert!(!gate(&machine));
}

/// The unit doesn't merge then, whose next start tries again: nothing has to be opened for that.
#[test]
fn what_cannot_be_taken_out_is_a_failure_until_it_can() {
    let machine = Machine::trusting(&[vendor()]).sysext("app.sysext.raw", &good_image("app", vendor()));
    machine.stage();
    assert_eq!(run(&machine, "merge").status, Some(0));
    link(&machine, "evil.raw", "/evil.raw");
    // Nothing can be moved to where a file is.
    fs::write(machine.path("run/sextant/set-aside"), "").unwrap();
    for _ in 0..2 {
        let outcome = run(&machine, "adopt");
        assert_eq!((outcome.status, gate(&machine)), (Some(1), true), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("moving it out of /run/extensions"), "{}", outcome.stderr);
    }
    fs::remove_file(machine.path("run/sextant/set-aside")).unwrap();
    adopt(&machine);
    assert_eq!(machine.staged_names(), ["app"]);
}

/// systemd looks there by itself, and refuses everything for one image that it can't verify.
#[test]
fn what_the_host_has_of_its_own_is_named_or_renamed_before_the_merge() {
    let place = |machine: Machine| {
        machine
            .file("var/lib/extensions/mine.raw", &good_image("mine", vendor()))
            .file(
                "var/lib/extensions/old.raw",
                &good("old", vendor()).remove(PartitionKind::RootVeritySig).render().bytes,
            )
            .file("var/lib/extensions/notes.txt", b"")
            .file("var/lib/confexts/junk.confext.raw", b"junk")
    };
    let machine = place(Machine::trusting(&[vendor()]));
    machine.stage();
    for _ in 0..2 {
        let outcome = adopt(&machine);
        assert_eq!(outcome.verdict("old.raw"), ("rejected", "no-signature"));
        assert_eq!(outcome.verdict("junk.confext.raw"), ("rejected", "bad-gpt"));
        assert_eq!(outcome.rows().len(), 2, "each is told once");
        assert!(outcome.stderr.contains("remove it from /var/lib/extensions, sign it"), "{}", outcome.stderr);
    }
    let machine = place(Machine::trusting(&[vendor()])).config("merge:\n  quarantine: true\n");
    machine.stage();
    let outcome = adopt(&machine);
    assert!(outcome.stderr.contains("renamed to /var/lib/extensions/old.raw.rejected"), "{}", outcome.stderr);
    let left = fs::read_dir(machine.path("var/lib/extensions")).unwrap().count();
    assert_eq!(left, 3, "nothing is deleted");
    assert!(machine.path("var/lib/extensions/mine.raw").exists());
    assert!(machine.path("var/lib/confexts/junk.confext.raw.rejected").exists());
    assert_eq!(adopt(&machine).stderr, "");
    // What was verified there is no stranger when it is merged.
    assert_eq!(run(&machine, "merge").status, Some(0));
    let machine = machine.file("usr/.systemd-sysext/extensions", b"mine\nstranger\n");
    let outcome = run(&machine, "confirm");
    assert_eq!(outcome.report["merge"]["unexpected"], serde_json::json!(["stranger"]), "{}", outcome.stderr);
}

#[test]
fn directories_of_the_configuration_are_searched_for_the_entry_that_was_booted() {
    let config = "sources:\n- directory: /data/all\n- directory: /data/active\n  entries: [active]\n\
                  - directory: /data/passive\n  entries: [passive]\n- directory: /data/nowhere\n";
    let app = good_image("app", vendor());
    let machine = Machine::trusting(&[vendor()])
        .firmware(&Firmware::enforcing().db(&certificates(&[vendor()])).entry("active.conf"))
        .config(config)
        .sysext("esp.sysext.raw", &good_image("esp", vendor()))
        .file("data/all/app.sysext.raw", &app)
        .file("data/all/esp.sysext.raw", &good_image("esp", vendor()))
        .file("data/all/evil.sysext.raw", &good_image("evil", keys::rsa("Mallory")))
        .file("data/all/off.sysext.raw.disabled", b"")
        .file("data/all/README", b"")
        .file("data/active/net.confext.raw", &confext("net"))
        .file("data/passive/other.sysext.raw", &good_image("other", vendor()));
    machine.stage();
    assert!(machine.path("run/sextant/sources").exists());
    for _ in 0..2 {
        let outcome = adopt(&machine);
        assert_eq!(machine.staged_names(), ["app", "esp"], "{}", outcome.stderr);
        assert_eq!(machine.staged_confexts(), ["net"]);
        assert_eq!(outcome.verdict("evil.sysext.raw"), ("rejected", "unknown-signer"));
        assert_eq!(outcome.rows().len(), 4, "{:#}", outcome.report["images"]);
    }
    assert_eq!(fs::read_dir(machine.path("data/all")).unwrap().count(), 5, "nothing there is touched");
    fs::remove_file(machine.path("data/all/app.sysext.raw")).unwrap();
    let outcome = adopt(&machine);
    assert_eq!(machine.staged_names(), ["esp"], "{}", outcome.stderr);
}

/// A tree has no kernel that would check the rest.
#[test]
fn where_dm_verity_does_not_check_the_data_all_of_it_is_verified() {
    let directory = "/var/lib/kairos/extensions/active";
    let tree = Tree::sysext("app").file("usr/share/app/noise", &noise(8 << 20));
    let image = with_tree("app", &tree, vendor()).render();
    let machine = || {
        let config = format!("sources:\n- directory: {directory}\n  verify: on-read\n");
        let machine = Machine::trusting(&[vendor()]).config(&config);
        machine.stage();
        machine
    };
    for (linked, name) in [(true, "/run/extensions"), (false, directory)] {
        for (bytes, verdict) in [
            (image.clone(), ("staged", "")),
            (image.clone().flip(PartitionKind::Root, 5 << 20), ("rejected", "corrupt")),
        ] {
            let machine = machine();
            if linked {
                enable(&machine, "app.sysext.raw", &bytes.bytes);
            } else {
                fs::create_dir_all(machine.path(directory)).unwrap();
                fs::write(machine.path(directory).join("app.sysext.raw"), &bytes.bytes).unwrap();
            }
            let outcome = adopt(&machine);
            let row = outcome.row("app.sysext.raw");
            let found = (row["directory"].as_str().unwrap(), outcome.verdict("app.sysext.raw"));
            assert_eq!(found, (name, verdict), "{row}");
            let len = bytes.bytes.len();
            let full = serde_json::json!({"verify": "full", "bytes_checked": len, "bytes": len});
            assert_eq!(row["coverage"], if verdict.0 == "staged" { full } else { Value::Null });
        }
    }
}

/// The name is the same, the file is not.
#[test]
fn another_file_that_was_merged_under_the_name_of_a_staged_one_is_told() {
    let machine = Machine::trusting(&[vendor()]).sysext("app.sysext.raw", &good_image("app", vendor()));
    machine.stage();
    assert_eq!(run(&machine, "merge").status, Some(0));
    let machine = machine
        .file("usr/.systemd-sysext/extensions", b"app\n")
        .file("sys/block/loop0/loop/backing_file", b"/usr/local/.state/extensions/app.sysext.raw\n");
    let outcome = run(&machine, "confirm");
    assert_eq!(outcome.report["merge"]["missing"], serde_json::json!(["app"]));
    assert_eq!(outcome.report["merge"]["unexpected"], serde_json::json!(["app"]));
    assert!(
        outcome.stderr.contains("/usr/local/.state/extensions/app.sysext.raw was merged under its name"),
        "{}",
        outcome.stderr
    );
    let machine = machine.file("sys/block/loop0/loop/backing_file", b"/run/extensions/app.raw\n");
    let outcome = run(&machine, "confirm");
    assert_eq!(outcome.report["merge"]["merged"], serde_json::json!(["app"]), "{}", outcome.stderr);
}

#[test]
fn thousands_of_links_do_no_harm() {
    let machine = Machine::trusting(&[vendor()]).sysext("app.sysext.raw", &good_image("app", vendor()));
    machine.stage();
    enable(&machine, "zz.sysext.raw", &good_image("zz", vendor()));
    for number in 0..3000 {
        link(&machine, &format!("junk{number}.raw"), "/nowhere");
    }
    let outcome = adopt(&machine);
    assert_eq!(machine.staged_names(), ["app", "zz"]);
    assert_eq!(outcome.report["omitted"]["total"], Value::from(2000), "{}", outcome.report["omitted"]);
    assert!(Path::new(&machine.path("run/sextant/set-aside/sysext/junk0.raw")).is_symlink());
}
