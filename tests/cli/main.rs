//! `sextant verify` and `sextant trust` as a person or a script meets them.
#![allow(clippy::unwrap_used)]

mod bundle;
mod completion;
mod explain;
mod habits;
mod host;
mod inspect;
mod installation;
mod measure;
mod plan;
mod policies;
mod refresh;
mod root;
mod stores;
mod system;
mod terminal;
mod this_boot;
mod verified_bytes;

use ddi::write::DdiBuilder;
use ddi::{Architecture, Guid, PartitionKind};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use support::ddi::{Blueprint, good, good_image, with_tree};
use support::efi::{self, Firmware, List};
use support::keys::{self, Authority};
use support::machine::Machine;
use support::pkcs7::Digest;
use support::trees::Tree;
use tempfile::TempDir;

fn vendor() -> &'static Authority {
    keys::ec("Vendor")
}

/// A directory to work in, with the certificate of the vendor.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap()).file("vendor.crt", &vendor().pem())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn file(self, name: impl AsRef<Path>, content: &[u8]) -> Self {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    /// A good image of the vendor's.
    fn image(self, name: &str) -> Self {
        let image = good_image(name, vendor());
        self.file(format!("{name}.sysext.raw"), &image)
    }

    fn firmware(self, firmware: &Firmware) -> Self {
        firmware.write_to(&self.path().join("efivars"));
        self
    }

    fn command(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tool-under-test"));
        command.current_dir(self.path()).args(arguments).stdin(Stdio::null()).env_remove("NO_COLOR");
        command
    }

    fn run(&self, arguments: &[impl AsRef<OsStr>]) -> Said {
        Said::from(self.command(arguments).output().unwrap())
    }

    /// `sextant verify --certificate vendor.crt …`
    fn verify(&self, arguments: &[&str]) -> Said {
        self.run(&[&["verify", "--certificate", "vendor.crt"], arguments].concat())
    }
}

#[derive(Debug)]
struct Said {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { status: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Reason tokens of the rows; empty where the image is good.
    fn reasons(&self) -> Vec<String> {
        let report = self.json();
        let rows = report["images"].as_array().unwrap();
        rows.iter().map(|row| row["reason"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Fails unless it ended with `status`, all of `words` on standard error and nothing on standard output.
    fn complains(&self, status: i32, words: &[&str]) {
        assert_eq!((self.status, self.stdout.as_str()), (Some(status), ""), "{self:?}");
        assert!(words.iter().all(|word| self.stderr.contains(word)), "{words:?}: {self:?}");
    }
}

#[test]
fn the_table_has_a_line_for_each_file_and_says_what_is_wrong() {
    let desk = Desk::new().image("k3s").file("junk.sysext.raw", b"junk");
    let said = desk.verify(&["k3s.sysext.raw", "junk.sysext.raw"]);
    let expected = "\
FILE             VERDICT   SIGNER OR REASON
k3s.sysext.raw   accepted  CN=Vendor (file)
junk.sysext.raw  rejected  bad-gpt
    no GUID partition table
1 of 2 images accepted, 1 rejected: bad-gpt
";
    assert_eq!((said.status, said.stdout.as_str(), said.stderr.as_str()), (Some(1), expected, ""));
    let said = desk.verify(&["k3s.sysext.raw"]);
    assert_eq!(said.status, Some(0), "all are good");
    assert!(said.stdout.ends_with("\n1 of 1 image accepted\n"), "{said:?}");
}

#[test]
fn json_is_the_report_of_the_agent() {
    let desk = Desk::new().image("k3s").file("junk.sysext.raw", b"junk");
    let said = desk.verify(&["--json", "k3s.sysext.raw", "junk.sysext.raw"]);
    assert_eq!((said.status, said.stderr.as_str()), (Some(1), ""));
    let report = said.json();
    assert_eq!(report["version"], 1);
    assert_eq!(report["firmware"], Value::Null, "none was asked");
    let anchor = json!({
        "source": "file", "trusted": true, "subject": "CN=Vendor", "serial": vendor().serial(),
        "sha256": vendor().fingerprint(), "not_after": vendor().not_after(),
    });
    let signer = &report["images"][0]["signer"];
    assert_eq!(*signer, anchor);
    assert_eq!(report["trust"][0]["sha256"], anchor["sha256"]);
    assert_eq!(report["images"][0]["verdict"], "accepted");
    assert_eq!(report["images"][1]["verdict"], "rejected");
    let machine = Machine::trusting(&[vendor()]).sysext("k3s.sysext.raw", &good_image("k3s", vendor()));
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let agent = machine.stage().report;
    assert_eq!(keys(&report), keys(&agent));
    assert_eq!(keys(&report["images"][0]), keys(&agent["images"][0]));
}

#[test]
fn usage_is_explained_and_mistakes_in_it_have_a_status_of_their_own() {
    let desk = Desk::new();
    let wrong: [&[&str]; 6] = [
        &[],
        &["verify"],
        &["verfy"],
        &["verify", "--nonsense", "x"],
        &["trust", "x"],
        &["verify", "--arch", "pdp11", "x"],
    ];
    for arguments in wrong {
        let said = desk.run(arguments);
        assert_eq!((said.status, said.stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(said.stderr.contains("sage: ") || said.stderr.contains("--help"), "{said:?}");
    }
    let right: [&[&str]; 3] = [&["--help"], &["verify", "--help"], &["trust", "--help"]];
    for arguments in right {
        let said = desk.run(arguments);
        assert_eq!(said.status, Some(0));
        let (_, examples) = said.stdout.split_once("Examples:").unwrap_or_else(|| panic!("{said:?}"));
        assert!(examples.contains("\n  sextant "), "{examples}");
    }
    assert!(desk.run(&["verify", "--help"]).stdout.contains("Exit status: 0 all images accepted"));
    let said = desk.run(&["--version"]);
    assert_eq!((said.status, said.stdout.trim()), (Some(0), concat!("sextant ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn what_cannot_be_read_is_named() {
    let desk = Desk::new().image("k3s").file("empty.crt", b"").file("junk.crt", &[0x30, 3, 1]);
    let said = desk.run(&["verify", "--certificate", "nowhere.crt", "k3s.sysext.raw"]);
    said.complains(1, &["sextant: reading certificate nowhere.crt: No such file or directory"]);
    for file in ["empty.crt", "junk.crt"] {
        let said = desk.run(&["verify", "--certificate", file, "k3s.sysext.raw"]);
        said.complains(1, &[&format!("sextant: reading certificate {file}: no PEM certificate")]);
    }
    for verb in [&["verify", "k3s.sysext.raw"][..], &["trust"]] {
        let said = desk.run(&[verb, &["--efivars", "nowhere"]].concat());
        said.complains(1, &["reading firmware variables from nowhere", "No such file"]);
        let said = desk.run(&[verb, &["--verity-dir", "nowhere"]].concat());
        said.complains(1, &["listing certificates in nowhere: No such file or directory"]);
    }
    desk.verify(&["--config", "nowhere.yaml", "k3s.sysext.raw"])
        .complains(1, &["reading nowhere.yaml", "No such file"]);
    // An image that isn't there is a row like any other, and keeps none of the others from theirs.
    let said = desk.verify(&["--json", "nowhere.sysext.raw", "k3s.sysext.raw"]);
    assert_eq!((said.status, said.reasons()), (Some(1), vec!["unreadable".to_owned(), String::new()]));
}

#[test]
fn a_firmware_that_cannot_be_read_is_an_error_and_not_an_empty_one() {
    let desk = Desk::new().image("k3s").firmware(
        &Firmware::enforcing()
            .db(&efi::certificates(&[vendor()]))
            .raw(&format!("dbx-{}", efi::SECURITY_DATABASE), &[7]),
    );
    desk.run(&["verify", "--efivars", "efivars", "k3s.sysext.raw"]).complains(1, &["reading variable dbx"]);
    desk.run(&["trust", "--efivars", "efivars"]).complains(1, &["reading variable dbx"]);
}

#[test]
fn the_suffix_tells_the_class_to_every_command_as_to_the_agent() {
    let image = good_image("a.confext.b", vendor());
    let desk = Desk::new().file("a.confext.b.SYSEXT.raw", &image).file("k3s.Sysext.RAW", &good_image("k3s", vendor()));
    for (file, name) in [("a.confext.b.SYSEXT.raw", "a.confext.b"), ("k3s.Sysext.RAW", "k3s")] {
        let found = desk.run(&["inspect", "--certificate", "vendor.crt", "--json", file]).json();
        assert_eq!((&found["name"], &found["class"]), (&json!(name), &json!("sysext")));
        assert_eq!(found["verdict"]["verdict"], "accepted", "{found}");
        assert_eq!(desk.verify(&["--json", file]).reasons(), [""], "{file}");
    }
}

#[test]
fn a_dbx_that_cannot_be_read_whole_is_judged_as_a_boot_would() {
    let dbx = [List::certificate(keys::ec("Listed")).encode(), vec![0; 5]].concat();
    let desk = Desk::new()
        .image("k3s")
        .file("lenient.yaml", b"trust:\n  dbx: lenient\n")
        .firmware(&Firmware::enforcing().db(&efi::certificates(&[vendor()])).dbx(&dbx));
    let verify = ["verify", "--efivars", "efivars", "--json", "k3s.sysext.raw"];
    assert_eq!(desk.run(&verify).reasons(), ["dbx-unreadable"]);
    assert_eq!(desk.run(&[&verify[..], &["--config", "lenient.yaml"]].concat()).reasons(), [""]);
    let said = desk.run(&["trust", "--efivars", "efivars"]);
    for part in ["5 trailing bytes", "parts of dbx cannot be read", "dbx-unreadable"] {
        assert!(said.stdout.contains(part), "{said:?}");
    }
    assert_eq!(desk.run(&["trust", "--efivars", "efivars", "--json"]).json()["dbx_faults"], 1);
}

#[test]
fn a_directory_of_variables_is_read_as_it_is_without_links_and_pipes() {
    let desk = Desk::new().image("k3s").firmware(&Firmware::enforcing().db(&efi::certificates(&[vendor()])));
    let dbx = desk.path().join(format!("efivars/dbx-{}", efi::SECURITY_DATABASE));
    std::os::unix::fs::symlink("/dev/null", &dbx).unwrap();
    desk.run(&["trust", "--efivars", "efivars"]).complains(1, &["variable dbx", "not a regular file"]);
    fs::remove_file(&dbx).unwrap();
    nix::unistd::mkfifo(&dbx, nix::sys::stat::Mode::S_IRWXU).unwrap();
    desk.run(&["verify", "--efivars", "efivars", "k3s.sysext.raw"])
        .complains(1, &["variable dbx", "not a regular file"]);
    desk.run(&["trust", "--efivars", "vendor.crt"]).complains(1, &["vendor.crt", "Not a directory"]);
    desk.run(&["trust", "--efivars", "nowhere"]).complains(1, &["nowhere", "No such file"]);
}

#[test]
fn several_certificates_count_and_of_a_directory_the_first_of_each_crt() {
    let [one, two, three] = ["One", "Two", "Three"].map(keys::ec);
    let desk = Desk::new()
        .file("one.crt", &one.pem())
        .file("two.crt", &two.pem())
        .file("verity.d/bundle.crt", &[b"a comment\n".to_vec(), one.pem(), two.pem()].concat())
        .file("verity.d/ignored.pem", &three.pem())
        .file("verity.d/ignored.crt", &three.der())
        .file("verity.d/UPPER.CRT", &three.pem())
        .file("one.sysext.raw", &good_image("one", one))
        .file("two.sysext.raw", &good_image("two", two))
        .file("three.sysext.raw", &good_image("three", three));
    let images = ["--json", "one.sysext.raw", "two.sysext.raw", "three.sysext.raw"];
    let said = desk.run(&[&["verify", "--certificate", "one.crt", "--certificate", "two.crt"][..], &images].concat());
    assert_eq!(said.reasons(), ["", "", "unknown-signer"]);
    let said = desk.run(&[&["verify", "--verity-dir", "verity.d"][..], &images].concat());
    assert_eq!(said.reasons(), ["", "unknown-signer", "unknown-signer"]);
    let both = ["verify", "--verity-dir", "verity.d", "--certificate", "two.crt"];
    assert_eq!(desk.run(&[&both[..], &images].concat()).reasons(), ["", "", "unknown-signer"]);
}

#[test]
fn dbx_counts_against_certificates_that_are_named_too() {
    let desk = Desk::new().image("k3s").firmware(&Firmware::enforcing().dbx(&List::certificate(vendor()).encode()));
    let said = desk.verify(&["--efivars", "efivars", "--json", "k3s.sysext.raw"]);
    assert_eq!(said.reasons(), ["revoked-signer"]);
}

#[test]
fn images_for_other_machines_are_verified_as_those_would() {
    let other = if support::ddi::native() == Architecture::Arm64 { Architecture::Riscv64 } else { Architecture::Arm64 };
    let release = format!("ID=_any\nARCHITECTURE={other}\n");
    let foreign = Tree::empty().release("foreign", &release).squashfs();
    let builder = DdiBuilder::new("foreign").architecture(other).threads(1);
    let foreign = Blueprint::build(&builder, &foreign, Some(vendor())).render();
    let desk = Desk::new().image("own").file("foreign.sysext.raw", &foreign.bytes);
    let images = ["--json", "own.sysext.raw", "foreign.sysext.raw"];
    assert_eq!(desk.verify(&images).reasons(), ["", "wrong-architecture"]);
    let arch = ["--arch", other.systemd_name()];
    assert_eq!(desk.verify(&[&arch[..], &images].concat()).reasons(), ["wrong-architecture", ""]);
}

#[test]
fn a_configuration_can_be_tried_before_it_is_sealed() {
    let blueprint = good("k3s", vendor());
    let deny = format!("deny:\n  root_hashes: [{}]\n", blueprint.root_hash);
    let desk = Desk::new()
        .image("k3s")
        .file("deny.yaml", deny.as_bytes())
        .file("small.yaml", b"limits:\n  image_size: 4KiB\n")
        .file("broken.yaml", b"limits:\n  image_size: 1MiB\n  colour: blue\n")
        .firmware(&Firmware::disabled().db(&efi::certificates(&[vendor()])))
        .file("optional.yaml", b"secure_boot: optional\n");
    let verify = |config: &str| desk.verify(&["--json", "--config", config, "k3s.sysext.raw"]);
    assert_eq!(verify("deny.yaml").reasons(), ["revoked-image"]);
    assert_eq!(verify("small.yaml").reasons(), ["too-large"]);
    verify("broken.yaml").complains(1, &["broken.yaml", "colour", "line 3"]);
    let off = ["verify", "--efivars", "efivars", "--json", "k3s.sysext.raw"];
    assert_eq!(desk.run(&off).reasons(), ["secure-boot-off"]);
    assert_eq!(desk.run(&[&off[..], &["--config", "optional.yaml"]].concat()).reasons(), [""]);
}

fn mixed_firmware() -> Firmware {
    let [owner, listed, digested] = ["Owner", "Listed", "Digested"].map(keys::ec);
    let junk = List::new(efi::X509, [b"not a certificate".to_vec()]);
    let db = [efi::certificates(&[vendor(), listed, digested, vendor()]), junk.encode()].concat();
    let dbx = [List::certificate(listed).encode(), List::revoked(digested, Digest::Sha256, efi::SOME_TIME).encode()];
    Firmware::enforcing().pk(&efi::certificates(&[owner])).db(&db).dbx(&dbx.concat()).entry("active.conf")
}

#[test]
fn trust_shows_whom_and_whom_not_and_why() {
    let desk = Desk::new().firmware(&mixed_firmware());
    let said = desk.run(&["trust", "--efivars", "efivars"]);
    assert_eq!((said.status, said.stderr.as_str()), (Some(0), ""));
    let short = |name: &str| keys::ec(name).fingerprint()[..10].to_owned();
    let line = |words: &[&str]| {
        let found = said.stdout.lines().any(|line| words.iter().all(|word| line.contains(word)));
        assert!(found, "no line with {words:?} in\n{}", said.stdout);
    };
    assert!(said.stdout.starts_with("Secure Boot: enforcing, boot entry: active\n"), "{said:?}");
    line(&["PK ", &short("Owner"), "CN=Owner"]);
    line(&["db ", &short("Vendor"), "CN=Vendor"]);
    line(&["dbx ", &short("Listed"), "CN=Listed", "revoked: the certificate itself"]);
    line(&["dbx ", &short("Digested"), "CN=Digested", "revoked: SHA-256 of its TBSCertificate"]);
    line(&["db ", &short("Vendor"), "the same certificate as db-1.crt"]);
    line(&["db ", "not a DER certificate"]);
    assert!(said.stdout.ends_with("\n2 trusted, 2 revoked, 4 ignored\n"), "{said:?}");

    let value = desk.run(&["trust", "--efivars", "efivars", "--json"]).json();
    let texts = |list: &str, key: &str| {
        let rows = value[list].as_array().unwrap().iter();
        rows.map(|row| row[key].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(texts("trust", "subject"), ["CN=Owner", "CN=Vendor"]);
    assert_eq!(texts("revoked", "subject"), ["CN=Listed", "CN=Digested"]);
    assert_eq!(texts("revoked", "sha256"), ["Listed", "Digested"].map(|name| keys::ec(name).fingerprint()));
    assert_eq!(value["ignored_certificates"].as_array().unwrap().len(), 4);
    assert_eq!(value["firmware"]["secure_boot"], "enforcing");
}

#[test]
fn trust_shows_a_directory_as_systemd_reads_it() {
    let desk = Desk::new()
        .file("verity.d/good.crt", &vendor().pem())
        .file("verity.d/junk.crt", b"junk")
        .file("verity.d/other.pem", &keys::ec("Other").pem());
    let said = desk.run(&["trust", "--verity-dir", "verity.d"]);
    assert_eq!(said.status, Some(0));
    assert!(said.stdout.contains("CN=Vendor") && !said.stdout.contains("CN=Other"), "{said:?}");
    let ignored = said.stdout.split_once("Ignored:").unwrap().1;
    assert!(ignored.contains("no PEM certificate"), "{ignored}");
    assert!(!said.stdout.contains("Secure Boot"), "no firmware was asked: {said:?}");
}

#[test]
fn the_agent_and_sextant_verify_agree_on_every_image() {
    let renamed = good_image("original", vendor());
    let scope = Tree::empty().release("scope", "ID=_any\nSYSEXT_SCOPE=initrd\n");
    let unsigned = Tree::sysext("unsigned").squashfs();
    let other_uuid = good("warned", vendor()).change(PartitionKind::Root, |part| part.uuid = Guid::from_bytes([3; 16]));
    let usr = good("usr", vendor()).retype(PartitionKind::Root, PartitionKind::Usr, support::ddi::native());
    let machine = Machine::new()
        .firmware(&mixed_firmware())
        .config("limits:\n  image_size: 3MiB\n")
        .sysext("good.sysext.raw", &good_image("good", vendor()))
        .sysext("owner.sysext.raw", &good_image("owner", keys::ec("Owner")))
        .sysext("stranger.sysext.raw", &good_image("stranger", keys::ec("Stranger")))
        .sysext("listed.sysext.raw", &good_image("listed", keys::ec("Listed")))
        .sysext("digested.sysext.raw", &good_image("digested", keys::ec("Digested")))
        .sysext("renamed.sysext.raw", &renamed)
        .sysext("corrupt.sysext.raw", &good("corrupt", vendor()).render().flip(PartitionKind::Root, 300).bytes)
        .sysext("short.sysext.raw", &renamed[..renamed.len() - 512])
        .sysext("usr.sysext.raw", &usr.render().bytes)
        .sysext("unsigned.sysext.raw", &Blueprint::build(&DdiBuilder::new("unsigned"), &unsigned, None).render().bytes)
        .sysext("scope.sysext.raw", &with_tree("scope", &scope, vendor()).render().bytes)
        .sysext("warned.sysext.raw", &other_uuid.render().bytes)
        .sysext("large.sysext.raw", &vec![0; 4 << 20])
        .sysext("empty.sysext.raw", b"")
        .sysext("strange.raw", &renamed)
        .sysext("line\nbreak.sysext.raw", &renamed)
        .with(|root| {
            fs::create_dir(root.join(".extra/sysext/directory.sysext.raw")).unwrap();
            std::os::unix::fs::symlink("good.sysext.raw", root.join(".extra/sysext/link.sysext.raw")).unwrap();
        })
        .confext("net.confext.raw", &Blueprint::new("net", &Tree::confext("net").squashfs(), vendor()).render().bytes);
    let files = ["sysext", "confext"].into_iter().flat_map(|class| {
        let directory = machine.path(".extra").join(class).read_dir().unwrap();
        directory.map(|entry| entry.unwrap().path().into_os_string()).collect::<Vec<_>>()
    });
    let (efivars, config) = (machine.path("sys/firmware/efi/efivars"), machine.path("etc/sextant.yaml"));
    let options = ["verify", "--json", "--efivars", efivars.to_str().unwrap(), "--config", config.to_str().unwrap()];
    let arguments: Vec<_> = options.iter().map(Into::into).chain(files).collect();
    let said = Desk::new().run(&arguments).json();
    let rows = said["images"].as_array().unwrap();
    let outcome = machine.stage();
    assert_eq!(rows.len(), outcome.rows().len());
    let mut reasons = Vec::new();
    for row in rows {
        let path = row["file"].as_str().unwrap();
        let agent = outcome.row(path.rsplit('/').next().unwrap());
        for field in ["name", "class", "reason", "warnings", "root_hash", "signer"] {
            assert_eq!(row[field], agent[field], "{path}: {field}: {row:#} {agent:#}");
        }
        let verdict = row["verdict"].as_str().unwrap().replace("accepted", "staged");
        assert_eq!(verdict, agent["verdict"], "{path}");
        reasons.extend(row["reason"].as_str());
    }
    reasons.sort_unstable();
    reasons.dedup();
    assert!(reasons.len() >= 9, "a mixed set, not just {reasons:?}");
    assert_eq!(rows.iter().filter(|row| row["verdict"] == "accepted").count(), 4);
}
