//! `sextant inspect`: what can be read is shown, whatever is wrong with the rest.

use crate::{Desk, Said, vendor};
use ddi::PartitionKind::{Root, RootVerity, RootVeritySig, Swap};
use serde_json::Value;
use support::ddi::{Blueprint, RawImage, good, good_image};
use support::keys;
use support::trees::Tree;

/// The text and the form for programs, for a machine that trusts the vendor.
fn inspect(desk: &Desk, file: &str) -> (Said, Value) {
    let said = desk.run(&["inspect", "--certificate", "vendor.crt", file]);
    let json = desk.run(&["inspect", "--certificate", "vendor.crt", "--json", file]);
    assert_eq!(json.status, said.status, "{said:?} {json:?}");
    (said, serde_json::from_str(&json.stdout).unwrap_or_else(|error| panic!("{error}: {json:?}")))
}

fn of(image: &RawImage) -> (Said, Value) {
    inspect(&Desk::new().file("k3s.sysext.raw", &image.bytes), "k3s.sysext.raw")
}

fn line<'a>(said: &'a Said, label: &str) -> &'a str {
    let found = said.stdout.lines().find_map(|line| line.trim_start().strip_prefix(&format!("{label}: ")));
    found.unwrap_or_else(|| panic!("no {label}: {}", said.stdout))
}

#[test]
fn a_good_image_is_shown_with_all_of_its_parts() {
    let (said, json) = of(&good("k3s", vendor()).render());
    assert_eq!((said.status, said.stderr.as_str()), (Some(0), ""));
    assert_eq!(line(&said, "Extension"), "k3s, a sysext");
    assert_eq!(line(&said, "Verdict"), "accepted");
    assert_eq!(line(&said, "Signer"), "CN=Vendor (ECDSA)");
    let root_hash = line(&said, "Root hash");
    assert_eq!(json["verity"]["root_hash"], root_hash);
    assert_eq!(json["signature"]["root_hash"], root_hash);
    assert_eq!(json["verity"]["intact"], true);
    assert_eq!(json["verdict"]["verdict"], "accepted");
    assert_eq!(json["signature"]["certificate_fingerprint"], vendor().fingerprint());
    assert_eq!(json["release"]["fields"]["ID"], "_any");
    assert_eq!(json["problems"], serde_json::json!([]));
    let kinds: Vec<_> =
        json["partitions"].as_array().unwrap().iter().map(|row| row["kind"].as_str().unwrap()).collect();
    let architecture = json["architecture"].as_str().unwrap();
    assert_eq!(kinds, ["", "-verity", "-verity-sig"].map(|end| format!("root-{architecture}{end}")));
    assert!(said.stdout.lines().all(|line| line.chars().count() <= 80), "{}", said.stdout);
    assert!(said.stdout.contains("\n/usr/lib/extension-release.d/extension-release.k3s\n"), "{}", said.stdout);
}

#[test]
fn files_are_listed_with_modes_owners_and_targets() {
    let tree = Tree::sysext("k3s").file("usr/bin/k3s", b"0123456789").symlink("usr/bin/kubectl", "k3s");
    let image = Blueprint::new("k3s", &tree.squashfs(), vendor()).render();
    let desk = Desk::new().file("k3s.sysext.raw", &image.bytes);
    let said = desk.run(&["inspect", "--certificate", "vendor.crt", "--list", "k3s.sysext.raw"]);
    let lines: Vec<Vec<&str>> = said.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(lines.contains(&vec!["-rw-r--r--", "0:0", "10", "/usr/bin/k3s"]), "{}", said.stdout);
    assert!(lines.contains(&vec!["lrw-r--r--", "0:0", "0", "/usr/bin/kubectl", "->", "k3s"]), "{}", said.stdout);
    let said = desk.run(&["inspect", "--certificate", "vendor.crt", "--list", "--json", "k3s.sysext.raw"]);
    let json: Value = serde_json::from_str(&said.stdout).unwrap();
    let row = json["files"].as_array().unwrap().iter().find(|row| row["path"] == "/usr/bin/k3s").unwrap();
    let expected = serde_json::json!({
        "path": "/usr/bin/k3s", "kind": "file", "mode": "0644", "uid": 0, "gid": 0, "size": 10, "target": null,
    });
    assert_eq!(row, &expected);
}

#[test]
fn damage_is_found_where_it_is() {
    for kind in [Root, RootVerity] {
        // A superblock's own bytes have other messages.
        let (said, json) = of(&good("k3s", vendor()).render().flip_from_end(kind, 1));
        assert_eq!(said.status, Some(1), "{kind:?}");
        assert!(line(&said, "Hash tree").ends_with("NOT intact"), "{}", said.stdout);
        assert_eq!(json["verity"]["intact"], false);
        assert_eq!(json["verdict"]["reason"], "corrupt");
    }
    let (said, json) = of(&good("k3s", vendor()).render().flip(RootVerity, 0));
    assert!(line(&said, "Problem").starts_with("hash tree: "), "{}", said.stdout);
    // What the file system says is of interest all the same.
    assert_eq!(json["release"]["fields"]["ID"], "_any");
    assert_eq!(json["verdict"]["reason"], "bad-superblock");
}

#[test]
fn a_signature_for_another_image_is_shown_as_such() {
    let other = Blueprint::new("other", &Tree::sysext("other").squashfs(), vendor());
    let (said, _) = of(&good("k3s", vendor()).with_signature_text(other.signature_text().as_bytes()).render());
    assert_eq!(said.status, Some(1));
    assert_eq!(line(&said, "Signed for"), "another root hash:");
    let (said, json) = of(&good("k3s", vendor()).with_signature_text(b"{}").render());
    assert!(line(&said, "Problem").starts_with("signature partition: "), "{}", said.stdout);
    assert_eq!(json["verity"]["intact"], true);
    let (said, _) = of(&good("k3s", vendor()).with_pkcs7(b"\x30\x00").render());
    assert_eq!((said.status, line(&said, "Verdict")), (Some(1), "rejected: bad-signature"));
    assert!(!line(&said, "Signature").is_empty());
}

#[test]
fn a_stranger_is_named_though_nobody_trusts_him() {
    let (said, json) = of(&good("k3s", keys::rsa("Stranger")).render());
    assert_eq!(line(&said, "Verdict"), "rejected: unknown-signer");
    assert_eq!(line(&said, "Signer"), "CN=Stranger (RSA)");
    assert!(
        said.stdout.contains(&format!("claimed fingerprint\n{:14}{}", "", keys::rsa("Stranger").fingerprint())),
        "{}",
        said.stdout
    );
    assert_eq!(json["verity"]["intact"], true);
}

#[test]
fn without_anybody_to_ask_all_is_shown_but_the_verdict() {
    let desk = Desk::new().image("k3s");
    let said = desk.run(&["inspect", "k3s.sysext.raw"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(line(&said, "Verdict").starts_with("unknown: reading firmware variables: "), "{}", said.stdout);
    // But who is named has to be there.
    let said = desk.run(&["inspect", "--certificate", "nowhere.crt", "k3s.sysext.raw"]);
    assert_eq!((said.status, said.stdout.as_str()), (Some(1), ""));
    assert!(said.stderr.contains("nowhere.crt: No such file"), "{said:?}");
}

#[test]
fn tables_that_no_boot_would_take_are_shown() {
    let doubled = good("k3s", vendor()).duplicate(Root, "again").render();
    let (said, json) = of(&doubled);
    assert_eq!(line(&said, "Verdict"), "rejected: duplicate-partition");
    assert_eq!(json["partitions"].as_array().unwrap().len(), 4);
    let native = support::ddi::native();
    let swapped = good("k3s", vendor()).retype(RootVeritySig, Swap, native).flags(Root, 1 << 63 | 1 << 60 | 1).render();
    let (said, json) = of(&swapped);
    assert_eq!((said.status, line(&said, "Signature")), (Some(1), "none"));
    assert_eq!(json["partitions"][2]["kind"], "swap");
    assert!(said.stdout.contains("partition 1 has the flags: read-only, no-auto, 0x1\n"), "{}", said.stdout);
}

#[test]
fn a_file_system_by_itself_and_no_image_at_all() {
    let squashfs = Tree::sysext("k3s").squashfs();
    let desk = Desk::new().file("fs", &squashfs).file("junk.sysext.raw", b"junk");
    let (said, json) = inspect(&desk, "fs");
    assert_eq!(said.status, Some(1));
    assert_eq!(json["filesystem"]["kind"], "squashfs");
    assert!(line(&said, "Extension").starts_with("unknown: the file name"), "{}", said.stdout);
    let (said, json) = inspect(&desk, "junk.sysext.raw");
    assert_eq!((said.status, &json["filesystem"]), (Some(1), &Value::Null));
    assert!(line(&said, "Problem").starts_with("partition table: "), "{}", said.stdout);
    let said = desk.run(&["inspect", "nowhere.sysext.raw"]);
    assert_eq!((said.status, said.stdout.as_str()), (Some(1), ""));
    assert!(said.stderr.starts_with("sextant: inspecting nowhere.sysext.raw: No such file"), "{said:?}");
}

#[test]
fn labels_and_release_files_cannot_move_the_cursor() {
    let tree = Tree::sysext("k3s").release("k3s", "ID=_any\nEVIL=\"\u{1b}[2J\u{202e}\"\n");
    let image = Blueprint::new("k3s", &tree.squashfs(), keys::ec("\u{1b}]0;title\u{7}")).render();
    let (said, json) = of(&image);
    assert!(!said.stdout.contains(['\u{1b}', '\u{202e}', '\u{7}']), "{said:?}");
    assert!(json["release"]["fields"]["EVIL"].as_str().unwrap().starts_with("\\u{1b}[2J"), "{json:#}");
    let (said, _) = inspect(&Desk::new().file("k3s.confext.raw", &good_image("k3s", vendor())), "k3s.confext.raw");
    assert_eq!(line(&said, "Extension"), "k3s, a confext");
    assert!(line(&said, "Problem").starts_with("release file: "), "{}", said.stdout);
}
