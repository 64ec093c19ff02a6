//! Parser of signatures: CMS signed data (RFC 5652, section 5), of which PKCS#7 (RFC 2315, section 9) is a subset.
//!
//! [`parse`] turns hostile bytes into plain data of bounded size. It does not recurse, and does not use OpenSSL, which
//! builds a chain of filters from such a structure and recurses through it. All bytes are covered: the parsed data,
//! encoded as DER again, must equal the input. [`super::SignedRoot`] later decides about trust, from this data alone.
//!
//! Parts that no signature covers are refused, or returned for comparison: revocation lists, unsigned attributes,
//! embedded content. An attacker could put arbitrary bytes there, in which libblkid might find the magic number of a
//! file system.
// Applies to all submodules.
#![deny(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

mod attribute_kind;
mod attributes;
mod error;
mod name;

pub use attribute_kind::AttributeKind;
pub use attributes::{Attribute, MAX_ATTRIBUTES};
pub use ddi::octets::Octets;
pub use error::CmsError;
pub use name::Name;

use error::at;

use super::der::{
    BIT_STRING, CONTEXT_0, CONTEXT_1, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, Reader, SEQUENCE, SET,
    check_identifier, check_integer, check_nested, element,
};
use ddi::text::Text;
use serde::{Deserialize, Serialize};

/// Maximum size of a signature in bytes: that of a key that the kernel accepts from user space, which is how dm-verity
/// gets a signature (Linux 6.12, `user_preparse()` in `security/keys/user_defined.c`). A signer with an RSA certificate
/// of 4096 bits takes less than 3 KiB.
pub const MAX_SIZE: usize = 32_767;
/// Maximum number of signers. An extension has one, or two while keys are replaced.
pub const MAX_SIGNERS: usize = 16;
/// Maximum number of embedded certificates.
pub const MAX_CERTIFICATES: usize = 16;
/// Maximum length of a serial number in bytes. RFC 5280, section 4.1.2.2, allows 20.
const MAX_SERIAL: usize = 64;
/// Maximum length of an algorithm identifier in bytes. RSA-PSS with all of its parameters has 67.
const MAX_ALGORITHM: usize = 256;
/// Maximum length of a signature value in bytes: that of RSA with 16384 bits, the maximum of OpenSSL.
const MAX_VALUE: usize = 2048;

/// `1.2.840.113549.1.7.2`
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
/// `1.2.840.113549.1.7.1`
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
/// The version of signed data with plain data and signers identified by issuer and serial number, and of these signers
/// (RFC 5652, sections 5.1 and 5.3).
const VERSION: &[u8] = &[1];
/// A complete NULL element.
const NO_PARAMETERS: &[u8] = &[0x05, 0x00];
/// `[0]`, primitive: identifies a signer by its key identifier.
const KEY_IDENTIFIER: u8 = 0x80;

/// An accepted digest algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StrongDigest {
    /// SHA-256
    Sha256,
    /// SHA-384
    Sha384,
    /// SHA-512
    Sha512,
}

/// A digest algorithm named in a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Digest {
    /// An accepted one.
    Strong(StrongDigest),
    /// Any other one, by name or number.
    Other(Text),
}

/// A signature algorithm named in a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA PKCS#1 v1.5
    Rsa,
    /// ECDSA
    Ecdsa,
    /// Any other one, by name or number.
    Other(Text),
}

/// An `AlgorithmIdentifier` (RFC 5280, section 4.1.1.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlgorithmIdentifier {
    /// Content of the object identifier.
    pub identifier: Octets,
    /// The element of the parameters, if there is one.
    pub parameters: Option<Octets>,
}

/// A signer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignerInfo {
    /// The issuer of the signer's certificate.
    pub issuer: Name,
    /// Content of the certificate's serial number.
    pub serial: Octets,
    /// Digest algorithm.
    pub digest: AlgorithmIdentifier,
    /// Signed attributes in DER order. If there are any, the signature covers them instead of the content.
    pub attributes: Option<Vec<Attribute>>,
    /// Signature algorithm.
    pub algorithm: AlgorithmIdentifier,
    /// Signature value.
    pub value: Octets,
}

/// A parsed signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedData {
    /// Digest algorithms that are announced for all signers.
    pub digests: Vec<AlgorithmIdentifier>,
    /// Embedded content. Verifiers ignore it and use the root hash.
    pub content: Option<Octets>,
    /// DER of the embedded certificates. They prove nothing and serve to name unknown signers.
    pub certificates: Vec<Octets>,
    /// Signers, at least one.
    pub signers: Vec<SignerInfo>,
}

/// Parses a signature.
///
/// # Errors
/// [`CmsError`] for the first fault.
pub fn parse(der: &[u8]) -> Result<SignedData, CmsError> {
    if der.len() > MAX_SIZE {
        return Err(CmsError::TooLarge { found: der.len() });
    }
    let outside = at("the outer structure");
    let mut outer = Reader::new(der);
    let mut content_info = outer.enter(SEQUENCE).map_err(&outside)?;
    outer.finish().map_err(&outside)?;
    if content_info.expect(OBJECT_IDENTIFIER).map_err(&outside)?.content != SIGNED_DATA {
        return Err(CmsError::NotSignedData);
    }
    let explicit = content_info.expect(CONTEXT_0).map_err(&outside)?;
    content_info.finish().map_err(&outside)?;
    let mut signed_data = Reader::new(Reader::new(explicit.content).only(SEQUENCE).map_err(&outside)?);

    let version = signed_data.expect(INTEGER).map_err(at("a version"))?.content;
    let announced = signed_data.enter(SET).map_err(at("the digest algorithms"))?;
    let digests = list(announced, "digest algorithms", MAX_SIGNERS, algorithm_identifier)?;
    let content = encapsulated(signed_data.enter(SEQUENCE).map_err(at("the content"))?)?;
    let certificates = match signed_data.optional(CONTEXT_0).map_err(at("the certificates"))? {
        Some(set) if set.content.is_empty() => return Err(CmsError::Unaccounted),
        Some(set) => list(Reader::new(set.content), "certificates", MAX_CERTIFICATES, certificate)?,
        None => Vec::new(),
    };
    if signed_data.optional(CONTEXT_1).map_err(at("the revocation lists"))?.is_some() {
        return Err(CmsError::Baggage("a list of revoked certificates"));
    }
    let infos = signed_data.enter(SET).map_err(at("the signers"))?;
    signed_data.finish().map_err(&outside)?;
    let signers = list(infos, "signers", MAX_SIGNERS, signer_info)?;
    // Checked last, because another version results from signers that are identified in another way.
    if version != VERSION {
        return Err(CmsError::Version("signed data"));
    }

    let signed_data = SignedData { digests, content, certificates, signers };
    signed_data.check()?;
    if signed_data.to_der() == der { Ok(signed_data) } else { Err(CmsError::Unaccounted) }
}

/// Reads a list of at most `limit` items.
fn list<'a, T>(
    mut reader: Reader<'a>,
    what: &'static str,
    limit: usize,
    read: fn(&mut Reader<'a>) -> Result<T, CmsError>,
) -> Result<Vec<T>, CmsError> {
    let mut found = Vec::new();
    while !reader.is_empty() {
        if found.len() == limit {
            return Err(CmsError::TooMany { what, limit });
        }
        found.push(read(&mut reader)?);
    }
    Ok(found)
}

/// Reads the embedded content.
fn encapsulated(mut reader: Reader<'_>) -> Result<Option<Octets>, CmsError> {
    let place = at("the content");
    if reader.expect(OBJECT_IDENTIFIER).map_err(&place)?.content != DATA {
        return Err(CmsError::NotData);
    }
    let explicit = reader.optional(CONTEXT_0).map_err(&place)?;
    reader.finish().map_err(&place)?;
    let content = explicit.map(|explicit| Reader::new(explicit.content).only(OCTET_STRING)).transpose();
    Ok(content.map_err(place)?.map(Octets::from))
}

/// Reads the outer structure of a certificate (RFC 5280, section 4.1). Its content is used only if it equals a known
/// certificate byte for byte.
fn certificate(reader: &mut Reader<'_>) -> Result<Octets, CmsError> {
    let place = at("a certificate");
    let element = reader.expect(SEQUENCE).map_err(&place)?;
    let mut fields = Reader::new(element.content);
    fields.expect(SEQUENCE).map_err(&place)?;
    fields.expect(SEQUENCE).map_err(&place)?;
    fields.expect(BIT_STRING).map_err(&place)?;
    fields.finish().map_err(&place)?;
    Ok(element.whole.into())
}

fn signer_info(reader: &mut Reader<'_>) -> Result<SignerInfo, CmsError> {
    let place = at("a signer");
    let mut info = reader.enter(SEQUENCE).map_err(&place)?;
    // Key identifiers come with version 3. They are the more helpful error.
    let version = info.expect(INTEGER).map_err(at("a version"))?.content;
    if info.optional(KEY_IDENTIFIER).map_err(&place)?.is_some() {
        return Err(CmsError::KeyIdentifier);
    }
    if version != VERSION {
        return Err(CmsError::Version("signer"));
    }
    let mut identifier = info.enter(SEQUENCE).map_err(&place)?;
    let issuer = Name::read(&mut identifier)?;
    let serial = identifier.expect(INTEGER).map_err(at("a serial number"))?.content;
    check_integer(serial).map_err(at("a serial number"))?;
    check_len("serial number", serial, MAX_SERIAL)?;
    identifier.finish().map_err(&place)?;
    let digest = algorithm_identifier(&mut info)?;
    let attributes = info.optional(CONTEXT_0).map_err(at("the signed attributes"))?;
    let attributes = attributes.map(|set| attributes::read(set.content)).transpose()?;
    let algorithm = algorithm_identifier(&mut info)?;
    let value = info.expect(OCTET_STRING).map_err(at("a signature value"))?.content;
    check_len("signature value", value, MAX_VALUE)?;
    if info.optional(CONTEXT_1).map_err(&place)?.is_some() {
        return Err(CmsError::Baggage("unsigned attributes"));
    }
    info.finish().map_err(&place)?;
    let signer = SignerInfo { issuer, serial: serial.into(), digest, attributes, algorithm, value: value.into() };
    attributes::check_protection(&signer)?;
    Ok(signer)
}

fn check_len(what: &'static str, bytes: &[u8], limit: usize) -> Result<(), CmsError> {
    let found = bytes.len();
    if found > limit { Err(CmsError::TooLong { what, found, limit }) } else { Ok(()) }
}

fn algorithm_identifier(reader: &mut Reader<'_>) -> Result<AlgorithmIdentifier, CmsError> {
    let element = reader.expect(SEQUENCE).map_err(at("an algorithm"))?;
    AlgorithmIdentifier::read(element.content)
}

impl AlgorithmIdentifier {
    /// Parses the content of the sequence.
    fn read(content: &[u8]) -> Result<Self, CmsError> {
        let place = at("an algorithm");
        check_len("algorithm identifier", content, MAX_ALGORITHM)?;
        let mut sequence = Reader::new(content);
        let identifier = sequence.expect(OBJECT_IDENTIFIER).map_err(&place)?.content;
        check_identifier(identifier).map_err(&place)?;
        let parameters = if sequence.is_empty() { None } else { Some(sequence.next().map_err(&place)?.whole) };
        sequence.finish().map_err(&place)?;
        check_nested(parameters.unwrap_or_default()).map_err(&place)?;
        Ok(Self { identifier: identifier.into(), parameters: parameters.map(Octets::from) })
    }

    fn to_der(&self) -> Vec<u8> {
        let identifier = element(OBJECT_IDENTIFIER, [&*self.identifier]);
        element(SEQUENCE, [identifier.as_slice(), self.parameters.as_deref().unwrap_or_default()])
    }

    /// Returns whether there are parameters other than NULL. Digests, RSA PKCS#1 v1.5 and ECDSA have none (RFC 5754).
    fn has_parameters(&self) -> bool {
        self.parameters.as_deref().is_some_and(|parameters| parameters != NO_PARAMETERS)
    }

    /// Interprets the identifier as a digest algorithm (NIST Computer Security Objects Register for the SHA-2 family,
    /// RFC 8017 appendix B.1 for the rest).
    #[must_use]
    pub fn digest(&self) -> Digest {
        match &*self.identifier {
            [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, last @ 1..=3] if !self.has_parameters() => {
                Digest::Strong(match last {
                    1 => StrongDigest::Sha256,
                    2 => StrongDigest::Sha384,
                    _ => StrongDigest::Sha512,
                })
            }
            [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 4] => Digest::Other("SHA-224".into()),
            [0x2b, 0x0e, 0x03, 0x02, 0x1a] => Digest::Other("SHA-1".into()),
            [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x05] => Digest::Other("MD5".into()),
            other => Digest::Other(dotted(other)),
        }
    }

    /// Interprets the identifier as a signature algorithm (RFC 8017 appendix C for RSA, RFC 5758 section 3.2 for
    /// ECDSA). A hash in its name is ignored: some signers copy it from the certificate's own signature.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match &*self.identifier {
            [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 1 | 11..=13] if !self.has_parameters() => Algorithm::Rsa,
            [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 2..=4] | [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01]
                if !self.has_parameters() =>
            {
                Algorithm::Ecdsa
            }
            [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 10] => Algorithm::Other("RSA-PSS".into()),
            other => Algorithm::Other(dotted(other)),
        }
    }
}

impl SignerInfo {
    /// Returns the signed message for `content`: the content itself, or the attributes as a SET (RFC 5652, section
    /// 5.4).
    ///
    /// The two cannot be confused. A root hash in hexadecimal is not DER: if its first digit is the tag of a SET, the
    /// second is never the right length.
    #[must_use]
    pub fn message(&self, content: &[u8]) -> Vec<u8> {
        self.attributes.as_ref().map_or_else(|| content.to_vec(), |attributes| attributes::to_der(SET, attributes))
    }

    /// Returns the digest of the content in the signed attributes, `None` without attributes.
    #[must_use]
    pub fn message_digest(&self) -> Option<&[u8]> {
        self.attributes.as_ref().map(|attributes| attributes::message_digest(attributes))
    }

    fn to_der(&self) -> Vec<u8> {
        let version = element(INTEGER, [VERSION]);
        let serial = element(INTEGER, [&*self.serial]);
        let identifier = element(SEQUENCE, [self.issuer.der(), &serial]);
        let digest = self.digest.to_der();
        let attributes = self.attributes.as_ref().map(|attributes| attributes::to_der(CONTEXT_0, attributes));
        let attributes = attributes.unwrap_or_default();
        let algorithm = self.algorithm.to_der();
        let value = element(OCTET_STRING, [&*self.value]);
        element(SEQUENCE, [version.as_slice(), &identifier, &digest, &attributes, &algorithm, &value])
    }
}

impl SignedData {
    /// Encodes the signature as DER, as the kernel expects it.
    #[must_use]
    pub fn to_der(&self) -> Vec<u8> {
        let join = |parts: Vec<Vec<u8>>| parts.concat();
        let version = element(INTEGER, [VERSION]);
        let digests = join(self.digests.iter().map(AlgorithmIdentifier::to_der).collect());
        let digests = element(SET, [digests.as_slice()]);
        let data = element(OBJECT_IDENTIFIER, [DATA]);
        let content = self.content.as_ref().map(|content| {
            let octets = element(OCTET_STRING, [&**content]);
            element(CONTEXT_0, [octets.as_slice()])
        });
        let encapsulated = element(SEQUENCE, [data.as_slice(), content.as_deref().unwrap_or_default()]);
        let certificates = if self.certificates.is_empty() {
            Vec::new()
        } else {
            element(CONTEXT_0, self.certificates.iter().map(|certificate| &**certificate))
        };
        let signers = join(self.signers.iter().map(SignerInfo::to_der).collect());
        let signers = element(SET, [signers.as_slice()]);
        let signed_data = element(SEQUENCE, [version.as_slice(), &digests, &encapsulated, &certificates, &signers]);
        let kind = element(OBJECT_IDENTIFIER, [SIGNED_DATA]);
        let explicit = element(CONTEXT_0, [signed_data.as_slice()]);
        element(SEQUENCE, [kind.as_slice(), &explicit])
    }

    /// Checks the parts together: numbers, order, no duplicates, and announced digests that are used.
    ///
    /// # Errors
    /// [`CmsError`] for the first fault.
    pub(super) fn check(&self) -> Result<(), CmsError> {
        if self.signers.is_empty() {
            return Err(CmsError::NoSigner);
        }
        if self.signers.len() > MAX_SIGNERS {
            return Err(CmsError::TooMany { what: "signers", limit: MAX_SIGNERS });
        }
        if self.digests.len() > MAX_SIGNERS {
            return Err(CmsError::TooMany { what: "digest algorithms", limit: MAX_SIGNERS });
        }
        if self.certificates.len() > MAX_CERTIFICATES {
            return Err(CmsError::TooMany { what: "certificates", limit: MAX_CERTIFICATES });
        }
        if has_duplicates(&self.digests, |one, other| one.identifier == other.identifier) {
            return Err(CmsError::Twice("digest algorithm"));
        }
        if has_duplicates(&self.certificates, |one, other| one == other) {
            return Err(CmsError::Twice("certificate"));
        }
        if has_duplicates(&self.signers, |one, other| one.issuer == other.issuer && one.serial == other.serial) {
            return Err(CmsError::Twice("signer"));
        }
        let names = |digest: &AlgorithmIdentifier, signer: &SignerInfo| signer.digest.identifier == digest.identifier;
        let announced = self.signers.iter().all(|signer| self.digests.iter().any(|digest| names(digest, signer)))
            && self.digests.iter().all(|digest| self.signers.iter().any(|signer| names(digest, signer)));
        if !announced {
            return Err(CmsError::Announced);
        }
        if !self.digests.iter().map(AlgorithmIdentifier::to_der).is_sorted() {
            return Err(CmsError::Order("digest algorithms"));
        }
        // PKCS7_sign() does not sort certificates (OpenSSL 3.0, crypto/pkcs7/pk7_asn1.c), so only those may be
        // unsorted.
        if !self.signers.iter().map(SignerInfo::to_der).is_sorted() {
            return Err(CmsError::Order("signers"));
        }
        Ok(())
    }

    /// Returns the embedded certificate of a signer and the names in it. It is untrusted.
    #[must_use]
    pub fn certificate_of(&self, signer: &SignerInfo) -> Option<(&[u8], CertificateNames)> {
        let mut sent = self.certificates.iter().filter_map(|der| Some((&**der, CertificateNames::read(der)?)));
        sent.find(|(_, names)| names.issuer == signer.issuer && names.serial == signer.serial)
    }
}

/// Returns whether two elements of a short list are the same.
fn has_duplicates<T>(things: &[T], same: impl Fn(&T, &T) -> bool) -> bool {
    things.iter().enumerate().any(|(at, one)| things.iter().skip(at.saturating_add(1)).any(|other| same(one, other)))
}

/// The names in an untrusted certificate (RFC 5280, section 4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateNames {
    /// Who issued it.
    pub issuer: Name,
    serial: Octets,
    /// The subject that the certificate claims.
    pub subject: Name,
    /// Its `SubjectPublicKeyInfo`, DER, where there is one.
    pub key: Option<Octets>,
}

impl CertificateNames {
    /// Parses the names. Returns `None` if that fails.
    #[must_use]
    pub fn read(der: &[u8]) -> Option<Self> {
        let mut certificate = Reader::new(der).enter(SEQUENCE).ok()?;
        let mut fields = certificate.enter(SEQUENCE).ok()?;
        fields.optional(CONTEXT_0).ok()?;
        let serial = fields.expect(INTEGER).ok()?.content.into();
        fields.expect(SEQUENCE).ok()?;
        let issuer = Name::read(&mut fields).ok()?;
        fields.expect(SEQUENCE).ok()?;
        let subject = Name::read(&mut fields).ok()?;
        let key = fields.expect(SEQUENCE).ok().map(|element| element.whole.into());
        Some(Self { issuer, serial, subject, key })
    }
}

/// Formats an object identifier with dots (ITU-T X.690, clause 8.19), as far as it is valid.
fn dotted(oid: &[u8]) -> Text {
    Text::new(format_args!("object identifier {}", numbers(oid)))
}

/// Formats the numbers of an object identifier, up to its 32nd byte.
fn numbers(oid: &[u8]) -> String {
    let mut arcs = Vec::new();
    let mut arc = 0_u64;
    for byte in oid.iter().take(32) {
        arc = (arc << 7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if arcs.is_empty() {
                let first = arc.min(80).checked_div(40).unwrap_or_default();
                arcs.push(first.to_string());
                arc = arc.saturating_sub(first.saturating_mul(40));
            }
            arcs.push(arc.to_string());
            arc = 0;
        }
    }
    arcs.join(".")
}

#[cfg(test)]
mod tests;
