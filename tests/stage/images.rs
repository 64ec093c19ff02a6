//! Images that are unusual and good.

use super::{confext, vendor};
use crate::support::ddi::{Blueprint, good, good_image, with_tree};
use crate::support::keys;
use crate::support::machine::Machine;
use crate::support::pkcs7::{Digest, SignedData, SignerInfo};
use crate::support::trees::{Tree, noise};
use std::fs;

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
    let other_uuid = good("uuid", vendor())
        .change(sextant::image::PartitionKind::Root, |part| part.uuid = sextant::image::Guid::from_bytes([3; 16]));
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
    let filesystem = Tree::sysext("tool").file("usr/share/noise", &noise(50_000)).squashfs();
    let mut machine = Machine::trusting(&[vendor()]);
    let mut names = Vec::new();
    let sizes: [(u32, &[(u32, u32)]); 2] =
        [(512, &[(4096, 4096), (512, 512), (1024, 4096), (4096, 1024)]), (4096, &[(4096, 4096)])];
    for (sector_size, blocks) in sizes {
        for &(data, hash) in blocks {
            let name = format!("tool_{sector_size}_{data}_{hash}");
            let params = sextant::build::VerityParams {
                data_block_size: data,
                hash_block_size: hash,
                ..sextant::build::VerityParams::derived(b"")
            };
            let builder = sextant::build::DdiBuilder::new(&name).sector_size(sector_size).verity(params);
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
