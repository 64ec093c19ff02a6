//! What is put on the machine: keys, and images good and bad.

use ddi::Architecture;
use ddi::PartitionKind::{Home, Root, RootVeritySig, Usr};
use ddi::write::DdiBuilder;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use support::ddi::{Blueprint, Part, good, native, with_tree};
use support::efi::{self, Firmware, List};
use support::keys::{self, Authority};
use support::pkcs7::{Digest, SignedData, SignerInfo};
use support::trees::{Tree, noise};

/// A file for the machine.
pub(crate) struct Sample {
    pub(crate) file: &'static str,
    pub(crate) what: &'static str,
    /// The token that it must be refused with; `None` where it must be staged.
    pub(crate) refused: Option<&'static str>,
    pub(crate) place: Box<dyn Fn(&Path)>,
}

impl Sample {
    fn new(file: &'static str, what: &'static str, refused: Option<&'static str>, image: impl Into<Vec<u8>>) -> Self {
        let image = image.into();
        Self { file, what, refused, place: Box::new(move |path| fs::write(path, &image).unwrap()) }
    }

    fn placed(file: &'static str, what: &'static str, token: &'static str, place: impl Fn(&Path) + 'static) -> Self {
        Self { file, what, refused: Some(token), place: Box::new(place) }
    }

    pub(crate) fn directory(&self) -> &'static str {
        if self.file.ends_with(".confext.raw") { ".extra/confext" } else { ".extra/sysext" }
    }
}

/// Everybody with a key.
pub(crate) struct Keys {
    pub(crate) pk: &'static Authority,
    pub(crate) kek: &'static Authority,
    pub(crate) db: &'static Authority,
    pub(crate) curve: &'static Authority,
    pub(crate) revoked: &'static Authority,
    pub(crate) vendor: &'static Authority,
    pub(crate) stranger: &'static Authority,
}

impl Keys {
    pub(crate) fn new() -> Self {
        Self {
            pk: keys::rsa("Demo PK"),
            kek: keys::rsa("Demo KEK"),
            db: keys::rsa("Demo db"),
            curve: keys::ec("Demo db, P-256"),
            revoked: keys::rsa("Demo db, leaked"),
            vendor: keys::rsa("Demo vendor"),
            stranger: keys::rsa("Demo stranger"),
        }
    }

    /// With the names of their files.
    pub(crate) fn all(&self) -> [(&'static str, &'static Authority); 7] {
        [
            ("pk", self.pk),
            ("kek", self.kek),
            ("db", self.db),
            ("db-p256", self.curve),
            ("db-leaked", self.revoked),
            ("vendor", self.vendor),
            ("stranger", self.stranger),
        ]
    }

    pub(crate) fn firmware(&self) -> Firmware {
        let revocations = [
            List::new(efi::SHA256, [vec![1; 32], vec![2; 32]]),
            List::revoked(self.revoked, Digest::Sha256, efi::ALWAYS),
        ];
        Firmware::enforcing()
            .pk(&efi::certificates(&[self.pk]))
            .kek(&efi::certificates(&[self.kek]))
            .db(&efi::certificates(&[self.db, self.curve, self.revoked]))
            .dbx(&efi::lists(&revocations))
            .entry("active.conf")
    }
}

fn bytes(blueprint: &Blueprint) -> Vec<u8> {
    blueprint.render().bytes
}

/// What must be staged.
pub(crate) fn good_samples(keys: &Keys) -> Vec<Sample> {
    let staged = |file, what, blueprint: Blueprint| Sample::new(file, what, None, bytes(&blueprint));
    let tool = |program: &str| Command::new(program).arg("--help").output().is_ok();
    let tree = Tree::sysext("packed").file("usr/share/packed/noise", &noise(100_000));
    let (packed, filesystem) = if tool("mkfs.erofs") {
        ("erofs (LZ4), signed by db", tree.erofs(&["-zlz4"]))
    } else {
        ("larger, signed by db", tree.squashfs())
    };
    let confext = Tree::confext("network").squashfs();
    vec![
        staged("tools.sysext.raw", "squashfs, signed by db", good("tools", keys.db)),
        staged("packed.sysext.raw", packed, Blueprint::new("packed", &filesystem, keys.db)),
        staged("curve.sysext.raw", "ECDSA on P-256, in db", good("curve", keys.curve)),
        staged("kek.sysext.raw", "signed by KEK", good("kek", keys.kek)),
        staged("vendor.sysext.raw", "sealed vendor certificate", good("vendor", keys.vendor)),
        staged("network.confext.raw", "for /etc, signed by db", Blueprint::new("network", &confext, keys.db)),
    ]
}

/// What must be refused.
pub(crate) fn hostile_samples(keys: &Keys) -> Vec<Sample> {
    let refused = |file, what, token, image: Vec<u8>| Sample::new(file, what, Some(token), image);
    let of = |name: &str| with_tree(name, &Tree::sysext(name).file("usr/bin/tool", &noise(30_000)), keys.db);
    let sha1 = |text: &str| SignedData::new(text).signer(SignerInfo::new(keys.db).digest(Digest::Sha1)).build();
    let fewer_blocks = of("shrunk");
    let blocks = u64::from_le_bytes(fewer_blocks.parts[1].content[72..80].try_into().unwrap()) - 1;
    let foreign = if native() == Architecture::Arm64 { Architecture::X86_64 } else { Architecture::Arm64 };
    let for_others = Blueprint::build(
        &DdiBuilder::new("foreign").architecture(foreign),
        &Tree::sysext("foreign").squashfs(),
        Some(keys.db),
    );
    let swapped = of("swapped").with_signature_text(of("tools").signature_text().as_bytes());
    let liar = Tree::sysext("liar").file("usr/lib/os-release", b"ID=evil\n");
    let (first, second) = (keys.stranger, keys.revoked);
    vec![
        refused("stranger.sysext.raw", "signed by an unknown key", "unknown-signer", bytes(&good("stranger", first))),
        refused("leaked.sysext.raw", "signed by a revoked key", "revoked-signer", bytes(&good("leaked", second))),
        refused("sha1.sysext.raw", "signature over SHA-1", "weak-signature", bytes(&of("sha1").signed_by(sha1))),
        refused("swapped.sysext.raw", "another image's signature", "corrupt", bytes(&swapped)),
        refused("unsigned.sysext.raw", "no signature", "no-signature", bytes(&of("unsigned").remove(RootVeritySig))),
        refused(
            "flipped.sysext.raw",
            "one bit of data flipped",
            "corrupt",
            of("flipped").render().flip(Root, 20_000).bytes,
        ),
        refused(
            "shrunk.sysext.raw",
            "one data block less",
            "corrupt",
            bytes(&fewer_blocks.patch_superblock(72, &blocks.to_le_bytes())),
        ),
        refused(
            "extra.sysext.raw",
            "unsigned /home beside it",
            "extra-partition",
            bytes(&of("extra").add(Part::new(Home, b"evil"))),
        ),
        refused(
            "usr.sysext.raw",
            "root turned into usr",
            "usr-partition",
            bytes(&of("usr").retype(Root, Usr, native())),
        ),
        refused("foreign.sysext.raw", "for other processors", "wrong-architecture", bytes(&for_others)),
        refused("bare.sysext.raw", "squashfs, no partitions", "bad-gpt", Tree::sysext("bare").squashfs().to_vec()),
        refused("noise.sysext.raw", "random bytes", "bad-gpt", noise(300_000)),
        refused("renamed.sysext.raw", "built under another name", "wrong-extension-release", bytes(&of("original"))),
        refused(
            "liar.sysext.raw",
            "brings its own os-release",
            "contains-os-release",
            bytes(&with_tree("liar", &liar, keys.db)),
        ),
        refused("README.txt", "no name of an extension", "bad-name", b"Dear agent, ...".to_vec()),
        Sample::placed("link.sysext.raw", "link to a good image", "bad-name", |path| {
            symlink("tools.sysext.raw", path).unwrap();
        }),
        Sample::placed("fifo.sysext.raw", "FIFO without a writer", "bad-name", |path| {
            nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        }),
    ]
}
