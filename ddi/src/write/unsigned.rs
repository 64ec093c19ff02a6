//! An image that is there already, taken apart so that it can be signed.

use super::{BuildError, Padded, Parts};
use crate::Architecture;
use crate::PartitionKind;
use crate::classify;
use crate::gpt::{Partition, Table};
use crate::io::{ReadAt, Window};
use crate::partition_uuids;
use crate::signature_partition;
use crate::verity::{self, RootHash, SUPERBLOCK_SIZE, Superblock, first_nonzero};
use std::io;
use thiserror::Error;

/// Why an image can't be signed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum UnsignedError {
    /// Its partition table.
    #[error(transparent)]
    Gpt(#[from] crate::gpt::GptError),
    /// Other partitions than those of an extension.
    #[error("it has {found}, and an extension has a root partition, its hash tree and nothing else")]
    Partitions {
        /// What there is
        found: String,
    },
    /// Reading failed.
    #[error("reading it: {0}")]
    Io(io::Error),
    /// Hash tree.
    #[error(transparent)]
    Superblock(#[from] verity::SuperblockError),
    /// Hash tree.
    #[error(transparent)]
    Tree(#[from] verity::TreeError),
    /// The hash tree isn't the one of the data.
    #[error("its hash tree does not fit its data: one of them has been damaged since it was built")]
    Damaged,
    /// Other data than what its signature is about.
    #[error(
        "its root hash is {found}, and its signature is about {signed}: its data has been damaged since it was signed"
    )]
    SignedOther {
        /// The root hash of what is there
        found: RootHash,
        /// The root hash that is signed
        signed: RootHash,
    },
    /// Data of one block, of which neither a signature nor a UUID says what its digest was.
    #[error(
        "its partition UUIDs do not derive from its root hash, and its data is one block without a hash tree: it may have been damaged since it was built"
    )]
    Unproven,
    /// It can't be laid out again.
    #[error(transparent)]
    Build(#[from] BuildError),
}

impl From<io::Error> for UnsignedError {
    fn from(cause: io::Error) -> Self {
        Self::Io(cause)
    }
}

/// What is in an image besides its signature, if it has one. The hash tree is computed again and has to be the one that
/// is there, so what will be signed is what was built.
///
/// # Errors
/// [`UnsignedError`]
pub fn take_apart<'a>(
    image: &'a dyn ReadAt,
    data: &'a mut Option<Window<'a>>,
    threads: usize,
) -> Result<Parts<'a>, UnsignedError> {
    let table = Table::read(image)?;
    let Found { architecture, root, hash, signature } = find(&table.partitions)?;
    let truncated = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let area = Window::new(image, hash.start, hash.len).ok_or_else(truncated)?;
    let mut bytes = [0; SUPERBLOCK_SIZE];
    area.read_exact_at(&mut bytes, 0)?;
    let superblock = Superblock::parse(&bytes)?;
    let len = superblock.geometry().data_len();
    let data = &*data.insert(Window::new(image, root.start, root.len.min(len)).ok_or_else(truncated)?);
    if data.len() != len {
        return Err(UnsignedError::Damaged);
    }
    let (root_hash, tree) = verity::build(data, &superblock, threads)?;
    let mut found = vec![0; tree.len()];
    if area.len() < ReadAt::len(&found) {
        return Err(UnsignedError::Damaged);
    }
    area.read_exact_at(&mut found, 0)?;
    if found != tree || first_nonzero(&area, ReadAt::len(&tree))?.is_some() {
        return Err(UnsignedError::Damaged);
    }
    // The root hash itself isn't in the tree. Where a signature is about it, it says what was built; otherwise the UUIDs
    // do, if they derive from it. Without either, the tree has to be enough, and for data of one block there is none.
    match signature.and_then(|partition| claimed_root_hash(image, partition)) {
        Some(signed) if signed != root_hash => return Err(UnsignedError::SignedOther { found: root_hash, signed }),
        None if [root.uuid, hash.uuid] != partition_uuids(&root_hash) && superblock.geometry().levels().is_empty() => {
            return Err(UnsignedError::Unproven);
        }
        _ => {}
    }
    let sector_size = table.sector_size;
    let data = Padded::new(data, 1).ok_or(BuildError::TooLarge)?;
    Ok(Parts { architecture, sector_size, data, verity: tree, root_hash, signature: None })
}

/// The root hash that a signature partition is about, if it can be read.
fn claimed_root_hash(image: &dyn ReadAt, partition: &Partition) -> Option<RootHash> {
    let len = usize::try_from(partition.len).ok().filter(|_| partition.len <= signature_partition::MAX_SIZE)?;
    let mut bytes = vec![0; len];
    image.read_exact_at(&mut bytes, partition.start).ok()?;
    signature_partition::parse(&bytes).ok().map(|claim| claim.root_hash)
}

/// The partitions of an extension.
struct Found<'a> {
    architecture: Architecture,
    root: &'a Partition,
    hash: &'a Partition,
    signature: Option<&'a Partition>,
}

fn find(partitions: &[Partition]) -> Result<Found<'_>, UnsignedError> {
    let mut signature = None;
    let mut roots = Vec::new();
    let mut hashes = Vec::new();
    let mut others = 0_usize;
    for partition in partitions {
        match classify(partition.type_guid) {
            (PartitionKind::Root, Some(architecture)) => roots.push((architecture, partition)),
            (PartitionKind::RootVerity, Some(architecture)) => hashes.push((architecture, partition)),
            // It will be replaced.
            (PartitionKind::RootVeritySig, Some(_)) => signature = Some(partition),
            _ => others = others.saturating_add(1),
        }
    }
    match (roots.as_slice(), hashes.as_slice(), others) {
        ([(architecture, root)], [(same, hash)], 0) if architecture == same => {
            Ok(Found { architecture: *architecture, root, hash, signature })
        }
        _ => {
            let found = format!("{} root, {} hash tree and {others} other partitions", roots.len(), hashes.len());
            Err(UnsignedError::Partitions { found })
        }
    }
}
