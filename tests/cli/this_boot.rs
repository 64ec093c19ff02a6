//! `sextant status` and `sextant list`: what this boot made of the extensions.

use crate::{Said, vendor};
use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use support::ddi::{good_image, with_tree};
use support::efi::{Firmware, certificates};
use support::machine::Machine;
use support::trees::Tree;

/// A machine that booted `active` with two versions of one extension, a corrupt one, and one that systemd left out; its
/// EFI system partition holds the same files.
fn booted() -> Machine {
    let mut corrupt = good_image("corrupt", vendor());
    corrupt[1 << 20] ^= 1;
    let newer = Tree::sysext("k3s").file("usr/share/k3s/version", b"1.10\n");
    let newer = with_tree("k3s", &newer, vendor()).render().bytes;
    let images = [("k3s_1.9", good_image("k3s", vendor())), ("k3s_1.10", newer), ("corrupt", corrupt)];
    let firmware = Firmware::enforcing().db(&certificates(&[vendor()])).entry("active.conf");
    let firmware = firmware.stub("\\EFI\\kairos\\active.efi");
    let machine = Machine::new().firmware(&firmware).file("esp/EFI/kairos/active.efi", b"");
    let machine = machine.file("esp/EFI/kairos/passive.efi", b"");
    let machine = images.iter().fold(machine, |machine, (name, image)| {
        let file = format!("{name}.sysext.raw");
        machine.file(format!("esp/EFI/kairos/active.efi.extra.d/{file}"), image).sysext(&file, image)
    });
    assert_eq!(machine.stage().status, Some(0));
    for verb in ["merge", "confirm"] {
        // What systemd would note; it left one out.
        let note = machine.path("usr/.systemd-sysext/extensions");
        fs::create_dir_all(note.parent().unwrap()).unwrap();
        fs::write(note, "k3s_1.10\n").unwrap();
        assert!(machine.agent(verb).status().unwrap().success());
    }
    machine
}

fn sextant(machine: &Machine, arguments: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tool-under-test"));
    command.args(arguments).args(["--report", "run/sextant/report.json"]).current_dir(machine.root());
    Said::from(command.stdin(Stdio::null()).output().unwrap())
}

#[test]
fn status_says_what_became_of_each_within_eighty_columns() {
    let said = sextant(&booted(), &["status"]);
    assert_eq!((said.status, said.stderr.as_str()), (Some(4), ""), "{said:?}");
    assert!(said.stdout.lines().all(|line| line.chars().count() <= 80), "{}", said.stdout);
    for part in [
        "Boot: entry active, Secure Boot enforcing\n",
        "Extensions: 3 found, 1 merged, 1 staged and NOT merged, 1 rejected\n",
        "  k3s_1.10  merged    CN=Vendor (db)\n",
        "  k3s_1.9   missing   CN=Vendor (db)\n",
        "  corrupt   rejected  corrupt\n",
        "      ESP: EFI/kairos/active.efi.extra.d/corrupt.sysext.raw\n",
        "Lost: corrupt rejected, nothing replaces it\n",
        "Trust: 1 from db\n",
        "verification ",
        "More: journalctl -b -t sextant-agent",
    ] {
        assert!(said.stdout.contains(part), "{part}\n{}", said.stdout);
    }
    // The sentence stands below the token.
    let corrupt = said.stdout.lines().skip_while(|line| !line.contains("rejected  corrupt")).nth(1).unwrap();
    assert!(corrupt.starts_with("      ") && corrupt.len() > 20, "{}", said.stdout);
}

#[test]
fn status_ends_well_only_where_everything_is_merged() {
    let machine = Machine::trusting(&[vendor()]).sysext("a.sysext.raw", &good_image("a", vendor()));
    machine.stage();
    let said = sextant(&machine, &["status"]);
    assert_eq!(said.status, Some(4), "{said:?}");
    let words = said.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("1 staged, merge not confirmed yet, merge not requested"), "{said:?}");
    fs::create_dir_all(machine.path("usr/.systemd-sysext")).unwrap();
    fs::write(machine.path("usr/.systemd-sysext/extensions"), "a\n").unwrap();
    for verb in ["merge", "confirm"] {
        assert!(machine.agent(verb).status().unwrap().success());
    }
    let said = sextant(&machine, &["status"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(!said.stdout.contains("journalctl"), "{said:?}");
    let json = sextant(&machine, &["status", "--json"]).json();
    assert_eq!(json["merge"]["merged"][0], "a");
    fs::write(machine.path("usr/.systemd-sysext/extensions"), "a\nalien\n").unwrap();
    assert!(machine.agent("confirm").status().unwrap().success());
    let said = sextant(&machine, &["status"]);
    assert_eq!(said.status, Some(4), "{said:?}");
    assert!(said.stdout.contains("alien"), "{said:?}");
    // Another of its name is merged in its place.
    fs::write(machine.path("usr/.systemd-sysext/extensions"), "a\n").unwrap();
    fs::create_dir_all(machine.path("etc/extensions/a/usr")).unwrap();
    let output = machine.agent("confirm").output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("/etc/extensions/a was merged under its name"), "{output:?}");
    let said = sextant(&machine, &["status"]);
    assert_eq!(said.status, Some(4), "{said:?}");
    assert!(said.stdout.contains("1 staged and NOT merged"), "{said:?}");
    // By an empty directory its administrator masks it. That is no fault.
    fs::remove_dir(machine.path("etc/extensions/a/usr")).unwrap();
    fs::write(machine.path("usr/.systemd-sysext/extensions"), "").unwrap();
    assert!(machine.agent("confirm").status().unwrap().success());
    let said = sextant(&machine, &["status"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(said.stdout.contains("1 found, 1 left out by an administrator\n"), "{said:?}");
    assert!(said.stdout.contains("it is masked by /etc/extensions/a, an empty directory"), "{said:?}");
}

/// The agent that lies on the host.
fn agent(machine: &Machine, arguments: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agent-under-test"));
    command.arg("status").args(arguments).args(["--report", "run/sextant/report.json"]).current_dir(machine.root());
    Said::from(command.stdin(Stdio::null()).output().unwrap())
}

#[test]
fn the_agents_status_is_that_of_the_tool() {
    let good = Machine::trusting(&[vendor()]).sysext("a.sysext.raw", &good_image("a", vendor()));
    let good = good.with(|root| {
        fs::create_dir_all(root.join("usr/.systemd-sysext")).unwrap();
        fs::write(root.join("usr/.systemd-sysext/extensions"), "a\n").unwrap();
    });
    good.stage();
    let rejected = Machine::trusting(&[vendor()]).sysext("a.sysext.raw", b"junk");
    rejected.stage();
    let broken = Machine::trusting(&[vendor()]).config("limitz: 3\n");
    broken.stage();
    for machine in [&good, &rejected] {
        for verb in ["merge", "confirm"] {
            assert!(machine.agent(verb).status().unwrap().success());
        }
    }
    for (machine, status) in [(good, 0), (rejected, 3), (booted(), 4), (broken, 1)] {
        for form in [[].as_slice(), &["--json"], &["--prometheus"]] {
            let ours = agent(&machine, form);
            let tools = sextant(&machine, &[&["status"], form].concat());
            assert_eq!((ours.status, ours.stderr.as_str()), (Some(status), ""), "{form:?}: {ours:?}");
            assert_eq!((ours.status, ours.stdout), (tools.status, tools.stdout), "{form:?}");
        }
    }
    agent(&Machine::new(), &[]).complains(1, &["run/sextant/report.json", "did not run in this boot"]);
    let both = agent(&Machine::new(), &["--json", "--prometheus"]);
    assert_eq!(both.status, Some(2), "{both:?}");
}

#[test]
fn what_a_report_hides_in_unknown_members_reaches_no_terminal() {
    let text = r#"{"version": 1, "trust": [], "ignored_certificates": [], "images": [], "odd": "X[2J"}"#;
    let machine = Machine::new().file("run/sextant/report.json", text.replace('X', "\u{9b}\u{202e}").as_bytes());
    let said = agent(&machine, &["--json"]);
    assert!(said.stdout.contains("\\u009b\\u202e[2J"), "{said:?}");
    assert_eq!(said.json()["odd"], "\u{9b}\u{202e}[2J");
}

#[test]
fn a_report_that_is_missing_or_of_another_kind_is_told() {
    let machine = Machine::new();
    sextant(&machine, &["status"]).complains(1, &["run/sextant/report.json", "did not run in this boot"]);
    let machine = machine.file("run/sextant/report.json", b"{\"version\": 1}");
    sextant(&machine, &["status"]).complains(1, &["missing field"]);
}

#[test]
fn the_list_compares_what_is_there_with_what_this_boot_merged() {
    let machine = booted();
    let list = |machine: &Machine| -> Vec<(String, String, String)> {
        let json = sextant(machine, &["list", "--esp", "esp", "--json"]).json();
        let text = |value: &serde_json::Value| value.as_str().unwrap_or("-").to_owned();
        let over = |row: &serde_json::Value| row["wins_over"].as_array().unwrap().iter().map(text).collect();
        let rows = json["files"].as_array().unwrap().iter();
        rows.map(|row| (text(&row["name"]), text(&row["this_boot"]), over(row))).collect()
    };
    let row = |name: &str, boot: &str, over: &str| (name.to_owned(), boot.to_owned(), over.to_owned());
    let before = [row("corrupt", "corrupt", ""), row("k3s_1.9", "missing", ""), row("k3s_1.10", "merged", "k3s_1.9")];
    assert_eq!(list(&machine), before);

    // Another content, a new file, one that another entry has, and one that is gone.
    let extra = "esp/EFI/kairos/active.efi.extra.d";
    let other = with_tree("k3s", &Tree::sysext("k3s").file("usr/other", b"other"), vendor()).render().bytes;
    let machine = machine
        .file(format!("{extra}/k3s_1.9.sysext.raw"), &other)
        .file(format!("{extra}/new.sysext.raw"), &good_image("new", vendor()))
        .file("esp/EFI/kairos/passive.efi.extra.d/p.sysext.raw", b"");
    fs::remove_file(machine.path(format!("{extra}/k3s_1.10.sysext.raw"))).unwrap();
    let after =
        [row("corrupt", "corrupt", ""), row("k3s_1.9", "not yet", ""), row("new", "not yet", ""), row("p", "-", "")];
    assert_eq!(list(&machine), after);
    let said = sextant(&machine, &["list", "--esp", "esp"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(
        said.stdout.contains("k3s_1.10.sysext.raw: merged by this boot, removed or disabled since"),
        "{}",
        said.stdout
    );
    assert!(said.stdout.contains("4 files for 2 boot entries"), "{}", said.stdout);
}

#[test]
fn the_list_of_kairos_store_compares_too() {
    let firmware = Firmware::enforcing().db(&certificates(&[vendor()])).entry("active.conf");
    let machine = Machine::new()
        .firmware(&firmware)
        .file("run/cos/active_mode", b"1")
        .file("run/cos/uki_boot_mode", b"1")
        .file("var/lib/kairos/extensions/bad.sysext.raw", b"junk");
    fs::create_dir_all(machine.path("var/lib/kairos/extensions/passive")).unwrap();
    for (state, name) in [("active", "a"), ("common", "c"), ("active", "bad"), ("passive", "p")] {
        let (store, file) = ("/var/lib/kairos/extensions", format!("{name}.sysext.raw"));
        let links = machine.path(store.trim_start_matches('/')).join(state);
        fs::create_dir_all(&links).unwrap();
        if name != "bad" {
            fs::write(links.join("..").join(&file), good_image(name, vendor())).unwrap();
        }
        symlink(format!("{store}/{file}"), links.join(&file)).unwrap();
        if state != "passive" {
            // As immucore does at boot.
            fs::create_dir_all(machine.path("run/extensions")).unwrap();
            symlink(format!("{store}/{state}/{file}"), machine.path("run/extensions").join(&file)).unwrap();
        }
    }
    assert_eq!(machine.stage().status, Some(0));
    for verb in ["adopt", "merge", "confirm"] {
        let note = machine.path("usr/.systemd-sysext/extensions");
        fs::create_dir_all(note.parent().unwrap()).unwrap();
        fs::write(note, "a\nc\n").unwrap();
        assert!(machine.agent(verb).status().unwrap().success());
    }
    let list = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tool-under-test"));
        command.args(["list", "--json", "--root", "."]).current_dir(machine.root());
        Said::from(command.stdin(Stdio::null()).output().unwrap()).json()
    };
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("-").to_owned();
    let fates = |json: &serde_json::Value| -> Vec<String> {
        let rows = json["files"].as_array().unwrap().iter();
        rows.map(|row| format!("{} {} {}", text(&row["entry"]), text(&row["name"]), text(&row["this_boot"]))).collect()
    };
    assert_eq!(fates(&list()), ["active a merged", "active bad bad-gpt", "passive p -", "common c merged"]);
    // As `kairos-agent sysext disable` does.
    fs::remove_file(machine.path("var/lib/kairos/extensions/common/c.sysext.raw")).unwrap();
    let json = list();
    assert_eq!(json["gone"], serde_json::json!(["c.sysext.raw"]));
    assert_eq!(fates(&json).last().unwrap(), "- c -");
}
