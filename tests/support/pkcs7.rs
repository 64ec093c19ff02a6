//! PKCS#7 `SignedData` (RFC 2315, RFC 5652) written by hand: well-formed, unusual and wrong.

use super::der::{explicit, integer, null, octets, oid, sequence, set, set_content, tlv};
use super::keys::Authority;
use openssl::hash::MessageDigest;
use openssl::pkey::Id;
use openssl::rsa::Padding;
use openssl::sign::{RsaPssSaltlen, Signer as Raw};
use openssl::x509::X509;

/// Plain data.
pub const DATA: &str = "1.2.840.113549.1.7.1";
/// Signed data.
pub const SIGNED_DATA: &str = "1.2.840.113549.1.7.2";
/// The attribute that says what is signed.
pub const CONTENT_TYPE: &str = "1.2.840.113549.1.9.3";
/// The attribute with the digest of what is signed.
pub const MESSAGE_DIGEST: &str = "1.2.840.113549.1.9.4";
const SIGNING_TIME: &str = "1.2.840.113549.1.9.5";
const RSA_ENCRYPTION: &str = "1.2.840.113549.1.1.1";
const RSA_PSS: &str = "1.2.840.113549.1.1.10";
const MGF1: &str = "1.2.840.113549.1.1.8";

/// A digest algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digest {
    Md5,
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

impl Digest {
    /// For OpenSSL.
    pub fn openssl(self) -> MessageDigest {
        match self {
            Self::Md5 => MessageDigest::md5(),
            Self::Sha1 => MessageDigest::sha1(),
            Self::Sha224 => MessageDigest::sha224(),
            Self::Sha256 => MessageDigest::sha256(),
            Self::Sha384 => MessageDigest::sha384(),
            Self::Sha512 => MessageDigest::sha512(),
        }
    }

    fn oid(self) -> &'static str {
        match self {
            Self::Md5 => "1.2.840.113549.2.5",
            Self::Sha1 => "1.3.14.3.2.26",
            Self::Sha224 => "2.16.840.1.101.3.4.2.4",
            Self::Sha256 => "2.16.840.1.101.3.4.2.1",
            Self::Sha384 => "2.16.840.1.101.3.4.2.2",
            Self::Sha512 => "2.16.840.1.101.3.4.2.3",
        }
    }

    fn ecdsa_oid(self) -> &'static str {
        match self {
            Self::Md5 | Self::Sha1 => "1.2.840.10045.4.1",
            Self::Sha224 => "1.2.840.10045.4.3.1",
            Self::Sha256 => "1.2.840.10045.4.3.2",
            Self::Sha384 => "1.2.840.10045.4.3.3",
            Self::Sha512 => "1.2.840.10045.4.3.4",
        }
    }

    /// Its `AlgorithmIdentifier`.
    pub fn algorithm(self) -> Vec<u8> {
        sequence(&[oid(self.oid()), null()])
    }
}

/// How a signer is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identify {
    /// By issuer and serial number, as PKCS#7 knows it.
    IssuerAndSerial,
    /// By the identifier of the key (CMS only).
    SubjectKeyId,
}

/// A signed attribute with one value.
pub fn attribute(kind: &str, value: Vec<u8>) -> Vec<u8> {
    sequence(&[oid(kind), set(&[value])])
}

/// Content type, time and message digest: the attributes that OpenSSL writes, in this order.
pub fn usual_attributes(digest: Digest, content: &[u8]) -> [Vec<u8>; 3] {
    let digest = openssl::hash::hash(digest.openssl(), content).unwrap();
    [
        attribute(CONTENT_TYPE, oid(DATA)),
        attribute(SIGNING_TIME, tlv(0x17, b"250101000000Z")),
        attribute(MESSAGE_DIGEST, octets(&digest)),
    ]
}

/// One signer of a [`SignedData`].
#[derive(Clone)]
pub struct SignerInfo<'a> {
    authority: &'a Authority,
    named_as: &'a Authority,
    digest: Digest,
    claimed_digest: Digest,
    pss: bool,
    attributes: bool,
    identify: Identify,
    algorithm: Option<Vec<u8>>,
    signed_content: Option<Vec<u8>>,
    signed_attributes: Option<Vec<Vec<u8>>>,
    stored_attributes: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    damaged: bool,
}

impl<'a> SignerInfo<'a> {
    /// SHA-256, no attributes, PKCS#1 v1.5 or ECDSA depending on the key: what `systemd-repart` makes.
    pub fn new(authority: &'a Authority) -> Self {
        Self {
            authority,
            named_as: authority,
            digest: Digest::Sha256,
            claimed_digest: Digest::Sha256,
            pss: false,
            attributes: false,
            identify: Identify::IssuerAndSerial,
            algorithm: None,
            signed_content: None,
            signed_attributes: None,
            stored_attributes: None,
            value: None,
            damaged: false,
        }
    }

    /// Another digest algorithm.
    pub fn digest(self, digest: Digest) -> Self {
        Self { digest, claimed_digest: digest, ..self }
    }

    /// Says another digest algorithm than it uses.
    pub fn claim_digest(self, claimed_digest: Digest) -> Self {
        Self { claimed_digest, ..self }
    }

    /// RSASSA-PSS.
    pub fn pss(self) -> Self {
        Self { pss: true, ..self }
    }

    /// With signed attributes: content type, message digest, time.
    pub fn attributes(self) -> Self {
        Self { attributes: true, ..self }
    }

    /// Names the signer in this way.
    pub fn identify(self, identify: Identify) -> Self {
        Self { identify, ..self }
    }

    /// Names somebody else as the signer.
    pub fn named_as(self, named_as: &'a Authority) -> Self {
        Self { named_as, ..self }
    }

    /// The DER of the signature's `AlgorithmIdentifier` instead of the right one.
    pub fn algorithm(self, der: Vec<u8>) -> Self {
        Self { algorithm: Some(der), ..self }
    }

    /// Signs something else than the content.
    pub fn over(self, content: &[u8]) -> Self {
        Self { signed_content: Some(content.to_vec()), ..self }
    }

    /// Signs these attributes, encoded already, instead of the usual ones.
    pub fn signing_attributes(self, attributes: &[Vec<u8>]) -> Self {
        Self { signed_attributes: Some(attributes.to_vec()), ..self.attributes() }
    }

    /// Stores other bytes than the content of the signed set.
    pub fn storing_attributes(self, content: Vec<u8>) -> Self {
        Self { stored_attributes: Some(content), ..self.attributes() }
    }

    /// A signature value that was made elsewhere.
    pub fn value(self, value: Vec<u8>) -> Self {
        Self { value: Some(value), ..self }
    }

    /// Flips a bit of the signature.
    pub fn damaged(self) -> Self {
        Self { damaged: true, ..self }
    }

    fn encode(&self, content: &[u8]) -> Vec<u8> {
        let content = self.signed_content.as_deref().unwrap_or(content);
        let attributes = self.attributes.then(|| {
            let usual = || usual_attributes(self.digest, content).to_vec();
            set_content(&self.signed_attributes.clone().unwrap_or_else(usual))
        });
        // What is signed is the SET, although it is stored under another tag (RFC 5652, section 5.4).
        let signed = attributes.as_ref().map_or_else(|| content.to_vec(), |attributes| tlv(0x31, attributes));
        let mut signature = self.value.clone().unwrap_or_else(|| self.raw_signature(&signed));
        let attributes = self.stored_attributes.clone().or(attributes);
        if self.damaged {
            let last = signature.len() - 1;
            signature[last] ^= 1;
        }
        let certificate = &self.named_as.certificate;
        let (version, sid) = match self.identify {
            Identify::IssuerAndSerial => {
                let issuer = certificate.issuer_name().to_der().unwrap();
                let serial = integer(&certificate.serial_number().to_bn().unwrap().to_vec());
                (1, sequence(&[issuer, serial]))
            }
            Identify::SubjectKeyId => (3, tlv(0x80, certificate.subject_key_id().unwrap().as_slice())),
        };
        sequence(&[
            integer(&[version]),
            sid,
            self.claimed_digest.algorithm(),
            attributes.map(|attributes| explicit(0, &attributes)).unwrap_or_default(),
            self.algorithm.clone().unwrap_or_else(|| self.signature_algorithm()),
            octets(&signature),
        ])
    }

    fn raw_signature(&self, signed: &[u8]) -> Vec<u8> {
        let key = &self.authority.key;
        if key.id() == Id::ED25519 {
            return Raw::new_without_digest(key).unwrap().sign_oneshot_to_vec(signed).unwrap();
        }
        let mut raw = Raw::new(self.digest.openssl(), key).unwrap();
        if self.pss {
            raw.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
            raw.set_rsa_mgf1_md(self.digest.openssl()).unwrap();
            raw.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH).unwrap();
        }
        raw.sign_oneshot_to_vec(signed).unwrap()
    }

    fn signature_algorithm(&self) -> Vec<u8> {
        match self.authority.key.id() {
            Id::EC => sequence(&[oid(self.claimed_digest.ecdsa_oid())]),
            Id::ED25519 => sequence(&[oid("1.3.101.112")]),
            _ if self.pss => {
                let digest = self.claimed_digest.algorithm();
                let salt = u8::try_from(self.digest.openssl().size()).unwrap();
                let mask = sequence(&[oid(MGF1), digest.clone()]);
                let parameters = [explicit(0, &digest), explicit(1, &mask), explicit(2, &integer(&[salt]))];
                sequence(&[oid(RSA_PSS), sequence(&parameters)])
            }
            _ => sequence(&[oid(RSA_ENCRYPTION), null()]),
        }
    }
}

/// A signature to be.
#[derive(Clone)]
pub struct SignedData<'a> {
    content: Vec<u8>,
    attached: Option<Vec<u8>>,
    digests: Option<Vec<Vec<u8>>>,
    signers: Vec<SignerInfo<'a>>,
    certificates: Vec<X509>,
    trailing: Vec<u8>,
}

impl<'a> SignedData<'a> {
    /// Over `content`, detached, nobody having signed it yet.
    pub fn new(content: impl AsRef<[u8]>) -> Self {
        let content = content.as_ref().to_vec();
        let (signers, certificates, trailing) = (Vec::new(), Vec::new(), Vec::new());
        Self { content, attached: None, digests: None, signers, certificates, trailing }
    }

    /// Adds a signer.
    pub fn signer(mut self, signer: SignerInfo<'a>) -> Self {
        self.signers.push(signer);
        self
    }

    /// Carries the content along.
    pub fn attached(self) -> Self {
        let content = self.content.clone();
        self.attaching(&content)
    }

    /// Carries any content along.
    pub fn attaching(self, content: &[u8]) -> Self {
        Self { attached: Some(content.to_vec()), ..self }
    }

    /// Announces these digests, encoded already, instead of those of the signers.
    pub fn announcing(self, digests: &[Vec<u8>]) -> Self {
        Self { digests: Some(digests.to_vec()), ..self }
    }

    /// Embeds a certificate.
    pub fn certificate(mut self, authority: &Authority) -> Self {
        self.certificates.push(authority.certificate.clone());
        self
    }

    /// Appends bytes behind the end of the structure.
    pub fn trailing(self, bytes: &[u8]) -> Self {
        Self { trailing: bytes.to_vec(), ..self }
    }

    /// The DER.
    pub fn build(&self) -> Vec<u8> {
        let mut digests: Vec<_> = self.signers.iter().map(|signer| signer.claimed_digest.algorithm()).collect();
        digests.sort();
        digests.dedup();
        let digests = self.digests.clone().unwrap_or(digests);
        let mut encapsulated = vec![oid(DATA)];
        encapsulated.extend(self.attached.as_ref().map(|content| explicit(0, &octets(content))));
        let certificates: Vec<_> = self.certificates.iter().map(|x509| x509.to_der().unwrap()).collect();
        let by_key_id = self.signers.iter().any(|signer| signer.identify == Identify::SubjectKeyId);
        let signers: Vec<_> = self.signers.iter().map(|signer| signer.encode(&self.content)).collect();
        let signed_data = sequence(&[
            integer(&[if by_key_id { 3 } else { 1 }]),
            set(&digests),
            sequence(&encapsulated),
            if certificates.is_empty() { Vec::new() } else { explicit(0, &set_content(&certificates)) },
            set(&signers),
        ]);
        let mut out = sequence(&[oid(SIGNED_DATA), explicit(0, &signed_data)]);
        out.extend(&self.trailing);
        out
    }
}

/// The usual signature by one authority, without embedded certificate.
pub fn plain(authority: &Authority, content: impl AsRef<[u8]>) -> Vec<u8> {
    SignedData::new(content).signer(SignerInfo::new(authority)).build()
}
