#![allow(clippy::unwrap_used)]
use super::*;
use crate::trust::{Certificate, Fingerprint, Offer, Source, TrustStore};
use ddi::Architecture;
use ddi::Guid;
use ddi::verity::HashAlgorithm;
use ddi::write::gpt::Table;
use ddi::write::{DdiBuilder, Signer};
use openssl::asn1::Asn1Time;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::x509::X509;
use std::io::Cursor;
use std::time::{Duration, SystemTime};

/// Data blocks of the image: as many as one block of hashes has room for.
const BLOCKS: u64 = 128;

/// A signed image, whose partitions may have other UUIDs than those of their root hash.
fn image(uuids: Option<[Guid; 2]>) -> (Vec<u8>, SignedDdi) {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    let certificate = builder.build();
    let der = certificate.to_der().unwrap();
    let offer = Offer {
        certificate: Certificate::from_der(&der),
        source: Source::File,
        origin: "test".into(),
        sha256: Some(Fingerprint::of(&der)),
    };
    let trust = TrustStore::decide(vec![offer], &crate::firmware::signature_list::SignatureDatabase::default());

    let data = vec![7; usize::try_from(BLOCKS * 4096).unwrap()];
    let signer = Signer { key: &key, certificate: &certificate };
    let parts = DdiBuilder::new("test").architecture(Architecture::X86_64).protect(&data).unwrap();
    let parts = parts.sign(&signer).unwrap();
    let mut partitions = parts.partitions();
    for (partition, uuid) in partitions.iter_mut().zip(uuids.into_iter().flatten()) {
        partition.uuid = uuid;
    }
    let mut bytes = Cursor::new(Vec::new());
    Table::place(parts.sector_size, parts.disk_guid(), partitions).unwrap().write_to(&mut bytes).unwrap();
    let bytes = bytes.into_inner();
    let ddi = Ddi::read(&bytes, Architecture::X86_64).unwrap();
    (bytes, SignedDdi::verify(ddi, &trust).unwrap())
}

/// The process that reads an image may say anything of its superblock.
#[test]
fn a_superblock_that_another_process_found_has_to_fit_the_image() {
    let (bytes, signed) = image(None);
    let bytes = &bytes;
    let attested = |superblock: &[u8]| RootedImage::attested(bytes, signed.clone(), superblock).is_some();
    let (_, _, found) = areas(bytes, signed.ddi()).unwrap();
    assert!(attested(&found.to_bytes()));
    assert!(IntactImage::attested(bytes, signed.clone(), &found.to_bytes()).is_some());
    assert!(!attested(&found.to_bytes()[..511]) && !attested(&[0; 512]));

    let (root, verity) = (signed.ddi().root().len, signed.ddi().verity().len);
    let superblock =
        |algorithm, block_size, blocks| Superblock::new(algorithm, block_size, 4096, blocks, &[], [0; 16]).unwrap();
    let fits = |superblock: &Superblock| {
        let geometry = superblock.geometry();
        (geometry.data_len() <= root, geometry.hash_area_len() <= verity)
    };
    let other_digest = superblock(HashAlgorithm::Sha512, 4096, 1);
    assert_eq!(fits(&other_digest), (true, true));
    let all_data = superblock(HashAlgorithm::Sha256, 4096, root / 4096);
    assert_eq!(fits(&all_data), (true, true), "as long as the partition");
    assert!(attested(&all_data.to_bytes()));
    let longer_data = superblock(HashAlgorithm::Sha256, 4096, root / 4096 + 1);
    let longer_tree = superblock(HashAlgorithm::Sha256, 512, root / 512);
    assert_eq!((fits(&longer_data).0, fits(&longer_tree)), (false, (true, false)));
    for wrong in [other_digest, longer_data, longer_tree] {
        assert!(!attested(&wrong.to_bytes()), "{wrong:?}");
    }
}

#[test]
fn the_evidence_leads_to_the_bytes() {
    let (bytes, signed) = image(None);
    let (start, len) = (signed.ddi().root().start, BLOCKS * 4096);
    let intact = IntactImage::check(&bytes, signed, 1).unwrap();
    let lent = intact.rooted().lend();
    assert_eq!((lent.root().start, lent.data_len()), (start, len));
    assert!(lent.descriptor().is_none() && lent.warnings().is_empty());
    let filesystem = intact.filesystem().unwrap();
    assert_eq!(filesystem.len(), len);
    let mut last = [0; 2];
    filesystem.read_exact_at(&mut last, len - 2).unwrap();
    assert_eq!(last, [7, 7]);
}

#[test]
fn the_descriptor_is_that_of_the_file() {
    use std::os::fd::AsRawFd;
    let (bytes, signed) = image(None);
    let file = tempfile::tempfile().unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).unwrap();
    let expected = file.as_raw_fd();
    let source = ddi::io::FileSource::new(file).unwrap();
    let (rooted, _) = RootedImage::check(&source, signed).unwrap();
    assert_eq!(rooted.lend().descriptor().unwrap().as_raw_fd(), expected);
}

#[test]
fn partitions_with_uuids_of_their_own_are_told() {
    let warnings = |uuids| {
        let (bytes, signed) = image(Some(uuids));
        let (rooted, _) = RootedImage::check(&bytes, signed).unwrap();
        rooted.lend().warnings().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let [first, last] = {
        let (_, signed) = image(None);
        assert!(signed.warnings(SystemTime::now()).is_empty());
        let later = SystemTime::now() + Duration::from_hours(72);
        assert!(signed.warnings(later)[0].as_str().ends_with("has expired"));
        [signed.ddi().root().uuid, signed.ddi().verity().uuid]
    };
    let other = Guid::from_bytes([9; 16]);
    let told = |name| format!("the UUID {other} of the {name} partition does not derive from the root hash");
    assert_eq!(warnings([first, other]), [told("verity")]);
    assert_eq!(warnings([other, last]), [told("root")]);
}

#[test]
fn coverage_is_what_was_checked_of_an_image() {
    let of = |coverage: Coverage| (coverage.verify(), coverage.checked(), coverage.len());
    assert_eq!(of(Coverage::full(9)), (Verify::Full, 9, 9));
    assert_eq!(of(Coverage::on_read(4, 9)), (Verify::OnRead, 4, 9));
    assert_eq!(of(Coverage::on_read(12, 9)), (Verify::OnRead, 9, 9));
}
