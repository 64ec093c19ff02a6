//! The shape of a PKCS#7 signature (RFC 2315, section 9): who signed, and by which algorithms.
//!
//! OpenSSL verifies; this looks at what OpenSSL doesn't judge. Nothing here is believed before that.
//!
//! What no signature covers is refused or handed over to be compared: lists of revoked certificates, unsigned
//! attributes, content that is sent along. Such baggage would be room for bytes of an attacker's choice,
//! in which libblkid might find the magic number of a file system.
#![deny(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

use super::der::{CONTEXT_0, CONTEXT_1, DerError, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, Reader, SEQUENCE, SET};
use thiserror::Error;

/// `1.2.840.113549.1.7.2`
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
/// `1.2.840.113549.1.7.1`
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
/// A NULL, whole.
const NULL: &[u8] = &[0x05, 0x00];
/// Most signers that are looked at. An extension has one.
const MAX_SIGNERS: usize = 16;

/// Why bytes are no such signature.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Pkcs7Error {
    /// Not DER, or not of the right structure.
    #[error("the signature is not a PKCS#7 structure: {0}")]
    Der(#[from] DerError),
    /// Some other PKCS#7 content.
    #[error("the signature is not PKCS#7 signed data")]
    NotSignedData,
    /// The signature is about something else than plain data.
    #[error("the signature covers something else than plain data")]
    NotData,
    /// Nobody signed.
    #[error("the signature has no signer")]
    NoSigner,
    /// More signers than are looked at.
    #[error("the signature has more than {MAX_SIGNERS} signers")]
    TooManySigners,
    /// Something that no signature covers.
    #[error("the signature carries {0}, which nothing signs")]
    Baggage(&'static str),
}

/// A digest that signatures name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Digest {
    /// SHA-256, SHA-384 or SHA-512.
    Strong,
    /// Any other, by name or number.
    Other(String),
}

/// A signature algorithm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA PKCS#1 v1.5
    Rsa,
    /// ECDSA
    Ecdsa,
    /// Any other, by name or number.
    Other(String),
}

/// One signer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignerInfo<'a> {
    /// DER of the issuer's name.
    pub issuer: &'a [u8],
    /// Content of the serial number.
    pub serial: &'a [u8],
    /// Digest algorithm.
    pub digest: Digest,
    /// Signature algorithm.
    pub algorithm: Algorithm,
}

/// A signature's parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedData<'a> {
    /// The digests that are announced for all signers.
    pub digests: Vec<Digest>,
    /// Content that is sent along. Verifiers take the root hash instead, whatever this says.
    pub content: Option<&'a [u8]>,
    /// All who signed; at least one.
    pub signers: Vec<SignerInfo<'a>>,
    /// DER of the certificates that were sent along. They prove nothing and serve to name the unknown.
    pub certificates: Vec<&'a [u8]>,
}

/// Takes a signature apart.
///
/// # Errors
/// [`Pkcs7Error`]
pub fn parse(der: &[u8]) -> Result<SignedData<'_>, Pkcs7Error> {
    let mut outer = Reader::new(der);
    let mut content_info = outer.enter(SEQUENCE)?;
    outer.finish()?;
    if content_info.expect(OBJECT_IDENTIFIER)?.content != SIGNED_DATA {
        return Err(Pkcs7Error::NotSignedData);
    }
    let mut explicit = content_info.enter(CONTEXT_0)?;
    content_info.finish()?;
    let mut signed_data = explicit.enter(SEQUENCE)?;
    explicit.finish()?;

    version(&mut signed_data)?;
    let mut announced = signed_data.enter(SET)?;
    let mut digests = Vec::new();
    while !announced.is_empty() {
        digests.push(Digest::of(algorithm_identifier(&mut announced)?));
    }
    let mut encapsulated = signed_data.enter(SEQUENCE)?;
    if encapsulated.expect(OBJECT_IDENTIFIER)?.content != DATA {
        return Err(Pkcs7Error::NotData);
    }
    let content = match encapsulated.optional(CONTEXT_0)? {
        Some(explicit) => Some(only(explicit.content, OCTET_STRING)?),
        None => None,
    };
    encapsulated.finish()?;

    let mut certificates = Vec::new();
    if let Some(set) = signed_data.optional(CONTEXT_0)? {
        let mut set = Reader::new(set.content);
        while !set.is_empty() {
            certificates.push(set.next()?.whole);
        }
    }
    if signed_data.optional(CONTEXT_1)?.is_some() {
        return Err(Pkcs7Error::Baggage("a list of revoked certificates"));
    }
    let mut infos = signed_data.enter(SET)?;
    signed_data.finish()?;
    let mut signers = Vec::new();
    while !infos.is_empty() {
        if signers.len() == MAX_SIGNERS {
            return Err(Pkcs7Error::TooManySigners);
        }
        signers.push(signer_info(infos.enter(SEQUENCE)?)?);
    }
    if signers.is_empty() {
        Err(Pkcs7Error::NoSigner)
    } else {
        Ok(SignedData { digests, content, signers, certificates })
    }
}

/// The content of the only element in `bytes`.
fn only(bytes: &[u8], tag: u8) -> Result<&[u8], DerError> {
    let mut reader = Reader::new(bytes);
    let element = reader.expect(tag)?;
    reader.finish()?;
    Ok(element.content)
}

/// A version is a small number.
fn version(reader: &mut Reader<'_>) -> Result<(), Pkcs7Error> {
    match reader.expect(INTEGER)?.content {
        [_] => Ok(()),
        _ => Err(Pkcs7Error::Baggage("a version of several bytes")),
    }
}

fn signer_info(mut info: Reader<'_>) -> Result<SignerInfo<'_>, Pkcs7Error> {
    version(&mut info)?;
    let mut identifier = info.enter(SEQUENCE)?;
    let issuer = identifier.expect(SEQUENCE)?.whole;
    let serial = identifier.expect(INTEGER)?.content;
    identifier.finish()?;
    let digest = Digest::of(algorithm_identifier(&mut info)?);
    info.optional(CONTEXT_0)?;
    let algorithm = Algorithm::of(algorithm_identifier(&mut info)?);
    info.expect(OCTET_STRING)?;
    if info.optional(CONTEXT_1)?.is_some() {
        return Err(Pkcs7Error::Baggage("unsigned attributes"));
    }
    info.finish()?;
    Ok(SignerInfo { issuer, serial, digest, algorithm })
}

/// An algorithm's object identifier, and whether it has parameters worth the name: those of digests, RSA
/// PKCS#1 v1.5 and ECDSA are NULL or absent (RFC 5754).
fn algorithm_identifier<'a>(reader: &mut Reader<'a>) -> Result<(&'a [u8], bool), DerError> {
    let mut sequence = reader.enter(SEQUENCE)?;
    let identifier = sequence.expect(OBJECT_IDENTIFIER)?.content;
    let parameters = if sequence.is_empty() { NULL } else { sequence.next()?.whole };
    sequence.finish()?;
    Ok((identifier, parameters != NULL))
}

impl Digest {
    /// NIST Computer Security Objects Register for the SHA-2 family, RFC 8017 appendix B.1 for the rest.
    fn of((oid, parameters): (&[u8], bool)) -> Self {
        match oid {
            [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 1..=3] if !parameters => Self::Strong,
            [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 4] => Self::Other("SHA-224".to_owned()),
            [0x2b, 0x0e, 0x03, 0x02, 0x1a] => Self::Other("SHA-1".to_owned()),
            [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x05] => Self::Other("MD5".to_owned()),
            other => Self::Other(dotted(other)),
        }
    }
}

impl Algorithm {
    /// RFC 8017 appendix C for RSA, RFC 5758 section 3.2 for ECDSA.
    fn of((oid, parameters): (&[u8], bool)) -> Self {
        match oid {
            [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 1 | 11..=13] if !parameters => Self::Rsa,
            [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 2..=4] | [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01]
                if !parameters =>
            {
                Self::Ecdsa
            }
            [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 10] => Self::Other("RSA-PSS".to_owned()),
            other => Self::Other(dotted(other)),
        }
    }
}

/// An object identifier in dots (ITU-T X.690, clause 8.19), as far as it makes sense.
fn dotted(oid: &[u8]) -> String {
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
    format!("object identifier {}", arcs.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_algorithms_are_named_by_number() {
        assert_eq!(dotted(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d]), "object identifier 1.2.840.113549");
        assert_eq!(dotted(&[0x60, 0x86, 0x48]), "object identifier 2.16.840");
        assert_eq!(
            Algorithm::of((&[0x2b, 0x65, 0x70], false)),
            Algorithm::Other("object identifier 1.3.101.112".to_owned())
        );
    }
}
