//! What an operator is told about a file: first what happened to it, then what a checker found.

use crate::rows::{NAME, authority, stranger, vendor};
use ddi::PartitionKind::{Root, RootVerity};
use serde_json::{Value, json};
use support::ddi::{Blueprint, RawImage, good, with_tree};
use support::efi::{self, Firmware};
use support::keys::{self, Authority, Recipe};
use support::machine::Machine;
use support::pkcs7::{SignedData, SignerInfo};
use support::trees::{Tree, noise};

/// The row of a file on a machine that trusts `authorities`.
fn row(bytes: &[u8], authorities: &[&Authority]) -> Value {
    let firmware = Firmware::enforcing().db(&efi::certificates(authorities)).entry("active.conf");
    let machine = Machine::new().firmware(&firmware).sysext(&format!("{NAME}.sysext.raw"), bytes);
    let outcome = machine.stage();
    let row = outcome.rows()[0].clone();
    assert!(outcome.stderr.contains(row["detail"].as_str().unwrap()), "{}", outcome.stderr);
    row
}

/// What a machine that trusts the vendor says about a file: token and detail.
fn told(bytes: &[u8]) -> (String, String) {
    let row = row(bytes, &[vendor()]);
    let text = |member: &str| row[member].as_str().unwrap_or_default().to_owned();
    (text("reason"), text("detail"))
}

fn images() -> [RawImage; 2] {
    [512, 4096].map(|sector_size| Blueprint { sector_size, ..good(NAME, vendor()) }.render())
}

#[test]
fn an_incomplete_copy_is_called_one_wherever_it_ends() {
    for image in images() {
        let (bytes, sector) = (&image.bytes, image.sector_size);
        let len = bytes.len();
        let starts = image.places.iter().map(|(_, place)| place.start + 100);
        // In the table, in each partition, in the backup table.
        let cuts =
            starts.chain([2 * sector, 2 * sector + 1, 40 * sector, len / 2, len - 20 * sector, len - sector, len - 1]);
        for cut in cuts {
            let (token, detail) = told(&bytes[..cut]);
            let expected = "incomplete copy: the table describes ";
            assert_eq!(token, "bad-gpt");
            assert!(detail.starts_with(expected), "{cut} of {len}: {detail}");
            let checker = format!(
                "(primary header: AlternateLBA is {}, expected {})",
                len / sector - 1,
                (cut / sector).saturating_sub(1)
            );
            assert!(detail.ends_with(&checker), "{cut} of {len}: {detail}");
            for number in [len, cut] {
                assert!(detail.contains(&format!("{number}")), "{cut} of {len}: {detail}");
            }
        }
        // In the protective MBR, or in the primary header.
        for cut in [512, 2 * sector - 1] {
            let (token, detail) = told(&bytes[..cut]);
            let told = if cut < 10_000 { format!("{cut} bytes") } else { format!("{cut}") };
            assert_eq!(token, "bad-gpt");
            assert!(detail.starts_with(&format!("incomplete copy: the file ends after {told}")), "{cut}: {detail}");
        }
        assert_eq!(told(&[]).1, "incomplete copy: the file is empty (no GUID partition table)");
    }
}

#[test]
fn an_end_that_was_never_written_is_called_incomplete_too() {
    for image in images() {
        let (len, sector) = (image.bytes.len(), image.sector_size);
        let (_, root) = image.places[0].clone();
        for from in [root.start, root.start + 5000, image.places[1].1.start, image.places[2].1.start, len - sector] {
            let mut bytes = image.bytes.clone();
            bytes[from..].fill(0);
            let zeros = len - (bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1);
            let (token, detail) = told(&bytes);
            assert_eq!(token, "bad-gpt");
            assert!(detail.starts_with("incomplete copy: the last "), "{from}: {detail}");
            assert!(
                detail.ends_with(&format!("are zero (no backup header in sector {})", len / sector - 1)),
                "{detail}"
            );
            if zeros < 10_000 {
                assert!(detail.contains(&format!("the last {zeros} bytes of ")), "{from}: {detail}");
            }
        }
        let zeros = vec![0; len];
        assert_eq!(told(&zeros).1, "incomplete copy: the first 8192 bytes are zero (no GUID partition table)");
    }
}

#[test]
fn what_follows_an_image_is_told() {
    for image in images() {
        let (len, sector) = (image.bytes.len(), image.sector_size);
        for more in [1, sector, 3_000_000] {
            let (token, detail) = told(&image.clone().append(&vec![0; more]).bytes);
            assert_eq!(token, "bad-gpt");
            assert!(detail.starts_with("bytes follow the image: the table describes "), "{detail}");
            assert!(detail.contains(&len.to_string()) && detail.contains(&(len + more).to_string()), "{detail}");
        }
    }
    assert!(told(&images()[0].clone().append(&[7]).bytes).1.contains("; too many: 1 byte (primary header: "));
}

#[test]
fn a_file_of_another_kind_is_named() {
    let file = |offset: usize, magic: &[u8]| [&vec![b' '; offset], magic, &[b'x'; 9000]].concat();
    for (offset, magic, what) in [
        (0, b"hsqs".as_slice(), "a squashfs file system"),
        (1024, &[0xe2, 0xe1, 0xf5, 0xe0], "an erofs file system"),
        (0, &[0x28, 0xb5, 0x2f, 0xfd], "compressed by zstd"),
        (257, b"ustar", "a tar archive"),
        (0, b"<!DOCTYPE html>", "an HTML page"),
    ] {
        let expected = format!("not a disk image: the file is {what} (no GUID partition table)");
        assert_eq!(told(&file(offset, magic)), ("bad-gpt".to_owned(), expected));
    }
    assert_eq!(told(&[b'x'; 9000]).1, "no GUID partition table");
    // A copy that is cut in the magic number is none of them.
    assert_eq!(told(b"hsq").1, "no GUID partition table");
}

/// What is said about an image of the vendor's own, which a machine with these trust anchors doesn't know the signer of.
fn signer(image: &Blueprint, anchors: &[&Authority]) -> (String, Value) {
    let row = row(&image.render().bytes, anchors);
    assert_eq!(row["reason"], "unknown-signer");
    assert_eq!(row["root_hash"], Value::Null);
    (row["detail"].as_str().unwrap().to_owned(), row["signer"].clone())
}

#[test]
fn an_unknown_signer_is_told_with_all_that_names_it_and_marked_as_not_trusted() {
    let (detail, found) = signer(&good(NAME, stranger()), &[vendor(), authority()]);
    let (number, sha256) = (stranger().serial(), stranger().fingerprint());
    let certificate = format!("(certificate of the signer: serial number {number}, SHA-256 {sha256})");
    assert_eq!(detail, format!("signer \"CN=Stranger\" is not one of the 2 trust anchors {certificate}"));
    let expected = json!({
        "source": "untrusted", "trusted": false, "subject": "CN=Stranger", "serial": number, "sha256": sha256,
        "not_after": null,
    });
    assert_eq!(found, expected);
    let (detail, _) = signer(&good(NAME, stranger()), &[vendor()]);
    assert_eq!(detail, format!("signer \"CN=Stranger\" is not the trust anchor, \"CN=Vendor\" (db) {certificate}"));
    let (detail, _) = signer(&good(NAME, stranger()), &[]);
    assert!(detail.starts_with("signer \"CN=Stranger\" is not trusted: there are no trust anchors ("), "{detail}");

    // Without a certificate there is no subject, and no fingerprint that the report could have.
    let bare = good(NAME, vendor()).signed_by(|text| SignedData::new(text).signer(SignerInfo::new(stranger())).build());
    let (detail, found) = signer(&bare, &[vendor(), authority()]);
    assert_eq!(
        detail,
        format!(
            "the signer with serial number {number} of issuer \"CN=Stranger\" is not one of the 2 trust anchors (the \
             signature carries no certificate of the signer)"
        )
    );
    assert_eq!(found, Value::Null);
}

#[test]
fn the_journal_names_no_signer_that_is_not_trusted() {
    let firmware = Firmware::enforcing().db(&efi::certificates(&[vendor()])).entry("active.conf");
    let good_row = row_of(&firmware, &good(NAME, vendor()));
    assert_eq!((&good_row["signer"]["trusted"], &good_row["signer"]["source"]), (&json!(true), &json!("db")));
    assert_eq!(good_row["signer"]["serial"], vendor().serial());
    let image: sextant::report::Image =
        serde_json::from_value(row(&good(NAME, stranger()).render().bytes, &[vendor()])).unwrap();
    assert!(image.signer.is_some() && image.trusted_signer().is_none());
    assert_eq!(image.signer.unwrap().to_string(), "CN=Stranger (untrusted)");
    // Reports of earlier versions name trusted signers only.
    let mut earlier = good_row;
    for member in ["trusted", "serial"] {
        earlier["signer"].as_object_mut().unwrap().remove(member);
    }
    let image: sextant::report::Image = serde_json::from_value(earlier).unwrap();
    assert!(image.trusted_signer().is_some());
}

fn row_of(firmware: &Firmware, image: &Blueprint) -> Value {
    let machine = Machine::new().firmware(firmware).sysext(&format!("{NAME}.sysext.raw"), &image.render().bytes);
    machine.stage().rows()[0].clone()
}

#[test]
fn the_trust_anchor_that_comes_nearest_is_named() {
    // Making a key waits for others that are being made.
    let (vendor, stranger) = (vendor(), stranger());
    let renewed = keys::cached("renewed", || Recipe::new("Vendor").serial(&[9, 9]).make());
    let leaf = keys::leaf("Leaf", authority());
    let hint = |image: Blueprint, anchors: &[&Authority]| {
        let (detail, _) = signer(&image, anchors);
        let start = detail.find("; ").map_or(detail.len(), |at| at + 2);
        detail[start..].split(" (").next().unwrap_or_default().to_owned()
    };
    assert_eq!(
        hint(good(NAME, renewed), &[authority(), vendor]),
        format!("db has another certificate with this subject, SHA-256 {}: was it renewed?", vendor.fingerprint())
    );
    assert_eq!(
        hint(good(NAME, leaf), &[vendor, authority()]),
        format!(
            "a certificate of db, SHA-256 {}, has the subject of its issuer, which is not enough: certificates have to \
             match exactly",
            authority().fingerprint()
        )
    );
    let reissued = keys::cached("reissued", || {
        let mut builder = openssl::x509::X509::builder().unwrap();
        builder.set_version(2).unwrap();
        builder.set_subject_name(stranger.certificate.subject_name()).unwrap();
        builder.set_issuer_name(stranger.certificate.subject_name()).unwrap();
        builder.set_pubkey(&vendor.key).unwrap();
        builder.set_serial_number(stranger.certificate.serial_number()).unwrap();
        builder.set_not_before(vendor.certificate.not_before()).unwrap();
        builder.set_not_after(vendor.certificate.not_after()).unwrap();
        builder.sign(&vendor.key, openssl::hash::MessageDigest::sha256()).unwrap();
        Authority { key: vendor.key.clone(), certificate: builder.build() }
    });
    assert_eq!(
        hint(good(NAME, reissued), &[authority(), vendor]),
        format!("db has another certificate for the same key, SHA-256 {}: was it reissued?", vendor.fingerprint())
    );
    assert_eq!(hint(good(NAME, stranger), &[vendor, authority()]), "");
}

/// An image of two files that don't compress, in a file system made by our own writer.
fn large() -> RawImage {
    let tree = Tree::sysext(NAME).file("usr/share/first", &noise(300_000)).file("usr/share/second", &noise(700_001));
    with_tree(NAME, &tree, vendor()).render()
}

/// What is said about `image`, which is damaged; in front of the checker's words and behind them.
fn damage(image: &RawImage) -> (String, String) {
    let (token, detail) = told(&image.bytes);
    assert_eq!(token, "corrupt");
    let (damage, checker) = detail.split_once(" (").map_or((detail.as_str(), ""), |(damage, rest)| (damage, rest));
    (damage.to_owned(), checker.to_owned())
}

#[test]
fn the_file_whose_data_is_damaged_is_named_and_where_the_damage_begins() {
    let sound = large();
    let root = sound.place(Root).start;
    let at = |block: usize| root + block * 4096;
    let (detail, _) = damage(&sound.clone().flip(Root, 30 * 4096 + 17));
    assert_eq!(detail, format!("damaged data of /usr/share/first, at byte {} of the file", at(30)));
    let several = [40, 41, 43, 100].into_iter().fold(sound.clone(), |image, block| image.flip(Root, block * 4096));
    let (detail, _) = damage(&several);
    assert_eq!(detail, format!("damaged data of /usr/share/first, at byte {} of the file, and 3 more blocks", at(40)));
    let (detail, _) = damage(&sound.clone().patch_partition(Root, 150 * 4096, &[0; 8192]));
    assert_eq!(
        detail,
        format!(
            "damaged data of /usr/share/second, at byte {} of the file, and 1 more block: only zeros are there, as in an \
             incomplete copy",
            at(150)
        )
    );
    let (detail, _) = damage(&sound.clone().flip(Root, 5));
    assert_eq!(detail, format!("damaged superblock of the file system, at byte {root} of the file"));
    // The metadata is behind the data, all of it in one block: nothing can be read without it.
    let ends = (200..sound.place(Root).len() / 4096).map(|block| damage(&sound.clone().flip(Root, block * 4096)).0);
    let ends: Vec<_> = ends.collect();
    let told = |what: &str| ends.iter().any(|detail| detail.contains(what));
    assert!(told("data of /usr/share/second") && told("inode of /,"), "{ends:#?}");
    assert!(
        ends.iter().all(|detail| detail.starts_with("damaged ") && !detail.contains("damaged file system")),
        "{ends:#?}"
    );
}

#[test]
fn damage_beside_the_data_is_told_apart() {
    let sound = large();
    let verity = sound.place(RootVerity).start;
    let (detail, checker) = damage(&sound.clone().flip(RootVerity, 4096));
    assert_eq!(detail, format!("damaged hash tree, its top block, at byte {} of the file", verity + 4096));
    assert!(checker.starts_with("the root hash is "), "{checker}");
    let (detail, _) = damage(&sound.clone().flip(RootVerity, 8192 + 77).flip(RootVerity, 12288 + 1));
    assert_eq!(detail, format!("damaged hash tree, level 1, at byte {} of the file, and 1 more block", verity + 8192));
    let (detail, _) = damage(&sound.clone().flip(RootVerity, 88));
    assert_eq!(detail, "the image is not the one that was signed, or is damaged as a whole");
    let (detail, _) = damage(&sound.clone().flip(RootVerity, 3000));
    assert!(
        detail.starts_with("a byte that must be zero is in use in the ") && detail.contains(", at byte "),
        "{detail}"
    );
}
