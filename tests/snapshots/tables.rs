//! Tables of the tool, with fixed input.

use super::{check, normalized};
use ddi::Architecture;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use support::ddi::{Blueprint, good_image};
use support::efi::{self, Firmware, List};
use support::keys::{self, Authority};
use support::pkcs7::Digest;
use support::trees::Tree;
use support::uki::{initrd, program, with_stub};
use tempfile::TempDir;

pub(super) fn vendor() -> &'static Authority {
    keys::ec("Vendor")
}

pub(super) struct Desk(TempDir);

impl Desk {
    pub(super) fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        desk.file("vendor.crt", &vendor().pem());
        desk
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn file(&self, name: &str, content: &[u8]) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// The command line, what it prints, and its exit status.
    pub(super) fn run(&self, line: &str) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tool-under-test"));
        let output = command.current_dir(self.path()).args(line.split(' ')).stdin(Stdio::null()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let (out, error) = (text(&output.stdout), text(&output.stderr));
        let status = output.status.code().unwrap();
        let text = format!("$ sextant {line}\n{out}{error}[exit status {status}]\n");
        let path = self.path().to_str().unwrap();
        normalized(&text, &[(path, "DESK")])
    }
}

/// An image whose bytes are the same each time, but for its signature.
pub(super) fn image(name: &str, files: &[(&str, &str)], authority: &Authority) -> Vec<u8> {
    let tree = files.iter().fold(Tree::sysext(name), |tree, (path, content)| tree.file(path, content.as_bytes()));
    Blueprint::new(name, &tree.squashfs(), authority).render().bytes
}

/// An EFI system partition with three boot entries, and images to install.
fn partition() -> Desk {
    let desk = Desk::new();
    for entry in ["active", "passive", "recovery"] {
        desk.file(&format!("esp/EFI/kairos/{entry}.efi"), b"");
        desk.file(&format!("esp/loader/entries/{entry}.conf"), format!("efi /EFI/kairos/{entry}.efi\n").as_bytes());
    }
    let files = [("usr/bin/k3s", "new")];
    desk.file("k3s_1.31.sysext.raw", &image("k3s_1.31", &files, vendor()));
    desk.file("stranger.sysext.raw", &image("stranger", &files, keys::ec("Stranger")));
    let installed = "esp/EFI/kairos/active.efi.extra.d";
    desk.file(&format!("{installed}/k3s_1.30.sysext.raw"), &image("k3s_1.30", &[("usr/bin/k3s", "old")], vendor()));
    desk.file(&format!("{installed}/tools.sysext.raw.disabled"), &image("tools", &files, vendor()));
    desk.file(&format!("{installed}/readme.txt"), b"text");
    desk
}

fn verify() -> String {
    let desk = Desk::new();
    let mut corrupt = good_image("corrupt", vendor());
    corrupt[1 << 20] ^= 1;
    desk.file("k3s.sysext.raw", &good_image("k3s", vendor()));
    desk.file("corrupt.sysext.raw", &corrupt);
    desk.file("stranger.sysext.raw", &good_image("stranger", keys::ec("Stranger")));
    desk.file("junk.confext.raw", b"junk");
    let images = "k3s.sysext.raw corrupt.sysext.raw stranger.sysext.raw junk.confext.raw absent.sysext.raw";
    desk.run(&format!("verify --certificate vendor.crt {images}"))
        + &desk.run("verify --certificate vendor.crt k3s.sysext.raw")
}

fn trust() -> String {
    let [owner, listed, digested] = ["Owner", "Listed", "Digested"].map(keys::ec);
    let junk = List::new(efi::X509, [b"not a certificate".to_vec()]);
    let db = [efi::certificates(&[vendor(), listed, digested, vendor()]), junk.encode()].concat();
    let dbx = [List::certificate(listed).encode(), List::revoked(digested, Digest::Sha256, efi::SOME_TIME).encode()];
    let firmware = Firmware::enforcing().pk(&efi::certificates(&[owner])).db(&db).dbx(&dbx.concat());
    let desk = Desk::new();
    firmware.entry("active.conf").write_to(&desk.path().join("efivars"));
    desk.run("trust --efivars efivars")
}

fn inspect() -> String {
    let desk = Desk::new();
    let files = [("usr/bin/k3s", "#!/bin/sh\n"), ("usr/share/k3s/version", "1.31\n")];
    desk.file("k3s.sysext.raw", &image("k3s", &files, vendor()));
    desk.file("stranger.sysext.raw", &image("stranger", &files, keys::ec("Stranger")));
    let text = desk.run("inspect --certificate vendor.crt --list k3s.sysext.raw")
        + &desk.run("inspect --certificate vendor.crt stranger.sysext.raw");
    without_architecture(&text)
}

/// A text in which this machine's architecture has a name of constant length.
fn without_architecture(text: &str) -> String {
    let name = Architecture::native().unwrap().systemd_name();
    let lines = text.lines().map(|line| {
        // A table of partitions, whose columns follow the longest name.
        let cells: Vec<&str> = line.split_whitespace().collect();
        match cells.as_slice() {
            [number, partition, offset, size @ .., uuid] if line.contains(&format!(" root-{name}")) => {
                let partition = partition.replace(name, "ARCH");
                format!(" {number} {partition:<20} {offset:>7} {:>9} {uuid}", size.join(" "))
            }
            ["NO", "PARTITION", "OFFSET", "SIZE", "UUID"] => {
                format!("NO {:<20} {:>7} {:>9} UUID", "PARTITION", "OFFSET", "SIZE")
            }
            // The file has the architecture's name in it.
            [mode, owner, _, path] if path.contains("/extension-release.d/") => format!("{mode} {owner} NN {path}"),
            _ => line.replace(name, "ARCH"),
        }
    });
    lines.map(|line| line + "\n").collect()
}

/// A UKI without sextant.
fn inspect_uki() -> String {
    let desk = Desk::new();
    let initrd = initrd(&[
        ("etc", 0o040_755, b""),
        ("etc/initrd-release", 0o100_644, b"ID=dracut\n"),
        ("etc/sextant.yaml", 0o100_644, b"secure_bot: require\n"),
    ]);
    let sections: [(&str, &[u8]); 6] = [
        (".sdmagic", b"#### LoaderInfo: systemd-stub 257.13 ####\0"),
        (".osrel", b"PRETTY_NAME=\"Debian GNU/Linux 13\"\n"),
        (".uname", b"6.12.0-amd64"),
        (".cmdline", b"quiet systemd.sysext=0"),
        (".linux", b"kernel"),
        (".initrd", &initrd),
    ];
    desk.file("active.efi", &program(&sections));
    desk.run("inspect active.efi")
}

fn plan() -> String {
    let desk = Desk::new();
    let newer = [("usr/bin/k3s", "new"), ("usr/lib/systemd/system/k3s.service", "[Service]")];
    desk.file("extra/k3s_1.10.sysext.raw", &image("k3s_1.10", &newer, vendor()));
    let older = [("usr/bin/k3s", "old"), ("usr/bin/k3s-only-old", "old")];
    desk.file("extra/k3s_1.9.sysext.raw", &image("k3s_1.9", &older, vendor()));
    desk.file("extra/tools.sysext.raw", &image("tools", &[("opt/tools/bin/jq", "jq")], vendor()));
    desk.file("extra/stranger.sysext.raw", &image("stranger", &older, keys::ec("Stranger")));
    let stages = "stages:\n  boot:\n    - name: tools\n      commands: [cp x /opt/tools/x]\n  initramfs:\n    - commands: \
                  [k3s server]\n";
    desk.file("oem/90_custom.yaml", stages.as_bytes());
    desk.run("plan --certificate vendor.crt extra --stages oem")
}

fn install() -> String {
    let desk = partition();
    let options = "--esp esp --certificate vendor.crt";
    [
        desk.run(&format!("install k3s_1.31.sysext.raw stranger.sysext.raw --entry active {options}")),
        desk.run(&format!("install k3s_1.31.sysext.raw --entry active --entry passive --dry-run {options}")),
        desk.run(&format!("install k3s_1.31.sysext.raw --entry active --entry passive {options}")),
        desk.run(&format!("install k3s_1.31.sysext.raw --entry active {options}")),
        desk.run("enable tools --entry active --esp esp"),
        desk.run("disable k3s_1.30 --entry active --esp esp"),
        desk.run("remove k3s_1.31 --all --dry-run --esp esp"),
        desk.run("remove k3s --entry active --esp esp"),
        desk.run("remove k3s_1.31 --esp esp"),
    ]
    .concat()
}

/// A report with each state that an extension can have.
const REPORT: &str = r#"{
  "version": 1,
  "firmware": {"secure_boot": "enforcing", "entry": "active"},
  "trust": [
    {"source": "PK", "subject": "CN=Owner", "sha256": "01", "file": "PK-1.crt"},
    {"source": "db", "subject": "O=Acme, CN=Extensions", "sha256": "02", "file": "db-1.crt"}
  ],
  "ignored_certificates": [{"source": "db", "sha256": null, "reason": "revoked by dbx (the certificate itself)"}],
  "images": [
    {"file": "k3s_1.30.sysext.raw", "directory": "/.extra/sysext", "name": "k3s_1.30", "class": "sysext",
     "verdict": "staged", "reason": null, "detail": null, "warnings": ["the certificate of signer \"CN=Old\" has expired"],
     "root_hash": null, "signer": {"source": "db", "subject": "O=Acme, CN=Extensions", "sha256": "02"}, "size": null,
     "coverage": {"verify": "on-read", "bytes_checked": 7340032, "bytes": 734003200}, "verify_usec": 12300,
     "stage_usec": 45600},
    {"file": "lost.sysext.raw", "directory": "/.extra/sysext", "name": "lost", "class": "sysext", "verdict": "staged",
     "reason": null, "detail": null, "warnings": [], "root_hash": null,
     "signer": {"source": "PK", "subject": "CN=Owner", "sha256": "01"}, "size": null, "coverage": null,
     "verify_usec": 0, "stage_usec": 0},
    {"file": "masked.confext.raw", "directory": "/.extra/confext", "name": "masked", "class": "confext",
     "verdict": "staged", "reason": null, "detail": null, "warnings": [], "root_hash": null,
     "signer": {"source": "PK", "subject": "CN=Owner", "sha256": "01"}, "size": null, "coverage": null,
     "verify_usec": 0, "stage_usec": 0},
    {"file": "changed.sysext.raw", "directory": "/.extra/sysext", "name": "changed", "class": "sysext",
     "verdict": "withdrawn", "reason": null, "detail": "it was changed after it had been verified", "warnings": [],
     "root_hash": null, "signer": {"source": "PK", "subject": "CN=Owner", "sha256": "01"}, "size": null,
     "coverage": null, "verify_usec": 0, "stage_usec": 0},
    {"file": "k3s_1.31.sysext.raw", "directory": "/.extra/sysext",
     "esp_path": "EFI/kairos/active.efi.extra.d/k3s_1.31.sysext.raw", "name": "k3s_1.31", "class": "sysext",
     "verdict": "rejected", "reason": "corrupt", "detail": "block 7 of 600 does not match the hash tree", "warnings": [],
     "root_hash": null, "signer": null, "size": 4096, "coverage": null, "verify_usec": 0, "stage_usec": 0},
    {"file": "stranger.sysext.raw", "directory": "/.extra/sysext", "name": "stranger", "class": "sysext",
     "verdict": "rejected", "reason": "unknown-signer",
     "detail": "signer \"CN=Stranger\" is not one of the 2 trust anchors", "warnings": [], "root_hash": null,
     "signer": null, "size": 4096, "coverage": null, "verify_usec": 900, "stage_usec": 0}
  ],
  "omitted": {"total": 61000, "by_reason": {"bad-name": 60998, "bad-gpt": 2}, "trust": 1, "ignored_certificates": 0},
  "merge": {
    "requested": true, "confirmed": true, "merged": ["k3s_1.30"], "missing": ["lost", "masked", "changed"],
    "unexpected": ["other"],
    "extensions": [
      {"class": "sysext", "name": "k3s_1.30", "origin": "staged", "root_hash": null, "file": null},
      {"class": "sysext", "name": "other", "origin": "other", "root_hash": null, "file": null}
    ],
    "not_merged": [
      {"class": "sysext", "name": "lost", "file": "/run/extensions/lost.raw", "staged": true,
       "cause": "see the journal of systemd-sysext.service", "meant": false},
      {"class": "confext", "name": "masked", "file": "/run/confexts/masked.raw", "staged": true,
       "cause": "it is masked by /etc/extensions/masked, an empty directory", "meant": true}
    ],
    "required_missing": ["lost", "net.confext"]
  },
  "error": null
}"#;

fn status() -> String {
    let desk = Desk::new();
    desk.file("report.json", REPORT.as_bytes());
    let requested = r#"{"version": 1, "firmware": null, "trust": [], "ignored_certificates": [], "images": [],
        "omitted": null, "merge": null, "error": "reading /etc/sextant.yaml, line 1, limitz: unknown field"}"#;
    desk.file("failed.json", requested.as_bytes());
    desk.run("status --report report.json")
        + &desk.run("status --report failed.json")
        + &desk.run("status --report absent.json")
}

fn list() -> String {
    let desk = partition();
    for (name, entry) in [("stranger", "active"), ("lost", "active"), ("k3s_1.31", "active"), ("k3s_1.31", "passive")] {
        let path = format!("esp/EFI/kairos/{entry}.efi.extra.d/{name}.sysext.raw");
        // As large as the report says.
        let content = if name == "stranger" { vec![0; 4096] } else { image(name, &[], vendor()) };
        desk.file(&path, &content);
    }
    desk.file("report.json", REPORT.as_bytes());
    desk.run("list --esp esp --report report.json")
        + &desk.run("list --esp esp --entry recovery --report report.json")
        + &desk.run("list --esp esp --entry other --report report.json")
}

fn measure() -> String {
    let desk = Desk::new();
    for entry in ["active", "passive"] {
        desk.file(&format!("esp/EFI/kairos/{entry}.efi"), &with_stub("257.13"));
    }
    desk.file("esp/EFI/kairos/active.efi.extra.d/k3s.sysext.raw", b"k3s");
    desk.file("esp/EFI/kairos/active.efi.extra.d/net.confext.raw", b"net");
    desk.run("measure --esp esp")
        + &desk.run("measure esp/EFI/kairos/active.efi.extra.d/k3s.sysext.raw")
        + &desk.run("measure --esp esp --check")
}

fn explain() -> String {
    let desk = Desk::new();
    desk.run("explain") + &desk.run("explain unknown-signer corrupt")
}

/// Makes the text of a snapshot.
type Table = fn() -> String;

#[test]
fn tables_are_as_recorded() {
    let tables: [(&str, Table); 13] = [
        ("errors", super::errors::errors),
        ("explain", explain),
        ("inspect", inspect),
        ("inspect-uki", inspect_uki),
        ("install", install),
        ("list", list),
        ("measure", measure),
        ("migrate", super::machines::migrate),
        ("plan", plan),
        ("refresh", super::machines::refresh),
        ("status", status),
        ("trust", trust),
        ("verify", verify),
    ];
    check("tables", &tables.map(|(name, table)| (name.to_owned(), table())));
}
