#![allow(clippy::unwrap_used)]
use super::certificate::KeyId;
use super::*;
use crate::firmware::signature_list::{ListError, TbsDigest};
use crate::root::Root;
use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey, PointConversionForm};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::{X509, X509Name, X509NameBuilder};
use std::fs;
use std::time::{Duration, SystemTime};

fn key() -> PKey<Private> {
    let key = EcKey::generate(&EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap()).unwrap();
    PKey::from_ec_key(key).unwrap()
}

fn certificate(common_name: &str) -> X509 {
    let key = key();
    issue(common_name, &key, 7, (common_name, &key))
}

fn name(common_name: &str) -> X509Name {
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", common_name).unwrap();
    name.build()
}

/// Issues a certificate for a key, with a serial number, by an issuer with its key.
fn issue(common_name: &str, key: &PKey<Private>, serial: u32, issuer: (&str, &PKey<Private>)) -> X509 {
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&name(common_name)).unwrap();
    builder.set_issuer_name(&name(issuer.0)).unwrap();
    builder.set_serial_number(&BigNum::from_u32(serial).unwrap().to_asn1_integer().unwrap()).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    builder.set_pubkey(key).unwrap();
    builder.sign(issuer.1, MessageDigest::sha256()).unwrap();
    builder.build()
}

fn offer(source: Source, der: &[u8]) -> Offer {
    Offer {
        certificate: Certificate::from_der(der),
        source,
        origin: source.as_str().into(),
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
    // ecdsa-with-SHA256 at the end, after the signed part; then a shorter identifier with parameters of an undefined
    // type, which OpenSSL reads but writes as an end marker.
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

/// The point of an elliptic curve key is the last thing in it: one that isn't on the curve.
fn off_the_curve() -> Vec<u8> {
    let mut der = certificate("odd").to_der().unwrap();
    let info = X509::from_der(&der).unwrap().public_key().unwrap().public_key_to_der().unwrap();
    let place = der.windows(info.len()).position(|window| window == info).unwrap();
    der[place + info.len() - 1] ^= 1;
    der
}

#[test]
fn a_public_key_is_decoded_when_it_is_asked_for() {
    let usual = [key(), PKey::from_rsa(openssl::rsa::Rsa::generate(2048).unwrap()).unwrap()];
    for key in &usual {
        let der = issue("usual", key, 1, ("usual", key)).to_der().unwrap();
        let certificate = Certificate::from_der(&der).unwrap();
        assert!(certificate.x509().public_key().is_err(), "decoded in vain");
        for _ in 0..2 {
            assert!(certificate.public_key().unwrap().public_eq(key));
        }
        let pem = X509::from_der(&der).unwrap().to_pem().unwrap();
        assert_eq!(Certificate::from_pem(&pem).as_ref(), Ok(&certificate));
    }
    // What OpenSSL accepts with a key that it cannot decode is accepted without it, too, until it has to verify.
    let der = off_the_curve();
    assert!(X509::from_der(&der).unwrap().public_key().is_err());
    assert!(Certificate::from_der(&der).unwrap().public_key().is_err());
}

#[test]
fn nobody_is_asked_for_the_passphrase_of_a_certificate() {
    let pem = String::from_utf8(certificate("secret").to_pem().unwrap()).unwrap();
    assert!(Certificate::from_pem(pem.as_bytes()).is_ok());
    let headers = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,000102030405060708090A0B0C0D0E0F\n\n";
    let encrypted = pem.replace("CERTIFICATE-----\nMII", &format!("CERTIFICATE-----\n{headers}MII"));
    assert_ne!(encrypted, pem);
    assert_eq!(Certificate::from_pem(encrypted.as_bytes()), Err(CertificateError::NotPem));
}

#[test]
fn no_certificate_of_more_than_64_kib_is_parsed() {
    let error = |len: usize| Certificate::from_der(&vec![0x30; len]).unwrap_err();
    assert_eq!(error(65_537), CertificateError::TooLarge { found: 65_537 });
    assert_eq!(error(1 << 20), CertificateError::TooLarge { found: 1 << 20 });
    assert!(matches!(error(65_536), CertificateError::Malformed { .. }));
}

#[test]
fn a_certificate_expires_after_its_last_second() {
    let mut builder = X509::builder().unwrap();
    builder.set_not_before(&Asn1Time::from_unix(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::from_unix(1_000_000_000).unwrap()).unwrap();
    builder.set_pubkey(&key()).unwrap();
    builder.sign(&key(), MessageDigest::sha256()).unwrap();
    let certificate = Certificate::from_der(&builder.build().to_der().unwrap()).unwrap();
    let expired = |seconds| certificate.expired_at(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    assert_eq!([999_999_999, 1_000_000_000, 1_000_000_001].map(expired), [false, false, true]);
    assert!(!certificate.expired_at(SystemTime::UNIX_EPOCH - Duration::from_secs(1)), "a clock before 1970");
}

#[test]
fn a_signer_is_named_by_issuer_and_serial_number_together() {
    let certificate = Certificate::from_der(&certificate("named").to_der().unwrap()).unwrap();
    let [named, other] = ["named", "other"].map(|common_name| name(common_name).to_der().unwrap());
    assert!(certificate.is_named(&named, &[7]));
    for (issuer, serial) in [(&named, &[8][..]), (&other, &[7]), (&other, &[8]), (&named, &[0, 7])] {
        assert!(!certificate.is_named(issuer, serial), "{issuer:02x?} {serial:02x?}");
    }
}

#[test]
fn a_certificate_is_written_with_subject_and_fingerprint() {
    let der = certificate("shown").to_der().unwrap();
    let fingerprint = Fingerprint::of(&der);
    let hex = ddi::bytes::hex(&openssl::sha::sha256(&der));
    assert_eq!((fingerprint.to_string(), format!("{fingerprint:?}")), (hex.clone(), hex.clone()));
    assert_eq!(fingerprint.as_bytes(), &openssl::sha::sha256(&der));
    assert_eq!(format!("{:?}", Certificate::from_der(&der).unwrap()), format!("Certificate(CN=shown {hex})"));
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
        Entry::Other { list_type: ddi::Guid::ZERO, name: None },
    ];
    let store = TrustStore::decide(vec![offer(Source::Db, &der)], &database(harmless.to_vec()));
    assert_eq!(store.anchors().len(), 1, "the digest of the whole certificate is not that of its signed part");
}

/// Returns how dbx with these entries revokes a certificate.
fn revoked_by(der: &[u8], entries: &[Entry]) -> Option<String> {
    let store = TrustStore::decide(vec![offer(Source::Db, der)], &database(entries.to_vec()));
    assert!(store.dbx_faults().is_empty(), "{:?}", store.dbx_faults());
    assert_eq!(store.anchors().is_empty(), store.revoked().iter().any(|revoked| revoked.certificate.der() == der));
    store.ignored().first().map(|ignored| ignored.reason.to_string())
}

#[test]
fn dbx_revokes_by_a_certificate_however_it_is_encoded() {
    const ITSELF: Option<&str> = Some("revoked by dbx (the certificate itself)");
    let der = certificate("bad").to_der().unwrap();
    let padded = |len: usize| [der.as_slice(), &vec![0; len]].concat();
    // The outermost length in one byte more than necessary, and in the indefinite form.
    let body = der.get(4..).unwrap();
    assert_eq!(der.get(..2), Some(&[0x30, 0x82][..]));
    let long = [&[0x30, 0x83, 0][..], der.get(2..).unwrap()].concat();
    let indefinite = [&[0x30, 0x80][..], body, &[0, 0]].concat();
    for encoding in
        [padded(1), padded(4), padded(70_000), long.clone(), indefinite.clone(), [indefinite, vec![0; 9]].concat()]
    {
        let by = revoked_by(&der, &[Entry::Certificate(encoding.clone())]);
        assert_eq!(by.as_deref(), ITSELF, "{:02x?}", encoding.get(..8));
    }
    let other = certificate("bad").to_der().unwrap();
    assert_eq!(revoked_by(&other, &[Entry::Certificate(padded(4))]), None, "another key under the same name");
}

#[test]
fn dbx_revokes_every_certificate_of_a_key_that_it_names() {
    let key = key();
    let [old, new] = [1, 2].map(|serial| issue("signer", &key, serial, ("signer", &key)).to_der().unwrap());
    let by = revoked_by(&new, &[Entry::Certificate(old)]);
    assert_eq!(by.as_deref(), Some("revoked by dbx (a certificate with the same public key)"));
    // The point of a key in the two forms (SEC 1, section 2.3.3), after the same algorithm identifier.
    let key = key.ec_key().unwrap();
    let info = |form| {
        let mut context = BigNumContext::new().unwrap();
        let point = key.public_key().to_bytes(key.group(), form, &mut context).unwrap();
        let len = u8::try_from(point.len()).unwrap();
        let algorithm =
            [0x30, 19, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
        [&[0x30, 21 + 3 + len][..], &algorithm, &[3, len + 1, 0], &point].concat()
    };
    let [whole, compressed] = [PointConversionForm::UNCOMPRESSED, PointConversionForm::COMPRESSED].map(info);
    assert!(compressed.len() < whole.len());
    assert!(KeyId::of(&compressed) == KeyId::of(&whole));
}

#[test]
fn what_a_revoked_certificate_issued_is_revoked_down_to_the_last() {
    const BY: &str = "revoked by dbx (the certificate that issued it)";
    let [top, middle, leaf] = [key(), key(), key()];
    let root = issue("root", &top, 1, ("root", &top)).to_der().unwrap();
    let between = issue("between", &middle, 2, ("root", &top)).to_der().unwrap();
    let end = issue("end", &leaf, 3, ("between", &middle)).to_der().unwrap();
    // A certificate with the name of the issuer, signed by another key.
    let stranger = issue("stranger", &leaf, 4, ("root", &middle)).to_der().unwrap();
    let digest = Certificate::from_der(&root).unwrap().tbs_digest(TbsDigest::Sha256).unwrap();
    let digest = Entry::CertificateDigest { digest: TbsDigest::Sha256, value: digest };
    // OpenSSL ignores case and repeated spaces of names.
    let folded = issue("folded", &leaf, 5, ("  ROOT", &top)).to_der().unwrap();
    let reasons = |offers: &[&Vec<u8>], entry: Entry| {
        let offers = offers.iter().map(|der| offer(Source::Db, der)).collect();
        let store = TrustStore::decide(offers, &database(vec![entry]));
        store.ignored().iter().map(|ignored| ignored.reason.clone()).collect::<Vec<_>>()
    };
    assert_eq!(reasons(&[&end, &between, &stranger], Entry::Certificate(root.clone())), [BY, BY]);
    assert_eq!(reasons(&[&folded], Entry::Certificate(root.clone())), [BY]);
    let by_digest = ["revoked by dbx (SHA-256 of its TBSCertificate)", BY];
    assert_eq!(reasons(&[&root, &between, &stranger], digest.clone()), by_digest);
    assert_eq!(reasons(&[&end, &between], digest), <[&str; 0]>::default(), "nothing tells what that digest is of");
}

#[test]
fn each_certificate_in_dbx_is_revoked_once_whether_offered_or_not() {
    let [bad, good] = ["bad", "good"].map(|name| certificate(name).to_der().unwrap());
    let dbx = database(vec![Entry::Certificate(bad.clone()), Entry::Certificate(bad.clone())]);
    let store = TrustStore::decide(vec![offer(Source::Db, &good)], &dbx);
    assert_eq!(store.anchors().len(), 1);
    let revoked: Vec<_> = store.revoked().iter().map(|one| (one.certificate.der(), one.by.as_str())).collect();
    assert_eq!(revoked, [(bad.as_slice(), "the certificate itself")]);
}

/// OpenSSL, and so firmware, reads a certificate whose times make no sense. x509-parser doesn't.
#[test]
fn an_entry_of_dbx_that_only_firmware_can_read_still_revokes() {
    let mut der = certificate("timeless").to_der().unwrap();
    let time = der.windows(2).position(|window| window == [0x17, 13]).unwrap();
    der[time + 4..time + 6].copy_from_slice(b"13");
    assert!(X509::from_der(&der).is_ok() && Certificate::from_der(&der).is_err());
    let dbx = database(vec![Entry::Certificate(der)]);
    let store = TrustStore::decide(vec![offer(Source::Db, &certificate("good").to_der().unwrap())], &dbx);
    assert_eq!((store.anchors().len(), store.dbx_faults()), (1, &[][..]));
}

#[test]
fn only_known_certificates_are_retained() {
    let ders: Vec<_> = ["a", "b"].iter().map(|name| certificate(name).to_der().unwrap()).collect();
    let offers = ders.iter().map(|der| offer(Source::Db, der)).collect();
    let mut store = TrustStore::decide(offers, &SignatureDatabase::default());
    store.retain(|fingerprint| *fingerprint == Fingerprint::of(&ders[1]));
    assert_eq!(store.anchors().iter().map(|anchor| anchor.certificate().der()).collect::<Vec<_>>(), [&ders[1]]);
}

#[test]
fn what_cannot_be_understood_of_dbx_is_a_fault_and_what_it_says_still_counts() {
    let der = certificate("bad").to_der().unwrap();
    let dbx = SignatureDatabase {
        entries: vec![
            Entry::Certificate(der[..der.len() - 1].to_vec()),
            Entry::Certificate(vec![0; 1000]),
            Entry::Certificate(der.clone()),
        ],
        errors: vec![ListError::TruncatedHeader { offset: 9, found: 3 }],
    };
    let store = TrustStore::decide(vec![offer(Source::Db, &der)], &dbx);
    assert!(store.anchors().is_empty());
    let faults: Vec<_> = store.dbx_faults().iter().map(|fault| fault.reason.as_str()).collect();
    assert_eq!(faults.len(), 3, "{faults:?}");
    assert!(faults[0].contains("offset 9"), "{faults:?}");
    assert!(faults[1].starts_with(&format!("an X.509 entry of {} bytes", der.len() - 1)), "{faults:?}");
    assert!(store.dbx_faults().iter().all(|fault| fault.origin == "dbx"));
}

#[test]
fn a_certificate_of_a_source_that_is_not_admitted_is_told() {
    let [first, second] = ["first", "second"].map(|name| certificate(name).to_der().unwrap());
    let offers = || vec![offer(Source::Pk, &first), offer(Source::Db, &second)];
    let store = TrustStore::decide_among(offers(), &[Source::Db], &SignatureDatabase::default());
    let subjects: Vec<_> = store.anchors().iter().map(|anchor| anchor.certificate().subject()).collect();
    assert_eq!(subjects, ["CN=second"]);
    let ignored: Vec<_> = store.ignored().iter().map(|one| (one.origin.as_str(), one.reason.as_str())).collect();
    assert_eq!(ignored, [("PK", "not admitted by the configuration (trust.sources)")]);
    assert_eq!(store.ignored()[0].sha256, Some(Fingerprint::of(&first)));
}

#[test]
fn rows_about_ignored_certificates_are_bounded_for_each_source() {
    let good = certificate("good").to_der().unwrap();
    let mut offers: Vec<_> = (0..5000).map(|_| offer(Source::Kek, b"?")).collect();
    offers.extend([offer(Source::Db, b"!"), offer(Source::Db, &good)]);
    let dbx = database((0..5000).map(|_| Entry::Certificate(b"?".to_vec())).collect());
    let store = TrustStore::decide(offers, &dbx);
    assert_eq!(store.anchors().len(), 1);
    assert_eq!(store.ignored().len(), MAX_IGNORED + 1);
    assert_eq!(store.ignored()[MAX_IGNORED - 1].reason, "and 4937 more of KEK");
    assert_eq!(store.ignored()[MAX_IGNORED].origin, "db");
    assert_eq!(store.dbx_faults().len(), MAX_IGNORED);
}

#[test]
fn a_sealed_file_that_cannot_be_read_is_told_with_the_systems_words() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("etc/verity.d/directory.crt")).unwrap();
    std::os::unix::fs::symlink("/nowhere", dir.path().join("etc/verity.d/link.crt")).unwrap();
    let sealed = read_sealed(&Root::open(dir.path()).unwrap()).unwrap();
    let offers = sealed.iter().map(|file| file.offer(Source::Sealed)).collect();
    let store = TrustStore::decide(offers, &SignatureDatabase::default());
    let reasons: Vec<_> = store.ignored().iter().map(|ignored| ignored.reason.as_str()).collect();
    assert_eq!(reasons, ["reading the certificate: not a regular file", "reading the certificate: entity not found"]);
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
    fs::write(directory.join("others.pem"), "systemd doesn't read it").unwrap();
    for (name, der) in ["db-1.crt", "db-2.crt"].iter().zip(&ders) {
        let pem = fs::read(directory.join(name)).unwrap();
        assert_eq!(X509::stack_from_pem(&pem).unwrap().len(), 1);
        assert_eq!(X509::from_pem(&pem).unwrap().to_der().unwrap(), *der);
    }
    let removed = export(&root, &store.anchors()[..1]).unwrap();
    assert!(removed.files.is_empty(), "a file of an earlier run is nothing to tell: {removed:?}");
    let mut names: Vec<_> =
        fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["db-1.crt", "others.pem"]);
}
