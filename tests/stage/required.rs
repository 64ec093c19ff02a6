//! Extensions that the configuration requires, and the lowest versions that may run.

use super::{confext, gate, pretend_merged, report, run, vendor};
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;
use support::ddi::{good_image, with_tree};
use support::efi::{Firmware, certificates};
use support::machine::{Machine, Outcome};
use support::trees::Tree;

const REQUIRED: &str = "run/sextant/required";
const FULFILLED: &str = "run/sextant/fulfilled";

/// Whether extensions are required, and whether all were seen to be merged: what `sextant-required.target` decides by.
fn marks(machine: &Machine) -> (bool, bool) {
    (machine.path(REQUIRED).exists(), machine.path(FULFILLED).exists())
}

fn machine(config: &str) -> Machine {
    Machine::trusting(&[vendor()])
        .sysext("k3s_1.31.sysext.raw", &good_image("k3s_1.31", vendor()))
        .confext("net.confext.raw", &confext("net"))
        .config(config)
}

/// Stages, hands over and confirms, where systemd has merged these.
fn boot(machine: &Machine, sysexts: &str, confexts: &str) -> Outcome {
    machine.stage();
    assert!(!machine.path(FULFILLED).exists());
    run(machine, "merge");
    pretend_merged(machine, "usr", ".systemd-sysext/extensions", sysexts);
    pretend_merged(machine, "etc", ".systemd-confext/confexts", confexts);
    run(machine, "confirm")
}

#[test]
fn a_boot_with_all_that_is_required_is_good() {
    for config in ["required: [k3s]\n", "required: [k3s, net.confext]\n", "required: [k3s_1.31]\n"] {
        let machine = machine(config);
        let outcome = boot(&machine, "k3s_1.31\n", "net\n");
        assert_eq!(outcome.status, Some(0), "{config}: {}", outcome.stderr);
        assert_eq!(outcome.report["merge"]["required_missing"], json!([]), "{config}");
        assert_eq!(marks(&machine), (true, true), "{config}");
    }
}

#[test]
fn a_boot_without_one_of_them_is_not() {
    for (config, sysexts, confexts, missing) in [
        ("required: [k3s]\n", "", "net\n", "k3s"),
        ("required: [k3s, net.confext]\n", "k3s_1.31\n", "", "net.confext"),
        ("required: [k3s_1.30]\n", "k3s_1.31\n", "net\n", "k3s_1.30"),
        ("required: [net]\n", "k3s_1.31\n", "net\n", "net"),
        // Nobody has verified what is merged under that name.
        ("required: [k3s, other]\n", "k3s_1.31\nother\n", "net\n", "other"),
    ] {
        let machine = machine(config);
        let outcome = boot(&machine, sysexts, confexts);
        assert_eq!(outcome.status, Some(1), "{config}: {}", outcome.stderr);
        assert_eq!(outcome.report["merge"]["required_missing"], json!([missing]), "{config}");
        let said = format!("required extension {missing} is not merged: ");
        assert!(outcome.stderr.contains(&said), "{config}: {}", outcome.stderr);
        assert_eq!(outcome.report["merge"]["confirmed"], true, "the report comes first");
        assert_eq!(marks(&machine), (true, false), "{config}");
    }
}

#[test]
fn the_cause_is_told_as_far_as_it_is_known() {
    let machine = machine("required: [k3s, tools, lost]\n")
        .sysext("tools_2.sysext.raw", b"junk")
        .sysext("tools_3.sysext.raw", &good_image("tools_4", vendor()));
    let outcome = boot(&machine, "", "");
    for said in [
        "k3s is not merged: /run/extensions/k3s_1.31.raw: see the journal of systemd-sysext.service",
        "tools is not merged: tools_2.sysext.raw was rejected (bad-gpt); tools_3.sysext.raw was rejected \
         (wrong-extension-release)",
        "lost is not merged: no file with this name was found",
    ] {
        assert!(outcome.stderr.contains(said), "{said}: {}", outcome.stderr);
    }
}

/// As after `sextant refresh`: a later comparison counts, and so does one that finds something missing again.
#[test]
fn what_was_missing_may_come_and_go() {
    let machine = machine("required: [k3s]\n");
    assert_eq!(boot(&machine, "", "").status, Some(1));
    pretend_merged(&machine, "usr", ".systemd-sysext/extensions", "k3s_1.31\n");
    assert_eq!((run(&machine, "confirm").status, marks(&machine)), (Some(0), (true, true)));
    pretend_merged(&machine, "usr", ".systemd-sysext/extensions", "");
    assert_eq!((run(&machine, "confirm").status, marks(&machine)), (Some(1), (true, false)));
}

#[test]
fn without_the_key_nothing_changes() {
    for config in ["", "secure_boot: require\n", "required: []\n", "# required: [k3s]\n"] {
        let machine = machine(config);
        let outcome = boot(&machine, "", "");
        assert_eq!((outcome.status, marks(&machine)), (Some(0), (false, false)), "{config}: {}", outcome.stderr);
        assert_eq!(outcome.report["merge"]["required_missing"], json!([]), "{config}");
    }
    // What an earlier run required is no longer required.
    let machine = machine("required: [k3s]\n");
    machine.stage();
    assert_eq!(marks(&machine), (true, false));
    let machine = machine.config("");
    machine.stage();
    assert_eq!(marks(&machine), (false, false));
}

/// A recovery system has no extensions, and has to be able to be good.
#[test]
fn an_entry_without_extensions_requires_none() {
    let firmware = |entry: &str| Firmware::enforcing().db(&certificates(&[vendor()])).entry(entry);
    let machine = machine("required: [k3s]\n").firmware(&firmware("recovery.conf"));
    let outcome = boot(&machine, "", "");
    assert_eq!((outcome.status, marks(&machine)), (Some(0), (false, false)), "{}", outcome.stderr);
    let machine = machine.firmware(&firmware("active.conf"));
    assert_eq!(boot(&machine, "", "").status, Some(1));
}

/// Whatever keeps the agent from its work keeps the boot from being good.
#[test]
fn a_boot_in_which_the_agent_failed_is_not_good() {
    // Secure Boot is off, so nothing is staged.
    let off = machine("required: [k3s]\n").firmware(&Firmware::absent());
    assert_eq!((boot(&off, "", "").status, marks(&off)), (Some(1), (true, false)));
    // It was killed, and `confirm` finds nothing to compare.
    let killed = machine("required: [k3s]\n");
    killed.stage();
    fs::remove_file(killed.path("run/sextant/state.json")).unwrap();
    assert_eq!((run(&killed, "confirm").status, marks(&killed)), (Some(1), (true, false)));
    // A configuration that isn't understood, and may require something.
    for (config, required) in
        [("required: [k3s]\nlimitz: 3\n", true), ("required: k3s\n", true), ("limitz: 3\n", false)]
    {
        let broken = machine(config);
        assert_eq!(broken.stage().status, Some(1), "{config}");
        assert_eq!(run(&broken, "merge").status, Some(1), "{config}");
        assert!(!gate(&broken));
        let outcome = run(&broken, "confirm");
        assert_eq!((outcome.status, marks(&broken)), (Some(i32::from(required)), (required, false)), "{config}");
        let said = outcome.stderr.contains("reading /run/sextant/sextant.yaml, line ");
        assert_eq!(said, required, "{config}: {}", outcome.stderr);
    }
}

/// What `confirm` reads has all files of the initrd, which is gone by then.
#[test]
fn what_drop_ins_require_is_required_to_the_end() {
    let machine = machine("metrics: true\n")
        .file("usr/lib/sextant.yaml.d/10-base.yaml", b"required: [k3s]\n")
        .file("etc/sextant.yaml.d/20-site.yaml", b"required: [absent]\nlimits: {images: 7}\n");
    machine.stage();
    for directory in ["etc/sextant.yaml.d", "usr/lib/sextant.yaml.d"] {
        fs::remove_dir_all(machine.path(directory)).unwrap();
    }
    run(&machine, "merge");
    let outcome = run(&machine, "confirm");
    assert_eq!((outcome.status, marks(&machine)), (Some(1), (true, false)), "{}", outcome.stderr);
    assert_eq!(outcome.report["merge"]["required_missing"], json!(["k3s", "absent"]));
    assert!(machine.path("run/sextant/metrics/sextant.prom").exists());
}

/// A mistake in one file, be it a file that cannot be read, does not hide what another one requires.
#[test]
fn a_broken_drop_in_keeps_a_boot_from_being_good_if_any_file_requires_something() {
    for (main, drop_in, said) in [
        ("required: [k3s]\n", Some("limitz: 3\n"), "reading /etc/sextant.yaml.d/1.yaml, line 1, limitz: "),
        ("limits: {images: 3}\n", Some("required: k3s\n"), "reading /etc/sextant.yaml.d/1.yaml, line 1, required: "),
        ("required: [k3s]\n", None, "reading /etc/sextant.yaml.d/1.yaml: entity not found"),
    ] {
        let broken = machine(main).with(|root| {
            let path = root.join("etc/sextant.yaml.d/1.yaml");
            fs::create_dir(path.parent().unwrap()).unwrap();
            match drop_in {
                Some(text) => fs::write(path, text).unwrap(),
                None => symlink("nowhere", path).unwrap(),
            }
        });
        assert_eq!(broken.stage().status, Some(1), "{said}");
        assert_eq!(run(&broken, "merge").status, Some(1), "{said}");
        let outcome = run(&broken, "confirm");
        assert_eq!((outcome.status, marks(&broken)), (Some(1), (true, false)), "{said}");
        assert!(outcome.stderr.contains(said), "{said}: {}", outcome.stderr);
    }
}

#[test]
fn the_target_is_there_whether_it_is_needed_or_not() {
    let machine = machine("");
    machine.stage();
    run(&machine, "merge");
    let unit = machine.path("run/systemd/system/boot-complete.target.requires/sextant-required.target");
    let text = fs::read_to_string(unit).unwrap();
    assert!(text.contains(&format!("\nConditionPathExists=/{REQUIRED}\nAssertPathExists=/{FULFILLED}\n")), "{text}");
}

fn versioned(name: &str, release: &str, text: &str) -> Vec<u8> {
    with_tree(name, &Tree::empty().release(release, &format!("ID=_any\n{text}")), vendor()).render().bytes
}

#[test]
fn an_old_image_is_not_staged_under_any_name() {
    let machine = Machine::trusting(&[vendor()])
        .config("minimum: {k3s: 1.30, net.confext: 2}\n")
        .sysext("k3s_1.29.sysext.raw", &good_image("k3s_1.29", vendor()))
        .sysext("k3s_1.30.sysext.raw", &good_image("k3s_1.30", vendor()))
        // The same old image, as an attacker names it; and one whose release file has no version in its name.
        .sysext("k3s_1.99.sysext.raw", &good_image("k3s_1.29", vendor()))
        .sysext("k3s_2.0.sysext.raw", &versioned("k3s_2.0", "k3s", ""))
        .sysext("k3s_2.1.sysext.raw", &versioned("k3s_2.1", "k3s", "SYSEXT_VERSION_ID=1.29\n"))
        .sysext("k3s_2.2.sysext.raw", &versioned("k3s_2.2", "k3s", "SYSEXT_VERSION_ID=1.31\n"))
        .sysext("k3s.sysext.raw", &good_image("k3s", vendor()))
        .sysext("other_1.sysext.raw", &good_image("other_1", vendor()))
        .confext("net.confext.raw", &confext("net"))
        .confext("net_2.confext.raw", &confext("net_2"));
    let outcome = machine.stage();
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    for (file, reason) in [
        ("k3s_1.29.sysext.raw", "too-old"),
        ("k3s_1.99.sysext.raw", "wrong-extension-release"),
        ("k3s_2.0.sysext.raw", "too-old"),
        ("k3s_2.1.sysext.raw", "too-old"),
        ("k3s.sysext.raw", "too-old"),
        ("net.confext.raw", "too-old"),
    ] {
        assert_eq!(outcome.verdict(file), ("rejected", reason), "{file}");
    }
    assert_eq!(machine.staged_names(), ["k3s_1.30", "k3s_2.2", "other_1"]);
    assert_eq!(machine.staged_confexts(), ["net_2"]);
    assert_eq!(outcome.row("k3s_1.29.sysext.raw")["detail"], "version is 1.29; minimum.k3s is 1.30");
}

/// What others put beside it is judged by the same rules; what the host has of its own can only be named.
#[test]
fn an_old_image_is_not_adopted_either() {
    let old = good_image("k3s_1.29", vendor());
    let machine = Machine::trusting(&[vendor()]).config("minimum: {k3s: 1.30}\n").file("data/k3s_1.29.raw", &old);
    machine.stage();
    fs::create_dir_all(machine.path("run/extensions")).unwrap();
    symlink("/data/k3s_1.29.raw", machine.path("run/extensions/k3s_1.29.raw")).unwrap();
    let machine = machine.file("var/lib/extensions/k3s_1.28.raw", &good_image("k3s_1.28", vendor()));
    let outcome = run(&machine, "adopt");
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    assert!(machine.staged_names().is_empty());
    assert_eq!(outcome.verdict("k3s_1.29.raw"), ("rejected", "too-old"));
    let row = outcome.row("k3s_1.28.raw");
    assert_eq!(row["reason"], "too-old");
    let warning = "systemd merges it all the same: remove it from /var/lib/extensions, or set merge.quarantine";
    assert_eq!(row["warnings"], json!([warning]));
    // It is told as what it is once it is merged, and is not blamed if nothing is.
    assert_eq!(run(&machine, "merge").status, Some(0));
    assert!(!run(&machine, "confirm").stderr.contains("because of"), "{}", report(&machine));
    pretend_merged(&machine, "usr", ".systemd-sysext/extensions", "k3s_1.28\n");
    assert_eq!(run(&machine, "confirm").report["merge"]["unexpected"], json!(["k3s_1.28"]));

    let machine = machine.config("minimum: {k3s: 1.30}\nmerge: {quarantine: true}\n");
    machine.stage();
    let outcome = run(&machine, "adopt");
    assert!(machine.path("var/lib/extensions/k3s_1.28.raw.rejected").exists(), "{}", outcome.stderr);
}
