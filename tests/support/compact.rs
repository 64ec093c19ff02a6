//! Images without the empty MiB at the start: for what is done to every bit of one, or a million times.

use super::ddi::{Blueprint, RawImage};
use ddi::classify;
use ddi::write::gpt::{Header, RawPartition, Table};
use std::io::Cursor;

/// Sectors of 512 bytes that protective MBR, primary header and 128 entries take.
const FRONT: u64 = 34;

/// Lays `blueprint` out in sectors of 512 bytes, partitions right behind the table and each other, the signature
/// partition no longer than its text needs.
pub fn compact(blueprint: &Blueprint) -> RawImage {
    let mut blueprint = blueprint.clone();
    blueprint.sector_size = 512;
    for part in &mut blueprint.parts {
        let used = part.content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        if part.kind() == ddi::PartitionKind::RootVeritySig {
            part.content.truncate((used + 1).next_multiple_of(4096));
        }
    }
    let mut first_lba = FRONT;
    let mut partitions = Vec::new();
    for part in &blueprint.parts {
        let last_lba = first_lba + (part.content.len() as u64).div_ceil(512) - 1;
        partitions.push(RawPartition {
            type_guid: part.type_guid,
            uuid: part.uuid,
            name: part.name.clone(),
            flags: part.flags,
            first_lba,
            last_lba,
            start: first_lba * 512,
            content: &part.content,
        });
        first_lba = last_lba + 1;
    }
    let sectors = first_lba + FRONT - 1;
    let table = Table { sector_size: 512, disk_guid: blueprint.disk_guid, sectors, partitions };
    let closer = |header: Header| Header { first_usable_lba: FRONT, ..header };
    let (primary, backup) = (table.primary_header().unwrap(), table.backup_header().unwrap());
    let mut out = Cursor::new(Vec::new());
    table.write_with(&mut out, &closer(primary), &closer(backup)).unwrap();
    let bytes = |lba: u64| usize::try_from(lba * 512).unwrap();
    let place = |partition: &RawPartition<'_>| {
        (classify(partition.type_guid).0, bytes(partition.first_lba)..bytes(partition.last_lba + 1))
    };
    let places = table.partitions.iter().map(place).collect();
    RawImage { places, bytes: out.into_inner(), sector_size: 512 }
}
