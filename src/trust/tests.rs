#![allow(clippy::unwrap_used)]
use super::*;
use crate::root::Root;
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::x509::{X509, X509NameBuilder};
use std::fs;

fn certificate(common_name: &str) -> X509 {
    let key = EcKey::generate(&EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap()).unwrap();
    let key = PKey::from_ec_key(key).unwrap();
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", common_name).unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_serial_number(&BigNum::from_u32(7).unwrap().to_asn1_integer().unwrap()).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    builder.build()
}

fn offer(source: Source, der: &[u8]) -> Offer {
    Offer {
        certificate: Certificate::from_der(der),
        source,
        origin: source.to_string(),
        sha256: Some(Fingerprint::of(der)),
    }
}

fn database(entries: Vec<Entry>) -> SignatureDatabase {
    SignatureDatabase { entries, errors: Vec::new() }
}

#[test]
fn anchors_keep_their_order_and_are_counted_within_their_source() {
    let ders: Vec<_> = ["a", "b", "c"].iter().map(|name| certificate(name).to_der().unwrap()).collect();
    let offers = vec![offer(Source::Pk, &ders[0]), offer(Source::Db, &ders[1]), offer(Source::Db, &ders[2])];
    let store = TrustStore::decide(offers, &SignatureDatabase::default());
    let files: Vec<_> = store.anchors().iter().map(Anchor::file_name).collect();
    assert_eq!(files, ["PK-1.crt", "db-1.crt", "db-2.crt"]);
    assert_eq!(store.anchors()[2].certificate().der(), ders[2]);
    assert_eq!(store.anchors()[2].certificate().subject(), "CN=c");
}

#[test]
fn a_certificate_that_openssl_would_write_otherwise_is_none() {
    // ecdsa-with-SHA256 at the end, behind the signed part; then a shorter identifier with parameters of a
    // type that there isn't, which OpenSSL reads but writes as the end of something.
    const SOUND: &[u8] = &[0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    const ODD: &[u8] = &[0x30, 10, 6, 6, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 0x20, 0];
    let mut der = certificate("odd").to_der().unwrap();
    let place = der.windows(SOUND.len()).rposition(|window| window == SOUND).unwrap();
    assert!(Certificate::from_der(&der).is_ok());
    der[place..place + ODD.len()].copy_from_slice(ODD);
    assert!(X509::from_der(&der).is_ok());
    let error = Certificate::from_der(&der).unwrap_err();
    assert_eq!(error.to_string(), "not a DER certificate: OpenSSL would write it in another way");
}

#[test]
fn duplicates_and_broken_entries_are_told_and_spoil_nothing() {
    let der = certificate("good").to_der().unwrap();
    let trailing = [der.as_slice(), &[0]].concat();
    let offers = vec![
        offer(Source::Kek, b"not DER"),
        offer(Source::Kek, &der),
        offer(Source::Db, &der),
        offer(Source::Db, &trailing),
        offer(Source::Db, &der[..der.len() - 1]),
    ];
    let store = TrustStore::decide(offers, &SignatureDatabase::default());
    assert_eq!(store.anchors().len(), 1);
    assert_eq!(store.anchors()[0].source(), Source::Kek);
    let reasons: Vec<_> = store.ignored().iter().map(|ignored| ignored.reason.as_str()).collect();
    assert_eq!(reasons.len(), 4);
    assert!(reasons[0].starts_with("not a DER certificate"), "{reasons:?}");
    assert_eq!(reasons[1], "the same certificate as KEK-1.crt");
    assert_eq!(reasons[2], "1 bytes follow the certificate");
    assert!(reasons[3].starts_with("not a DER certificate"), "{reasons:?}");
}

#[test]
fn dbx_revokes_by_certificate_and_by_each_digest_of_its_signed_part() {
    let der = certificate("bad").to_der().unwrap();
    let other = certificate("good").to_der().unwrap();
    let parsed = Certificate::from_der(&der).unwrap();
    let digests = [TbsDigest::Sha256, TbsDigest::Sha384, TbsDigest::Sha512];
    let by_digest = digests
        .into_iter()
        .map(|digest| Entry::CertificateDigest { digest, value: parsed.tbs_digest(digest).unwrap() });
    for entry in by_digest.chain([Entry::Certificate(der.clone())]) {
        let offers = vec![offer(Source::Pk, &der), offer(Source::Db, &der), offer(Source::Db, &other)];
        let store = TrustStore::decide(offers, &database(vec![entry.clone()]));
        let subjects: Vec<_> = store.anchors().iter().map(|anchor| anchor.certificate().subject()).collect();
        assert_eq!(subjects, ["CN=good"], "{entry:?}");
        assert_eq!(store.revoked().len(), 1, "{entry:?}");
        assert_eq!(store.revoked()[0].certificate, parsed);
        assert_eq!(store.ignored().len(), 2);
    }
    let harmless = [
        Entry::CertificateDigest { digest: TbsDigest::Sha256, value: openssl::sha::sha256(&der).to_vec() },
        Entry::Other { list_type: crate::image::Guid::ZERO, name: None },
    ];
    let store = TrustStore::decide(vec![offer(Source::Db, &der)], &database(harmless.to_vec()));
    assert_eq!(store.anchors().len(), 1, "the digest of the whole certificate is not that of its signed part");
}

#[test]
fn sealed_certificates_are_read_as_systemd_reads_verity_d() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (certificate("first"), certificate("second"));
    for directory in SEALED_DIRECTORIES {
        fs::create_dir_all(dir.path().join(directory.trim_start_matches('/'))).unwrap();
    }
    let put = |path: &str, content: &[u8]| fs::write(dir.path().join(path), content).unwrap();
    let both = [first.to_pem().unwrap(), second.to_pem().unwrap()].concat();
    put("etc/verity.d/a.crt", &both);
    put("etc/verity.d/b.pem", &second.to_pem().unwrap());
    put("etc/verity.d/c.crt", &second.to_der().unwrap());
    put("etc/verity.d/d.crt", b"");
    put("usr/lib/verity.d/d.crt", &second.to_pem().unwrap());
    let sealed = read_sealed(&Root::open(dir.path()).unwrap()).unwrap();
    let offers = sealed.iter().map(|file| file.offer(Source::Sealed)).collect();
    let store = TrustStore::decide(offers, &SignatureDatabase::default());
    let subjects: Vec<_> = store.anchors().iter().map(|anchor| anchor.certificate().subject()).collect();
    assert_eq!(subjects, ["CN=first"], "only the first certificate of a file counts, only PEM, only *.crt");
    let ignored: Vec<_> = store.ignored().iter().map(|ignored| ignored.origin.as_str()).collect();
    assert_eq!(ignored, ["/etc/verity.d/c.crt", "/etc/verity.d/d.crt"], "an empty file in /etc hides the other");
}

#[test]
fn exported_files_hold_one_certificate_each_and_old_ones_go() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open(dir.path()).unwrap();
    let ders: Vec<_> = ["a", "b"].iter().map(|name| certificate(name).to_der().unwrap()).collect();
    let both = ders.iter().map(|der| offer(Source::Db, der)).collect();
    let store = TrustStore::decide(both, &SignatureDatabase::default());
    export(&root, store.anchors()).unwrap();
    let directory = dir.path().join("run/verity.d");
    fs::write(directory.join("somebody-else.crt"), "kept").unwrap();
    for (name, der) in ["db-1.crt", "db-2.crt"].iter().zip(&ders) {
        let pem = fs::read(directory.join(name)).unwrap();
        assert_eq!(X509::stack_from_pem(&pem).unwrap().len(), 1);
        assert_eq!(X509::from_pem(&pem).unwrap().to_der().unwrap(), *der);
    }
    export(&root, &store.anchors()[..1]).unwrap();
    let mut names: Vec<_> =
        fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["db-1.crt", "somebody-else.crt"]);
}
