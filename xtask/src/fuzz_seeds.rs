//! Writes inputs for the fuzz targets to start from: `fuzz_seeds DIRECTORY` makes `DIRECTORY/TARGET/SEED`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use ddi::PartitionKind::{Root, RootVerity, Usr};
use ddi::verity::{HashAlgorithm, Superblock};
use ddi::write::{DdiBuilder, VerityParams, signature_json, signature_partition};
use openssl::hash::MessageDigest;
use std::path::PathBuf;
use support::compact::compact;
use support::ddi::{Blueprint, native};
use support::efi::{self, List};
use support::event_log::{self, EventLog, SHA1, SHA256, SHA384};
use support::keys::{self, Authority, Key};
use support::pkcs7::{Digest, Identify, SignedData, SignerInfo, plain};
use support::trees::{Tree, noise};
use support::uki;

/// Name of the extension in the seeds.
const NAME: &str = "seed";

/// The signer whom the fuzz targets have an impostor of.
fn rsa() -> &'static Authority {
    keys::rsa("Vendor")
}

fn ec() -> &'static Authority {
    keys::ec("Vendor")
}

fn main() {
    let directory = PathBuf::from(std::env::args_os().nth(1).expect("usage: fuzz_seeds DIRECTORY"));
    let targets = [
        ("signature_list", signature_lists()),
        ("gpt", images()),
        ("image", images()),
        ("signature_partition", signature_partitions()),
        ("pkcs7", signatures()),
        ("cms", recipes()),
        ("superblock", superblocks()),
        ("certificate", certificates()),
        ("release_file", release_files()),
        ("config", configurations()),
        ("erofs", erofs()),
        ("squashfs", squashfs()),
        ("boot_entry", boot_entries()),
        ("layer", layers()),
        ("stage_file", stage_files()),
        ("report", reports()),
        ("initrd", initrds()),
        ("event_log", event_logs()),
        ("unit_journal", unit_journals()),
    ];
    for (target, seeds) in targets {
        let directory = directory.join(target);
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        for (number, seed) in seeds.iter().enumerate() {
            std::fs::write(directory.join(format!("seed-{number:02}")), seed).unwrap();
        }
    }
}

fn signature_lists() -> Vec<Vec<u8>> {
    let certificate = List::certificate(ec());
    let lists = [
        List::certificate(rsa()),
        List::new(efi::SHA256, [vec![1; 32], vec![2; 32]]),
        List::new(efi::RSA2048, [vec![3; 256]]),
        List { header: vec![0; 5], ..certificate.clone() },
        List { entry_size: Some(7), ..certificate.clone() },
        List { list_size: Some(u32::MAX), ..certificate.clone() },
        List::revoked(ec(), Digest::Sha256, efi::ALWAYS),
        List::revoked(ec(), Digest::Sha384, efi::SOME_TIME),
        List::revoked(ec(), Digest::Sha512, efi::ALWAYS),
        certificate,
    ];
    lists.iter().map(List::encode).chain([efi::lists(&lists)]).collect()
}

fn event_logs() -> Vec<Vec<u8>> {
    let tagged = [&1_u32.to_le_bytes()[..], &10_u32.to_le_bytes(), &event_log::utf16("text")].concat();
    let add = |log: EventLog| {
        log.stub(0, "firmware", &[1; 32])
            .stub(12, "quiet", &[2; 32])
            .stub(13, "System extension initrd", &[3; 32])
            .stub(13, "Global system extension initrd", &[4; 32])
            .stub(12, "Configuration extension initrd", &[5; 32])
            .described(13, event_log::EV_EVENT_TAG, &tagged, &[6; 32])
            .described(13, event_log::EV_NO_ACTION, b"", &[7; 32])
    };
    let (one, three) = ([SHA256], [SHA1, SHA256, SHA384]);
    let padded = [EventLog::new(&one).stub(13, "x", &[1; 32]).bytes, vec![0; 40]].concat();
    vec![EventLog::new(&one).bytes, add(EventLog::new(&one)).bytes, add(EventLog::new(&three)).bytes, padded]
}

fn blueprint(authority: &Authority) -> Blueprint {
    let params = VerityParams { data_block_size: 512, hash_block_size: 512, ..VerityParams::derived(NAME.as_bytes()) };
    let builder = DdiBuilder::new(NAME).verity(params).threads(1);
    Blueprint::build(&builder, &Tree::sysext(NAME).file("usr/share/noise", &noise(5000)).squashfs(), Some(authority))
}

fn images() -> Vec<Vec<u8>> {
    // An impostor's certificate can't be sent along, so only these get as far as to the signature proper.
    let bare = |authority| blueprint(authority).signed_by(|text| plain(authority, text));
    let usr = blueprint(ec()).retype(Root, Usr, native());
    let duplicate = blueprint(ec()).duplicate(RootVerity, "second");
    let blueprints = [bare(rsa()), bare(ec()), blueprint(ec()), usr, duplicate];
    blueprints.iter().map(|blueprint| compact(blueprint).bytes).collect()
}

fn signature_partitions() -> Vec<Vec<u8>> {
    let of = |authority| {
        let mut bytes = signature_partition(blueprint(authority).signature_text().as_bytes());
        bytes.truncate(4096);
        bytes
    };
    let text = |der: &[u8]| signature_json(&blueprint(ec()).root_hash, &ec().fingerprint(), der).into_bytes();
    vec![of(rsa()), of(ec()), text(b"x"), text(&[0x30, 0])]
}

fn signatures() -> Vec<Vec<u8>> {
    let content = "5e".repeat(32);
    let by = |signer: SignerInfo<'static>| SignedData::new(&content).signer(signer);
    vec![
        plain(rsa(), &content),
        plain(ec(), &content),
        by(SignerInfo::new(ec()).attributes()).build(),
        by(SignerInfo::new(ec()).digest(Digest::Sha384)).certificate(ec()).build(),
        by(SignerInfo::new(rsa()).pss()).build(),
        by(SignerInfo::new(ec()).identify(Identify::SubjectKeyId)).build(),
        by(SignerInfo::new(ec())).signer(SignerInfo::new(rsa())).attached().build(),
        blueprint(rsa()).pkcs7(),
        blueprint(ec()).pkcs7(),
    ]
}

/// What `fuzz/src/signatures.rs` makes signatures of: steps, each of an operation and its argument.
fn recipes() -> Vec<Vec<u8>> {
    let step = |operation: u8, argument: u8| [operation, argument];
    let recipe = |steps: &[[u8; 2]]| steps.concat();
    let mut recipes: Vec<_> = (0..16).map(|operation| recipe(&[step(0, 0), step(operation, 1)])).collect();
    recipes.extend([
        recipe(&[step(0, 0)]),
        recipe(&[step(0, 1), step(0, 0)]),
        recipe(&[step(1, 0), step(0, 0), step(5, 1)]),
        recipe(&[step(1, 0), step(2, 3), step(0, 1), step(6, 0)]),
        recipe(&[step(0, 0), step(4, 15)]),
    ]);
    recipes
}

fn superblocks() -> Vec<Vec<u8>> {
    let new = |algorithm, data, hash, blocks, salt: &[u8]| {
        Superblock::new(algorithm, data, hash, blocks, salt, [7; 16]).unwrap().to_bytes().to_vec()
    };
    vec![
        new(HashAlgorithm::Sha256, 4096, 4096, 1, &[]),
        new(HashAlgorithm::Sha256, 4096, 4096, 1 << 40, &[1; 32]),
        new(HashAlgorithm::Sha512, 512, 1024, 1000, &[2; 256]),
    ]
}

fn certificates() -> Vec<Vec<u8>> {
    let ca = keys::ca("Authority");
    let made = [
        rsa(),
        ec(),
        ca,
        keys::leaf("Leaf", ca),
        keys::self_signed("Curve", Key::P521),
        keys::self_signed("Edwards", Key::Ed25519),
        keys::cached("sha1", || keys::Recipe::new("Old").digest(MessageDigest::sha1()).key(Key::P384).make()),
    ];
    let two = [ec().pem(), rsa().pem()].concat();
    made.iter().flat_map(|authority| [authority.der(), authority.pem()]).chain([two]).collect()
}

fn release_files() -> Vec<Vec<u8>> {
    [
        "ID=_any\nARCHITECTURE=x86-64\n",
        "ID=debian\nVERSION_ID=\"13\"\nSYSEXT_LEVEL='1.0'\nSYSEXT_SCOPE=\"system initrd\"\n",
        "# comment\n; other\n NAME = \"a \\\"b\\\" \\$c\" 'd' e\\\nf  \nEMPTY=\n\r\nX=\\a \\\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

fn configurations() -> Vec<Vec<u8>> {
    let full = format!(
        "secure_boot: require\ntrust:\n  sources: [PK, KEK, db, sealed]\n  dbx: lenient\nentries:\n  deny: [recovery, 'auto']\n\
         deny:\n  root_hashes:\n    - {}\nlimits:\n  images: 64\n  image_size: 1GiB\n  total_size: 4 GiB\n  \
         memory: 65536KiB\n  keep_free: 67108864\n\
         merge:\n  hierarchies: [/usr/bin, /opt]\n  confext_hierarchies: [/etc/seed]\n",
        "ab".repeat(32)
    );
    // A corpus without a configuration that is accepted would never get to what comes after the parser.
    if let Err(error) = sextant::policy::parse("seed", full.as_bytes()) {
        panic!("{error}\n{full}");
    }
    let aliases = "entries: {deny: &a [x, y]}\ntrust: {sources: *a}\n";
    let drop_ins =
        format!("{full}\0required: [k3s]\nminimum: {{k3s: 1.9}}\n\0required: [a]\nminimum: {{k3s: 1.30}}\n\0");
    ["", "# nothing\n", "secure_boot: optional\n", "limits: {images: 0}\n", aliases, &full, &drop_ins]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
}

/// Small, with a bit of everything that is stored in a way of its own.
fn tree() -> Tree {
    let large: Vec<u8> = (0..700).flat_map(|number| format!("line {number}\n").into_bytes()).collect();
    (0..40)
        .fold(Tree::sysext(NAME), |tree, number| tree.file(&format!("many/file-{number:02}"), b""))
        .file("usr/share/seed/large", &large)
        .file("usr/share/seed/noise", &noise(600))
        .symlink("link", "usr/share/seed/large")
        .symlink("loop", "loop")
        .directory("empty")
}

/// The same with the attribute by which a release file serves for other names.
fn lenient() -> Tree {
    let release = "usr/lib/extension-release.d/extension-release.other";
    Tree::empty().file(release, b"ID=_any\n").xattr(release, "user.extension-release.strict", b"0")
}

fn erofs() -> Vec<Vec<u8>> {
    // What erofs-utils 1.5 knows: seeds needn't come from the toolbox.
    let options: [&[&str]; 6] = [
        &[],
        &["-zlz4"],
        &["-zlz4hc", "-C16384", "-Eztailpacking"],
        &["-Eforce-inode-extended"],
        &["-zlz4", "-Elegacy-compress"],
        &["--chunksize=4096"],
    ];
    let mut seeds: Vec<_> = options.iter().map(|options| tree().erofs(options).to_vec()).collect();
    seeds.push(lenient().erofs(&[]).to_vec());
    seeds
}

fn squashfs() -> Vec<Vec<u8>> {
    let options: [&[&str]; 7] = [
        &["-comp", "gzip"],
        &["-comp", "xz"],
        &["-comp", "zstd"],
        &["-comp", "lz4"],
        &["-comp", "lzo", "-b", "4096"],
        &["-noI", "-noD", "-noF", "-noX"],
        &["-no-fragments", "-nopad", "-b", "4096"],
    ];
    let mut seeds: Vec<_> = options.iter().map(|options| tree().mksquashfs(options).to_vec()).collect();
    seeds.push(lenient().mksquashfs(&[]).to_vec());
    seeds.push(tree().squashfs().to_vec());
    seeds
}

fn boot_entries() -> Vec<Vec<u8>> {
    ["active.conf", "recovery+3-1.conf", "\\EFI\\kairos\\active.efi", "statereset_serial", ""].map(efi::utf16).to_vec()
}

/// Two layers: links, holes, long names, records; and whiteouts of both kinds. The first two bytes tell their border.
fn layers() -> Vec<Vec<u8>> {
    let entry = |builder: &mut tar::Builder<Vec<u8>>, kind, path: &str, link: &str, content: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_size(content.len() as u64);
        header.set_path(path).unwrap();
        if !link.is_empty() {
            header.set_link_name(link).unwrap();
        }
        header.set_cksum();
        builder.append(&header, content).unwrap();
    };
    let mut lower = tar::Builder::new(Vec::new());
    entry(&mut lower, tar::EntryType::Directory, "usr/lib", "", b"");
    entry(&mut lower, tar::EntryType::Symlink, "lib", "usr/lib", b"");
    entry(&mut lower, tar::EntryType::Regular, "usr/lib/a", "", b"content");
    entry(&mut lower, tar::EntryType::Link, "usr/lib/b", "lib/a", b"");
    let mut upper = tar::Builder::new(Vec::new());
    let records: [(&str, &[u8]); 3] =
        [("path", b"usr/of/a/record"), ("mtime", b"-1.5"), ("SCHILY.xattr.user.note", b"\n\0")];
    upper.append_pax_extensions(records).unwrap();
    entry(&mut upper, tar::EntryType::Regular, "x", "", b"y");
    let holes: [(&str, &[u8]); 2] = [("GNU.sparse.map", b"2,3,10,4"), ("GNU.sparse.size", b"20")];
    upper.append_pax_extensions(holes).unwrap();
    entry(&mut upper, tar::EntryType::Regular, "usr/holes", "", b"content");
    entry(&mut upper, tar::EntryType::GNULongName, "long", "", b"usr/a/longer/name");
    entry(&mut upper, tar::EntryType::Directory, "lib", "", b"");
    entry(&mut upper, tar::EntryType::Regular, "usr/lib/.wh.a", "", b"");
    entry(&mut upper, tar::EntryType::Regular, "lib/.wh..wh..opq", "", b"");
    let (lower, upper) = (lower.into_inner().unwrap(), upper.into_inner().unwrap());
    let blocks = u16::try_from(lower.len() / 512).unwrap();
    vec![[&blocks.to_le_bytes()[..], &lower, &upper].concat(), [&[0, 0][..], &upper].concat()]
}

fn stage_files() -> Vec<Vec<u8>> {
    let ours = ["tests/cli/stages/90_custom.yaml", "systemd-units/yip/zz-sextant-merge.yaml"];
    let small =
        ["", "#cloud-config\nruncmd:\n- [a, b]\n", "stages: {boot: [{commands: ['x > /y']}]}\n", "a: &a [x]\nb: *a\n"];
    let read = |path: &str| std::fs::read(support::repository().join(path)).unwrap();
    ours.iter().map(|path| read(path)).chain(small.map(|text| text.as_bytes().to_vec())).collect()
}

/// A boot's lines, and each tenth of them, which are easier to change.
fn unit_journals() -> Vec<Vec<u8>> {
    let lines = std::fs::read_to_string(support::repository().join("cli/src/plot/journal/boot.json")).unwrap();
    let tenth: String = lines.lines().step_by(10).flat_map(|line| [line, "\n"]).collect();
    vec![lines.into_bytes(), tenth.into_bytes()]
}

/// What is written before, between and after the steps of a boot, and what another version might write.
fn reports() -> Vec<Vec<u8>> {
    let image = |name: &str, class: &str, verdict: &str, more: &str| {
        format!(
            r#"{{"file": "{name}.{class}.raw", "directory": "/.extra/{class}", "name": "{name}", "class": "{class}",
                "verdict": "{verdict}", {more}, "root_hash": "{}", "signer": {{"source": "db", "subject": "CN=Vendor",
                "sha256": "{}"}}, "size": 5242880, "verify_usec": 1500, "stage_usec": 40}}"#,
            "ab".repeat(32),
            "cd".repeat(32)
        )
    };
    let good = r#""reason": null, "detail": null, "warnings": ["the partition's UUID doesn't fit"]"#;
    let bad = r#""reason": "bad-gpt", "detail": "no GUID partition table", "warnings": []"#;
    let withdrawn = r#""reason": null, "detail": "it changed", "warnings": []"#;
    let images = [
        image("k3s_1.31", "sysext", "staged", good),
        image("junk", "sysext", "rejected", bad),
        image("conf", "confext", "withdrawn", withdrawn),
    ]
    .join(", ");
    let certificate = r#"{"source": "db", "subject": "CN=Vendor", "sha256": "ef", "file": "db-1.crt"}"#;
    let ignored = r#"{"source": "/etc/verity.d/a.crt", "sha256": null, "reason": "no PEM certificate"}"#;
    let report = |version: u32, merge: &str, more: &str| {
        format!(
            r#"{{"version": {version}, "firmware": {{"secure_boot": "enforcing", "entry": "active"}},
                "trust": [{certificate}], "ignored_certificates": [{ignored}], "images": [{images}],
                "omitted": {{"total": 61000, "by_reason": {{"bad-name": 60998, "bad-gpt": 2}}, "trust": 1}},
                "merge": {merge}, "error": null{more}}}"#
        )
    };
    let confirmed =
        r#"{"requested": true, "confirmed": true, "merged": ["k3s_1.31"], "missing": [], "unexpected": ["x"]}"#;
    let old = r#"{"version": 1, "firmware": null, "trust": [], "ignored_certificates": [], "images": [], "merge": null,
        "error": "opening /.extra: Permission denied \u001b[2J\u202e"}"#;
    [
        report(1, "null", ""),
        report(1, confirmed, ""),
        report(1, r#"{"requested": true, "merged": [], "missing": []}"#, r#", "later": {"a": [1, true, null, "x"]}"#),
        report(2, "null", ""),
        old.to_owned(),
    ]
    .map(String::into_bytes)
    .to_vec()
}

/// A small archive, compressed by gzip, xz and zstd.
const COMPRESSED: [&str; 3] = [
    "1f8b0800000000000203333037303730348000306d61986862801d1812e0e30246304622430503038301869d7800b176a08324182324c8d1d3c735485151116835030025bb6a21f0000000",
    "fd377a585a0000016922de360200210100000000372797d6e000ef00325d00180ddd04639c721b76a1c028f1765832e82682b97977bfbd4d25dd4eb63db9d1b34c46b28b877c17c55db0a1fa610472680000000025bb6a2100014af001000000efca1e9d3e300d8b020000000001595a",
    "28b52ffd0468fd010054023037303730313038316134303132610078000000313062545241494c4552212121000000000a20b05e6a1c10624f6431dcf782b83b31be4ba54eb8ae11e55956a0",
];

fn initrds() -> Vec<Vec<u8>> {
    let file = 0o100_644;
    let plain = uki::initrd(&[
        ("etc", 0o040_755, b""),
        ("etc/initrd-release", file, b"ID=dracut\n"),
        ("etc/sextant.yaml", file, b"secure_boot: require\n"),
        ("etc/verity.d", 0o040_755, b""),
        ("etc/verity.d/a.crt", file, &ec().pem()),
        ("lib", 0o120_777, b"usr/lib"),
        ("usr", 0o040_755, b""),
        ("usr/lib", 0o040_755, b""),
        ("lib/systemd", 0o040_755, b""),
        ("lib/systemd/system", 0o040_755, b""),
        ("lib/systemd/system/sextant-stage.service", file, b"[Service]\nExecStart=/lib/sextant-agent stage\n"),
        ("lib/sextant-agent", 0o100_755, b"\x7fELF #### sextant-agent 1.0 ####"),
        ("usr/lib/modules", 0o040_755, b""),
        ("usr/lib/modules/6.1", 0o040_755, b""),
        ("usr/lib/modules/6.1/modules.builtin", file, b"kernel/fs/erofs.ko\n"),
        ("usr/lib/modules/6.1/modules.dep", file, b"kernel/md/dm-verity.ko.xz: a\n"),
    ]);
    let kairos = uki::initrd(&[
        ("init", 0o120_777, b"/usr/bin/immucore"),
        ("system", 0o040_755, b""),
        ("system/oem", 0o040_755, b""),
        ("system/oem/a.yaml", file, b"stages: {boot: [{commands: [a]}]}\n"),
    ]);
    let sections: [(&str, &[u8]); 5] = [
        (".sdmagic", b"#### LoaderInfo: systemd-stub 257 ####\0"),
        (".osrel", b"NAME=x\n"),
        (".cmdline", b"rd.immucore.uki systemd.sysext=0"),
        (".linux", b"x"),
        (".initrd", &kairos),
    ];
    let decode = |text: &&str| -> Vec<u8> {
        let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(digit).collect()
    };
    let mut seeds: Vec<Vec<u8>> = COMPRESSED.iter().map(decode).collect();
    seeds.push(seeds.concat());
    seeds.extend([[plain.as_slice(), &kairos].concat(), uki::program(&sections), plain, kairos]);
    seeds
}
