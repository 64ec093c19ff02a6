//! Every single bit of a small signed image, flipped: either the image is refused, or the bit is one of those
//! listed here, and what the image is taken for stays the same.
//!
//! The list works both ways. A bit that is accepted without being listed is a hole; one that is listed and
//! refused makes the list a lie.
#![allow(clippy::unwrap_used)]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ddi::PartitionKind::{RootVerity, RootVeritySig};
use ddi::io::ReadAt;
use ddi::verity::RootHash;
use ddi::write::{DdiBuilder, VerityParams};
use ddi::{Ddi, signature_partition};
use sextant::firmware::signature_list::SignatureDatabase;
use sextant::trust::{Anchor, SealedFile, Source, TrustStore};
use sextant::verify::{IntactImage, SignedDdi};
use std::collections::BTreeMap;
use std::ops::Range;
use support::compact::compact;
use support::ddi::{Blueprint, RawImage, native};
use support::keys::{self, Authority};
use support::trees::{Tree, noise};

/// What somebody who trusts the image relies on.
#[derive(Debug, PartialEq, Eq)]
struct Evidence {
    root_hash: RootHash,
    signer: Anchor,
    filesystem: Vec<u8>,
}

/// The image, and what is known of it before a bit is flipped.
struct Specimen {
    image: RawImage,
    trust: TrustStore,
    text: Text,
}

/// Where in the image the parts of its signature partition are.
struct Text {
    /// The digits of `certificateFingerprint`.
    fingerprint: Range<usize>,
    /// The base64 of `signature`.
    signature: Range<usize>,
    /// The first NUL.
    end: usize,
    /// What is encoded there.
    der: Vec<u8>,
    /// Where its parts are.
    parts: Pkcs7,
}

impl Specimen {
    /// Blocks of 512 bytes, so that even a small file system has a hash tree of two levels.
    fn new(authority: &Authority) -> Self {
        let params = VerityParams { data_block_size: 512, hash_block_size: 512, ..VerityParams::derived(b"flip") };
        let tree = Tree::sysext("flip").file("usr/share/flip/noise", &noise(9000));
        let builder = DdiBuilder::new("flip").verity(params).threads(1);
        let image = compact(&Blueprint::build(&builder, &tree.squashfs(), Some(authority)));
        let file = SealedFile { path: "flip.crt".to_owned(), content: Ok(authority.pem()) };
        let trust = TrustStore::decide(vec![file.offer(Source::File)], &SignatureDatabase::default());
        let claim = Ddi::read(&image.bytes, native()).unwrap().claim().clone();

        let place = image.place(RootVeritySig);
        let bytes = &image.bytes[place.clone()];
        let len = bytes.iter().position(|byte| *byte == 0).unwrap();
        let text = std::str::from_utf8(&bytes[..len]).unwrap();
        let value = |member: &str| {
            let before = format!("\"{member}\":\"");
            let start = text.find(&before).unwrap() + before.len();
            place.start + start..place.start + start + text[start..].find('"').unwrap()
        };
        let (fingerprint, signature) = (value("certificateFingerprint"), value("signature"));
        let text = Text {
            fingerprint,
            signature,
            end: place.start + len,
            der: claim.signature.to_vec(),
            parts: Pkcs7::new(&claim.signature),
        };
        Self { image, trust, text }
    }

    /// The chain of evidence, from the bytes to the file system.
    fn verify(&self, bytes: &[u8]) -> Result<Evidence, String> {
        let ddi = Ddi::read(&bytes, native()).map_err(|error| error.to_string())?;
        let signed = SignedDdi::verify(ddi, &self.trust).map_err(|error| error.to_string())?;
        let intact = IntactImage::check(&bytes, signed, 1).map_err(|error| error.to_string())?;
        let root = intact.rooted().signed().root();
        let window = intact.filesystem().unwrap();
        let mut filesystem = vec![0; usize::try_from(window.len()).unwrap()];
        window.read_exact_at(&mut filesystem, 0).unwrap();
        Ok(Evidence { root_hash: root.root_hash().clone(), signer: root.signer().clone(), filesystem })
    }

    /// The list: why byte `at` may be `changed` without anybody noticing; `None` where it may not.
    fn unused(&self, at: usize, changed: u8) -> Option<&'static str> {
        let uuid = self.image.place(RootVerity).start + 16;
        match at {
            // UEFI specification 2.10, sections 5.2.1 and 5.2.3. The kernel (`is_pmbr_valid` in block/partitions/efi.c)
            // and libblkid look at type and start of the protective entry; only those are what they must be.
            440..=445 => Some("MBR: disk signature"),
            446 => Some("MBR: boot indicator, which firmware must ignore"),
            447..=449 | 451..=453 => Some("MBR: cylinders, heads and sectors"),
            458..=461 => Some("MBR: size of the protective partition"),
            // Goes into no digest; the kernel isn't even told.
            _ if (uuid..uuid + 16).contains(&at) => Some("superblock: UUID"),
            // A hint, worth a warning where it is wrong.
            _ if self.text.fingerprint.contains(&at) && is_lower_hex(changed) => Some("certificateFingerprint"),
            _ if at == self.text.end && changed == b' ' => Some("a space behind the JSON"),
            _ if self.text.signature.contains(&at) => self.unused_in_signature(at, changed),
            _ => None,
        }
    }

    /// The part of the list that is about the structure around the signature proper.
    fn unused_in_signature(&self, at: usize, changed: u8) -> Option<&'static str> {
        let mut text = self.image.bytes[self.text.signature.clone()].to_vec();
        text[at - self.text.signature.start] = changed;
        // A flip in the padding may give a byte more: that is no unused bit.
        let changed = STANDARD.decode(text).ok().filter(|changed| changed.len() == self.text.der.len())?;
        let parts = &self.text.parts;
        let differing: Vec<usize> = (0..changed.len()).filter(|at| changed[*at] != self.text.der[*at]).collect();
        match differing[..] {
            // Which hash is signed is told by the digest algorithm; the one in this name is not asked.
            [at] if at == parts.algorithm && parts.synonyms.contains(&changed[at]) => {
                Some("PKCS#7: hash in the name of the signature algorithm")
            }
            _ => None,
        }
    }

    /// Flips every bit of `range`, verifies each time, and compares with the list. Returns how many bits each
    /// line of the list stands for.
    fn flip_all(&self, range: Range<usize>) -> BTreeMap<&'static str, usize> {
        let expected = self.verify(&self.image.bytes).unwrap();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let found = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads)
                .map(|first| {
                    let (range, expected) = (range.clone(), &expected);
                    scope.spawn(move || self.flip_some(range.skip(first).step_by(threads), expected))
                })
                .collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect::<Vec<_>>()
        });
        let mut lines = BTreeMap::new();
        let mut wrong = Vec::new();
        for (line, contradiction) in found {
            if let Some(line) = line {
                *lines.entry(line).or_default() += 1;
            }
            wrong.extend(contradiction);
        }
        assert!(
            wrong.is_empty(),
            "{} bits, the first of them:\n{}",
            wrong.len(),
            wrong[..wrong.len().min(20)].join("\n")
        );
        lines
    }

    /// For each bit that is listed or accepted: its line of the list, and what contradicts that line.
    fn flip_some(
        &self,
        positions: impl Iterator<Item = usize>,
        expected: &Evidence,
    ) -> Vec<(Option<&'static str>, Option<String>)> {
        let mut bytes = self.image.bytes.clone();
        let mut found = Vec::new();
        for at in positions {
            for bit in 0..8 {
                bytes[at] ^= 1 << bit;
                let line = self.unused(at, bytes[at]);
                let contradiction = match (self.verify(&bytes), line) {
                    (Ok(evidence), Some(_)) if evidence == *expected => None,
                    (Ok(_), Some(line)) => Some(format!("byte {at}, bit {bit} ({line}): other evidence")),
                    (Ok(_), None) => Some(format!("byte {at}, bit {bit}: accepted")),
                    (Err(error), Some(line)) => Some(format!("byte {at}, bit {bit} ({line}): refused: {error}")),
                    (Err(_), None) => None,
                };
                if line.is_some() || contradiction.is_some() {
                    found.push((line, contradiction));
                }
                bytes[at] ^= 1 << bit;
            }
        }
        found
    }
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// Positions in a detached PKCS#7 signature by one signer (RFC 2315, section 9).
struct Pkcs7 {
    /// The last byte of the signature algorithm's object identifier.
    algorithm: usize,
    /// Other values of that byte that stand for the same kind of signature.
    synonyms: &'static [u8],
}

impl Pkcs7 {
    fn new(der: &[u8]) -> Self {
        let inside = |at| children(der, content(der, at));
        let signed_data = inside(inside(inside(0)[1])[0]);
        let signer_info = inside(inside(signed_data[signed_data.len() - 1])[0]);
        let identifier = content(der, inside(signer_info[3])[0]);
        let synonyms: &[u8] = match der[identifier.clone()] {
            // rsaEncryption and its companions (RFC 8017, appendix C)
            [.., 0x0d, 1, 1, _] => &[1, 11, 12, 13],
            // ecdsa-with-SHA256, 384, 512 (RFC 5758, section 3.2)
            [.., 4, 3, _] => &[2, 3, 4],
            _ => panic!("unexpected signature algorithm"),
        };
        let algorithm = identifier.end - 1;
        Self { algorithm, synonyms }
    }
}

/// Content of the DER element at `at`.
fn content(der: &[u8], at: usize) -> Range<usize> {
    let (start, len) = match usize::from(der[at + 1]) {
        short @ 0..0x80 => (at + 2, short),
        long => {
            let digits = &der[at + 2..at + 2 + (long & 0x7f)];
            (at + 2 + digits.len(), digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)))
        }
    };
    start..start + len
}

/// Where the elements in `range` begin.
fn children(der: &[u8], range: Range<usize>) -> Vec<usize> {
    let next = |at: &usize| Some(content(der, *at).end).filter(|next| *next < range.end);
    std::iter::successors(Some(range.start), next).collect()
}

#[test]
fn every_bit_of_an_image_is_covered_or_known_to_mean_nothing() {
    let specimen = Specimen::new(keys::rsa("Vendor"));
    let len = specimen.image.bytes.len();
    assert!((40_000..64_000).contains(&len), "{len} bytes");
    let lines = specimen.flip_all(0..len);
    println!("{} bits flipped; not covered: {lines:#?}", len * 8);
    let bytes = |line| lines[line] / 8;
    assert_eq!(bytes("MBR: disk signature"), 6);
    assert_eq!(bytes("MBR: cylinders, heads and sectors"), 6);
    assert_eq!(bytes("MBR: size of the protective partition"), 4);
    assert_eq!(bytes("superblock: UUID"), 16);
    assert_eq!(lines["a space behind the JSON"], 1);
    // Three to five of the bits of a hexadecimal digit lead to another one.
    assert!((64..64 * 5).contains(&lines["certificateFingerprint"]));
    // Besides the UUID that is 52 bytes, of which an attacker can choose less.
    assert!(lines.values().sum::<usize>() < 500, "{lines:?}");
}

#[test]
fn every_bit_of_an_ecdsa_signature_partition_too() {
    let specimen = Specimen::new(keys::ec("Vendor"));
    let lines = specimen.flip_all(specimen.image.place(RootVeritySig));
    println!("{lines:#?}");
    assert!(lines["certificateFingerprint"] >= 64);
}

#[test]
fn the_list_knows_where_things_are() {
    let specimen = Specimen::new(keys::rsa("Vendor"));
    let bytes = &specimen.image.bytes[specimen.image.place(RootVeritySig)];
    let ddi = Ddi::read(&specimen.image.bytes, native()).unwrap();
    assert_eq!(signature_partition::parse(bytes).unwrap(), *ddi.claim());
    let text = &specimen.text;
    let fingerprint = std::str::from_utf8(&specimen.image.bytes[text.fingerprint.clone()]).unwrap();
    assert_eq!(fingerprint, keys::rsa("Vendor").fingerprint());
    assert_eq!(STANDARD.decode(&specimen.image.bytes[text.signature.clone()]).unwrap(), text.der);
    assert_eq!(text.der[text.parts.algorithm], 1);
}
