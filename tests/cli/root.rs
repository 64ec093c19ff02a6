//! `--root`, as siblings have it, and `--verbose`.

use crate::{Desk, vendor};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use support::ddi::good_image;
use support::keys;
use support::machine::Machine;
use support::uki::initrd;

/// A tree on which the agent has worked: a firmware with one anchor, a sealed certificate, an image of each and a stranger's.
fn staged() -> Machine {
    let machine = Machine::trusting(&[vendor()])
        .sealed("site", keys::ec("Site"))
        .sysext("k3s.sysext.raw", &good_image("k3s", vendor()))
        .sysext("net.sysext.raw", &good_image("net", keys::ec("Site")))
        .sysext("other.sysext.raw", &good_image("other", keys::ec("Stranger")));
    assert_eq!(machine.stage().status, Some(0));
    machine
}

fn run(root: &Path, words: &[&str]) -> crate::Said {
    Desk::new().run(&[words, &["--root", root.to_str().unwrap()]].concat())
}

#[test]
fn a_tree_has_its_own_report() {
    let machine = staged();
    let said = run(machine.root(), &["status"]);
    assert_eq!((said.status, said.stderr.as_str()), (Some(4), ""), "staged and not merged: {said:?}");
    assert!(said.stdout.contains("3 found, 2 staged, merge not confirmed yet, 1 rejected"), "{said:?}");
    let same = Desk::new().run(&["status", "--report", machine.path("run/sextant/report.json").to_str().unwrap()]);
    assert_eq!(same.stdout, said.stdout);
    assert!(run(machine.root(), &["status", "--prometheus"]).stdout.contains("sextant_images{"));
    // systemd here knows nothing of a boot there.
    let plot = run(machine.root(), &["status", "--plot"]);
    assert!(plot.stdout.contains("<svg") && plot.stderr.is_empty(), "{plot:?}");
    // What was merged and is not any more is looked for in the tree.
    let list = machine.path("usr/.systemd-sysext/extensions");
    fs::create_dir_all(list.parent().unwrap()).unwrap();
    fs::write(&list, "k3s\nnet\n").unwrap();
    for verb in ["merge", "confirm"] {
        assert!(machine.agent(verb).output().unwrap().status.success(), "{verb}");
    }
    let merged = run(machine.root(), &["status"]);
    assert_eq!((merged.status, merged.stderr.as_str()), (Some(3), ""), "{merged:?}");
    // The agent of a host without the tool says the same.
    let agent = machine.agent("status").output().unwrap();
    assert_eq!((agent.status.code(), String::from_utf8(agent.stdout).unwrap()), (Some(3), merged.stdout));
    fs::remove_file(list).unwrap();
    let gone = run(machine.root(), &["status"]);
    assert_eq!(gone.stderr.matches("was merged in this boot and is not merged any more").count(), 2, "{gone:?}");
    assert_eq!(gone.status, Some(4), "{gone:?}");
    run(machine.root(), &["status", "--report", "x"]).complains(2, &["cannot be used with '--root"]);
}

#[test]
fn links_of_a_tree_lead_to_places_in_it() {
    let machine = staged();
    let elsewhere = Desk::new().file("report.json", &fs::read(machine.path("run/sextant/report.json")).unwrap());
    let report = machine.path("run/sextant/report.json");
    fs::remove_file(&report).unwrap();
    let missing = "it is missing if sextant-agent did not run in this boot";
    run(machine.root(), &["status"]).complains(1, &["/run/sextant/report.json", missing]);
    symlink(elsewhere.path().join("report.json"), &report).unwrap();
    run(machine.root(), &["status"]).complains(1, &["/run/sextant/report.json", missing]);
    fs::rename(machine.path("run"), machine.path("var-run")).unwrap();
    fs::remove_file(machine.path("var-run/sextant/report.json")).unwrap();
    fs::copy(elsewhere.path().join("report.json"), machine.path("var-run/sextant/report.json")).unwrap();
    symlink("/var-run", machine.path("run")).unwrap();
    assert_eq!(run(machine.root(), &["status"]).status, Some(4));
    assert_eq!(run(machine.root(), &["trust"]).status, Some(0));
    run(Path::new("/nowhere"), &["status"]).complains(1, &["opening /nowhere"]);
}

#[test]
fn a_tree_has_its_own_trust_anchors() {
    let machine = staged();
    let trust = run(machine.root(), &["trust"]);
    for part in ["Secure Boot: enforcing", "CN=Vendor", "CN=Site", "2 trusted, 0 revoked, 0 ignored"] {
        assert!(trust.stdout.contains(part), "{part}: {trust:?}");
    }
    let desk = Desk::new().image("k3s").file("net.sysext.raw", &good_image("net", keys::ec("Site")));
    let root = machine.root().to_str().unwrap();
    let verdicts = |more: &[&str]| {
        let said = desk.run(&[&["verify", "k3s.sysext.raw", "net.sysext.raw", "--json"], more].concat()).json();
        said["images"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["verdict"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(verdicts(&["--root", root]), ["accepted", "accepted"]);
    let efivars = machine.path("sys/firmware/efi/efivars");
    assert_eq!(verdicts(&["--efivars", efivars.to_str().unwrap()]), ["accepted", "rejected"]);
    let inspected = desk.run(&["inspect", "--json", "net.sysext.raw", "--root", root]).json();
    assert_eq!(inspected["verdict"]["signer"]["source"], "sealed");

    let both = desk.run(&["verify", "k3s.sysext.raw", "--root", root, "--certificate", "vendor.crt"]);
    both.complains(2, &["cannot be used with"]);
    fs::remove_dir_all(efivars).unwrap();
    let none = desk.run(&["verify", "k3s.sysext.raw", "--root", root]);
    none.complains(1, &["the tree has no firmware variables in /sys/firmware/efi/efivars"]);
    let desk = desk.file("tree/usr/x", b"");
    desk.run(&["inspect", "tree", "--root", root]).complains(2, &["trust options are for images"]);
}

#[test]
fn verbose_shows_the_evidence() {
    let machine = staged();
    let hash = |desk: &Desk| desk.run(&["inspect", "--json", "k3s.sysext.raw"]).json()["verity"]["root_hash"].clone();
    let desk = Desk::new().image("k3s").file("junk.sysext.raw", b"junk");
    let hash = hash(&desk);
    let (hash, fingerprint) = (hash.as_str().unwrap(), vendor().fingerprint());
    let has = |text: &str, parts: &[&str]| {
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        parts.iter().all(|part| words.contains(part))
    };
    let evidence = [
        &format!("root hash: {hash}"),
        "signer: CN=Vendor (file), serial number ",
        ", expires 20",
        &format!("SHA-256 {fingerprint}"),
        "coverage: full, ",
        "hash ",
    ];
    for command in ["verify", "inspect"] {
        let words = [command, "--certificate", "vendor.crt", "k3s.sysext.raw"];
        let said = desk.run(&[&words[..], &["-v"]].concat());
        assert!(said.status == Some(0) && has(&said.stdout, &evidence), "{said:?}");
        let plain = desk.run(&words).stdout;
        assert!(!has(&plain, &["coverage: "]) && plain.len() < said.stdout.len(), "{plain}");
    }
    // Of a file that is rejected, as far as it came.
    let junk = desk.run(&["verify", "-v", "--certificate", "vendor.crt", "junk.sysext.raw"]).stdout;
    assert!(has(&junk, &["size: 4 bytes"]) && !has(&junk, &["root hash"]), "{junk}");

    let trust = run(machine.root(), &["trust", "--verbose"]).stdout;
    assert!(has(&trust, &["expires 20", &format!("SHA-256 {fingerprint}")]), "{trust}");
    assert!(!run(machine.root(), &["trust"]).stdout.contains(&fingerprint));
    let status = run(machine.root(), &["status", "-v"]).stdout;
    let parts =
        [&format!("root hash: {hash}"), "signer: CN=Site (sealed)", "signer: CN=Stranger (untrusted)", "time: "];
    assert!(has(&status, &parts), "{status}");
    run(machine.root(), &["status", "-v", "-q"]).complains(2, &["cannot be used with"]);

    // Of an initrd, what is good as well.
    let desk = desk.file("initrd", &initrd(&[("etc", 0o040_755, b""), ("etc/initrd-release", 0o100_644, b"ID=x\n")]));
    let row = "\nok      defaults\n";
    assert!(desk.run(&["inspect", "-v", "initrd"]).stdout.contains(row));
    assert!(!desk.run(&["inspect", "initrd"]).stdout.contains(row));
}
