//! Throw-away keys and certificates.

use crate::der;
use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::sha::sha256;
use openssl::x509::extension::{BasicConstraints, SubjectKeyIdentifier};
use openssl::x509::{X509, X509Name, X509Ref};
use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};

/// The kind of a key pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    /// RSA of so many bits.
    Rsa(u32),
    /// ECDSA on NIST P-256.
    P256,
    /// ECDSA on NIST P-384.
    P384,
    /// ECDSA on NIST P-521.
    P521,
    /// Ed25519.
    Ed25519,
}

impl Key {
    fn generate(self) -> PKey<Private> {
        let curve = |nid| {
            let group = EcGroup::from_curve_name(nid).unwrap();
            PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
        };
        match self {
            Self::Rsa(bits) => PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap(),
            Self::P256 => curve(Nid::X9_62_PRIME256V1),
            Self::P384 => curve(Nid::SECP384R1),
            Self::P521 => curve(Nid::SECP521R1),
            Self::Ed25519 => PKey::generate_ed25519().unwrap(),
        }
    }
}

/// A private key and its certificate.
pub struct Authority {
    /// The key.
    pub key: PKey<Private>,
    /// The certificate.
    pub certificate: X509,
}

impl Authority {
    /// For `sextant_cli::build`.
    pub fn signer(&self) -> ddi::write::Signer<'_> {
        ddi::write::Signer { key: &self.key, certificate: &self.certificate }
    }

    /// The certificate as DER.
    pub fn der(&self) -> Vec<u8> {
        self.certificate.to_der().unwrap()
    }

    /// The certificate as PEM.
    pub fn pem(&self) -> Vec<u8> {
        self.certificate.to_pem().unwrap()
    }

    /// SHA-256 of the DER, lower-case hexadecimal.
    pub fn fingerprint(&self) -> String {
        ddi::write::fingerprint(&self.certificate).unwrap()
    }

    /// The serial number as the report has it: the bytes of the DER encoding in hexadecimal.
    #[must_use]
    pub fn serial(&self) -> String {
        let serial = self.certificate.serial_number().to_bn().unwrap().to_vec();
        // A number that is not negative begins with a zero bit.
        let sign = if serial.first().is_some_and(|byte| *byte >= 0x80) { "00" } else { "" };
        format!("{sign}{}", ddi::bytes::hex(&serial))
    }

    /// When the certificate expires, in seconds since 1970.
    pub fn not_after(&self) -> i64 {
        let since = Asn1Time::from_unix(0).unwrap().diff(self.certificate.not_after()).unwrap();
        i64::from(since.days) * 86_400 + i64::from(since.secs)
    }

    /// Digest of the part of the certificate that its issuer signed, as dbx lists it.
    pub fn tbs_digest(&self, digest: MessageDigest) -> Vec<u8> {
        let der = self.der();
        // Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signatureValue }
        let (certificate, _) = der::split(&der);
        let (_, tbs) = der::split(certificate);
        openssl::hash::hash(digest, tbs).unwrap().to_vec()
    }
}

/// How a certificate is made. `Recipe::new(name)` is a self-signed RSA-2048 certificate that is valid now.
pub struct Recipe<'a> {
    name: &'a str,
    key: Key,
    issuer: Option<&'a Authority>,
    is_ca: bool,
    days: (i64, i64),
    digest: MessageDigest,
    serial: Vec<u8>,
}

impl<'a> Recipe<'a> {
    /// A certificate with this common name.
    pub fn new(name: &'a str) -> Self {
        // One serial number for each name, so that issuer and serial number tell certificates apart.
        let serial = sha256(name.as_bytes())[..8].iter().map(|byte| byte & 0x7f | 1).collect();
        let (key, digest) = (Key::Rsa(2048), MessageDigest::sha256());
        Self { name, key, issuer: None, is_ca: false, days: (-1, 3650), digest, serial }
    }

    /// Another kind of key.
    pub fn key(self, key: Key) -> Self {
        Self { key, ..self }
    }

    /// Issued by another authority instead of itself.
    pub fn issuer(self, issuer: &'a Authority) -> Self {
        Self { issuer: Some(issuer), ..self }
    }

    /// Allowed to issue certificates.
    pub fn ca(self) -> Self {
        Self { is_ca: true, ..self }
    }

    /// Valid from and to so many days from now.
    pub fn valid(self, from: i64, to: i64) -> Self {
        Self { days: (from, to), ..self }
    }

    /// The digest of the certificate's own signature.
    pub fn digest(self, digest: MessageDigest) -> Self {
        Self { digest, ..self }
    }

    /// Another serial number, big-endian.
    pub fn serial(self, serial: &[u8]) -> Self {
        Self { serial: serial.to_vec(), ..self }
    }

    /// Makes it, with a new key each time.
    pub fn make(&self) -> Authority {
        let key = self.key.generate();
        let name = common_name(self.name);
        let issuer = self.issuer.map(|issuer| issuer.certificate.subject_name());
        let mut builder = X509::builder().unwrap();
        builder.set_version(2).unwrap();
        builder.set_subject_name(&name).unwrap();
        builder.set_issuer_name(issuer.unwrap_or(&name)).unwrap();
        builder.set_pubkey(&key).unwrap();
        let serial = Asn1Integer::from_bn(&BigNum::from_slice(&self.serial).unwrap()).unwrap();
        builder.set_serial_number(&serial).unwrap();
        builder.set_not_before(&days_from_now(self.days.0)).unwrap();
        builder.set_not_after(&days_from_now(self.days.1)).unwrap();
        if self.is_ca {
            builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
        }
        let context = builder.x509v3_context(self.issuer.map(|issuer| -> &X509Ref { &issuer.certificate }), None);
        let key_id = SubjectKeyIdentifier::new().build(&context).unwrap();
        builder.append_extension(key_id).unwrap();
        let signing_key = self.issuer.map_or(&key, |issuer| &issuer.key);
        let digest =
            if self.key == Key::Ed25519 && self.issuer.is_none() { MessageDigest::null() } else { self.digest };
        builder.sign(signing_key, digest).unwrap();
        Authority { key, certificate: builder.build() }
    }
}

fn common_name(text: &str) -> X509Name {
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_text("CN", text).unwrap();
    name.build()
}

fn days_from_now(days: i64) -> Asn1Time {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    Asn1Time::from_unix(i64::try_from(now).unwrap() + days * 86_400).unwrap()
}

/// The authority of this label: the same one each time within a process, for making RSA keys is slow.
pub fn cached(label: &str, make: impl FnOnce() -> Authority) -> &'static Authority {
    static CACHE: OnceLock<Mutex<HashMap<String, &'static Authority>>> = OnceLock::new();
    let mut cache = CACHE.get_or_init(Mutex::default).lock().unwrap();
    if let Some(authority) = cache.get(label) {
        return authority;
    }
    let authority: &'static Authority = Box::leak(Box::new(make()));
    cache.insert(label.to_owned(), authority);
    authority
}

/// Self-signed with RSA 2048, valid now.
pub fn rsa(name: &str) -> &'static Authority {
    self_signed(name, Key::Rsa(2048))
}

/// Self-signed with ECDSA on P-256, valid now. Made in no time.
pub fn ec(name: &str) -> &'static Authority {
    self_signed(name, Key::P256)
}

/// Self-signed, valid now.
pub fn self_signed(name: &str, key: Key) -> &'static Authority {
    cached(&format!("{name} {key:?}"), || Recipe::new(name).key(key).make())
}

/// Self-signed with RSA 2048, expired a year ago.
pub fn expired(name: &str) -> &'static Authority {
    cached(&format!("{name} expired"), || Recipe::new(name).valid(-730, -365).make())
}

/// May issue certificates.
pub fn ca(name: &str) -> &'static Authority {
    cached(&format!("{name} ca"), || Recipe::new(name).ca().make())
}

/// RSA 2048, issued by `ca`.
pub fn leaf(name: &str, ca: &Authority) -> &'static Authority {
    cached(&format!("{name} leaf of {}", ca.fingerprint()), || Recipe::new(name).issuer(ca).make())
}

/// Another key under the name and serial number of `victim`.
pub fn impostor(victim: &Authority) -> &'static Authority {
    cached(&format!("impostor of {}", victim.fingerprint()), || {
        let subject = victim.certificate.subject_name();
        let name = subject.entries_by_nid(Nid::COMMONNAME).next().unwrap().data().to_string().unwrap();
        let serial = victim.certificate.serial_number().to_bn().unwrap().to_vec();
        Recipe::new(&name).serial(&serial).make()
    })
}
