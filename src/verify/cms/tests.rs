#![allow(clippy::unwrap_used)]
use super::super::der::{GENERALIZED_TIME, NULL, UTC_TIME};
use super::*;

/// `2.16.840.1.101.3.4.2`, the SHA-2 family
const SHA2: [u8; 8] = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];
/// `1.2.840.113549.1.9`
const PKCS9: [u8; 8] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9];
const RSA: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];

fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    element(tag, parts.iter().copied())
}

fn oid(parts: &[&[u8]]) -> Vec<u8> {
    tlv(OBJECT_IDENTIFIER, parts)
}

fn sha2(last: u8) -> Vec<u8> {
    tlv(SEQUENCE, &[&oid(&[&SHA2, &[last]]), &tlv(NULL, &[])])
}

fn name(text: &str) -> Vec<u8> {
    let pair = tlv(SEQUENCE, &[&oid(&[&[0x55, 4, 3]]), &tlv(0x0c, &[text.as_bytes()])]);
    tlv(SEQUENCE, &[&tlv(SET, &[&pair])])
}

fn attribute(kind: &[u8], value: &[u8]) -> Vec<u8> {
    tlv(SEQUENCE, &[&oid(&[&PKCS9, kind]), &tlv(SET, &[value])])
}

fn content_type() -> Vec<u8> {
    attribute(&[3], &oid(&[DATA]))
}

fn message_digest() -> Vec<u8> {
    attribute(&[4], &tlv(OCTET_STRING, &[&[7; 32]]))
}

fn signing_time(text: &str) -> Vec<u8> {
    attribute(&[5], &tlv(UTC_TIME, &[text.as_bytes()]))
}

/// The parts of a signer.
#[derive(Clone)]
struct Signer {
    version: Vec<u8>,
    identifier: Vec<u8>,
    digest: Vec<u8>,
    attributes: Vec<Vec<u8>>,
    algorithm: Vec<u8>,
    rest: Vec<u8>,
}

impl Signer {
    fn new(serial: u8) -> Self {
        Self {
            version: tlv(INTEGER, &[&[1]]),
            identifier: tlv(SEQUENCE, &[&name("Vendor"), &tlv(INTEGER, &[&[serial]])]),
            digest: sha2(1),
            attributes: Vec::new(),
            algorithm: tlv(SEQUENCE, &[&oid(&[&RSA]), &tlv(NULL, &[])]),
            rest: tlv(OCTET_STRING, &[&[9; 256]]),
        }
    }

    fn attributes(self, attributes: &[Vec<u8>]) -> Self {
        Self { attributes: attributes.to_vec(), ..self }
    }

    fn der(&self) -> Vec<u8> {
        let attributes = self.attributes.concat();
        let attributes = if attributes.is_empty() { Vec::new() } else { tlv(CONTEXT_0, &[&attributes]) };
        tlv(SEQUENCE, &[&self.version, &self.identifier, &self.digest, &attributes, &self.algorithm, &self.rest])
    }
}

/// The parts of a signature.
#[derive(Clone)]
struct Pieces {
    version: Vec<u8>,
    digests: Vec<Vec<u8>>,
    content: Vec<u8>,
    certificates: Vec<Vec<u8>>,
    behind: Vec<u8>,
    signers: Vec<Vec<u8>>,
}

impl Pieces {
    fn new(signers: &[Signer]) -> Self {
        Self {
            version: tlv(INTEGER, &[&[1]]),
            digests: vec![sha2(1)],
            content: tlv(SEQUENCE, &[&oid(&[DATA])]),
            certificates: Vec::new(),
            behind: Vec::new(),
            signers: signers.iter().map(Signer::der).collect(),
        }
    }

    fn der(&self) -> Vec<u8> {
        let certificates = self.certificates.concat();
        let certificates = if certificates.is_empty() { Vec::new() } else { tlv(CONTEXT_0, &[&certificates]) };
        let digests = tlv(SET, &[&self.digests.concat()]);
        let signers = tlv(SET, &[&self.signers.concat()]);
        let data = tlv(SEQUENCE, &[&self.version, &digests, &self.content, &certificates, &self.behind, &signers]);
        tlv(SEQUENCE, &[&oid(&[SIGNED_DATA]), &tlv(CONTEXT_0, &[&data])])
    }
}

fn certificate_of(subject: &str, serial: u8) -> Vec<u8> {
    let empty = tlv(SEQUENCE, &[]);
    let tbs = tlv(
        SEQUENCE,
        &[
            &tlv(CONTEXT_0, &[&tlv(INTEGER, &[&[2]])]),
            &tlv(INTEGER, &[&[serial]]),
            &empty,
            &name("Vendor"),
            &empty,
            &name(subject),
        ],
    );
    tlv(SEQUENCE, &[&tbs, &empty, &tlv(BIT_STRING, &[&[0]])])
}

/// Parses a signature of one signer with these attributes.
fn with_attributes(attributes: &[Vec<u8>]) -> Result<SignedData, CmsError> {
    parse(&Pieces::new(&[Signer::new(5).attributes(attributes)]).der())
}

#[test]
fn unknown_algorithms_are_named_by_number() {
    assert_eq!(dotted(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d]), "object identifier 1.2.840.113549");
    assert_eq!(dotted(&[0x60, 0x86, 0x48]), "object identifier 2.16.840");
    let edwards = AlgorithmIdentifier { identifier: Octets::from(&[0x2b, 0x65, 0x70][..]), parameters: None };
    assert_eq!(edwards.algorithm(), Algorithm::Other("object identifier 1.3.101.112".into()));
}

#[test]
fn strong_digests_and_algorithms_have_no_parameters_but_null() {
    let null = Some(&[5, 0][..]);
    let octets = |bytes: &[u8]| Octets::from(bytes);
    let algorithm = |identifier: &[u8], parameters: Option<&[u8]>| AlgorithmIdentifier {
        identifier: octets(identifier),
        parameters: parameters.map(octets),
    };
    let sha2 = |last: u8| [&SHA2[..], &[last]].concat();
    for (last, strong) in [(1, StrongDigest::Sha256), (2, StrongDigest::Sha384), (3, StrongDigest::Sha512)] {
        for parameters in [None, null] {
            assert_eq!(algorithm(&sha2(last), parameters).digest(), Digest::Strong(strong));
        }
        let other = Digest::Other(Text::new(format_args!("object identifier 2.16.840.1.101.3.4.2.{last}")));
        assert_eq!(algorithm(&sha2(last), Some(&[4, 0])).digest(), other);
    }
    for (identifier, name) in [
        (&sha2(4)[..], "SHA-224"),
        (&[0x2b, 14, 3, 2, 26], "SHA-1"),
        (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2, 5], "MD5"),
    ] {
        assert_eq!(algorithm(identifier, null).digest(), Digest::Other(name.into()));
    }
    let rsa = |last: u8| [&RSA[..8], &[last]].concat();
    let ecdsa = |tail: &[u8]| [&[0x2a, 0x86, 0x48, 0xce, 0x3d][..], tail].concat();
    let good = [1, 11, 12, 13]
        .map(|last| (rsa(last), Algorithm::Rsa))
        .into_iter()
        .chain([&[4, 3, 2][..], &[4, 3, 3], &[4, 3, 4], &[2, 1]].map(|tail| (ecdsa(tail), Algorithm::Ecdsa)));
    for (identifier, expected) in good {
        for parameters in [None, null] {
            assert_eq!(algorithm(&identifier, parameters).algorithm(), expected, "{identifier:02x?}");
        }
        assert!(matches!(algorithm(&identifier, Some(&[4, 0])).algorithm(), Algorithm::Other(_)), "{identifier:02x?}");
    }
    assert_eq!(algorithm(&rsa(10), Some(&[0x30, 0])).algorithm(), Algorithm::Other("RSA-PSS".into()));
    for identifier in [rsa(5), rsa(14), ecdsa(&[4, 1]), ecdsa(&[4, 3, 1])] {
        assert!(matches!(algorithm(&identifier, None).algorithm(), Algorithm::Other(_)), "{identifier:02x?}");
    }
}

#[test]
fn what_is_read_is_written_again_byte_for_byte() {
    let attributes = [content_type(), signing_time("250101000000Z"), message_digest()];
    let mut pieces = Pieces::new(&[Signer::new(5), Signer::new(6)]);
    pieces.signers.push(Signer::new(7).attributes(&attributes).der());
    pieces.content = tlv(SEQUENCE, &[&oid(&[DATA]), &tlv(CONTEXT_0, &[&tlv(OCTET_STRING, &[b"abc"])])]);
    pieces.certificates = vec![certificate_of("Vendor", 5), certificate_of("Other", 6)];
    let der = pieces.der();
    let data = parse(&der).unwrap();
    assert_eq!(data.to_der(), der);
    assert_eq!(data.content.as_deref(), Some(&b"abc"[..]));
    assert_eq!((data.signers.len(), data.certificates.len()), (3, 2));
    let signed = &data.signers[2];
    assert_eq!(signed.message(b"content"), tlv(SET, &[&attributes.concat()]));
    assert_eq!(signed.message_digest(), Some(&[7; 32][..]));
    assert_eq!(data.signers[0].message(b"content"), b"content");
    let sent = data.certificate_of(&data.signers[1]).unwrap();
    assert_eq!((sent.0, sent.1.subject.to_text()), (&*data.certificates[1], "CN=Other".into()));
    assert_eq!(data.certificate_of(signed), None);

    let json = serde_json::to_string(&data).unwrap();
    assert_eq!(serde_json::from_str::<SignedData>(&json).unwrap(), data);
    for cut in 0..der.len() {
        assert!(parse(&der[..cut]).is_err(), "{cut}");
    }
    assert!(parse(&[der.as_slice(), &[0]].concat()).is_err());
}

#[test]
fn a_signature_has_at_most_as_many_bytes_as_the_kernel_takes() {
    let of_size = |size: usize| {
        let mut pieces = Pieces::new(&[Signer::new(5)]);
        let mut filler = size - 1000;
        loop {
            let tbs = tlv(SEQUENCE, &[&vec![0; filler]]);
            pieces.certificates = vec![tlv(SEQUENCE, &[&tbs, &tlv(SEQUENCE, &[]), &tlv(BIT_STRING, &[&[0]])])];
            let der = pieces.der();
            if der.len() == size {
                return der;
            }
            filler += size - der.len();
        }
    };
    assert!(parse(&of_size(32_767)).is_ok());
    assert_eq!(parse(&of_size(32_768)), Err(CmsError::TooLarge { found: 32_768 }));
}

/// The process that read a signature need not have kept the bounds of reading.
#[test]
fn what_another_process_read_is_bounded_again() {
    let pieces = Pieces { certificates: vec![certificate_of("Vendor", 5)], ..Pieces::new(&[Signer::new(5)]) };
    let good = parse(&pieces.der()).unwrap();
    let many = |what| Err(CmsError::TooMany { what, limit: 16 });
    let with = |change: fn(&mut SignedData, usize), count| {
        let mut data = good.clone();
        change(&mut data, count);
        data.check()
    };
    let of_signers = |data: &mut SignedData, count| data.signers = vec![data.signers[0].clone(); count];
    assert_eq!(with(of_signers, 17), many("signers"));
    assert_eq!(with(of_signers, 100), many("signers"));
    assert_eq!(with(of_signers, 16), Err(CmsError::Twice("signer")));
    assert_eq!(with(of_signers, 0), Err(CmsError::NoSigner));
    let of_digests = |data: &mut SignedData, count| data.digests = vec![data.digests[0].clone(); count];
    assert_eq!(with(of_digests, 17), many("digest algorithms"));
    assert_eq!(with(of_digests, 100), many("digest algorithms"));
    assert_eq!(with(of_digests, 16), Err(CmsError::Twice("digest algorithm")));
    let of_certificates = |data: &mut SignedData, count| data.certificates = vec![data.certificates[0].clone(); count];
    assert_eq!(with(of_certificates, 17), many("certificates"));
    assert_eq!(with(of_certificates, 100), many("certificates"));
    assert_eq!(with(of_certificates, 16), Err(CmsError::Twice("certificate")));
}

/// Attributes of other kinds or types say nothing about the content, whatever the process says that read them.
#[test]
fn only_the_digest_of_the_content_is_its_digest() {
    let attributes = |list: &[(AttributeKind, u8, u8)]| {
        let mut signer = parse(&Pieces::new(&[Signer::new(5)]).der()).unwrap().signers.remove(0);
        let attribute =
            |(kind, tag, byte): &(_, u8, u8)| Attribute { kind: *kind, tag: *tag, value: Octets::from(&[*byte][..]) };
        signer.attributes = Some(list.iter().map(attribute).collect());
        signer.message_digest().unwrap().to_vec()
    };
    let digest = (AttributeKind::MessageDigest, OCTET_STRING, 2);
    assert_eq!(attributes(&[(AttributeKind::ContentType, OCTET_STRING, 1), digest]), [2]);
    assert_eq!(attributes(&[(AttributeKind::MessageDigest, SEQUENCE, 1), digest]), [2]);
    assert!(attributes(&[(AttributeKind::ContentType, OCTET_STRING, 1)]).is_empty());
}

#[test]
fn what_is_sent_between_processes_is_bounded() {
    let mut pieces = Pieces::new(&[Signer::new(5)]);
    let filler = vec![0; MAX_SIZE - pieces.der().len() - 200];
    let certificate = tlv(SEQUENCE, &[&tlv(SEQUENCE, &[&filler]), &tlv(SEQUENCE, &[]), &tlv(BIT_STRING, &[&[0]])]);
    pieces.certificates = vec![certificate];
    let data = parse(&pieces.der()).unwrap();
    let json = serde_json::to_string(&data).unwrap();
    assert!(json.len() < 64 * 1024, "{}", json.len());
}

#[test]
fn numbers_of_things_are_bounded_before_anything_is_done_with_them() {
    let many = |count: usize| {
        let digests: Vec<_> = (0..count).map(|_| sha2(1)).collect();
        parse(&Pieces { digests, ..Pieces::new(&[Signer::new(5)]) }.der())
    };
    assert!(matches!(many(60_000), Err(CmsError::TooLarge { found: 900_000.. })));
    assert_eq!(many(2000), Err(CmsError::TooMany { what: "digest algorithms", limit: 16 }));
    assert_eq!(many(2), Err(CmsError::Twice("digest algorithm")));
    assert_eq!(many(0), Err(CmsError::Announced));

    let signers: Vec<_> = (0..17).map(Signer::new).collect();
    assert_eq!(parse(&Pieces::new(&signers[..16]).der()).unwrap().signers.len(), 16);
    assert_eq!(parse(&Pieces::new(&signers).der()), Err(CmsError::TooMany { what: "signers", limit: 16 }));
    assert_eq!(parse(&Pieces::new(&[]).der()), Err(CmsError::NoSigner));
    assert_eq!(parse(&Pieces::new(&[Signer::new(5), Signer::new(5)]).der()), Err(CmsError::Twice("signer")));
    assert_eq!(parse(&Pieces::new(&[Signer::new(6), Signer::new(5)]).der()), Err(CmsError::Order("signers")));

    let certificates = |count: u8| (0..count).map(|serial| certificate_of("Vendor", serial)).collect();
    let with = |certificates| parse(&Pieces { certificates, ..Pieces::new(&[Signer::new(5)]) }.der());
    assert_eq!(with(certificates(16)).unwrap().certificates.len(), 16);
    assert_eq!(with(certificates(17)), Err(CmsError::TooMany { what: "certificates", limit: 16 }));
    assert_eq!(with([certificates(1), certificates(1)].concat()), Err(CmsError::Twice("certificate")));
}

#[test]
fn digests_are_announced_for_the_signers_and_nobody_else() {
    let with = |digests: &[u8]| {
        let digests = digests.iter().map(|last| sha2(*last)).collect();
        parse(&Pieces { digests, ..Pieces::new(&[Signer::new(5), Signer { digest: sha2(3), ..Signer::new(6) }]) }.der())
    };
    assert!(with(&[1, 3]).is_ok());
    assert_eq!(with(&[3, 1]), Err(CmsError::Order("digest algorithms")));
    for wrong in [&[1][..], &[3], &[1, 2], &[1, 2, 3]] {
        assert_eq!(with(wrong), Err(CmsError::Announced), "{wrong:?}");
    }
}

#[test]
fn structures_of_other_kinds_are_told_apart() {
    let one = |change: fn(&mut Signer)| {
        let mut signer = Signer::new(5);
        change(&mut signer);
        parse(&Pieces::new(&[signer]).der()).unwrap_err()
    };
    assert_eq!(one(|signer| signer.version = tlv(INTEGER, &[&[3]])), CmsError::Version("signer"));
    assert_eq!(
        one(|signer| {
            signer.version = tlv(INTEGER, &[&[3]]);
            signer.identifier = tlv(0x80, &[&[1; 20]]);
        }),
        CmsError::KeyIdentifier
    );
    let unsigned = CmsError::Baggage("unsigned attributes");
    assert_eq!(one(|signer| signer.rest.extend(tlv(CONTEXT_1, &[&[1]]))), unsigned);
    let long = |what, found, limit| CmsError::TooLong { what, found, limit };
    let longest = Signer { rest: tlv(OCTET_STRING, &[&[0; 2048]]), ..Signer::new(5) };
    assert!(parse(&Pieces::new(&[longest]).der()).is_ok());
    assert_eq!(one(|signer| signer.rest = tlv(OCTET_STRING, &[&[0; 2049]])), long("signature value", 2049, 2048));
    assert_eq!(
        one(|signer| signer.identifier = tlv(SEQUENCE, &[&name("x"), &tlv(INTEGER, &[&[1; 65]])])),
        long("serial number", 65, 64)
    );
    assert!(matches!(
        one(|signer| signer.identifier = tlv(SEQUENCE, &[&name(&"x".repeat(5000)), &tlv(INTEGER, &[&[1]])])),
        CmsError::TooLong { what: "name", .. }
    ));
    assert!(matches!(
        one(|signer| signer.digest = tlv(SEQUENCE, &[&oid(&[&SHA2, &[1]]), &tlv(OCTET_STRING, &[&[0; 300]])])),
        CmsError::TooLong { what: "algorithm identifier", .. }
    ));
    assert!(matches!(
        one(|signer| signer.identifier = tlv(SEQUENCE, &[&name("x"), &tlv(INTEGER, &[&[0, 1]])])),
        CmsError::Der { place: "a serial number", .. }
    ));

    let good = Pieces::new(&[Signer::new(5)]);
    let version = parse(&Pieces { version: tlv(INTEGER, &[&[3]]), ..good.clone() }.der());
    assert_eq!(version, Err(CmsError::Version("signed data")));
    let revoked = parse(&Pieces { behind: tlv(CONTEXT_1, &[&[1]]), ..good.clone() }.der());
    assert_eq!(revoked, Err(CmsError::Baggage("a list of revoked certificates")));
    let empty = parse(&Pieces { behind: tlv(CONTEXT_0, &[]), ..good.clone() }.der());
    assert_eq!(empty, Err(CmsError::Unaccounted));
    let other = parse(&Pieces { content: tlv(SEQUENCE, &[&oid(&[SIGNED_DATA])]), ..good.clone() }.der());
    assert_eq!(other, Err(CmsError::NotData));
    let key = Pieces { certificates: vec![tlv(SEQUENCE, &[&tlv(SEQUENCE, &[])])], ..good };
    assert!(matches!(parse(&key.der()), Err(CmsError::Der { place: "a certificate", .. })));
    assert_eq!(parse(&tlv(SEQUENCE, &[&oid(&[DATA])])), Err(CmsError::NotSignedData));
}

#[test]
fn signed_attributes_are_the_known_ones_each_once_and_in_der() {
    let [kind, digest] = [content_type(), message_digest()];
    let time = || signing_time("250101000000Z");
    let said = |attributes: &[Vec<u8>]| with_attributes(attributes).map(drop);
    assert_eq!(said(&[kind.clone(), digest.clone()]), Ok(()));
    assert_eq!(said(&[kind.clone(), time(), digest.clone()]), Ok(()));
    let missing = |kind| Err(CmsError::Attribute { kind, problem: "is missing" });
    assert_eq!(said(std::slice::from_ref(&digest)), missing(AttributeKind::ContentType));
    assert_eq!(said(std::slice::from_ref(&kind)), missing(AttributeKind::MessageDigest));
    assert_eq!(said(&[kind.clone(), digest.clone(), digest.clone()]), Err(CmsError::Twice("signed attribute")));
    assert_eq!(said(&[digest.clone(), kind.clone()]), Err(CmsError::Order("signed attributes")));
    let unknown = attribute(&[99], &tlv(OCTET_STRING, &[b"CD001"]));
    let refused = CmsError::UnknownAttribute("object identifier 1.2.840.113549.1.9.99".into());
    assert_eq!(said(&[kind.clone(), unknown, digest.clone()]), Err(refused));

    let pieces = tlv(0x24, &[&tlv(OCTET_STRING, &[&[7; 16]]), &tlv(OCTET_STRING, &[&[7; 16]])]);
    let in_pieces = said(&[kind.clone(), attribute(&[4], &pieces)]);
    assert!(matches!(in_pieces, Err(CmsError::Der { place: "a signed attribute", .. })), "{in_pieces:?}");
    let two = tlv(SEQUENCE, &[&oid(&[&PKCS9, &[4]]), &tlv(SET, &[&tlv(OCTET_STRING, &[]), &tlv(OCTET_STRING, &[])])]);
    let problem = "has several values";
    let several = Err(CmsError::Attribute { kind: AttributeKind::MessageDigest, problem });
    assert_eq!(said(&[kind.clone(), two]), several);
    for time in ["2501010000Z", "250101000000", "251301000000Z", "250132000000Z", "250101240000Z", "2501010000601Z"] {
        let said = said(&[kind.clone(), signing_time(time), digest.clone()]);
        assert!(matches!(said, Err(CmsError::Attribute { kind: AttributeKind::SigningTime, .. })), "{time}: {said:?}");
    }
    let says = |attributes: &[Vec<u8>]| said(attributes).unwrap_err().to_string();
    let text = "the signed attribute contentType is not that of plain data";
    for other in [oid(&[SIGNED_DATA]), tlv(SEQUENCE, &[]), tlv(OCTET_STRING, &[DATA])] {
        assert_eq!(says(&[attribute(&[3], &other), digest.clone()]), text);
    }
    let other = attribute(&[4], &tlv(SEQUENCE, &[]));
    assert_eq!(says(&[kind.clone(), other]), "the signed attribute messageDigest is no digest");
    let no_time = "the signed attribute signingTime is no time in UTC with seconds";
    for (tag, text) in [(SEQUENCE, ""), (OCTET_STRING, "250101000000Z"), (GENERALIZED_TIME, "250101000000Z")] {
        let time = attribute(&[5], &tlv(tag, &[text.as_bytes()]));
        assert_eq!(says(&[kind.clone(), time, digest.clone()]), no_time, "{tag} {text}");
    }
    let late = attribute(&[5], &tlv(GENERALIZED_TIME, &[b"20510101000000Z"]));
    assert_eq!(said(&[kind.clone(), late, digest.clone()]), Ok(()));
    let capabilities = attribute(&[15], &tlv(OCTET_STRING, &[]));
    let text = "the signed attribute smimeCapabilities is no sequence";
    assert_eq!(says(&[kind.clone(), digest.clone(), capabilities]), text);
    let large = attribute(&[15], &tlv(SEQUENCE, &[&[&[4, 0x82, 0x10, 0][..], &[0; 4096]].concat()]));
    assert!(matches!(said(&[kind, digest, large]), Err(CmsError::TooLong { limit: MAX_ATTRIBUTES, .. })));
}

#[test]
fn protected_algorithms_are_those_that_are_used() {
    let with = |digest: &[u8], algorithm: &[u8]| {
        let value = tlv(SEQUENCE, &[digest, &tlv(CONTEXT_1, &[&oid(&[algorithm]), &tlv(NULL, &[])])]);
        let mut attributes = [content_type(), message_digest(), attribute(&[52], &value)];
        attributes.sort();
        with_attributes(&attributes).map(drop)
    };
    assert_eq!(with(&sha2(1), &RSA), Ok(()));
    let kind = AttributeKind::AlgorithmProtection;
    let other = Err(CmsError::Attribute { kind, problem: "names other algorithms than the signer uses" });
    assert_eq!(with(&sha2(2), &RSA), other);
    assert_eq!(with(&sha2(1), &SHA2), other);
}

#[test]
fn names_are_written_as_people_know_them() {
    let pair = |identifier: &[u8], tag, value: &[u8]| tlv(SEQUENCE, &[&oid(&[identifier]), &tlv(tag, &[value])]);
    let set = |pairs: &[Vec<u8>]| tlv(SET, &[&pairs.concat()]);
    let name = |sets: &[Vec<u8>]| Name::read(&mut Reader::new(&tlv(SEQUENCE, &[&sets.concat()])));
    let shown = |sets: &[Vec<u8>]| name(sets).unwrap().to_string();
    assert_eq!(
        shown(&[
            set(&[pair(&[0x55, 4, 6], 0x13, b"DE")]),
            set(&[pair(&[0x55, 4, 10], 0x1e, b"\0A\0c\0m\0e"), pair(&[0x55, 4, 11], 0x14, b"\xe4")]),
            set(&[pair(&[0x55, 4, 3], 0x1c, b"\0\0\0V")]),
            set(&[pair(&[0x2a, 3], 0x04, &[1, 2])]),
        ]),
        "C=DE, O=Acme + OU=ä, CN=V, 1.2.3=#0102"
    );
    assert_eq!(shown(&[]), "(no name)");
    assert_eq!(name(&[set(&[pair(&[0x55, 4, 3], 0x0c, b"a\x1b[2J")])]).unwrap().to_text(), "CN=a\\u{1b}[2J");
    for wrong in [vec![tlv(OCTET_STRING, &[])], vec![set(&[tlv(SEQUENCE, &[])])], vec![set(&[vec![0x30, 0x80, 0, 0]])]]
    {
        assert!(name(&wrong).is_err(), "{wrong:02x?}");
    }
}

/// Otherwise a signature of one of them would also be one of the other.
#[test]
fn a_root_hash_is_never_a_set_of_attributes() {
    for length in [64, 128] {
        for first in b"0123456789abcdef" {
            for second in b"0123456789abcdef" {
                let mut text = vec![b'a'; length];
                text[..2].copy_from_slice(&[*first, *second]);
                assert!(Reader::new(&text).only(SET).is_err());
            }
        }
    }
}
