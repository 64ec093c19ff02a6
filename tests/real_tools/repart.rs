//! The same file system through `systemd-repart` and through our own writer.

use ddi::gpt::Partition;
use ddi::verity::Superblock;
use ddi::write::{DdiBuilder, Signer, VerityParams};
use ddi::{Architecture, Ddi};
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;
use sextant::verify::cms::{self, Octets, SignedData};
use support::toolbox::Fixtures;

fn content<'a>(image: &'a [u8], partition: &Partition) -> &'a [u8] {
    &image[usize::try_from(partition.start).unwrap()..][..usize::try_from(partition.len).unwrap()]
}

struct Pair {
    key: PKey<Private>,
    certificate: X509,
}

fn pair(fixtures: &Fixtures, name: &str) -> Pair {
    let read = |suffix: &str| fixtures.read(&format!("keys/{name}.{suffix}"));
    let key = PKey::private_key_from_pem(&read("key")).unwrap();
    Pair { key, certificate: X509::from_pem(&read("crt")).unwrap() }
}

/// Hash tree, signature and partitions of ours for the file system and the salt in an image of repart's: all
/// that the format leaves no choice about has to be the same.
pub(crate) fn our_writer_makes_of_reparts_input_what_repart_made_of_it() {
    let Some(fixtures) = Fixtures::find() else { return };
    let names = [
        "repart-db.sysext",
        "repart-squashfs-xz.sysext",
        "repart-large.sysext",
        "repart-sectors4096.sysext",
        "repart-conf.confext",
    ];
    let signer = pair(&fixtures, "db");
    for name in names {
        let image = fixtures.image(&format!("{name}.raw"));
        let theirs = Ddi::read(&image, Architecture::native().unwrap()).unwrap();
        let hash_area = content(&image, theirs.verity());
        let superblock = Superblock::parse(hash_area).unwrap();
        let params = VerityParams {
            algorithm: superblock.algorithm(),
            data_block_size: superblock.data_block_size(),
            hash_block_size: superblock.hash_block_size(),
            salt: superblock.salt().to_vec(),
            uuid: superblock.uuid(),
        };
        let covered = usize::try_from(superblock.geometry().data_len()).unwrap();
        let filesystem = content(&image, theirs.root())[..covered].to_vec();

        let builder = DdiBuilder::new(name).sector_size(theirs.table().sector_size).verity(params);
        let ours = builder.protect(&filesystem).unwrap();
        let ours = ours.sign(&Signer { key: &signer.key, certificate: &signer.certificate }).unwrap();

        assert_eq!(ours.root_hash, theirs.claim().root_hash, "{name}");
        let (tree, rest) = hash_area.split_at(ours.verity.len());
        assert!(tree == ours.verity, "{name}: the hash trees differ");
        assert!(rest.iter().all(|byte| *byte == 0), "{name}");
        // RSA PKCS#1 v1.5 leaves no choice either, and there are no attributes with a time.
        let signature = ours.signature.as_deref().unwrap();
        assert!(signature == content(&image, theirs.signature()), "{name}: the signature partitions differ");

        let partitions = ours.partitions();
        let of_theirs = [theirs.root(), theirs.verity(), theirs.signature()];
        assert_eq!(partitions.len(), of_theirs.len());
        for (our, their) in partitions.iter().zip(of_theirs) {
            assert_eq!((our.type_guid, &our.name), (their.type_guid, &their.name), "{name}");
        }
        for (our, their) in partitions.iter().zip([theirs.root(), theirs.verity()]) {
            assert_eq!((our.uuid, our.flags), (their.uuid, their.flags), "{name}: {}", our.name);
        }
        let in_order = |places: &[u64]| places.is_sorted();
        assert!(in_order(&of_theirs.map(|partition| partition.start)), "{name}");
        assert!(in_order(
            &ours.table().unwrap().partitions.iter().map(|partition| partition.start).collect::<Vec<_>>()
        ));
    }
}

/// ECDSA draws a random number for each signature; around it everything is the same again.
pub(crate) fn signatures_with_elliptic_curves_differ_in_nothing_but_the_signature() {
    let Some(fixtures) = Fixtures::find() else { return };
    for name in ["db-ec", "db-p384"] {
        let image = fixtures.image(&format!("repart-{name}.sysext.raw"));
        let theirs = Ddi::read(&image, Architecture::native().unwrap()).unwrap();
        let pair = pair(&fixtures, name);
        let ours = Signer { key: &pair.key, certificate: &pair.certificate }.sign(&theirs.claim().root_hash).unwrap();
        let their = &theirs.claim().signature;
        assert!(ours[..] != **their, "{name}: a random number drawn twice");
        let around = |der: &[u8]| {
            let mut data: SignedData = cms::parse(der).unwrap();
            data.signers[0].value = Octets::default();
            data
        };
        assert_eq!(around(&ours), around(their), "{name}");
        let fingerprint = ddi::write::fingerprint(&pair.certificate).unwrap();
        assert_eq!(theirs.claim().certificate_fingerprint.as_deref(), Some(fingerprint.as_str()), "{name}");
    }
}
