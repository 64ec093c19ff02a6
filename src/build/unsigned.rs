//! An image that is there already, taken apart so that it can be signed.

use super::ddi::partition_uuids;
use super::{BuildError, Padded, Parts};
use crate::image::gpt::{Partition, Table};
use crate::image::{Architecture, PartitionKind, classify};
use crate::io::{ReadAt, Window};
use crate::verity::{self, SUPERBLOCK_SIZE, Superblock, first_nonzero};
use std::io;
use thiserror::Error;

/// Why an image can't be signed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum UnsignedError {
    /// Its partition table.
    #[error(transparent)]
    Gpt(#[from] crate::image::gpt::GptError),
    /// Other partitions than those of an extension.
    #[error("it has {found}, and an extension has a root partition, its hash tree and nothing else")]
    Partitions {
        /// What there is
        found: String,
    },
    /// Reading failed.
    #[error("reading it: {0}")]
    Io(#[from] io::Error),
    /// Hash tree.
    #[error(transparent)]
    Superblock(#[from] verity::SuperblockError),
    /// Hash tree.
    #[error(transparent)]
    Tree(#[from] verity::TreeError),
    /// The hash tree isn't the one of the data.
    #[error("its hash tree does not fit its data: one of them has been damaged since it was built")]
    Damaged,
    /// It can't be laid out again.
    #[error(transparent)]
    Build(#[from] BuildError),
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
    let (architecture, root, hash) = find(&table.partitions)?;
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
    if area.len() < found.len() as u64 {
        return Err(UnsignedError::Damaged);
    }
    area.read_exact_at(&mut found, 0)?;
    if found != tree || first_nonzero(&area, tree.len() as u64)?.is_some() {
        return Err(UnsignedError::Damaged);
    }
    // The root hash itself isn't in the tree, but in the UUIDs; for data of one block it is all there is.
    if [root.uuid, hash.uuid] != partition_uuids(&root_hash) {
        return Err(UnsignedError::Damaged);
    }
    let sector_size = table.sector_size;
    let data = Padded::new(data, 1).ok_or(BuildError::TooLarge)?;
    Ok(Parts { architecture, sector_size, data, verity: tree, root_hash, signature: None })
}

fn find(partitions: &[Partition]) -> Result<(Architecture, &Partition, &Partition), UnsignedError> {
    let mut roots = Vec::new();
    let mut hashes = Vec::new();
    let mut others = 0_usize;
    for partition in partitions {
        match classify(partition.type_guid) {
            (PartitionKind::Root, Some(architecture)) => roots.push((architecture, partition)),
            (PartitionKind::RootVerity, Some(architecture)) => hashes.push((architecture, partition)),
            // It will be replaced.
            (PartitionKind::RootVeritySig, Some(_)) => {}
            _ => others += 1,
        }
    }
    match (roots.as_slice(), hashes.as_slice(), others) {
        ([(architecture, root)], [(same, hash)], 0) if architecture == same => Ok((*architecture, root, hash)),
        _ => {
            let found = format!("{} root, {} hash tree and {others} other partitions", roots.len(), hashes.len());
            Err(UnsignedError::Partitions { found })
        }
    }
}
