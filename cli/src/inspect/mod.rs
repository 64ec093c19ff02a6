//! What an image is, said without judging it: whatever can be read is told, and what can't be is told too.
//!
//! [`sextant::verify`] stops at the first rule that is broken and says which; this goes on past it, for the person who has
//! to find out why.
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

/// Version of the form in which this is printed for programs.
pub const SCHEMA_VERSION: u32 = 1;

/// The attribute "read-only" of a partition (Discoverable Partitions Specification, "Partition Flags").
const FLAG_READ_ONLY: u64 = 1 << 60;
/// The attribute "grow file system" of a partition (as above).
const FLAG_GROW: u64 = 1 << 59;

/// Most directories and whiteouts that are told about because they would hide files of the host.
const MASKS_SHOWN: usize = 16;

/// Why an image has no file system to look into.
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

/// Everything that could be read.
#[derive(Debug, Serialize)]
pub struct Inspection {
    /// [`SCHEMA_VERSION`]
    pub version: u32,
    /// Size in bytes.
    pub size: u64,
    /// For which machines it is.
    #[serde(serialize_with = "display")]
    pub architecture: Option<Architecture>,
    /// Bytes of a sector.
    pub sector_size: Option<u32>,
    /// The disk's GUID.
    pub disk_guid: Option<String>,
    /// The partitions in the order of their place.
    pub partitions: Vec<PartitionRow>,
    /// The hash tree.
    pub verity: Option<Verity>,
    /// What the signature partition says.
    pub signature: Option<Signature>,
    /// The file system.
    pub filesystem: Option<FilesystemRow>,
    /// The release file.
    pub release: Option<Release>,
    /// What could not be read, and why.
    pub problems: Vec<Message>,
}

/// A partition.
#[derive(Debug, Serialize)]
pub struct PartitionRow {
    /// Number of its entry, from 1.
    pub number: usize,
    /// What it is, as systemd names it.
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

/// The hash tree, and what became of computing it again.
#[derive(Debug, Serialize)]
pub struct Verity {
    /// The root hash that the data gives now.
    pub root_hash: String,
    /// Whether the stored tree is the one that the data gives, and its root hash the one that the signature is about.
    pub intact: bool,
    /// Hash algorithm.
    pub algorithm: &'static str,
    /// Bytes of a block of data.
    pub data_block_size: u32,
    /// Bytes of a block of hashes.
    pub hash_block_size: u32,
    /// Number of blocks of data.
    pub data_blocks: u64,
    /// The salt, in hexadecimal.
    pub salt: String,
    /// Bytes of the superblock and the tree.
    pub size: u64,
}

/// The file system.
#[derive(Debug, Serialize)]
pub struct FilesystemRow {
    /// `erofs` or `squashfs`.
    #[serde(serialize_with = "display_always")]
    pub kind: ddi::filesystem::Kind,
    /// Where it begins in the image, in bytes.
    pub offset: u64,
    /// Bytes that the hash tree covers, or those of the partition without one.
    pub size: u64,
}

/// The release file.
#[derive(Debug, Serialize)]
pub struct Release {
    /// Its path.
    pub path: Text,
    /// What it says.
    pub fields: BTreeMap<Text, Text>,
}

/// `serialize_with` hands over a reference to the field.
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

/// The partitions that matter, as far as there are any.
#[derive(Default)]
struct Parts<'t> {
    root: Option<&'t Partition>,
    verity: Option<&'t Partition>,
    signature: Option<&'t Partition>,
}

impl Inspection {
    /// Reads all that can be read of an image. `name` is what its file name says it is, if that says anything; without
    /// one no release file is looked for. Hashing takes `threads` threads.
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
        // A file system by itself is worth a look too.
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
                // Of two the first is shown; that there are two, the table shows.
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
                // A file without table and file system is no image; its table has been complained about.
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

    /// For which machines the image says to be, if it says so.
    #[must_use]
    pub fn architecture(image: &dyn ReadAt) -> Option<Architecture> {
        let table = Table::read(image).ok()?;
        table.partitions.iter().find_map(|partition| classify(partition.type_guid).1)
    }

    /// Where the file system of an image lies.
    ///
    /// # Errors
    /// [`PlaceError`]
    pub fn filesystem_of(image: &dyn ReadAt) -> Result<Window<'_>, PlaceError> {
        let table = Table::read(image)?;
        let is_root = |partition: &&Partition| classify(partition.type_guid).0 == PartitionKind::Root;
        let root = table.partitions.iter().find(is_root).ok_or(PlaceError::NoRoot)?;
        Window::new(image, root.start, root.len).ok_or(PlaceError::NoRoot)
    }

    /// The files in the image that this is about; none without a file system.
    ///
    /// # Errors
    /// What keeps the file system from being read.
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

/// The hash tree, computed again, and how many bytes of data it covers.
fn read_verity(
    image: &dyn ReadAt,
    root: &Partition,
    partition: &Partition,
    threads: usize,
) -> Result<(Verity, u64), Box<dyn std::error::Error>> {
    let area = Window::new(image, partition.start, partition.len).ok_or("it lies outside of the image")?;
    let mut bytes = [0; SUPERBLOCK_SIZE];
    area.read_exact_at(&mut bytes, 0)?;
    let superblock = Superblock::parse(&bytes)?;
    let (len, size) = (superblock.geometry().data_len(), superblock.geometry().hash_area_len());
    if len > root.len || size > partition.len {
        return Err(format!("it is about {len} bytes of data and has {size} itself, more than its partitions").into());
    }
    let data = Window::new(image, root.start, len).ok_or("the data lies outside of the image")?;
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
