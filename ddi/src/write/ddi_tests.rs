#![allow(clippy::cast_possible_truncation, clippy::naive_bytecount, clippy::ptr_arg)]
use super::*;
use crate::Ddi;
use crate::gpt::Table as ReadTable;
use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkcs7::{Pkcs7, Pkcs7Flags};
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::{X509, X509Name};
use std::io::Cursor;
use std::sync::OnceLock;

fn pair() -> &'static (PKey<Private>, X509) {
    static PAIR: OnceLock<(PKey<Private>, X509)> = OnceLock::new();
    PAIR.get_or_init(|| {
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let mut name = X509Name::builder().unwrap();
        name.append_entry_by_text("CN", "builder").unwrap();
        let name = name.build();
        let mut certificate = X509::builder().unwrap();
        certificate.set_subject_name(&name).unwrap();
        certificate.set_issuer_name(&name).unwrap();
        let serial = Asn1Integer::from_bn(&BigNum::from_u32(7).unwrap()).unwrap();
        certificate.set_serial_number(&serial).unwrap();
        certificate.set_pubkey(&key).unwrap();
        certificate.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        certificate.set_not_after(&Asn1Time::days_from_now(9).unwrap()).unwrap();
        certificate.sign(&key, MessageDigest::sha256()).unwrap();
        (key, certificate.build())
    })
}

fn filesystem(len: usize) -> Vec<u8> {
    (0..len).map(|position| (position % 251) as u8 + 1).collect()
}

fn image(builder: &DdiBuilder, data: &Vec<u8>) -> Vec<u8> {
    let (key, certificate) = pair();
    let parts = builder.protect(data).unwrap().sign(&Signer { key, certificate }).unwrap();
    let mut out = Cursor::new(Vec::new());
    parts.write_to(&mut out).unwrap();
    out.into_inner()
}

#[test]
fn an_architecture_without_partition_types_is_an_error_and_never_another_one() {
    let unknown = DdiBuilder { architecture: None, ..DdiBuilder::new("k3s") };
    let filesystem = filesystem(9000);
    assert!(matches!(unknown.protect(&filesystem), Err(BuildError::NoArchitecture)));
    let parts = unknown.architecture(Architecture::Riscv64).protect(&filesystem).unwrap().architecture;
    assert_eq!(parts, Architecture::Riscv64);
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let data = filesystem(100_000);
    let builder = DdiBuilder::new("k3s");
    assert_eq!(image(&builder.clone().threads(1), &data), image(&builder.clone().threads(3), &data));
    assert_ne!(image(&DdiBuilder::new("k4s"), &data), image(&builder, &data));
}

#[test]
fn partitions_names_flags_and_ids_are_those_of_the_specification() {
    let data = filesystem(9000);
    for architecture in [Architecture::X86_64, Architecture::Arm64, Architecture::Riscv64] {
        let image = image(&DdiBuilder::new("k3s").architecture(architecture), &data);
        let ddi = Ddi::read(&image, architecture).unwrap();
        let hex = ddi.claim().root_hash.to_string();
        let plain = |guid: Guid| guid.to_string().replace('-', "");
        assert_eq!(plain(ddi.root().uuid), hex[..32]);
        assert_eq!(plain(ddi.verity().uuid), hex[32..]);
        assert_eq!(ddi.signature().name, format!("root-{architecture}-verity-sig"));
        assert_eq!([ddi.root(), ddi.verity(), ddi.signature()].map(|p| p.flags), [1 << 60, 1 << 60, 0]);
        assert_eq!((ddi.root().start, ddi.root().len), (1 << 20, 12288));
        assert_eq!(ddi.signature().len, 16384);
        let start = ddi.root().start as usize;
        assert_eq!(image[start..start + data.len()], data);
    }
}

#[test]
fn the_signature_is_over_the_hexadecimal_root_hash() {
    let data = filesystem(4096);
    let image = image(&DdiBuilder::new("k3s"), &data);
    let ddi = Ddi::read(&image, Architecture::native().unwrap()).unwrap();
    let (_, certificate) = pair();
    let mut certificates = Stack::new().unwrap();
    certificates.push(certificate.clone()).unwrap();
    let store = X509StoreBuilder::new().unwrap().build();
    let pkcs7 = Pkcs7::from_der(&ddi.claim().signature).unwrap();
    let verify = |content: String| {
        let flags = Pkcs7Flags::NOINTERN | Pkcs7Flags::NOVERIFY;
        pkcs7.verify(&certificates, &store, Some(content.as_bytes()), None, flags)
    };
    let hex = ddi.claim().root_hash.to_string();
    verify(hex.clone()).unwrap();
    assert!(verify(format!("{hex}\n")).is_err());
    let digest = certificate.digest(MessageDigest::sha256()).unwrap();
    assert_eq!(ddi.claim().certificate_fingerprint, Some(crate::bytes::hex(&digest)));
}

#[test]
fn an_unsigned_image_has_two_partitions() {
    let data = filesystem(1);
    let parts = DdiBuilder::new("k3s").protect(&data).unwrap();
    let mut out = Cursor::new(Vec::new());
    parts.write_to(&mut out).unwrap();
    let table = ReadTable::read(out.get_ref()).unwrap();
    assert_eq!(table.partitions.len(), 2);
    assert_eq!(table.partitions[0].len, 4096);
}

#[test]
fn what_the_verifier_recomputes_is_the_signed_root_hash() {
    let algorithms = [HashAlgorithm::Sha256, HashAlgorithm::Sha512];
    let sizes = [(512, 4096), (1024, 1024), (4096, 512), (4096, 4096)];
    for (data_block_size, hash_block_size) in sizes {
        for algorithm in algorithms {
            let params = VerityParams { algorithm, data_block_size, hash_block_size, ..VerityParams::derived(b"x") };
            let data = filesystem(70_001);
            let parts = DdiBuilder::new("x").verity(params).protect(&data).unwrap();
            let superblock = Superblock::parse(&parts.verity).unwrap();
            assert_eq!(superblock.data_blocks() * u64::from(data_block_size), parts.data.len());
            let verify = |data: &dyn ReadAt| verity::verify(data, &parts.verity, &superblock, &parts.root_hash, 2);
            verify(&parts.data).unwrap();
            let mut changed = data.clone();
            changed[70_000] ^= 1;
            assert!(verify(&Padded::new(&changed, 4096).unwrap()).is_err());
        }
    }
}

#[test]
fn a_key_of_somebody_else_and_an_empty_file_system_are_refused() {
    let other = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let data = filesystem(1);
    let parts = DdiBuilder::new("k3s").protect(&data).unwrap();
    let error = parts.sign(&Signer { key: &other, certificate: &pair().1 }).unwrap_err();
    assert!(matches!(error, BuildError::Sign(SignError::KeyMismatch)), "{error}");
    assert!(matches!(DdiBuilder::new("k3s").protect(&Vec::<u8>::new()), Err(BuildError::Empty)));
}

#[test]
fn a_long_signature_gets_a_longer_partition_that_still_ends_with_a_nul() {
    for (text, len) in [(0, 16384), (16383, 16384), (16384, 20480), (20479, 20480), (20480, 24576)] {
        let partition = signature_partition(&vec![b'x'; text]);
        assert_eq!(partition.len(), len, "{text}");
        assert_eq!(partition.iter().filter(|byte| **byte == 0).count(), len - text);
    }
}

#[test]
fn derived_ids_are_random_uuids_in_form() {
    let uuid = Guid::from_id128(derive_uuid("disk", b"x")).to_string();
    assert_eq!(&uuid[14..15], "4");
    assert!("89ab".contains(&uuid[19..20]), "{uuid}");
    assert_ne!(derive_uuid("disk", b"x"), derive_uuid("disk", b"y"));
    assert_ne!(derive_uuid("disk", b"x"), derive_uuid("verity uuid", b"x"));
}

#[test]
fn an_image_around_its_file_system_is_the_same_as_one_that_is_written_as_a_whole() {
    for len in [4096, 5 * 4096 + 1, 3 << 20] {
        let filesystem = filesystem(len);
        let builder = DdiBuilder::new("tool").architecture(Architecture::X86_64).threads(1);
        let (key, certificate) = pair();
        let parts = builder.protect(&filesystem).unwrap().sign(&Signer { key, certificate }).unwrap();
        let mut whole = Cursor::new(Vec::new());
        parts.write_to(&mut whole).unwrap();
        let mut around = Cursor::new([vec![0xff; 1 << 20].as_slice(), &filesystem].concat());
        parts.write_around(&mut around).unwrap();
        assert!(around.into_inner() == whole.into_inner(), "{len} bytes");
    }
}
