//! Signatures by a grammar: from steps of two bytes, an operation and its argument, to CMS signed data whose lists can
//! grow to tens of thousands of elements, and whose signatures hold.

use openssl::pkcs7::{Pkcs7, Pkcs7Flags};
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use sextant::trust::{SealedFile, Source, TrustStore};
use std::sync::OnceLock;
use support::der::{explicit, octets, oid, sequence, set_content, tlv};
use support::keys::{self, Authority};
use support::pkcs7::{
    Digest, Identify, MESSAGE_DIGEST, SIGNED_DATA, SignedData, SignerInfo, attribute, usual_attributes,
};

/// The root hash that is signed.
pub fn content() -> String {
    "5e".repeat(32)
}

fn trusted() -> [&'static Authority; 2] {
    [keys::ec("Trusted"), keys::rsa("Trusted too")]
}

/// Trusts the first two of the three signers.
pub fn trust() -> &'static TrustStore {
    static STORE: OnceLock<TrustStore> = OnceLock::new();
    STORE.get_or_init(|| {
        let offer = |authority: &Authority| {
            SealedFile { path: "trusted.crt".to_owned(), content: Ok(authority.pem()) }.offer(Source::File)
        };
        TrustStore::decide(trusted().map(offer).to_vec(), &Default::default())
    })
}

/// Whether systemd would accept the signature (257, `validate_signature_userspace`).
///
/// # Panics
/// Where OpenSSL can't do its work.
pub fn openssl_accepts(der: &[u8]) -> bool {
    let Ok(signature) = Pkcs7::from_der(der) else { return false };
    let mut certificates = Stack::new().expect("a stack");
    for authority in trusted() {
        certificates.push(authority.certificate.clone()).expect("room for a certificate");
    }
    let store = X509StoreBuilder::new().expect("a store").build();
    let flags = Pkcs7Flags::NOINTERN | Pkcs7Flags::NOVERIFY;
    signature.verify(&certificates, &store, Some(content().as_bytes()), None, flags).is_ok()
}

/// Bytes of one signer's attributes, and of announced digests, after which nothing more is added: larger than what is read
/// (32,767 bytes), and small enough to be copied for each signer.
const MAX_ATTRIBUTES: usize = 64 << 10;
const MAX_ANNOUNCED: usize = 1 << 20;

/// A number of repetitions: few mostly, up to 32768 sometimes.
fn times(argument: u8) -> usize {
    if argument < 0x80 { usize::from(argument & 7) } else { 1 << (argument & 15) }
}

fn digest(argument: u8) -> Digest {
    match argument % 6 {
        0 => Digest::Sha256,
        1 => Digest::Sha384,
        2 => Digest::Sha512,
        3 => Digest::Sha1,
        4 => Digest::Sha224,
        _ => Digest::Md5,
    }
}

/// An element around others: a sequence, a set, strings in pieces, tags of other kinds.
fn around(argument: u8, content: &[u8]) -> Vec<u8> {
    match argument & 7 {
        0 => tlv(0x30, content),
        1 => tlv(0x31, content),
        2 => tlv(0x24, content),
        3 => [&[0x30, 0x80], content, &[0, 0]].concat(),
        4 => [&[0x24, 0x80], content, &[0, 0]].concat(),
        5 => [&[0x30, 0x84], &u32::try_from(content.len()).unwrap_or_default().to_be_bytes()[..], content].concat(),
        6 => explicit(argument >> 5, content),
        _ => tlv(argument, content),
    }
}

/// What the steps made so far.
#[derive(Default)]
struct State {
    signers: Vec<SignerInfo<'static>>,
    /// Of the next signer.
    digest: u8,
    attributes: Option<Vec<Vec<u8>>>,
    stored: bool,
    certificates: Vec<&'static Authority>,
    announced: Option<Vec<Vec<u8>>>,
    attached: Option<Vec<u8>>,
    trailing: Vec<u8>,
    flips: Vec<(usize, u8)>,
}

impl State {
    fn usual(&self) -> Vec<Vec<u8>> {
        usual_attributes(digest(self.digest), content().as_bytes()).to_vec()
    }

    /// Whether what was made so far is so large that the generator itself would take the memory that an input may take.
    fn is_full(&self) -> bool {
        let bytes = |list: &Option<Vec<Vec<u8>>>| list.iter().flatten().map(Vec::len).sum::<usize>();
        bytes(&self.attributes) > MAX_ATTRIBUTES || bytes(&self.announced) > MAX_ANNOUNCED || self.signers.len() > 64
    }

    fn step(&mut self, operation: u8, argument: u8) {
        if self.is_full() {
            return;
        }
        match operation % 16 {
            0 => self.add_signer(argument),
            1 => self.attributes = Some(self.usual()),
            2 => self.digest = argument,
            3 => self.add_attribute(argument),
            4 => {
                let algorithm = digest(argument >> 4).algorithm();
                let list = self.announced.get_or_insert_default();
                list.extend(std::iter::repeat_n(algorithm, times(argument | 0x80)));
            }
            5 => {
                let authority = [trusted()[0], trusted()[1], keys::ec("Stranger")][usize::from(argument % 3)];
                self.certificates.extend(std::iter::repeat_n(authority, times(argument) % 64));
            }
            6 => self.attached = Some(content().into_bytes()),
            7 => self.attached = Some(vec![argument; times(argument)]),
            8 => self.announced.get_or_insert_default().push(around(argument, &digest(argument).algorithm())),
            9 => self.change_attribute(argument),
            10 => self.nest(argument),
            11 => self.trailing.push(argument),
            12 => {
                let signers = self.signers.clone();
                self.signers.extend(signers.into_iter().cycle().take(times(argument) % 40));
            }
            // At the far end or near the beginning, where the structure is.
            13 => self.flips.push((usize::from(argument), 1 << (argument & 7))),
            14 => self.flips.push((256 + usize::from(argument), 1 << (argument >> 5))),
            _ => self.stored = argument & 1 == 1,
        }
    }

    fn add_signer(&mut self, argument: u8) {
        let authority = [trusted()[0], trusted()[1], keys::ec("Stranger")][usize::from(argument % 3)];
        let mut signer = SignerInfo::new(authority).digest(digest(self.digest));
        if let Some(attributes) = self.attributes.take() {
            signer = if self.stored {
                signer.storing_attributes(attributes.concat())
            } else {
                signer.signing_attributes(&attributes)
            };
        }
        if argument & 0x80 != 0 {
            signer = signer.damaged();
        }
        if argument & 0x40 != 0 {
            signer = signer.identify(Identify::SubjectKeyId);
        }
        if argument & 0x20 != 0 && argument % 3 == 1 {
            signer = signer.pss();
        }
        self.signers.push(signer);
    }

    fn add_attribute(&mut self, argument: u8) {
        let kind = format!("1.2.840.113549.1.9.{}", [3, 4, 5, 15, 52, 13, 6, 25][usize::from(argument & 7)]);
        let value = match argument >> 3 & 3 {
            0 => octets(&[argument]),
            1 => sequence(&vec![sequence(&[oid(SIGNED_DATA)]); times(argument).min(2048)]),
            2 => tlv(0x17, b"250101000000Z"),
            _ => sequence(&[digest(argument).algorithm(), explicit(1, &oid("1.2.840.10045.4.3.2"))]),
        };
        let mut all = self.attributes.take().unwrap_or_else(|| self.usual());
        all.push(attribute(&kind, value));
        self.attributes = Some(all);
    }

    /// Writes the message digest in another way.
    fn change_attribute(&mut self, argument: u8) {
        let mut all = self.attributes.take().unwrap_or_else(|| self.usual());
        if let Some(last) = all.get_mut(2) {
            let size = digest(self.digest).openssl().size();
            let bytes = last[last.len().saturating_sub(size)..].to_vec();
            let half = bytes.len() / 2;
            let empty = octets(&[]).repeat(times(argument).min(8192));
            let pieces = [octets(&bytes[..half]), empty, octets(&bytes[half..])].concat();
            *last = sequence(&[oid(MESSAGE_DIGEST), tlv(0x31, &around(argument, &pieces))]);
        }
        self.stored = true;
        self.attributes = Some(all);
    }

    /// Parameters of an announced digest that are nested deep or wide.
    fn nest(&mut self, argument: u8) {
        let depth = times(argument) % 2048;
        // Each level copies what is inside.
        let nested = (0..depth).fold(octets(&[argument]), |inner, _| around(argument, &inner));
        let wide = set_content(&vec![octets(&[argument]); times(argument.reverse_bits())]);
        let parameters = sequence(&[nested, wide]);
        let algorithm = sequence(&[oid("2.16.840.1.101.3.4.2.1"), parameters]);
        self.announced.get_or_insert_default().push(algorithm);
    }

    fn build(self) -> Vec<u8> {
        let mut data = SignedData::new(content());
        if let Some(attached) = &self.attached {
            data = data.attaching(attached);
        }
        if let Some(announced) = &self.announced {
            data = data.announcing(announced);
        }
        data = self.signers.into_iter().fold(data, SignedData::signer);
        data = self.certificates.into_iter().fold(data, SignedData::certificate);
        let mut der = data.trailing(&self.trailing).build();
        let len = der.len();
        for (at, bit) in self.flips {
            der[at % len] ^= bit;
        }
        der
    }
}

/// Makes a signature of steps.
pub fn build(steps: &[u8]) -> Vec<u8> {
    let mut state = State::default();
    for step in steps.chunks_exact(2).take(64) {
        state.step(step[0], step[1]);
    }
    state.build()
}
