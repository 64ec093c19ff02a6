//! Signatures of root hashes that other programs write, and ways of writing them that are not accepted.

use ddi::signature_partition::SignaturePartition;
use ddi::verity::RootHash;
use openssl::pkcs7::{Pkcs7, Pkcs7Flags};
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use sextant::firmware::signature_list::SignatureDatabase;
use sextant::trust::{SealedFile, Source, TrustStore};
use sextant::verify::{SignedRoot, cms};
use std::fs;
use std::path::Path;
use std::process::Command;
use support::keys::{self, Authority, Key, Recipe};
use support::pkcs7::{Digest, SignedData, SignerInfo};
use tempfile::TempDir;

fn root_hash() -> RootHash {
    RootHash::from_hex(&"1e".repeat(32)).unwrap()
}

/// What a machine that trusts `authorities` says: nothing, or token and sentence.
fn verdict(der: &[u8], authorities: &[&Authority]) -> String {
    let offer = |authority: &&Authority| {
        SealedFile { path: "signer.crt".to_owned(), content: Ok(authority.pem()) }.offer(Source::File)
    };
    let trust = TrustStore::decide(authorities.iter().map(offer).collect(), &SignatureDatabase::default());
    let claim = SignaturePartition { root_hash: root_hash(), signature: der.into(), certificate_fingerprint: None };
    match SignedRoot::verify(&claim, &trust) {
        Ok(signed) => {
            assert_eq!(signed.signature(), der, "the kernel gets other bytes");
            String::new()
        }
        Err(error) => format!("{}: {error}", error.reason()),
    }
}

/// What systemd says (257, `validate_signature_userspace`).
fn systemd_accepts(der: &[u8], authorities: &[&Authority]) -> bool {
    let mut certificates = Stack::new().unwrap();
    for authority in authorities {
        certificates.push(authority.certificate.clone()).unwrap();
    }
    let store = X509StoreBuilder::new().unwrap().build();
    let content = root_hash().to_string();
    let flags = Pkcs7Flags::NOINTERN | Pkcs7Flags::NOVERIFY;
    let pkcs7 = Pkcs7::from_der(der).unwrap();
    pkcs7.verify(&certificates, &store, Some(content.as_bytes()), None, flags).is_ok()
}

/// Keys of one signer in a directory with a root hash to be signed.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new(authority: &Authority) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &[u8]| fs::write(directory.path().join(name), content).unwrap();
        write("roothash", root_hash().to_string().as_bytes());
        write("key", &authority.key.private_key_to_pem_pkcs8().unwrap());
        write("crt", &authority.pem());
        Self { directory }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Runs OpenSSL's program, which writes the file `out`; `None` where it can't.
    fn openssl(&self, arguments: &[&str]) -> Option<Vec<u8>> {
        let out = self.path().join("out");
        let _ = fs::remove_file(&out);
        let output = Command::new("openssl").args(arguments).current_dir(self.path()).output().unwrap();
        output.status.success().then(|| fs::read(out).unwrap())
    }

    fn sign(&self, arguments: &str) -> Vec<u8> {
        const COMMON: &str = "-sign -binary -outform DER -in roothash -inkey key -signer crt -out out";
        let mut words = arguments.split(' ');
        let command = words.next();
        let arguments: Vec<_> = command.into_iter().chain(COMMON.split(' ')).chain(words).collect();
        self.openssl(&arguments).unwrap_or_else(|| panic!("{arguments:?}"))
    }
}

fn signers() -> [(&'static str, &'static Authority); 5] {
    [
        ("RSA-2048", keys::rsa("Vendor")),
        ("RSA-3072", keys::self_signed("Vendor 3072", Key::Rsa(3072))),
        ("P-256", keys::ec("Vendor")),
        ("P-384", keys::self_signed("Vendor P-384", Key::P384)),
        ("P-521", keys::self_signed("Vendor P-521", Key::P521)),
    ]
}

pub(crate) fn whatever_openssl_signs_in_der_is_accepted() {
    let kinds = [
        "cms",
        "cms -noattr",
        // As the kernel's scripts/sign-file -p.
        "cms -noattr -nocerts -nosmimecap",
        "cms -nocerts -nosmimecap",
        "cms -cades",
        "cms -nodetach",
        "cms -nodetach -noattr",
        "cms -md sha384",
        "cms -noattr -md sha512",
        "smime",
        "smime -noattr",
        "smime -nocerts",
        "smime -noattr -nocerts -md sha384",
        "smime -md sha512",
        "smime -nodetach -noattr",
    ];
    for (key, authority) in signers() {
        let place = Place::new(authority);
        for kind in kinds {
            let der = place.sign(kind);
            assert_eq!(verdict(&der, &[authority]), "", "{key}: {kind}");
            assert!(systemd_accepts(&der, &[authority]), "{key}: {kind}");
            assert!(verdict(&der, &[keys::rsa("Stranger")]).starts_with("unknown-signer: "), "{key}: {kind}");
        }
    }
}

pub(crate) fn two_signers_of_different_kinds_sign_together() {
    let [first, second] = [keys::rsa("Vendor"), keys::ec("Second")];
    let place = Place::new(first);
    fs::write(place.path().join("key2"), second.key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    fs::write(place.path().join("crt2"), second.pem()).unwrap();
    for kind in ["cms", "cms -noattr", "smime", "smime -noattr -md sha384"] {
        let common = "-sign -binary -outform DER -in roothash -inkey key -signer crt -inkey key2 -signer crt2 -out out";
        let arguments: Vec<_> = kind.split(' ').chain(common.split(' ')).collect();
        let der = place.openssl(&arguments).unwrap();
        assert_eq!(verdict(&der, &[first, second]), "", "{kind}");
        assert!(verdict(&der, &[first]).starts_with("unknown-signer: signer \"CN=Second\" "), "{kind}");
    }
    // Each adds a signature to what the other made.
    fs::write(place.path().join("first"), place.sign("cms")).unwrap();
    let again = "cms -resign -inform DER -in first -inkey key2 -signer crt2 -outform DER -out out";
    let der = place.openssl(&again.split(' ').collect::<Vec<_>>()).unwrap();
    assert_eq!(verdict(&der, &[first, second]), "");
}

/// A token or a service computes the signature value; a client puts the structure around it.
pub(crate) fn a_signature_value_from_elsewhere_is_put_into_a_structure() {
    for (key, authority) in signers() {
        let place = Place::new(authority);
        let value = place.openssl(&["dgst", "-sha256", "-sign", "key", "-out", "out", "roothash"]).unwrap();
        let signer = || SignerInfo::new(authority).digest(Digest::Sha256);
        let data = || SignedData::new(root_hash().to_string()).signer(signer().value(value.clone()));
        assert_eq!(verdict(&data().build(), &[authority]), "", "{key}");
        assert_eq!(verdict(&data().certificate(authority).build(), &[authority]), "", "{key}");
        let attributes = SignedData::new(root_hash().to_string()).signer(signer().attributes()).build();
        assert_eq!(verdict(&attributes, &[authority]), "", "{key}");
    }
}

pub(crate) fn other_forms_are_refused_with_a_sentence_that_says_what_to_do() {
    for (key, authority) in signers() {
        let place = Place::new(authority);
        let refused = |kind: &str, starts: &str| {
            let said = verdict(&place.sign(kind), &[authority]);
            assert!(said.starts_with(starts), "{key}: {kind}: {said}");
        };
        refused("cms -stream", "bad-signature: the signature is not a PKCS#7 structure in DER: ");
        refused("cms -keyid -noattr", "bad-signature: a signer is named by the identifier of its key");
        refused("cms -md sha1", "weak-signature: the digest SHA-1 ");
        refused("smime -md sha224 -noattr", "weak-signature: the digest SHA-224 ");
        refused("cms -econtent_type pkcs7-encryptedData", "bad-signature: the signature covers something else");
        if key.starts_with("RSA") {
            refused("cms -keyopt rsa_padding_mode:pss", "weak-signature: the algorithm RSA-PSS ");
        }
    }
}

pub(crate) fn a_signature_value_has_one_form() {
    let [rsa, ec] = [keys::rsa("Vendor"), keys::ec("Vendor")];
    let with = |authority: &'static Authority, change: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        let plain = SignedData::new(root_hash().to_string()).signer(SignerInfo::new(authority)).build();
        let value = cms::parse(&plain).unwrap().signers[0].value.to_vec();
        let changed = SignerInfo::new(authority).value(change(value));
        verdict(&SignedData::new(root_hash().to_string()).signer(changed).build(), &[authority])
    };
    let refused = |said: &str, words: &str| {
        assert!(said.starts_with("bad-signature: the signature by ") && said.ends_with(words), "{said}");
    };
    assert_eq!(with(rsa, &|value| value), "");
    refused(&with(rsa, &|value| [&[0], value.as_slice()].concat()), "is not as long as the RSA key");
    refused(&with(rsa, &|value| value[1..].to_vec()), "is not as long as the RSA key");
    refused(&with(rsa, &|value| vec![0xff; value.len()]), &format!("does not fit the root hash {}", root_hash()));
    assert_eq!(with(ec, &|value| value), "");
    let der = "is not an ECDSA signature in DER";
    refused(&with(ec, &|value| [value.as_slice(), &[0]].concat()), der);
    refused(&with(ec, &|value| [&[0x30, 0x81, value[1]], &value[2..]].concat()), der);
    refused(&with(ec, &|value| [&[0x30, value[1] + 1, 2, value[3] + 1, 0], &value[4..]].concat()), der);
    refused(&with(ec, &|_| vec![0x30, 6, 2, 1, 0xff, 2, 1, 1]), der);
    refused(&with(ec, &|_| vec![0x30, 3, 2, 1, 1]), der);
    refused(&with(ec, &|_| Vec::new()), der);
}

/// OpenSSL takes the first certificate that fits by its own comparison, which ignores case and kinds of strings.
pub(crate) fn the_certificate_that_systemd_would_take_decides() {
    let vendor = keys::rsa("Vendor");
    let impostor = keys::impostor(vendor);
    let der = SignedData::new(root_hash().to_string()).signer(SignerInfo::new(vendor)).build();
    assert_eq!(verdict(&der, &[vendor, impostor]), "");
    assert!(verdict(&der, &[impostor, vendor]).starts_with("bad-signature: "));
    for order in [[vendor, impostor], [impostor, vendor]] {
        assert_eq!(systemd_accepts(&der, &order), verdict(&der, &order).is_empty());
    }
    let shouting = keys::cached("shouting", || {
        let serial = vendor.certificate.serial_number().to_bn().unwrap().to_vec();
        Recipe::new("VENDOR").serial(&serial).make()
    });
    for order in [[vendor, shouting], [shouting, vendor]] {
        assert_eq!(systemd_accepts(&der, &order), verdict(&der, &order).is_empty());
    }
    assert!(!systemd_accepts(&der, &[shouting, vendor]));
}
