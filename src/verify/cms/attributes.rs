//! Signed attributes (RFC 5652, sections 5.3 and 11).
//!
//! If there are any, the signature covers their encoding, so changing a byte breaks it. Signers choose their content,
//! so only the kinds that signers of plain data write are accepted, each once.

use super::super::der::{
    CONTEXT_1, GENERALIZED_TIME, OBJECT_IDENTIFIER, OCTET_STRING, Reader, SEQUENCE, SET, UTC_TIME, check_identifier,
    check_nested, element,
};
use super::{AlgorithmIdentifier, AttributeKind, CmsError, DATA, Octets, SignerInfo, at, check_len, dotted};
use serde::{Deserialize, Serialize};

/// Maximum size of the set of signed attributes in bytes. OpenSSL 3.0 writes some 230, with `-cades` some 350.
pub const MAX_ATTRIBUTES: usize = 4096;

/// A signed attribute with its only value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribute {
    /// Kind of the attribute.
    pub kind: AttributeKind,
    /// Identifier octet of its value.
    pub tag: u8,
    /// Content of its value.
    pub value: Octets,
}

impl Attribute {
    fn read(content: &[u8]) -> Result<Self, CmsError> {
        let place = at("a signed attribute");
        let mut sequence = Reader::new(content);
        let identifier = sequence.expect(OBJECT_IDENTIFIER).map_err(&place)?.content;
        check_identifier(identifier).map_err(&place)?;
        let mut values = sequence.enter(SET).map_err(&place)?;
        sequence.finish().map_err(&place)?;
        let Some(kind) = AttributeKind::ALL.into_iter().find(|kind| kind.identifier() == identifier) else {
            return Err(CmsError::UnknownAttribute(dotted(identifier)));
        };
        let value = values.next().map_err(&place)?;
        if !values.is_empty() {
            return Err(CmsError::Attribute { kind, problem: "has several values" });
        }
        check_nested(value.whole).map_err(place)?;
        let attribute = Self { kind, tag: value.tag, value: value.content.into() };
        let problem = match (kind, value.tag) {
            (AttributeKind::ContentType, OBJECT_IDENTIFIER) if value.content == DATA => return Ok(attribute),
            (AttributeKind::ContentType, _) => "is not that of plain data",
            (AttributeKind::MessageDigest, OCTET_STRING) => return Ok(attribute),
            (AttributeKind::MessageDigest, _) => "is no digest",
            (AttributeKind::SigningTime, UTC_TIME) if is_time(value.content, 2) => return Ok(attribute),
            (AttributeKind::SigningTime, GENERALIZED_TIME) if is_time(value.content, 4) => return Ok(attribute),
            (AttributeKind::SigningTime, _) => "is no time in UTC with seconds",
            (_, SEQUENCE) => return Ok(attribute),
            _ => "is no sequence",
        };
        Err(CmsError::Attribute { kind, problem })
    }

    fn to_der(&self) -> Vec<u8> {
        let identifier = element(OBJECT_IDENTIFIER, [self.kind.identifier()]);
        let value = element(self.tag, [&*self.value]);
        let values = element(SET, [value.as_slice()]);
        element(SEQUENCE, [identifier.as_slice(), &values])
    }
}

/// Returns whether `text` is a time in UTC with seconds (RFC 5652, section 11.3) and a year of `year` digits.
fn is_time(text: &[u8], year: usize) -> bool {
    let digits = |at: usize| match text.get(year.saturating_add(at)..)? {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9', ..] => {
            Some(tens.wrapping_sub(b'0').saturating_mul(10).saturating_add(ones.wrapping_sub(b'0')))
        }
        _ => None,
    };
    let within = |at, range: std::ops::RangeInclusive<u8>| digits(at).is_some_and(|number| range.contains(&number));
    text.len() == year.saturating_add(11)
        && text.last() == Some(&b'Z')
        && text.iter().take(year).all(u8::is_ascii_digit)
        && within(0, 1..=12)
        && within(2, 1..=31)
        && within(4, 0..=23)
        && within(6, 0..=59)
        && within(8, 0..=59)
}

/// Parses the content of the set.
pub(super) fn read(content: &[u8]) -> Result<Vec<Attribute>, CmsError> {
    let place = at("the signed attributes");
    check_len("set of signed attributes", content, MAX_ATTRIBUTES)?;
    let mut reader = Reader::new(content);
    let mut found: Vec<Attribute> = Vec::new();
    let mut before: &[u8] = &[];
    while !reader.is_empty() {
        let element = reader.expect(SEQUENCE).map_err(&place)?;
        let attribute = Attribute::read(element.content)?;
        if found.iter().any(|other| other.kind == attribute.kind) {
            return Err(CmsError::Twice("signed attribute"));
        }
        if element.whole < before {
            return Err(CmsError::Order("signed attributes"));
        }
        before = element.whole;
        found.push(attribute);
    }
    for kind in [AttributeKind::ContentType, AttributeKind::MessageDigest] {
        if !found.iter().any(|attribute| attribute.kind == kind) {
            return Err(CmsError::Attribute { kind, problem: "is missing" });
        }
    }
    Ok(found)
}

/// Encodes the set as DER with `tag`, which differs between the stored and the signed form.
pub(super) fn to_der(tag: u8, attributes: &[Attribute]) -> Vec<u8> {
    let attributes: Vec<_> = attributes.iter().map(Attribute::to_der).collect();
    element(tag, attributes.iter().map(Vec::as_slice))
}

/// Returns the digest of the content, no bytes if there is none.
pub(super) fn message_digest(attributes: &[Attribute]) -> &[u8] {
    let is_meant = |one: &&Attribute| one.kind == AttributeKind::MessageDigest && one.tag == OCTET_STRING;
    attributes.iter().find(is_meant).map(|one| &*one.value).unwrap_or_default()
}

/// Checks that the signed algorithms, if there are any, are those in use (RFC 6211, section 2).
pub(super) fn check_protection(signer: &SignerInfo) -> Result<(), CmsError> {
    let kind = AttributeKind::AlgorithmProtection;
    let Some(protection) = signer.attributes.iter().flatten().find(|attribute| attribute.kind == kind) else {
        return Ok(());
    };
    let place = at("the protected algorithms");
    let mut reader = Reader::new(&protection.value);
    let digest = AlgorithmIdentifier::read(reader.expect(SEQUENCE).map_err(&place)?.content)?;
    let algorithm = AlgorithmIdentifier::read(reader.expect(CONTEXT_1).map_err(&place)?.content)?;
    reader.finish().map_err(place)?;
    if digest.identifier == signer.digest.identifier && algorithm.identifier == signer.algorithm.identifier {
        Ok(())
    } else {
        Err(CmsError::Attribute { kind, problem: "names other algorithms than the signer uses" })
    }
}
