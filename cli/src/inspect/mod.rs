//! Describes an image without judging it. Parts that can't be read become problems.
//!
//! [`sextant::verify`] stops at the first broken rule. This module reads on, to help to find the cause.
#![deny(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

mod files;
mod signature;
mod text;

pub use files::{FileRow, list};
pub use signature::{Signature, SignerName};
pub use text::text;

use ddi::ExtensionName;
use ddi::bytes::hex;
use ddi::filesystem::{Filesystem, FilesystemError, Mask};
use ddi::gpt::{FLAG_NO_AUTO, GptError, Partition, Table};
use ddi::io::{ReadAt, Window};
use ddi::text::{Message, Text};
use ddi::verity::{self, SUPERBLOCK_SIZE, Superblock, first_nonzero};
use ddi::{Architecture, Class, PartitionKind, classify};
use serde::{Serialize, Serializer};
use sextant::extension::find_release;
use std::collections::BTreeMap;

/// Version of the JSON format.
pub const SCHEMA_VERSION: u32 = 1;

/// The attribute "read-only" of a partition (Discoverable Partitions Specification, "Partition Flags").
const FLAG_READ_ONLY: u64 = 1 << 60;
/// The attribute "grow file system" of a partition (as above).
const FLAG_GROW: u64 = 1 << 59;

/// Maximum number of opaque directories and whiteouts to report.
const MASKS_SHOWN: usize = 16;

/// Error of finding the file system of an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// No partition table
    #[error(transparent)]
    Gpt(#[from] GptError),
    /// No root partition
    #[error("no root partition")]
    NoRoot,
}

/// Description of an image.
#[derive(Debug, Serialize)]
pub struct Inspection {
    /// [`SCHEMA_VERSION`]
    pub version: u32,
    /// Size in bytes.
    pub size: u64,
    /// Architecture of the partitions.
    #[serde(serialize_with = "display")]
    pub architecture: Option<Architecture>,
    /// Size of a sector in bytes.
    pub sector_size: Option<u32>,
    /// The disk's GUID.
    pub disk_guid: Option<String>,
    /// The partitions, by their offset.
    pub partitions: Vec<PartitionRow>,
    /// The hash tree.
    pub verity: Option<Verity>,
    /// Content of the signature partition.
    pub signature: Option<Signature>,
    /// The file system.
    pub filesystem: Option<FilesystemRow>,
    /// The release file.
    pub release: Option<Release>,
    /// Parts that could not be read, and why.
    pub problems: Vec<Message>,
}

/// A partition.
#[derive(Debug, Serialize)]
pub struct PartitionRow {
    /// Number of its entry, from 1.
    pub number: usize,
    /// Name of its type in systemd.
    pub kind: String,
    /// GUID of its type.
    pub type_guid: String,
    /// Its own GUID.
    pub uuid: String,
    /// Its label.
    pub label: Text,
    /// First byte in the image.
    pub offset: u64,
    /// Length in bytes.
    pub size: u64,
    /// Its attributes: `read-only`, `no-auto`, `grow`, others by number.
    pub flags: Vec<String>,
}

/// The hash tree, and the result of recomputing it.
#[derive(Debug, Serialize)]
pub struct Verity {
    /// Root hash recomputed from the data.
    pub root_hash: String,
    /// Whether the stored tree equals the recomputed one, and its root hash that of the signature.
    pub intact: bool,
    /// Hash algorithm.
    pub algorithm: &'static str,
    /// Size of a data block.
    pub data_block_size: u32,
    /// Size of a hash block.
    pub hash_block_size: u32,
    /// Number of blocks of data.
    pub data_blocks: u64,
    /// The salt, in hexadecimal.
    pub salt: String,
    /// Size of superblock and tree.
    pub size: u64,
}

/// The file system.
#[derive(Debug, Serialize)]
pub struct FilesystemRow {
    /// `erofs` or `squashfs`.
    #[serde(serialize_with = "display_always")]
    pub kind: ddi::filesystem::Kind,
    /// Offset in the image, in bytes.
    pub offset: u64,
    /// Size in bytes: the data that the hash tree covers, or the partition without one.
    pub size: u64,
}

/// The release file.
#[derive(Debug, Serialize)]
pub struct Release {
    /// Its path.
    pub path: Text,
    /// Keys and values.
    pub fields: BTreeMap<Text, Text>,
}

/// Serializes an optional value as text. (`serialize_with` requires the reference.)
#[allow(clippy::ref_option)]
fn display<T: std::fmt::Display, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

fn display_always<T: std::fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// The partitions of an extension; `None` for missing ones.
#[derive(Default)]
struct Parts<'t> {
    root: Option<&'t Partition>,
    verity: Option<&'t Partition>,
    signature: Option<&'t Partition>,
}

impl Inspection {
    /// Reads an image. `name` comes from its file name; without it the release file is not read. Hashing uses `threads` threads.
    #[must_use]
    pub fn read(image: &dyn ReadAt, name: Option<(&ExtensionName, Class)>, threads: usize) -> Self {
        let mut found = Self {
            version: SCHEMA_VERSION,
            size: image.len(),
            architecture: None,
            sector_size: None,
            disk_guid: None,
            partitions: Vec::new(),
            verity: None,
            signature: None,
            filesystem: None,
            release: None,
            problems: Vec::new(),
        };
        let table = match Table::read(image) {
            Ok(table) => Some(table),
            Err(error) => {
                found.problems.push(Message::new(format_args!("partition table: {error}")));
                None
            }
        };
        let parts = table.as_ref().map(|table| found.read_table(table)).unwrap_or_default();
        if let Some(partition) = parts.signature {
            match Signature::read(image, partition) {
                Ok(signature) => found.signature = Some(signature),
                Err(error) => found.problems.push(Message::new(format_args!("signature partition: {error}"))),
            }
        }
        // The file may be a file system without partition table.
        let whole = (0, image.len());
        let place = match (&table, parts.root) {
            (None, _) => Some(whole),
            (Some(_), root) => root.map(|root| (root.start, root.len)),
        };
        let Some(mut data) = place.and_then(|(start, len)| Window::new(image, start, len)) else { return found };
        if let (Some(root), Some(partition)) = (parts.root, parts.verity) {
            match read_verity(image, root, partition, threads) {
                Ok((mut verity, len)) => {
                    let signed = found.signature.as_ref().map(|signature| &signature.root_hash);
                    verity.intact &= signed.is_none_or(|signed| *signed == verity.root_hash);
                    found.verity = Some(verity);
                    if let Some(covered) = Window::new(image, root.start, len) {
                        data = covered;
                    }
                }
                Err(error) => found.problems.push(Message::new(format_args!("hash tree: {error}"))),
            }
        }
        found.read_filesystem(&data, place.map_or(0, |(start, _)| start), name);
        found
    }

    fn read_table<'t>(&mut self, table: &'t Table) -> Parts<'t> {
        self.sector_size = Some(table.sector_size);
        self.disk_guid = Some(table.disk_guid.to_string());
        let mut parts = Parts::default();
        for partition in &table.partitions {
            let (kind, architecture) = classify(partition.type_guid);
            self.architecture = self.architecture.or(architecture);
            let slot = match kind {
                PartitionKind::Root => Some(&mut parts.root),
                PartitionKind::RootVerity => Some(&mut parts.verity),
                PartitionKind::RootVeritySig => Some(&mut parts.signature),
                _ => None,
            };
            if let Some(slot) = slot {
                // The first of several; the table shows all.
                slot.get_or_insert(partition);
            }
            self.partitions.push(PartitionRow::of(partition, kind, architecture));
        }
        parts
    }

    fn read_filesystem(&mut self, data: &Window<'_>, offset: u64, name: Option<(&ExtensionName, Class)>) {
        let filesystem = match Filesystem::open(data) {
            Ok(filesystem) => filesystem,
            Err(error) => {
                // The file is not an image, as the problem of its table says.
                if self.sector_size.is_some() {
                    self.problems.push(Message::new(format_args!("file system: {error}")));
                }
                return;
            }
        };
        self.filesystem = Some(FilesystemRow { kind: filesystem.kind(), offset, size: data.len() });
        match filesystem.masks(&["usr", "opt", "etc"], MASKS_SHOWN) {
            Ok(masks) => {
                let line =
                    |(path, mask): &(Vec<u8>, Mask)| Message::new(format_args!("/{} {mask}", Text::from_bytes(path)));
                self.problems.extend(masks.iter().map(line));
            }
            Err(error) => self.problems.push(Message::new(format_args!("file system: {error}"))),
        }
        let Some((name, class)) = name else { return };
        match find_release(&filesystem, class, name) {
            Ok(release) => {
                let fields = release.file.iter().map(|(key, value)| (Text::new(key), Text::new(value))).collect();
                self.release = Some(Release { path: Text::new(release.path), fields });
            }
            Err(error) => self.problems.push(Message::new(format_args!("release file: {error}"))),
        }
    }

    /// Returns the architecture of the partitions; `None` without a known one.
    #[must_use]
    pub fn architecture(image: &dyn ReadAt) -> Option<Architecture> {
        let table = Table::read(image).ok()?;
        table.partitions.iter().find_map(|partition| classify(partition.type_guid).1)
    }

    /// Returns the part of an image that holds the file system.
    ///
    /// # Errors
    /// [`PlaceError`]
    pub fn filesystem_of(image: &dyn ReadAt) -> Result<Window<'_>, PlaceError> {
        let table = Table::read(image)?;
        let is_root = |partition: &&Partition| classify(partition.type_guid).0 == PartitionKind::Root;
        let root = table.partitions.iter().find(is_root).ok_or(PlaceError::NoRoot)?;
        Window::new(image, root.start, root.len).ok_or(PlaceError::NoRoot)
    }

    /// Lists the files in the inspected image; empty without a file system.
    ///
    /// # Errors
    /// Errors of reading the file system.
    pub fn files(&self, image: &dyn ReadAt) -> Result<Vec<FileRow>, FilesystemError> {
        let Some(place) = self.filesystem.as_ref().map(|filesystem| (filesystem.offset, filesystem.size)) else {
            return Ok(Vec::new());
        };
        let Some(data) = Window::new(image, place.0, place.1) else { return Ok(Vec::new()) };
        Ok(Filesystem::open(&data)?.walk()?.iter().map(FileRow::from).collect())
    }
}

impl PartitionRow {
    fn of(partition: &Partition, kind: PartitionKind, architecture: Option<Architecture>) -> Self {
        let known = [(FLAG_READ_ONLY, "read-only"), (FLAG_NO_AUTO, "no-auto"), (FLAG_GROW, "grow")];
        let mut flags: Vec<String> =
            known.iter().filter(|(flag, _)| partition.flags & flag != 0).map(|(_, name)| (*name).to_owned()).collect();
        let rest = known.iter().fold(partition.flags, |flags, (flag, _)| flags & !flag);
        if rest != 0 {
            flags.push(format!("{rest:#x}"));
        }
        let kind = architecture.or_else(Architecture::native).map(|architecture| kind.systemd_name(architecture));
        Self {
            number: partition.index,
            kind: kind.unwrap_or_default(),
            type_guid: partition.type_guid.to_string(),
            uuid: partition.uuid.to_string(),
            label: Text::new(&partition.name),
            offset: partition.start,
            size: partition.len,
            flags,
        }
    }
}

/// Recomputes the hash tree, and returns it with the number of bytes that it covers.
fn read_verity(
    image: &dyn ReadAt,
    root: &Partition,
    partition: &Partition,
    threads: usize,
) -> Result<(Verity, u64), Box<dyn std::error::Error>> {
    let area = Window::new(image, partition.start, partition.len).ok_or("partition exceeds the image")?;
    let mut bytes = [0; SUPERBLOCK_SIZE];
    area.read_exact_at(&mut bytes, 0)?;
    let superblock = Superblock::parse(&bytes)?;
    let (len, size) = (superblock.geometry().data_len(), superblock.geometry().hash_area_len());
    if len > root.len || size > partition.len {
        return Err(format!(
            "superblock describes {len} bytes of data and {size} bytes of tree, more than the partitions have"
        )
        .into());
    }
    let data = Window::new(image, root.start, len).ok_or("data partition exceeds the image")?;
    let (root_hash, tree) = verity::build(&data, &superblock, threads)?;
    let mut stored = vec![0; tree.len()];
    area.read_exact_at(&mut stored, 0)?;
    let intact = stored == tree && first_nonzero(&area, size)?.is_none();
    let verity = Verity {
        root_hash: root_hash.to_string(),
        intact,
        algorithm: superblock.algorithm().name(),
        data_block_size: superblock.data_block_size(),
        hash_block_size: superblock.hash_block_size(),
        data_blocks: superblock.data_blocks(),
        salt: hex(superblock.salt()),
        size,
    };
    Ok((verity, len))
}
