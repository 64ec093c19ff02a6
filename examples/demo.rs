//! `make demo`: the main job on throw-away keys. Good and hostile images in, verdicts out.
//!
//! Lays out a machine below target/demo, runs the real agent on it, shows what it decided, and fails if
//! that isn't what it should have decided.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use serde_json::Value;
use sextant::image::PartitionKind::{self, Home, Root, Usr};
use std::error::Error;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use support::ddi::{Blueprint, Part, RawImage, good, native};
use support::efi::{Firmware, List, certificates, lists};
use support::keys::{self, Authority};
use support::pkcs7::{Digest, SignedData, SignerInfo};
use support::trees::{Tree, noise};

/// A file, the token that it must be rejected with (none: staged), and what is the matter with it.
type Expected = (&'static str, Option<&'static str>, &'static str);

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("\nThese are NOT the verdicts that were expected.");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool, Box<dyn Error>> {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/demo");
    let _ = fs::remove_dir_all(&tree);
    println!("A machine with Secure Boot, its own PK, KEK and db, a sealed vendor certificate and a dbx,");
    println!("laid out in {}\n", relative(&tree));
    let expected = lay_out(&tree)?;

    let output = Command::new(agent()?).args(["stage", "--root"]).arg(&tree).output()?;
    let report: Value = serde_json::from_slice(&fs::read(tree.join("run/sextant/report.json"))?)?;
    let as_expected = show(&report, &expected);

    let log = String::from_utf8_lossy(&output.stderr);
    println!("\n{}", log.lines().last().unwrap_or_default());
    println!("\nWhere everything is, below {}:", relative(&tree));
    for (path, what) in [
        ("run/extensions/", "system extensions that systemd-sysext may merge"),
        ("run/confexts/", "the same for /etc"),
        ("run/verity.d/", "certificates that systemd verifies them with"),
        ("run/sextant/report.json", "what was decided, and why"),
        (".extra/rejected/", "rejected files, out of systemd's way"),
    ] {
        println!("  {path:<25}{what:<50}{}", names(&tree.join(path)));
    }
    println!("\nTry it yourself:");
    println!("  target/release/sextant-agent stage --root {}", relative(&tree));
    Ok(as_expected && output.status.success())
}

/// Writes variables, certificates and images.
fn lay_out(tree: &Path) -> Result<Vec<Expected>, Box<dyn Error>> {
    let [owner, exchange, db, edge] = [keys::ec("Owner"), keys::ec("Exchange"), keys::rsa("Fleet"), keys::ec("Edge")];
    let (vendor, stranger, lost) = (keys::ec("Vendor"), keys::rsa("Stranger"), keys::ec("Lost key"));
    Firmware::enforcing()
        .pk(&certificates(&[owner]))
        .kek(&certificates(&[exchange]))
        .db(&certificates(&[db, edge, lost]))
        .dbx(&lists(&[List::revoked(lost, Digest::Sha256, support::efi::ALWAYS)]))
        .entry("active.conf")
        .write_to(&tree.join("sys/firmware/efi/efivars"));
    write(&tree.join("etc/verity.d/vendor.crt"), &vendor.pem())?;
    write(&tree.join("sysroot/etc/os-release"), b"ID=kairos\nVERSION_ID=4.0\n")?;

    let extra = tree.join(".extra/sysext");
    let mut expected = Vec::new();
    let mut put = |file: &'static str, token, what, image: Vec<u8>| -> std::io::Result<()> {
        expected.push((file, token, what));
        write(&extra.join(file), &image)
    };
    put("k3s.sysext.raw", None, "signed by a key in db (RSA)", render(&good("k3s", db)))?;
    put("gpu_1.2.sysext.raw", None, "the same (ECDSA), a version in its name", render(&named("gpu_1.2", "gpu", edge)))?;
    put("net.sysext.raw", None, "signed by the KEK", render(&good("net", exchange)))?;
    put("tail.sysext.raw", None, "signed by the sealed vendor", render(&good("tail", vendor)))?;

    let large = Tree::sysext("flip").file("usr/share/flip/data", &noise(200_000)).squashfs();
    let flipped: RawImage = Blueprint::new("flip", &large, db).render().flip(Root, 150_000);
    put("flip.sysext.raw", Some("corrupt"), "one bit of file data flipped", flipped.bytes)?;
    put("own.sysext.raw", Some("unknown-signer"), "signed by somebody else", render(&good("own", stranger)))?;
    put("lost.sysext.raw", Some("revoked-signer"), "signed by a key in dbx", render(&good("lost", lost)))?;
    let sha1 = good("sha1", db)
        .signed_by(|text| SignedData::new(text).signer(SignerInfo::new(db).digest(Digest::Sha1)).build());
    put("sha1.sysext.raw", Some("weak-signature"), "signed with SHA-1", render(&sha1))?;
    let other = good("swap", db).signature_text();
    let swapped = named("swap", "swap2", db).with_signature_text(other.as_bytes());
    put("swap.sysext.raw", Some("corrupt"), "the signature of another image", render(&swapped))?;
    let home = good("home", db).add(Part::new(Home, &[0; 4096]));
    put("home.sysext.raw", Some("extra-partition"), "a home partition beside", render(&home))?;
    put("usr.sysext.raw", Some("usr-partition"), "a /usr image, merged unverified", render(&usr("usr", db)))?;
    let unsigned = good("bare", db).remove(PartitionKind::RootVeritySig);
    put("bare.sysext.raw", Some("no-signature"), "not signed at all", render(&unsigned))?;
    let shrunk = good("cut", db).patch_superblock(72, &[0xff; 8]);
    put("cut.sysext.raw", Some("bad-superblock"), "2^64 data blocks", render(&shrunk))?;
    let plain = Tree::sysext("plain").squashfs();
    put("plain.sysext.raw", Some("bad-gpt"), "a bare squashfs", plain.to_vec())?;
    put("junk.sysext.raw", Some("bad-gpt"), "random bytes", noise(50_000))?;
    put("name.raw", Some("bad-name"), "no class in its name", render(&good("name", db)))?;
    put("was.sysext.raw", Some("wrong-extension-release"), "renamed", render(&good("is", db)))?;
    let old = Tree::empty().release("old", "ID=kairos\nVERSION_ID=3.0\n").squashfs();
    put("old.sysext.raw", Some("incompatible-host"), "for another release", render(&Blueprint::new("old", &old, db)))?;

    symlink("k3s.sysext.raw", extra.join("link.sysext.raw"))?;
    expected.push(("link.sysext.raw", Some("bad-name"), "a symbolic link"));
    nix::unistd::mkfifo(&extra.join("fifo.sysext.raw"), nix::sys::stat::Mode::S_IRWXU)?;
    expected.push(("fifo.sysext.raw", Some("bad-name"), "a FIFO that nobody writes to"));
    let dns = Blueprint::new("dns", &Tree::confext("dns").squashfs(), vendor);
    write(&tree.join(".extra/confext/dns.confext.raw"), &render(&dns))?;
    expected.push(("dns.confext.raw", None, "a configuration extension"));
    Ok(expected)
}

fn render(blueprint: &Blueprint) -> Vec<u8> {
    blueprint.render().bytes
}

/// An image that is to be called `name`, of a tree for `tree`.
fn named(name: &str, tree: &str, authority: &Authority) -> Blueprint {
    support::ddi::with_tree(name, &Tree::sysext(tree), authority)
}

/// The three partitions, but for `/usr`.
fn usr(name: &str, authority: &Authority) -> Blueprint {
    use PartitionKind::{RootVerity, RootVeritySig, UsrVerity, UsrVeritySig};
    [(Root, Usr), (RootVerity, UsrVerity), (RootVeritySig, UsrVeritySig)]
        .into_iter()
        .fold(good(name, authority), |image, (from, to)| image.retype(from, to, native()))
}

fn write(path: &Path, content: &[u8]) -> std::io::Result<()> {
    fs::create_dir_all(path.parent().unwrap())?;
    fs::write(path, content)
}

/// The agent beside this program: target/release/examples/demo and target/release/sextant-agent.
fn agent() -> Result<PathBuf, Box<dyn Error>> {
    let own = std::env::current_exe()?;
    let agent = own.parent().and_then(Path::parent).ok_or("where am I?")?.join("sextant-agent");
    if agent.exists() { Ok(agent) } else { Err(format!("{} is not built; run `make demo`", agent.display()).into()) }
}

/// Prints the table; whether it says what was expected.
fn show(report: &Value, expected: &[Expected]) -> bool {
    println!("{:<20} {:<9} {:<24} WHAT IT IS", "FILE", "VERDICT", "REASON OR SIGNER");
    let rows = report["images"].as_array().map_or(&[][..], Vec::as_slice);
    let mut as_expected = rows.len() == expected.len();
    for (file, token, what) in expected {
        let row = rows.iter().find(|row| row["file"] == **file).unwrap_or(&Value::Null);
        let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
        let signer = format!("{} ({})", text(&row["signer"]["subject"]), text(&row["signer"]["source"]));
        let last = row["reason"].as_str().map_or(signer, str::to_owned);
        let right = row["reason"].as_str() == *token && (row["verdict"] == "staged") == token.is_none();
        as_expected &= right;
        let mark = if right { "" } else { "   <- WRONG" };
        println!("{file:<20} {:<9} {last:<24} {what}{mark}", text(&row["verdict"]));
    }
    as_expected
}

fn relative(path: &Path) -> String {
    path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap_or(path).display().to_string()
}

fn names(path: &Path) -> String {
    let count = fs::read_dir(path).map_or(0, |entries| entries.flatten().count());
    if path.is_dir() { format!("{count}") } else { String::new() }
}
