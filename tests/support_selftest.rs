//! The helpers of the other tests: what they call good is good for independent readers too.
#![allow(clippy::unwrap_used)]

use ddi::write::DdiBuilder;
use ddi::{Ddi, PartitionKind};
use openssl::pkcs7::{Pkcs7, Pkcs7Flags};
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use sextant::firmware;
use std::process::Command;
use support::ddi::{Blueprint, Crc, RawImage, Which, header};
use support::keys::{self, Authority, Key, Recipe};
use support::pkcs7::{Digest, Identify, SignedData, SignerInfo};
use support::trees::Tree;
use support::{efi, machine::Machine};

/// As systemd's `validate_signature_userspace` calls it.
fn openssl_accepts(der: &[u8], content: &[u8], trusted: &[&Authority]) -> bool {
    let Ok(pkcs7) = Pkcs7::from_der(der) else { return false };
    let mut certificates = Stack::new().unwrap();
    for authority in trusted {
        certificates.push(authority.certificate.clone()).unwrap();
    }
    let store = X509StoreBuilder::new().unwrap().build();
    let flags = Pkcs7Flags::NOINTERN | Pkcs7Flags::NOVERIFY | Pkcs7Flags::BINARY;
    pkcs7.verify(&certificates, &store, Some(content), None, flags).is_ok()
}

#[test]
fn openssl_accepts_the_well_formed_signatures() {
    let content = b"0123abcd";
    let keys = [Key::Rsa(1024), Key::Rsa(2048), Key::P256, Key::P384].map(|key| keys::self_signed("signer", key));
    for authority in keys {
        for digest in [Digest::Sha1, Digest::Sha224, Digest::Sha256, Digest::Sha384, Digest::Sha512] {
            for attributes in [false, true] {
                let mut signer = SignerInfo::new(authority).digest(digest);
                if attributes {
                    signer = signer.attributes();
                }
                let data = SignedData::new(content).signer(signer.clone());
                let case = format!("{:?} {digest:?} {attributes}", authority.key.id());
                assert!(openssl_accepts(&data.build(), content, &[authority]), "{case}");
                let carrying = data.clone().attached().certificate(authority);
                assert!(openssl_accepts(&carrying.build(), content, &[authority]), "{case}, attached");
                let damaged = SignedData::new(content).signer(signer.damaged());
                assert!(!openssl_accepts(&damaged.build(), content, &[authority]), "{case}, damaged");
                assert!(!openssl_accepts(&data.build(), b"other", &[authority]), "{case}, other content");
            }
        }
    }
}

#[test]
fn openssl_tells_the_wrong_signatures_apart() {
    let content = b"0123abcd";
    let (one, two) = (keys::rsa("one"), keys::ec("two"));
    let both = SignedData::new(content).signer(SignerInfo::new(one)).signer(SignerInfo::new(two)).build();
    assert!(openssl_accepts(&both, content, &[one, two]));
    assert!(!openssl_accepts(&both, content, &[one]));
    let refused = [
        SignerInfo::new(one).pss(),
        SignerInfo::new(one).named_as(two),
        SignerInfo::new(one).over(b"0123abcd\n"),
        SignerInfo::new(one).claim_digest(Digest::Sha512),
        SignerInfo::new(keys::impostor(one)),
    ];
    for (index, signer) in refused.into_iter().enumerate() {
        let der = SignedData::new(content).signer(signer).build();
        assert!(Pkcs7::from_der(&der).is_ok(), "signature {index} is not even PKCS#7");
        assert!(!openssl_accepts(&der, content, &[one, two]), "signature {index}");
    }
}

#[test]
fn cms_only_forms_are_well_formed_cms() {
    let content = b"0123abcd";
    let authority = keys::rsa("one");
    let signers =
        [SignerInfo::new(authority).pss(), SignerInfo::new(authority).identify(Identify::SubjectKeyId).attributes()];
    for signer in signers {
        let der = SignedData::new(content).signer(signer).attached().build();
        let mut certificates = Stack::new().unwrap();
        certificates.push(authority.certificate.clone()).unwrap();
        let mut cms = openssl::cms::CmsContentInfo::from_der(&der).unwrap();
        let flags = openssl::cms::CMSOptions::NO_SIGNER_CERT_VERIFY;
        cms.verify(Some(&certificates), None, None, None, flags).unwrap();
    }
}

#[test]
fn certificates_are_what_they_are_called() {
    let ca = keys::ca("root");
    let leaf = keys::leaf("leaf", ca);
    assert!(leaf.certificate.verify(&ca.key).unwrap());
    assert!(keys::rsa("one").certificate.verify(&keys::rsa("one").key).unwrap());
    let now = openssl::asn1::Asn1Time::days_from_now(0).unwrap();
    assert!(keys::expired("old").certificate.not_after() < now);
    let (victim, impostor) = (&keys::rsa("one").certificate, &keys::impostor(keys::rsa("one")).certificate);
    assert_eq!(victim.serial_number().to_bn().unwrap(), impostor.serial_number().to_bn().unwrap());
    assert_eq!(victim.issuer_name().to_der().unwrap(), impostor.issuer_name().to_der().unwrap());
    assert_ne!(victim.to_der().unwrap(), impostor.to_der().unwrap());
    assert!(Recipe::new("edward").key(Key::Ed25519).make().certificate.public_key().is_ok());
}

#[test]
fn firmware_lists_are_read_back() {
    let (one, two) = (keys::rsa("one"), keys::ec("two"));
    let revoked = efi::List::revoked(two, Digest::Sha384, efi::SOME_TIME);
    let variable = efi::lists(&[
        efi::List::new(efi::SHA256, [vec![1; 32], vec![2; 32]]),
        efi::List { header: vec![9; 7], ..efi::List::certificate(one) },
        revoked,
    ]);
    let database = firmware::signature_list::parse(&variable);
    assert_eq!(database.errors, []);
    assert!(database.entries.contains(&firmware::signature_list::Entry::Certificate(one.der())));
    assert!(database.entries.contains(&firmware::signature_list::Entry::CertificateDigest {
        digest: firmware::signature_list::TbsDigest::Sha384,
        value: two.tbs_digest(Digest::Sha384.openssl()),
    }));
    let broken = efi::List { list_size: Some(0), ..efi::List::certificate(one) };
    assert_eq!(firmware::signature_list::parse(&broken.encode()).errors.len(), 1);
}

#[test]
fn file_systems_hold_the_tree() {
    let tree =
        Tree::sysext("kit").symlink("usr/lib/link", "../share/kit").file("usr/share/kit/big", &vec![b'x'; 300_000]);
    let scratch = tempfile::tempdir().unwrap();
    let images = [("backhand", tree.squashfs()), ("mksquashfs", tree.mksquashfs(&["-comp", "zstd"]))];
    for (name, bytes) in images {
        let (image, target) = (scratch.path().join(format!("{name}.img")), scratch.path().join(name));
        std::fs::write(&image, &*bytes).unwrap();
        let status = Command::new("unsquashfs").args(["-q", "-n", "-d"]).arg(&target).arg(&image).output().unwrap();
        assert!(status.status.success(), "{name}: {status:?}");
        let read = |path: &str| std::fs::read(target.join(path)).unwrap();
        assert_eq!(read("usr/share/kit/hello.txt"), b"hello from kit\n", "{name}");
        assert_eq!(read("usr/share/kit/big").len(), 300_000, "{name}");
        assert_eq!(read("usr/lib/link/hello.txt"), b"hello from kit\n", "{name}");
    }
    let erofs = tree.xattr("usr/share/kit/big", "user.colour", b"turquoise").erofs(&["-zlz4"]);
    assert_eq!(erofs[1024..1028], 0xe0f5_e1e2_u32.to_le_bytes());
    assert!(erofs.windows(9).any(|window| window == b"turquoise"));
    assert_eq!(Tree::sysext("kit").squashfs(), Tree::sysext("kit").squashfs());
}

fn read(image: &RawImage) -> Result<Ddi, ddi::DdiError> {
    Ddi::read(&image.bytes, support::ddi::native())
}

#[test]
fn good_images_are_good_and_damage_is_where_it_was_asked_for() {
    let authority = keys::ec("vendor");
    let blueprint = support::ddi::good("kit", authority);
    let image = blueprint.render();
    let shape = read(&image).unwrap();
    assert_eq!(u64::try_from(image.place(PartitionKind::Root).start).unwrap(), shape.root().start);
    assert!(openssl_accepts(&blueprint.pkcs7(), blueprint.root_hash.to_string().as_bytes(), &[authority]));

    let again = |change: fn(Blueprint) -> Blueprint| read(&change(blueprint.clone()).render()).unwrap_err().to_string();
    assert!(again(|blueprint| blueprint.remove(PartitionKind::RootVeritySig)).contains("root-"));
    assert!(again(|blueprint| blueprint.duplicate(PartitionKind::Root, "second")).contains("both"));
    assert!(again(|blueprint| blueprint.flags(PartitionKind::Root, 1 << 63)).contains("no-auto"));
    assert!(read(&blueprint.clone().reverse().render()).is_ok());

    let field = |which, crc| image.clone().patch_header(which, header::DISK_GUID, &[7; 16], crc);
    assert!(read(&field(Which::Both, Crc::Fix)).is_ok());
    assert!(read(&field(Which::Backup, Crc::Fix)).unwrap_err().to_string().contains("disagree"));
    assert!(read(&field(Which::Primary, Crc::Leave)).unwrap_err().to_string().contains("checksum"));
    let renamed = image.clone().patch_entry(Which::Both, 0, support::ddi::entry::NAME, b"R", Crc::Fix);
    assert!(read(&renamed).unwrap().root().name.starts_with('R'));
    let flipped = image.clone().flip(PartitionKind::Root, 5).bytes;
    let differences: Vec<_> = (0..flipped.len()).filter(|at| flipped[*at] != image.bytes[*at]).collect();
    assert_eq!(differences, [image.place(PartitionKind::Root).start + 5]);
}

#[test]
fn unsigned_images_and_other_sector_sizes_can_be_made() {
    let filesystem = Tree::sysext("kit").squashfs();
    let unsigned = Blueprint::build(&DdiBuilder::new("kit"), &filesystem, None);
    assert_eq!(unsigned.parts.len(), 2);
    let large = Blueprint::build(&DdiBuilder::new("kit").sector_size(4096), &filesystem, Some(keys::ec("vendor")));
    assert_eq!(read(&large.render()).unwrap().table().sector_size, 4096);
}

#[test]
fn the_agent_stages_a_good_image_and_rejects_a_bad_one() {
    let authority = keys::rsa("vendor");
    let machine = Machine::trusting(&[authority])
        .sysext("good.sysext.raw", &support::ddi::good_image("good", authority))
        .sysext("bad.sysext.raw", &support::ddi::good("bad", authority).render().flip(PartitionKind::Root, 100).bytes);
    let outcome = machine.stage();
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    assert_eq!(outcome.verdict("good.sysext.raw"), ("staged", ""), "{outcome:?}");
    assert_eq!(outcome.verdict("bad.sysext.raw"), ("rejected", "corrupt"), "{outcome:?}");
    assert_eq!(machine.staged_names(), ["good"]);
}
