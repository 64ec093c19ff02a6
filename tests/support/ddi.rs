//! Disk images of extensions: a good one, and the ways to make it bad.
//!
//! There are two stages. A [`Blueprint`] is a list of partitions to be laid out soundly: what is changed
//! there still gives a valid partition table. A [`RawImage`] is bytes: what is changed there is damage.

use super::keys::Authority;
use super::trees::Tree;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ddi::verity::RootHash;
use ddi::write::gpt::{FLAG_READ_ONLY, HEADER_SIZE, NewPartition, Table, fix_header_crc};
use ddi::write::{DdiBuilder, signature_json, signature_partition};
use ddi::{Architecture, Guid, PartitionKind, classify};
use std::io::Cursor;

/// The bytes of a good sysext called `name`, signed by `authority`.
pub fn good_image(name: &str, authority: &Authority) -> Vec<u8> {
    good(name, authority).render().bytes
}

/// The blueprint of a good sysext called `name`, signed by `authority`.
pub fn good(name: &str, authority: &Authority) -> Blueprint {
    Blueprint::new(name, &Tree::sysext(name).squashfs(), authority)
}

/// The blueprint of a sysext called `name` with other content.
pub fn with_tree(name: &str, tree: &Tree, authority: &Authority) -> Blueprint {
    Blueprint::new(name, &tree.squashfs(), authority)
}

/// The architecture of this machine.
pub fn native() -> Architecture {
    Architecture::native().expect("no partition types for this architecture")
}

/// A partition to be laid out.
#[derive(Debug, Clone)]
pub struct Part {
    pub type_guid: Guid,
    pub uuid: Guid,
    pub name: String,
    pub flags: u64,
    pub content: Vec<u8>,
}

impl Part {
    /// A partition of this kind and the native architecture.
    pub fn new(kind: PartitionKind, content: &[u8]) -> Self {
        Self {
            type_guid: kind.type_guid(native()),
            uuid: Guid::from_bytes([0x77; 16]),
            name: kind.systemd_name(native()),
            flags: FLAG_READ_ONLY,
            content: content.to_vec(),
        }
    }

    /// What its type means.
    pub fn kind(&self) -> PartitionKind {
        classify(self.type_guid).0
    }
}

/// An image before it is laid out.
#[derive(Debug, Clone)]
pub struct Blueprint {
    pub sector_size: u32,
    pub disk_guid: Guid,
    pub parts: Vec<Part>,
    pub root_hash: RootHash,
}

impl Blueprint {
    /// A good image around `filesystem`.
    pub fn new(name: &str, filesystem: &[u8], authority: &Authority) -> Self {
        Self::build(&DdiBuilder::new(name).threads(1), filesystem, Some(authority))
    }

    /// An image with other settings; without authority it has no signature partition.
    pub fn build(builder: &DdiBuilder, filesystem: &[u8], authority: Option<&Authority>) -> Self {
        let filesystem = filesystem.to_vec();
        let mut parts = builder.protect(&filesystem).unwrap();
        if let Some(authority) = authority {
            parts = parts.sign(&authority.signer()).unwrap();
        }
        let own = |partition: NewPartition<'_>| {
            let mut content = vec![0; usize::try_from(partition.content.len()).unwrap()];
            partition.content.read_exact_at(&mut content, 0).unwrap();
            let NewPartition { type_guid, uuid, name, flags, .. } = partition;
            Part { type_guid, uuid, name, flags, content }
        };
        Self {
            sector_size: parts.sector_size,
            disk_guid: parts.disk_guid(),
            root_hash: parts.root_hash.clone(),
            parts: parts.partitions().into_iter().map(own).collect(),
        }
    }

    /// Place of the first partition of this kind in the list.
    pub fn position(&self, kind: PartitionKind) -> usize {
        self.parts.iter().position(|part| part.kind() == kind).unwrap_or_else(|| panic!("no {kind:?} partition"))
    }

    /// Changes the first partition of this kind.
    pub fn change(mut self, kind: PartitionKind, change: impl FnOnce(&mut Part)) -> Self {
        let position = self.position(kind);
        change(&mut self.parts[position]);
        self
    }

    /// Adds a partition behind all others.
    pub fn add(mut self, part: Part) -> Self {
        self.parts.push(part);
        self
    }

    /// Adds a partition in front of all others.
    pub fn add_first(mut self, part: Part) -> Self {
        self.parts.insert(0, part);
        self
    }

    /// Takes the first partition of this kind away.
    pub fn remove(mut self, kind: PartitionKind) -> Self {
        let position = self.position(kind);
        self.parts.remove(position);
        self
    }

    /// Adds a copy of the first partition of this kind, under another name and UUID.
    pub fn duplicate(mut self, kind: PartitionKind, name: &str) -> Self {
        let mut copy = self.parts[self.position(kind)].clone();
        name.clone_into(&mut copy.name);
        copy.uuid = Guid::from_bytes([0x78; 16]);
        self.parts.push(copy);
        self
    }

    /// Turns the order of the partitions round, on disk and in the table.
    pub fn reverse(mut self) -> Self {
        self.parts.reverse();
        self
    }

    /// Sets the attribute bits of the first partition of this kind.
    pub fn flags(self, kind: PartitionKind, flags: u64) -> Self {
        self.change(kind, |part| part.flags = flags)
    }

    /// Makes the first partition of `kind` one of another kind, and its name after that.
    pub fn retype(self, kind: PartitionKind, other: PartitionKind, architecture: Architecture) -> Self {
        self.change(kind, |part| {
            part.type_guid = other.type_guid(architecture);
            part.name = other.systemd_name(architecture);
        })
    }

    /// The text of the signature partition, without its padding.
    pub fn signature_text(&self) -> String {
        let content = &self.parts[self.position(PartitionKind::RootVeritySig)].content;
        let end = content.iter().position(|byte| *byte == 0).unwrap();
        String::from_utf8(content[..end].to_vec()).unwrap()
    }

    /// The signature itself, DER.
    pub fn pkcs7(&self) -> Vec<u8> {
        let json: serde_json::Value = serde_json::from_str(&self.signature_text()).unwrap();
        STANDARD.decode(json["signature"].as_str().unwrap()).unwrap()
    }

    /// Replaces the text of the signature partition, padded as usual.
    pub fn with_signature_text(self, text: &[u8]) -> Self {
        self.with_signature_bytes(&signature_partition(text))
    }

    /// Replaces all bytes of the signature partition.
    pub fn with_signature_bytes(self, bytes: &[u8]) -> Self {
        self.change(PartitionKind::RootVeritySig, |part| part.content = bytes.to_vec())
    }

    /// Replaces the signature in an otherwise sound signature partition.
    pub fn with_pkcs7(self, der: &[u8]) -> Self {
        let text = signature_json(&self.root_hash, &"00".repeat(32), der);
        self.with_signature_text(text.as_bytes())
    }

    /// Replaces the signature by one that is made for the text that is to be signed: the root hash in
    /// lower-case hexadecimal.
    pub fn signed_by(self, sign: impl FnOnce(&str) -> Vec<u8>) -> Self {
        let der = sign(&self.root_hash.to_string());
        self.with_pkcs7(&der)
    }

    /// Overwrites bytes at the start of the verity partition, which nothing signs directly.
    pub fn patch_superblock(self, offset: usize, bytes: &[u8]) -> Self {
        self.change(PartitionKind::RootVerity, |part| part.content[offset..offset + bytes.len()].copy_from_slice(bytes))
    }

    /// Lays it out with sound headers.
    pub fn render(&self) -> RawImage {
        let table = self.table();
        let mut out = Cursor::new(Vec::new());
        table.write_to(&mut out).unwrap();
        let places = table.partitions.iter().map(|partition| {
            let kind = classify(partition.type_guid).0;
            let start = usize::try_from(partition.start).unwrap();
            let end = usize::try_from((partition.last_lba + 1) * u64::from(self.sector_size)).unwrap();
            (kind, start..end)
        });
        let sector_size = usize::try_from(self.sector_size).unwrap();
        RawImage { places: places.collect(), bytes: out.into_inner(), sector_size }
    }

    /// The table, for writing it otherwise.
    pub fn table(&self) -> Table<'_> {
        let partitions = self.parts.iter().map(|part| NewPartition {
            type_guid: part.type_guid,
            uuid: part.uuid,
            name: part.name.clone(),
            flags: part.flags,
            content: &part.content,
        });
        Table::place(self.sector_size, self.disk_guid, partitions).unwrap()
    }
}

/// Which of the two partition tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    Primary,
    Backup,
    Both,
}

/// Whether checksums are made to fit again after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crc {
    Fix,
    Leave,
}

/// Offsets of the fields of a GPT header.
pub mod header {
    pub const SIGNATURE: usize = 0;
    pub const REVISION: usize = 8;
    pub const HEADER_SIZE: usize = 12;
    pub const CRC: usize = 16;
    pub const RESERVED: usize = 20;
    pub const MY_LBA: usize = 24;
    pub const ALTERNATE_LBA: usize = 32;
    pub const FIRST_USABLE: usize = 40;
    pub const LAST_USABLE: usize = 48;
    pub const DISK_GUID: usize = 56;
    pub const ENTRIES_LBA: usize = 72;
    pub const ENTRY_COUNT: usize = 80;
    pub const ENTRY_SIZE: usize = 84;
    pub const ENTRIES_CRC: usize = 88;
}

/// Offsets of the fields of a GPT entry.
pub mod entry {
    pub const TYPE: usize = 0;
    pub const UUID: usize = 16;
    pub const FIRST_LBA: usize = 32;
    pub const LAST_LBA: usize = 40;
    pub const FLAGS: usize = 48;
    pub const NAME: usize = 56;
}

/// An image as bytes, with a note of where its partitions were put.
#[derive(Debug, Clone)]
pub struct RawImage {
    pub bytes: Vec<u8>,
    pub sector_size: usize,
    pub places: Vec<(PartitionKind, std::ops::Range<usize>)>,
}

impl RawImage {
    /// Where the first partition of this kind was put, in bytes.
    pub fn place(&self, kind: PartitionKind) -> std::ops::Range<usize> {
        let place = self.places.iter().find(|(found, _)| *found == kind);
        place.unwrap_or_else(|| panic!("no {kind:?} partition")).1.clone()
    }

    /// Flips the lowest bit of a byte of a partition.
    pub fn flip(self, kind: PartitionKind, offset: usize) -> Self {
        let start = self.place(kind).start;
        self.flip_bit(start + offset, 0)
    }

    /// Flips the lowest bit of a byte counted from the end of a partition, 1 being the last.
    pub fn flip_from_end(self, kind: PartitionKind, offset: usize) -> Self {
        let end = self.place(kind).end;
        self.flip_bit(end - offset, 0)
    }

    /// Flips a bit of a byte of the image.
    pub fn flip_bit(mut self, offset: usize, bit: u32) -> Self {
        self.bytes[offset] ^= 1 << bit;
        self
    }

    /// Overwrites bytes of the image.
    pub fn patch(mut self, offset: usize, bytes: &[u8]) -> Self {
        self.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// Overwrites bytes of a partition.
    pub fn patch_partition(self, kind: PartitionKind, offset: usize, bytes: &[u8]) -> Self {
        let start = self.place(kind).start;
        self.patch(start + offset, bytes)
    }

    /// Cuts it off.
    pub fn truncate(mut self, len: usize) -> Self {
        self.bytes.truncate(len);
        self
    }

    /// Adds bytes at the end.
    pub fn append(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend(bytes);
        self
    }

    /// Overwrites a field of a header.
    pub fn patch_header(mut self, which: Which, field: usize, bytes: &[u8], crc: Crc) -> Self {
        for header in self.headers(which) {
            let start = header + field;
            self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
            if crc == Crc::Fix {
                fix_header_crc(&mut self.bytes[header..header + HEADER_SIZE]);
            }
        }
        self
    }

    /// Overwrites a field of an entry (`index` counts from 0).
    pub fn patch_entry(mut self, which: Which, index: usize, field: usize, bytes: &[u8], crc: Crc) -> Self {
        for header in self.headers(which) {
            let number = |at: usize| u64::from_le_bytes(self.bytes[header + at..][..8].try_into().unwrap());
            let entries = usize::try_from(number(header::ENTRIES_LBA)).unwrap() * self.sector_size;
            let start = entries + index * 128 + field;
            self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
            if crc == Crc::Fix {
                let sum = crc32fast::hash(&self.bytes[entries..entries + 128 * 128]);
                self.bytes[header + header::ENTRIES_CRC..][..4].copy_from_slice(&sum.to_le_bytes());
                fix_header_crc(&mut self.bytes[header..header + HEADER_SIZE]);
            }
        }
        self
    }

    fn headers(&self, which: Which) -> Vec<usize> {
        let (primary, backup) = (self.sector_size, self.bytes.len() - self.sector_size);
        match which {
            Which::Primary => vec![primary],
            Which::Backup => vec![backup],
            Which::Both => vec![primary, backup],
        }
    }
}
