#![allow(clippy::unwrap_used)]
use super::*;
use crate::firmware::signature_list::SignatureDatabase;
use crate::trust::{Fingerprint, Offer, Source};
use ddi::write::Signer as Writer;
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::pkey::Private;
use openssl::rsa::Rsa;
use openssl::x509::{X509, X509NameBuilder};
use std::time::Duration;

/// An attacker with a key and a certificate of their own.
struct Authority {
    key: PKey<Private>,
    certificate: X509,
}

impl Authority {
    fn new(key: PKey<Private>, common_name: &str, serial: u32) -> Self {
        let mut name = X509NameBuilder::new().unwrap();
        name.append_entry_by_text("CN", common_name).unwrap();
        let name = name.build();
        let mut builder = X509::builder().unwrap();
        builder.set_subject_name(&name).unwrap();
        builder.set_issuer_name(&name).unwrap();
        builder.set_serial_number(&BigNum::from_u32(serial).unwrap().to_asn1_integer().unwrap()).unwrap();
        builder.set_not_before(&Asn1Time::from_unix(0).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::from_unix(1000).unwrap()).unwrap();
        builder.set_pubkey(&key).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        Self { key, certificate: builder.build() }
    }

    fn ec(common_name: &str, serial: u32) -> Self {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        Self::new(PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap(), common_name, serial)
    }

    fn rsa() -> Self {
        Self::new(PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap(), "RSA", 1)
    }

    fn sign(&self, root_hash: &RootHash) -> Vec<u8> {
        Writer { key: &self.key, certificate: &self.certificate }.sign(root_hash).unwrap()
    }
}

fn trusting(authorities: &[&Authority]) -> TrustStore {
    let offer = |authority: &&Authority| {
        let der = authority.certificate.to_der().unwrap();
        let certificate = Certificate::from_der(&der);
        Offer { certificate, source: Source::File, origin: "test".into(), sha256: Some(Fingerprint::of(&der)) }
    };
    TrustStore::decide(authorities.iter().map(offer).collect(), &SignatureDatabase::default())
}

fn root_hash() -> RootHash {
    RootHash::from_hex(&"ab".repeat(32)).unwrap()
}

#[test]
fn an_ecdsa_value_is_two_positive_integers_in_der() {
    assert!(is_ecdsa_value(&[0x30, 6, 2, 1, 1, 2, 1, 0x7f]));
    assert!(is_ecdsa_value(&[0x30, 7, 2, 1, 1, 2, 2, 0, 0x80]));
    for wrong in [
        &[][..],
        &[0x30, 0],
        &[0x30, 3, 2, 1, 1],
        &[0x31, 6, 2, 1, 1, 2, 1, 1],
        &[0x30, 6, 2, 1, 1, 4, 1, 1],
        &[0x30, 9, 2, 1, 1, 2, 1, 1, 2, 1, 1],
        &[0x30, 6, 2, 1, 1, 2, 1, 1, 0],
        // Negative, the first and the last of them; longer than need be; none at all.
        &[0x30, 6, 2, 1, 0x80, 2, 1, 1],
        &[0x30, 6, 2, 1, 1, 2, 1, 0x81],
        &[0x30, 7, 2, 2, 0, 1, 2, 1, 1],
        &[0x30, 5, 2, 0, 2, 1, 1],
    ] {
        assert!(!is_ecdsa_value(wrong), "{wrong:02x?}");
    }
}

#[test]
fn a_value_in_another_form_is_refused_for_its_form() {
    let root_hash = root_hash();
    for (authority, expected) in
        [(Authority::ec("EC", 1), "an ECDSA signature in DER"), (Authority::rsa(), "as long as the RSA key")]
    {
        let trust = trusting(&[&authority]);
        let signature = authority.sign(&root_hash);
        let data = cms::parse(&signature).unwrap();
        let signed = SignedRoot::decide(&root_hash, &data, &trust).unwrap();
        assert_eq!((signed.signature(), signed.root_hash()), (signature.as_slice(), &root_hash));
        for change in [|value: &mut Vec<u8>| value.push(0), |value: &mut Vec<u8>| value.truncate(value.len() - 1)] {
            let mut data = data.clone();
            let mut value = data.signers[0].value.to_vec();
            change(&mut value);
            data.signers[0].value = value.as_slice().into();
            match SignedRoot::decide(&root_hash, &data, &trust) {
                Err(SignatureError::Value { expected: found, .. }) => assert_eq!(found, expected),
                other => panic!("{other:?}"),
            }
        }
    }
}

/// OpenSSL, and so systemd, takes the first certificate whose issuer and serial number are alike.
#[test]
fn of_certificates_that_openssl_takes_for_one_the_first_counts() {
    let root_hash = root_hash();
    let decide = |anchors: &[&Authority], by: &Authority| {
        let claim = SignaturePartition {
            root_hash: root_hash.clone(),
            signature: by.sign(&root_hash).as_slice().into(),
            certificate_fingerprint: None,
        };
        SignedRoot::verify(&claim, &trusting(anchors)).map(|signed| signed.signer().certificate().subject().to_string())
    };
    let (first, alike) = (Authority::ec("Vendor", 1), Authority::ec("VENDOR", 1));
    assert_eq!(decide(&[&first, &alike], &first).unwrap(), "CN=Vendor");
    match decide(&[&first, &alike], &alike) {
        Err(SignatureError::Mismatch { signer, .. }) => assert_eq!(signer, "CN=Vendor"),
        other => panic!("{other:?}"),
    }
    // Name or serial number alone does not make a certificate the same.
    let (same_name, same_serial) = (Authority::ec("VENDOR", 2), Authority::ec("Other", 1));
    let all = [&first, &same_name, &same_serial];
    assert_eq!(decide(&all, &same_name).unwrap(), "CN=VENDOR");
    assert_eq!(decide(&all, &same_serial).unwrap(), "CN=Other");
}

#[test]
fn an_expired_signer_and_another_fingerprint_are_warned_of() {
    let authority = Authority::ec("Vendor", 1);
    let signature = authority.sign(&root_hash());
    let fingerprint = Fingerprint::of(&authority.certificate.to_der().unwrap()).to_string();
    let claim = |certificate_fingerprint: Option<&str>| SignaturePartition {
        root_hash: root_hash(),
        signature: signature.as_slice().into(),
        certificate_fingerprint: certificate_fingerprint.map(str::to_owned),
    };
    let trust = trusting(&[&authority]);
    let warnings = |certificate_fingerprint: Option<&str>, seconds| {
        let claim = claim(certificate_fingerprint);
        let signed = SignedRoot::verify(&claim, &trust).unwrap();
        let warnings = signed.warnings(&claim, SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let none = Vec::<String>::new();
    assert_eq!(warnings(Some(&fingerprint), 1000), none);
    assert_eq!(warnings(Some(&fingerprint.to_ascii_uppercase()), 1000), none);
    assert_eq!(warnings(Some(&fingerprint), 1001), ["the certificate of signer \"CN=Vendor\" has expired"]);
    assert_eq!(warnings(None, 0), ["the signature partition names no certificateFingerprint"]);
    let other = "0".repeat(64);
    let text = format!("certificateFingerprint is {other} where the signer's is {fingerprint}");
    assert_eq!(warnings(Some(&other), 0), [text]);
}
