//! Images whose signature doesn't hold.

use super::{NAME, Row, authority, denied, edwards, revoked, stranger, vendor, weak_rsa};
use crate::ddi::{Blueprint, good};
use crate::der::{explicit, octets, oid, sequence, set, set_content, tlv};
use crate::keys;
use crate::pkcs7::{
    CONTENT_TYPE, DATA, Digest, Identify, MESSAGE_DIGEST, SignedData, SignerInfo, attribute, plain, usual_attributes,
};
use crate::trees::Tree;
use ddi::PartitionKind::RootVeritySig;
use ddi::write::signature_json;

fn image() -> Blueprint {
    good(NAME, vendor())
}

/// Another image of the same name and signer.
fn other() -> Blueprint {
    Blueprint::new(NAME, &Tree::sysext(NAME).file("usr/share/other", b"content").squashfs(), vendor())
}

fn signed_by(signer: SignerInfo<'static>) -> Blueprint {
    image().signed_by(|text| SignedData::new(text).signer(signer).build())
}

pub fn rows() -> Vec<Row> {
    [partition(), signers(), algorithms(), content(), structure(), numbers(), attributes(), baggage(), revocation()]
        .into_iter()
        .flatten()
        .collect()
}

fn partition() -> Vec<Row> {
    let bad = |what, image: Blueprint| Row::image("bad-signature-partition", what, image);
    let text = image().signature_text();
    let changed = |from: &str, to: &str| {
        assert!(text.contains(from));
        image().with_signature_text(text.replacen(from, to, 1).as_bytes())
    };
    let hash = image().root_hash.to_string();
    let mut junk = image().parts[image().position(RootVeritySig)].content.clone();
    junk[16_000] = b'x';
    let large = [text.as_bytes(), &vec![0; 4 << 20]].concat();
    vec![
        bad("an empty signature partition", image().with_signature_bytes(&[0; 4096])),
        bad("a signature partition that is not JSON", image().with_signature_text(b"signature")),
        bad("JSON of another kind", image().with_signature_text(b"[]")),
        bad("deep JSON", image().with_signature_text("[".repeat(10_000).as_bytes())),
        bad("cut JSON", image().with_signature_text(&text.as_bytes()[..text.len() - 1])),
        bad("text behind the JSON", image().with_signature_text(format!("{text}{{}}").as_bytes())),
        bad("junk behind the NULs", image().with_signature_bytes(&junk)),
        bad("a signature partition of more than 4 MiB", image().with_signature_bytes(&large)),
        bad("no root hash", changed("\"rootHash\"", "\"certificateFingerprint2\"")),
        bad("no signature member", changed("\"signature\"", "\"signatura\"")),
        bad("an unknown member", changed("{", "{\"note\":\"_BHRfS_M\",")),
        bad("an unknown member of 4 MiB", {
            let member = format!("{{\"{}\":1,", "\u{7f}".repeat((4 << 20) - 20_000));
            image().with_signature_text(text.replacen('{', &member, 1).as_bytes())
        }),
        bad("a root hash twice", changed("{", &format!("{{\"rootHash\":\"{hash}\","))),
        bad("an escape where there is nothing to escape", changed("\"rootHash\"", "\"root\\u0048ash\"")),
        bad("a root hash of half the length", changed(&hash, &hash[..32])),
        bad("a root hash in capitals", changed(&hash, &format!("A{}", &hash[1..]))),
        bad("a root hash that is none", changed(&hash, &"z".repeat(64))),
        bad(
            "a fingerprint that spells a magic number",
            changed("\"certificateFingerprint\":\"", "\"certificateFingerprint\":\"CD001"),
        ),
        bad("a fingerprint that is text", changed("\"certificateFingerprint\":\"", "\"certificateFingerprint\":\"x")),
        bad("a signature that is not base64", changed("\"signature\":\"", "\"signature\":\"*")),
        bad("a signature of no bytes", image().with_pkcs7(b"")),
    ]
}

fn signers() -> Vec<Row> {
    let two = |second: SignerInfo<'static>| {
        image().signed_by(|text| SignedData::new(text).signer(SignerInfo::new(vendor())).signer(second).build())
    };
    let leaf = keys::leaf("Leaf", authority());
    let unknown = |what, image| Row::image("unknown-signer", what, image);
    vec![
        unknown("an unknown key", good(NAME, stranger())),
        unknown("a leaf of a trusted authority", good(NAME, leaf)),
        unknown("an expired key that nobody trusts", good(NAME, keys::expired("Expired stranger"))),
        unknown("an unknown key that sends no certificate", signed_by(SignerInfo::new(stranger()))),
        unknown("a known and an unknown signer", two(SignerInfo::new(stranger()))),
        unknown(
            "the vendor's certificate sent along by a stranger",
            image().signed_by(|text| {
                SignedData::new(text).signer(SignerInfo::new(stranger())).certificate(vendor()).build()
            }),
        ),
        Row::image(
            "bad-signature",
            "an impostor with the vendor's name and number",
            good(NAME, keys::impostor(vendor())),
        ),
        Row::image(
            "bad-signature",
            "a stranger's signature in the vendor's name",
            signed_by(SignerInfo::new(stranger()).named_as(vendor())),
        ),
        Row::image(
            "bad-signature",
            "two known signers, one signature forged",
            two(SignerInfo::new(authority()).damaged()),
        ),
        Row::image(
            "bad-signature",
            "a signer named by the identifier of its key",
            signed_by(SignerInfo::new(vendor()).identify(Identify::SubjectKeyId)),
        ),
        Row::image("bad-signature", "nobody signed", image().signed_by(|text| SignedData::new(text).build())),
        Row::image(
            "bad-signature",
            "twenty signers",
            image().signed_by(|text| {
                (0..20).fold(SignedData::new(text), |data, _| data.signer(SignerInfo::new(vendor()))).build()
            }),
        ),
    ]
}

fn algorithms() -> Vec<Row> {
    let weak = |what, signer| Row::image("weak-signature", what, signed_by(signer));
    vec![
        weak("SHA-1", SignerInfo::new(vendor()).digest(Digest::Sha1)),
        weak("MD5", SignerInfo::new(vendor()).digest(Digest::Md5)),
        weak("SHA-224", SignerInfo::new(vendor()).digest(Digest::Sha224)),
        weak("SHA-1 with signed attributes", SignerInfo::new(vendor()).digest(Digest::Sha1).attributes()),
        weak("RSA-PSS", SignerInfo::new(vendor()).pss()),
        weak("RSA with 1024 bits", SignerInfo::new(weak_rsa())),
        weak("Ed25519", SignerInfo::new(edwards())),
        Row::image(
            "bad-signature",
            "SHA-1 that claims to be SHA-256",
            signed_by(SignerInfo::new(vendor()).digest(Digest::Sha1).claim_digest(Digest::Sha256)),
        ),
    ]
}

fn content() -> Vec<Row> {
    let bad = |what, image| Row::image("bad-signature", what, image);
    let over = |change: fn(&str) -> Vec<u8>| image().signed_by(|text| plain(vendor(), change(text)));
    let other_hash = other().root_hash.to_string();
    let swapped = signature_json(&other().root_hash, &vendor().fingerprint(), &image().pkcs7());
    vec![
        bad("a signature over another root hash", image().signed_by(|_| plain(vendor(), &other_hash))),
        bad("over the root hash and a newline", over(|text| format!("{text}\n").into_bytes())),
        bad("over the root hash in capitals", over(|text| text.to_uppercase().into_bytes())),
        bad(
            "over the raw bytes of the root hash",
            over(|text| {
                (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
            }),
        ),
        bad("over nothing", over(|_| Vec::new())),
        bad(
            "over another root hash that is sent along",
            image().signed_by(|_| SignedData::new(&other_hash).attached().signer(SignerInfo::new(vendor())).build()),
        ),
        bad("another image's root hash with this one's signature", image().with_signature_text(swapped.as_bytes())),
        bad("a flipped bit in the signature", signed_by(SignerInfo::new(vendor()).damaged())),
        Row::image(
            "corrupt",
            "the whole signature partition of another image",
            image().with_signature_text(other().signature_text().as_bytes()),
        ),
    ]
}

fn structure() -> Vec<Row> {
    let bad = |what, der: &[u8]| Row::image("bad-signature", what, image().with_pkcs7(der));
    let good = image().pkcs7();
    let mut indefinite = good.clone();
    indefinite[1] = 0x80;
    vec![
        bad("garbage for a signature", &[0x5a; 300]),
        bad("an empty sequence", &[0x30, 0]),
        bad("a length of 4 GiB", &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]),
        bad("an indefinite length", &indefinite),
        bad("a cut signature", &good[..good.len() - 1]),
        bad("a byte behind the signature", &[good.as_slice(), &[0]].concat()),
        bad("a certificate instead of a signature", &vendor().der()),
        bad("deep nesting", &nested(2000)),
    ]
}

fn nested(depth: usize) -> Vec<u8> {
    (0..depth).fold(vec![0x30, 0], |inner, _| sequence(&[inner]))
}

/// More of something than there may be, or something twice. OpenSSL takes time or stack for each of many digests, and
/// overlooks the rest.
fn numbers() -> Vec<Row> {
    let sound = |text: &str| SignedData::new(text).signer(SignerInfo::new(vendor()));
    let bad = |what, make: &dyn Fn(&str) -> SignedData<'static>| {
        Row::image("bad-signature", what, image().signed_by(|text| make(text).build()))
    };
    let announced = |count: usize| vec![Digest::Sha256.algorithm(); count];
    let certificates = |text: &str, count: usize| (0..count).fold(sound(text), |data, _| data.certificate(vendor()));
    let bloated = |text: &str| {
        let parameters = octets(&vec![0x5a; 33_000]);
        sound(text).announcing(&[sequence(&[oid("2.16.840.1.101.3.4.2.1"), parameters])])
    };
    vec![
        bad("60,000 digest algorithms", &|text| sound(text).announcing(&announced(60_000))),
        bad("2,000 digest algorithms", &|text| sound(text).announcing(&announced(2000))),
        bad("a digest algorithm twice", &|text| sound(text).announcing(&announced(2))),
        bad("no digest algorithm", &|text| sound(text).announcing(&[])),
        bad("a digest algorithm that no signer uses", &|text| {
            sound(text).announcing(&[Digest::Sha256.algorithm(), Digest::Sha512.algorithm()])
        }),
        bad("a signer twice", &|text| sound(text).signer(SignerInfo::new(vendor()))),
        bad("a trusted certificate twice", &|text| certificates(text, 2)),
        bad("seventeen certificates", &|text| certificates(text, 17)),
        bad("a signature of 33,000 bytes", &bloated),
        bad("a signature value that is longer than the key", &|text| {
            SignedData::new(text).signer(SignerInfo::new(vendor()).value(vec![0; 257]))
        }),
        bad("a signature value of 2,049 bytes", &|text| {
            SignedData::new(text).signer(SignerInfo::new(vendor()).value(vec![0; 2049]))
        }),
    ]
}

fn usual(text: &str) -> [Vec<u8>; 3] {
    usual_attributes(Digest::Sha256, text.as_bytes())
}

fn stored(text: &str, change: impl Fn(&mut [Vec<u8>; 3])) -> SignerInfo<'static> {
    let mut attributes = usual(text);
    change(&mut attributes);
    SignerInfo::new(vendor()).storing_attributes(attributes.concat())
}

fn digest(text: &str) -> Vec<u8> {
    openssl::hash::hash(Digest::Sha256.openssl(), text.as_bytes()).unwrap().to_vec()
}

/// Signed attributes. OpenSSL writes them anew before it verifies, so that it accepts them in other forms too.
fn attributes() -> Vec<Row> {
    type Change = fn(&str) -> SignerInfo<'static>;
    let bad = |what, change: Change| {
        Row::image("bad-signature", what, image().signed_by(|text| SignedData::new(text).signer(change(text)).build()))
    };
    vec![
        bad("signed attributes with a string in pieces", |text| {
            let (first, second) = (octets(&digest(text)[..16]), octets(&digest(text)[16..]));
            stored(text, |all| all[2] = attribute(MESSAGE_DIGEST, tlv(0x24, &[first.clone(), second.clone()].concat())))
        }),
        bad("signed attributes with an indefinite length", |text| {
            let string = [&[0x24, 0x80], octets(&digest(text)).as_slice(), &[0, 0]].concat();
            stored(text, |all| all[2] = attribute(MESSAGE_DIGEST, string.clone()))
        }),
        bad("signed attributes with a long length", |text| {
            stored(text, |all| all[0] = [&[0x30, 0x81, all[0][1]], &all[0][2..]].concat())
        }),
        bad("signed attributes in another order", |text| stored(text, |all| all.swap(0, 2))),
        bad("signed attributes that were added to", |text| {
            stored(text, |all| all[2].extend(attribute("1.2.840.113549.1.9.15", sequence(&[]))))
        }),
        bad("no signed attributes in their place", |_| SignerInfo::new(vendor()).storing_attributes(Vec::new())),
        bad("a signed attribute that no verifier needs", |text| {
            let note = attribute("1.2.840.113549.1.9.13", tlv(0x0c, b"CD001"));
            SignerInfo::new(vendor()).signing_attributes(&[usual(text).to_vec(), vec![note]].concat())
        }),
        bad("signed attributes without a digest", |text| {
            SignerInfo::new(vendor()).signing_attributes(&usual(text)[..2])
        }),
        bad("signed attributes without a content type", |text| {
            SignerInfo::new(vendor()).signing_attributes(&usual(text)[1..])
        }),
        bad("two digests in the signed attributes", |text| {
            let other = usual_attributes(Digest::Sha256, b"other")[2].clone();
            SignerInfo::new(vendor()).signing_attributes(&[usual(text).to_vec(), vec![other]].concat())
        }),
        bad("a digest with two values", |text| {
            let values = set_content(&[octets(&digest(text)), octets(&digest("other"))]);
            let twice = sequence(&[oid(MESSAGE_DIGEST), tlv(0x31, &values)]);
            SignerInfo::new(vendor()).signing_attributes(&[usual(text)[0].clone(), twice])
        }),
        bad("signed attributes about another root hash", |_| {
            SignerInfo::new(vendor()).signing_attributes(&usual(&other().root_hash.to_string()))
        }),
        bad("signed attributes about other content than data", |text| {
            let kind = attribute(CONTENT_TYPE, oid("1.3.6.1.4.1.311.2.1.4"));
            SignerInfo::new(vendor()).signing_attributes(&[kind, usual(text)[2].clone()])
        }),
        bad("large signed attributes", |text| {
            let capabilities = attribute("1.2.840.113549.1.9.15", sequence(&vec![sequence(&[oid(DATA)]); 400]));
            SignerInfo::new(vendor()).signing_attributes(&[usual(text).to_vec(), vec![capabilities]].concat())
        }),
        bad("signed attributes instead of the root hash", |text| {
            // A signature over attributes, told as one over content that looks like them.
            let signed = set(&usual(text));
            SignerInfo::new(vendor()).over(&signed)
        }),
    ]
}

/// What is sent along with a sound signature without being covered by it.
fn baggage() -> Vec<Row> {
    let sound = |text: &str| SignedData::new(text).signer(SignerInfo::new(vendor()));
    let bad = |what, image| Row::image("bad-signature", what, image);
    let attached =
        |content: fn(&str) -> Vec<u8>| image().signed_by(|text| sound(text).attaching(&content(text)).build());
    let grafted = |place| image().signed_by(|text| graft(&sound(text).build(), place));
    vec![
        bad("content that is sent along and says something else", attached(|_| b"CDROM".to_vec())),
        bad("content in capitals", attached(|text| text.to_uppercase().into_bytes())),
        bad("a certificate that nobody trusts", image().signed_by(|text| sound(text).certificate(stranger()).build())),
        bad("a revocation list", grafted(Place::Revocations)),
        bad("unsigned attributes", grafted(Place::Attributes)),
    ]
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In front of the signers.
    Revocations,
    /// Behind the fields of the signer.
    Attributes,
}

/// Puts bytes that nobody signs into a signature that is otherwise left as it is.
fn graft(der: &[u8], place: Place) -> Vec<u8> {
    let element = explicit(1, b"CDROM");
    let info = children(der);
    let explicit_data = children(&info[1]);
    let mut data = children(&explicit_data[0]);
    let signers = data.pop().unwrap();
    if place == Place::Revocations {
        data.extend([element, signers]);
    } else {
        let mut fields = children(&children(&signers)[0]);
        fields.push(element);
        data.push(tlv(0x31, &sequence(&fields)));
    }
    sequence(&[info[0].clone(), explicit(0, &sequence(&data))])
}

/// The elements inside an element.
fn children(der: &[u8]) -> Vec<Vec<u8>> {
    let split = |bytes: &[u8]| {
        let (length, header) = match bytes[1] {
            length if length < 0x80 => (usize::from(length), 2),
            length => {
                let digits = &bytes[2..2 + usize::from(length & 0x7f)];
                (digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), 2 + digits.len())
            }
        };
        (header, header + length)
    };
    let (header, end) = split(der);
    let mut rest = &der[header..end];
    let mut out = Vec::new();
    while !rest.is_empty() {
        let (_, end) = split(rest);
        out.push(rest[..end].to_vec());
        rest = &rest[end..];
    }
    out
}

fn revocation() -> Vec<Row> {
    let mut rows: Vec<_> =
        revoked().into_iter().map(|(what, signer)| Row::image("revoked-signer", what, good(NAME, signer))).collect();
    let [(_, whole), ..] = revoked();
    rows.push(Row::image(
        "revoked-signer",
        "a trusted and a revoked signer",
        image().signed_by(|text| {
            SignedData::new(text).signer(SignerInfo::new(vendor())).signer(SignerInfo::new(whole)).build()
        }),
    ));
    rows.push(Row::file("revoked-image", "a denied root hash", "denied.sysext.raw", denied()));
    rows
}
