//! Images that are unusual and good.

use super::{confext, vendor};
use std::fs;
use support::ddi::{Blueprint, good, good_image, with_tree};
use support::keys;
use support::machine::Machine;
use support::pkcs7::{Digest, SignedData, SignerInfo};
use support::trees::{Tree, noise};

#[test]
fn one_name_is_staged_once_and_the_first_directory_wins() {
    let [first, second] = ["one", "two"].map(|text| {
        with_tree("tool", &Tree::sysext("tool").file("usr/share/which", text.as_bytes()), vendor()).render().bytes
    });
    let machine = Machine::trusting(&[vendor()])
        .sysext("tool.sysext.raw", &first)
        .file(".extra/global_sysext/tool.sysext.raw", &second)
        .file(".extra/global_sysext/other.sysext.raw", &good_image("other", vendor()))
        .confext("tool.confext.raw", &confext("tool"));
    let outcome = machine.stage();
    let rows: Vec<_> =
        outcome.rows().iter().map(|row| (row["file"].as_str().unwrap(), row["reason"].as_str())).collect();
    assert_eq!(
        rows,
        [
            ("tool.sysext.raw", None),
            ("other.sysext.raw", None),
            ("tool.sysext.raw", Some("duplicate-name")),
            ("tool.confext.raw", None)
        ]
    );
    assert_eq!(fs::read(machine.path("run/extensions/tool.raw")).unwrap(), first);
    assert_eq!(fs::read(machine.path(".extra/rejected/global_sysext/tool.sysext.raw")).unwrap(), second);
    // A name whose first image was refused is still free.
    let machine = Machine::trusting(&[vendor()])
        .sysext("tool.sysext.raw", b"junk")
        .file(".extra/global_sysext/tool.sysext.raw", &second);
    machine.stage();
    assert_eq!(fs::read(machine.path("run/extensions/tool.raw")).unwrap(), second);
}

/// systemd-stub before 256 takes every image for a system extension.
#[test]
fn a_confext_among_the_sysexts_is_staged_as_what_its_name_says() {
    let machine = Machine::trusting(&[vendor()])
        .sysext("net.confext.raw", &confext("net"))
        .sysext("tool.sysext.raw", &good_image("tool", vendor()))
        .sysext("liar.confext.raw", &good_image("liar", vendor()))
        .confext("stray.sysext.raw", &good_image("stray", vendor()));
    let outcome = machine.stage();
    assert_eq!(machine.staged_names(), ["tool"]);
    assert!(machine.path("run/confexts/net.raw").is_file(), "{}", outcome.stderr);
    let row = outcome.row("net.confext.raw");
    assert_eq!((&row["class"], &row["directory"]), (&"confext".into(), &"/.extra/sysext".into()), "{row}");
    assert_eq!(outcome.verdict("liar.confext.raw"), ("rejected", "wrong-extension-release"));
    assert_eq!(outcome.verdict("stray.sysext.raw"), ("rejected", "bad-name"));
}

#[test]
fn an_image_is_staged_once_whatever_its_copies_are_called() {
    let image = good_image("tool", vendor());
    let machine = Machine::trusting(&[vendor()])
        .sysext("tool.sysext.raw", &image)
        .sysext("tool_2.sysext.raw", &image)
        .file(".extra/global_sysext/tool+3.sysext.raw", &image);
    let outcome = machine.stage();
    assert_eq!(machine.staged_names(), ["tool"]);
    for file in ["tool_2.sysext.raw", "tool+3.sysext.raw"] {
        assert_eq!(outcome.verdict(file), ("rejected", "duplicate-image"), "{}", outcome.stderr);
        let detail = outcome.row(file)["detail"].as_str().unwrap();
        assert!(detail.contains("accepted before as \"tool.sysext.raw\""), "{detail}");
        assert!(outcome.row(file)["root_hash"].is_string() && outcome.row(file)["signer"].is_object());
    }

    // A refused copy does not count, and one image may be of both classes.
    let both = Tree::sysext("both").file("etc/extension-release.d/extension-release.both", b"ID=_any\n");
    let both: Vec<u8> = with_tree("both", &both, vendor()).render().bytes;
    let mut broken = image.clone();
    let data = broken.len() / 3;
    broken[data] ^= 1;
    let machine = Machine::trusting(&[vendor()])
        .sysext("tool.sysext.raw", &broken)
        .sysext("tool_2.sysext.raw", &image)
        .sysext("both.sysext.raw", &both)
        .confext("both.confext.raw", &both);
    let outcome = machine.stage();
    assert_eq!(machine.staged_names(), ["both", "tool_2"], "{}", outcome.stderr);
    assert_eq!(machine.staged_confexts(), ["both"], "{}", outcome.stderr);
}

#[test]
fn configuration_extensions_have_the_same_traps() {
    type Put = fn(Tree) -> Tree;
    let traps: [(&str, Put); 7] = [
        ("bad-metadata", |tree| tree.fifo("etc/machine-info")),
        ("bad-metadata", |tree| tree.directory("etc/machine-id")),
        ("bad-metadata", |tree| tree.fifo("usr/lib/extension-release.d/extension-release.net")),
        ("bad-hierarchy", |tree| tree.file("etc/.systemd-confext/work_dir", b"var/lib")),
        ("bad-hierarchy", |tree| tree.directory("etc/.systemd-sysext")),
        ("wrong-extension-release", |tree| tree.fifo("etc/extension-release.d/extension-release.other")),
        ("wrong-extension-release", |tree| tree.file("usr/lib", b"file")),
    ];
    let good = Blueprint::new("good", &Tree::confext("good").squashfs(), vendor()).render().bytes;
    for (token, put) in traps {
        let image = Blueprint::new("net", &put(Tree::confext("net")).squashfs(), vendor()).render().bytes;
        let machine =
            Machine::trusting(&[vendor()]).confext("good.confext.raw", &good).confext("net.confext.raw", &image);
        let outcome = machine.stage();
        assert_eq!(outcome.verdict("net.confext.raw"), ("rejected", token), "{}", outcome.stderr);
        assert_eq!(machine.staged_confexts(), ["good"], "{}", outcome.stderr);
    }
}

#[test]
fn hierarchies_are_those_of_the_hosts_units() {
    let image = with_tree("tool", &Tree::sysext("tool").file("srv/tools", b"file"), vendor()).render().bytes;
    let machine = || Machine::trusting(&[vendor()]).sysext("tool.sysext.raw", &image);
    let drop_in = |directory: &str| format!("{directory}/systemd/system/systemd-sysext.service.d/vendor.conf");
    let text = b"[Service]\nEnvironment=\"SYSTEMD_SYSEXT_HIERARCHIES=/usr/bin:/srv/tools\"\n";
    let plain = machine();
    plain.stage();
    assert_eq!(plain.staged_names(), ["tool"]);
    for directory in ["etc", "run", "usr/lib", "sysroot/etc", "sysroot/usr/lib"] {
        let machine = machine().file(drop_in(directory), text);
        let outcome = machine.stage();
        assert_eq!(outcome.verdict("tool.sysext.raw"), ("rejected", "bad-hierarchy"), "{directory}");
    }
}

#[test]
fn the_extensions_of_the_host_take_their_room() {
    let image = good_image("tool", vendor());
    let machine = |count: usize, directory: &str| {
        let machine = Machine::trusting(&[vendor()]).sysext("tool.sysext.raw", &image);
        for number in 0..count {
            fs::create_dir_all(machine.path(format!("{directory}/own-{number:02}"))).unwrap();
        }
        machine
    };
    for (count, verdict) in [(40, ("staged", "")), (80, ("rejected", "too-many"))] {
        for directory in ["var/lib/extensions", "etc/extensions", "run/extensions", "sysroot/var/lib/extensions"] {
            let machine = machine(count, directory);
            let outcome = machine.stage();
            assert_eq!(outcome.verdict("tool.sysext.raw"), verdict, "{directory}: {}", outcome.stderr);
        }
    }
    assert_eq!(machine(80, "var/lib/confexts").stage().verdict("tool.sysext.raw"), ("staged", ""));
}

#[test]
fn unusual_signatures_that_systemd_accepts_are_accepted() {
    type Sign = fn(&str) -> Vec<u8>;
    let kinds: [(&str, Sign); 6] = [
        ("attributes", |text| SignedData::new(text).signer(SignerInfo::new(vendor()).attributes()).build()),
        ("attached", |text| SignedData::new(text).attached().signer(SignerInfo::new(vendor())).build()),
        ("bare", |text| SignedData::new(text).signer(SignerInfo::new(vendor())).build()),
        ("certificates", |text| {
            SignedData::new(text)
                .signer(SignerInfo::new(vendor()))
                .certificate(keys::ec("Second"))
                .certificate(vendor())
                .build()
        }),
        ("two", |text| {
            SignedData::new(text).signer(SignerInfo::new(vendor())).signer(SignerInfo::new(keys::ec("Second"))).build()
        }),
        ("sha512", |text| SignedData::new(text).signer(SignerInfo::new(vendor()).digest(Digest::Sha512)).build()),
    ];
    let mut machine = Machine::trusting(&[vendor(), keys::ec("Second")]);
    for (name, sign) in kinds {
        machine = machine.sysext(&format!("{name}.sysext.raw"), &good(name, vendor()).signed_by(sign).render().bytes);
    }
    let outcome = machine.stage();
    assert_eq!(
        machine.staged_names(),
        ["attached", "attributes", "bare", "certificates", "sha512", "two"],
        "{}",
        outcome.stderr
    );
}

#[test]
fn what_deserves_a_warning_is_accepted_with_one() {
    let expired = keys::expired("Expired");
    let genuine = good("fingerprint", vendor()).pkcs7();
    let zeros = good("fingerprint", vendor()).with_pkcs7(&genuine);
    let other_uuid =
        good("uuid", vendor()).change(ddi::PartitionKind::Root, |part| part.uuid = ddi::Guid::from_bytes([3; 16]));
    let machine = Machine::trusting(&[vendor(), expired])
        .sysext("expired.sysext.raw", &good_image("expired", expired))
        .sysext("fingerprint.sysext.raw", &zeros.render().bytes)
        .sysext("uuid.sysext.raw", &other_uuid.render().bytes);
    let outcome = machine.stage();
    assert_eq!(machine.staged_names(), ["expired", "fingerprint", "uuid"], "{}", outcome.stderr);
    for (file, word) in
        [("expired", "has expired"), ("fingerprint", "certificateFingerprint"), ("uuid", "does not derive")]
    {
        let warnings = outcome.row(&format!("{file}.sysext.raw"))["warnings"].as_array().unwrap();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].as_str().unwrap().contains(word), "{warnings:?}");
    }
}

#[test]
fn real_sector_and_block_sizes_are_accepted() {
    let mut machine = Machine::trusting(&[vendor()]);
    let mut names = Vec::new();
    let sizes: [(u32, &[(u32, u32)]); 2] =
        [(512, &[(4096, 4096), (512, 512), (1024, 4096), (4096, 1024)]), (4096, &[(4096, 4096)])];
    for (sector_size, blocks) in sizes {
        for &(data, hash) in blocks {
            let name = format!("tool_{sector_size}_{data}_{hash}");
            let params = ddi::write::VerityParams {
                data_block_size: data,
                hash_block_size: hash,
                ..ddi::write::VerityParams::derived(b"")
            };
            let builder = ddi::write::DdiBuilder::new(&name).sector_size(sector_size).verity(params);
            let tree = Tree::sysext("tool").file("usr/share/noise", &noise(50_000));
            // The same content would be the same image, whatever the sectors of its partition table.
            let filesystem = tree.file("usr/share/name", name.as_bytes()).squashfs();
            let image = Blueprint::build(&builder, &filesystem, Some(vendor())).render();
            machine = machine.sysext(&format!("{name}.sysext.raw"), &image.bytes);
            names.push(name);
        }
    }
    let outcome = machine.stage();
    names.sort();
    assert_eq!(machine.staged_names(), names, "{}", outcome.stderr);
}

#[test]
fn a_file_system_with_blocks_smaller_than_those_of_its_device_is_not_mountable() {
    // Block size as a power of two, in the superblock of erofs.
    let mut filesystem = Tree::sysext("tool").erofs(&[]).to_vec();
    assert_eq!(std::mem::replace(&mut filesystem[1024 + 12], 9), 12);
    let outcome = Machine::trusting(&[vendor()])
        .sysext("tool.sysext.raw", &Blueprint::new("tool", &filesystem, vendor()).render().bytes)
        .stage();
    assert_eq!(outcome.verdict("tool.sysext.raw"), ("rejected", "not-mountable"));
    let detail = outcome.row("tool.sysext.raw")["detail"].as_str().unwrap();
    assert!(detail.contains("blocks of 512 bytes on a device with blocks of 4096"), "{detail}");
}

/// Text of an attacker's choice, as much of it as a signature partition holds.
fn verbose(member: &str) -> Vec<u8> {
    let image = good("verbose", vendor());
    let text = image.signature_text();
    let member = format!("{{\"{}\":1,", member.repeat(((4 << 20) - 20_000) / member.len()));
    let mut bytes = image.with_signature_text(text.replacen('{', &member, 1).as_bytes()).render().bytes;
    bytes.resize(bytes.len().max(5 << 20), 0);
    bytes
}

/// Runs a program and returns the most memory that it had, in bytes (`VmHWM` of `proc_pid_status(5)`).
fn peak_memory(mut command: std::process::Command) -> u64 {
    let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
    let mut peak: u64 = 0;
    while child.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB"));
        peak = line.and_then(|kib| kib.trim().parse().ok()).unwrap_or(0).max(peak);
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    peak << 10
}

#[test]
fn long_names_in_junk_cost_neither_memory_nor_a_good_image() {
    let full = || {
        let machine = Machine::trusting(&[vendor()]).sysext("good.sysext.raw", &good_image("good", vendor()));
        let machine = machine.sysext("junk_0.sysext.raw", &verbose("\u{7f}"));
        let machine = machine.sysext("junk_1.sysext.raw", &verbose("\u{9b}]0;"));
        machine.sysext("junk_2.sysext.raw", &verbose("\u{202e}"))
    };
    let peak = peak_memory(full().agent("stage"));
    assert!(peak > 0 && peak < 96 << 20, "{peak} bytes");
    let machine = full();
    let outcome = machine.stage();
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    assert_eq!(machine.staged_names(), ["good"]);
    for number in 0..3 {
        let file = format!("junk_{number}.sysext.raw");
        assert_eq!(outcome.verdict(&file), ("rejected", "bad-signature-partition"));
        let detail = outcome.row(&file)["detail"].as_str().unwrap();
        assert!(detail.len() <= 2048 + 32 && detail.contains("\\u{"), "{detail}");
    }
    assert!(!outcome.stderr.contains(['\u{9b}', '\u{7f}', '\u{202e}']), "{}", outcome.stderr);
    let report = fs::metadata(machine.path("run/sextant/report.json")).unwrap().len();
    assert!(report < 64 << 10, "{report} bytes");
    assert!(machine.agent("merge").status().unwrap().success());
    assert!(machine.path("run/sextant/merge").exists());
}

/// A row and an entry each for so many, the rest by number.
#[test]
fn a_directory_full_of_junk_is_summed_up() {
    let machine = Machine::trusting(&[vendor()]).sysext("zzz.sysext.raw", &good_image("zzz", vendor()));
    for number in 0..3000 {
        fs::write(machine.path(format!(".extra/sysext/junk-{number}")), b"").unwrap();
    }
    let outcome = machine.stage();
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    assert_eq!(machine.staged_names(), ["zzz"]);
    assert_eq!(outcome.rows().len(), 1001);
    let omitted = &outcome.report["omitted"];
    assert_eq!((&omitted["total"], &omitted["by_reason"]["bad-name"]), (&2000.into(), &2000.into()));
    assert!(outcome.stderr.contains("and 2,000 more rejected: bad-name 2,000"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("1 of 3001 images staged, 3000 rejected: bad-name"), "{}", outcome.stderr);
    assert_eq!(outcome.stderr.lines().filter(|line| line.contains("(bad-name)")).count(), 1000);
    assert!(machine.left_in_extra().iter().all(|file| !file.starts_with("junk")));
}
