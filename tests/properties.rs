//! What is built can be verified, whatever goes in; what is changed afterwards can't.
#![allow(clippy::default_trait_access, clippy::ptr_arg, clippy::similar_names)]
#![allow(clippy::unwrap_used)]

use ddi::PartitionKind::{Root, RootVerity};
use ddi::ReleaseFile;
use ddi::filesystem::Filesystem;
use ddi::io::{ReadAt, Window};
use ddi::verity::{HashAlgorithm, SUPERBLOCK_SIZE};
use ddi::write::{DdiBuilder, VerityParams};
use ddi::{Class, Ddi};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use sextant::confine::Confinement;
use sextant::policy::Policy;
use sextant::reason::Reason;
use sextant::trust::{SealedFile, Source, TrustStore};
use sextant::verify::Candidate;
use sextant::verify::{
    Accepted, ContentsError, Examined, Findings, InPlaceCustody, IntactImage, SignedDdi, VerifiedImage, Verifier,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;
use std::time::SystemTime;
use support::compact::compact;
use support::ddi::{Blueprint, RawImage, native};
use support::keys::{self, Authority};
use support::trees::Tree;

const NAME: &str = "property";

/// ECDSA, for it signs in no time.
fn vendor() -> &'static Authority {
    keys::ec("Vendor")
}

fn trust() -> &'static TrustStore {
    static TRUST: OnceLock<TrustStore> = OnceLock::new();
    TRUST.get_or_init(|| {
        let file = SealedFile { path: "vendor.crt".to_owned(), content: Ok(vendor().pem()) };
        TrustStore::decide(vec![file.offer(Source::File)], &Default::default())
    })
}

/// Lengths at and around the borders of sectors, of blocks of data and of blocks of squashfs, and any others.
fn length() -> impl Strategy<Value = usize> {
    const BORDERS: [usize; 6] = [512, 1024, 4096, 8192, 65_536, 131_072];
    let around = (0..BORDERS.len(), 0..3_usize).prop_map(|(border, offset)| BORDERS[border] - 1 + offset);
    prop_oneof![1 => Just(0), 1 => Just(1), 4 => around, 2 => 0..20_000_usize, 1 => 0..300_000_usize]
}

/// Content of this length; some of it compresses, some doesn't.
fn content() -> impl Strategy<Value = Vec<u8>> {
    (length(), any::<bool>(), any::<u64>()).prop_map(|(len, is_noise, seed)| {
        let mut state = seed | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_be_bytes()[0]
        };
        if is_noise { (0..len).map(|_| next()).collect() } else { vec![next(); len] }
    })
}

/// Files by path.
fn files() -> impl Strategy<Value = BTreeMap<String, Vec<u8>>> {
    btree_map("usr/(share|lib|bin)/([a-z]{1,8}/){0,2}[a-z0-9_.+-]{1,20}\\.x", content(), 0..5)
}

fn tree(files: &BTreeMap<String, Vec<u8>>) -> Tree {
    files.iter().fold(Tree::sysext(NAME), |tree, (path, content)| tree.file(path, content))
}

fn block_size() -> impl Strategy<Value = u32> {
    (9..=12_u32).prop_map(|power| 1 << power)
}

fn verity() -> impl Strategy<Value = VerityParams> {
    let salt = prop_oneof![Just(0), Just(32), Just(256), 0..=256_usize].prop_flat_map(|len| vec(any::<u8>(), len));
    let algorithm = prop_oneof![Just(HashAlgorithm::Sha256), Just(HashAlgorithm::Sha512)];
    (algorithm, block_size(), block_size(), salt, any::<[u8; 16]>()).prop_map(
        |(algorithm, data_block_size, hash_block_size, salt, uuid)| VerityParams {
            algorithm,
            data_block_size,
            hash_block_size,
            salt,
            uuid,
        },
    )
}

/// Sectors are at most as large as a block: a kernel couldn't read it otherwise, and the verifier says so.
fn builder() -> impl Strategy<Value = DdiBuilder> {
    (verity(), any::<bool>(), 1..=3_usize).prop_map(|(verity, large, threads)| {
        let large = large && verity.data_block_size.min(verity.hash_block_size) == 4096;
        let sector_size = if large { 4096 } else { 512 };
        DdiBuilder::new(NAME).verity(verity).sector_size(sector_size).threads(threads)
    })
}

/// Verifies a file as the agent and `sextant verify` do.
fn verify(path: &Path) -> Result<(VerifiedImage<Examined>, Findings), String> {
    let verifier = Verifier {
        policy: &Policy::default(),
        trust: trust(),
        architecture: native(),
        host: None,
        activation: None,
        confinement: Confinement::InProcess,
        threads: 2,
        now: SystemTime::now(),
    };
    let mut findings = Findings::default();
    let candidate = Candidate::open(path, Class::Sysext).map_err(|refusal| refusal.to_string())?;
    let verified = verifier.verify(candidate, &Accepted::default(), &InPlaceCustody, &mut findings);
    Ok((verified.map_err(|refusal| refusal.to_string())?, findings))
}

/// What a file system read from a verified image says.
fn check_files(filesystem: &dyn ReadAt, files: &BTreeMap<String, Vec<u8>>) -> Result<(), TestCaseError> {
    let filesystem = Filesystem::open(filesystem).unwrap();
    let release = format!("usr/lib/extension-release.d/extension-release.{NAME}");
    let release = filesystem.read_file(&release, ReleaseFile::MAX_LEN).unwrap().unwrap();
    let release = ReleaseFile::parse(&release).unwrap();
    prop_assert_eq!(release.get("ID"), Some("_any"));
    prop_assert_eq!(release.get("ARCHITECTURE"), Some(native().systemd_name()));
    for (path, content) in files {
        let read = filesystem.read_file(path, content.len()).unwrap();
        prop_assert!(read.as_ref() == Some(content), "{} of {} bytes reads differently", path, content.len());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_built_is_verified_and_reads_as_it_was(files in files(), builder in builder()) {
        let filesystem = tree(&files).squashfs();
        let blueprint = Blueprint::build(&builder, &filesystem, Some(vendor()));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(format!("{NAME}.sysext.raw"));
        std::fs::write(&path, blueprint.render().bytes).unwrap();

        let (verified, findings) = verify(&path).map_err(TestCaseError::fail)?;
        prop_assert_eq!(verified.root_hash(), &blueprint.root_hash);
        prop_assert_eq!(verified.signer().certificate().der(), vendor().der());
        prop_assert_eq!(verified.name().as_str(), NAME);
        prop_assert!(findings.warnings.is_empty(), "{:?}", findings.warnings);

        let holding = verified.into_held_image();
        let ddi = Ddi::read(holding.source(), native()).unwrap();
        let root = Window::new(holding.source(), ddi.root().start, ddi.root().len).unwrap();
        let mut read = vec![0; filesystem.len()];
        root.read_exact_at(&mut read, 0).unwrap();
        prop_assert!(read == **filesystem, "other bytes than were built");
        check_files(&root, &files)?;
    }

    #[test]
    fn a_root_hash_depends_on_data_and_parameters_and_nothing_else(
        files in files(), verity in verity(), threads in 1..=3_usize, more in content(),
    ) {
        let filesystem = tree(&files).squashfs();
        let root_hash = |verity: VerityParams, filesystem: &Vec<u8>| {
            DdiBuilder::new(NAME).verity(verity).threads(threads).protect(filesystem).unwrap().root_hash
        };
        let hash = root_hash(verity.clone(), &filesystem);
        let single = DdiBuilder::new("other").verity(VerityParams { uuid: [9; 16], ..verity.clone() }).sector_size(4096);
        prop_assert_eq!(&hash, &single.threads(1).protect(&*filesystem).unwrap().root_hash);

        prop_assert_ne!(&hash, &root_hash(verity.clone(), &tree(&files).file("usr/share/more", &more).squashfs()));
        let algorithm = HashAlgorithm::ALL.into_iter().find(|other| *other != verity.algorithm).unwrap();
        prop_assert_ne!(&hash, &root_hash(VerityParams { algorithm, ..verity.clone() }, &filesystem));
        let data_block_size = if verity.data_block_size == 512 { 1024 } else { 512 };
        prop_assert_ne!(&hash, &root_hash(VerityParams { data_block_size, ..verity.clone() }, &filesystem));
        let mut salt = verity.salt.clone();
        if salt.pop().is_none() {
            salt.push(0);
        }
        prop_assert_ne!(&hash, &root_hash(VerityParams { salt, ..verity }, &filesystem));
    }
}

/// A change of bytes in data or hash tree.
#[derive(Debug, Clone)]
enum Damage {
    /// Other bytes.
    Overwrite(Vec<u8>),
    /// Zeros, as where a block was never written.
    Zero(usize),
    /// Bytes from elsewhere in the image: sound ones, in the wrong place.
    Copy { from: usize, len: usize },
    /// All behind it moved by one.
    Shift,
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        vec(any::<u8>(), 1..64).prop_map(Damage::Overwrite),
        (1..10_000_usize).prop_map(Damage::Zero),
        (any::<usize>(), 1..5000_usize).prop_map(|(from, len)| Damage::Copy { from, len }),
        (any::<usize>(), 9..=12_u32)
            .prop_map(|(from, power)| Damage::Copy { from: from >> power << power, len: 1 << power }),
        Just(Damage::Shift),
    ]
}

impl Damage {
    /// Does it to `area` at `offset`, as far as there is room.
    fn apply(&self, area: &mut [u8], offset: usize) {
        let room = area.len() - offset;
        match self {
            Self::Overwrite(bytes) => {
                let len = bytes.len().min(room);
                area[offset..offset + len].copy_from_slice(&bytes[..len]);
            }
            Self::Zero(len) => area[offset..offset + room.min(*len)].fill(0),
            Self::Copy { from, len } => {
                let from = from % area.len();
                let len = room.min(*len).min(area.len() - from);
                area.copy_within(from..from + len, offset);
            }
            Self::Shift => area[offset..].rotate_right(1),
        }
    }
}

fn check(image: &Vec<u8>) -> Result<(), ContentsError> {
    let ddi = Ddi::read(image, native()).unwrap();
    let signed = SignedDdi::verify(ddi, trust()).unwrap();
    IntactImage::check(image, signed, 2).map(drop)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_changed_in_data_or_hash_tree_is_noticed(
        files in files(),
        verity in verity(),
        damages in vec((any::<bool>(), any::<prop::sample::Index>(), damage()), 12),
    ) {
        let builder = DdiBuilder::new(NAME).verity(verity).threads(1);
        let image: RawImage = compact(&Blueprint::build(&builder, &tree(&files).squashfs(), Some(vendor())));
        check(&image.bytes).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let mut bytes = image.bytes.clone();
        for (in_tree, place, damage) in damages {
            // All of the superblock is the business of the test that flips every bit.
            let root = image.place(Root);
            let tree = image.place(RootVerity);
            let tree = tree.start + SUPERBLOCK_SIZE..tree.end;
            let range = if in_tree && !tree.is_empty() { tree } else { root };
            let offset = place.index(range.len());
            damage.apply(&mut bytes[range.clone()], offset);
            if bytes[range.clone()] == image.bytes[range.clone()] {
                continue;
            }
            let error = check(&bytes).err();
            let reason = error.as_ref().map(ContentsError::reason);
            prop_assert_eq!(reason, Some(Reason::Corrupt), "{:?} at {} of {:?}: {:?}", damage, offset, range, error);
            bytes[range.clone()].copy_from_slice(&image.bytes[range]);
        }
    }
}
