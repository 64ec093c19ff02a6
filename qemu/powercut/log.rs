//! What reached a disk, in its order: the log of QEMU's `blklogwrites`, which is that of Linux' dm-log-writes
//! (`drivers/md/dm-log-writes.c`).

use std::fs;
use std::path::Path;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const DISCARD: u64 = 4;
/// Of disks, and of logs of disks that don't say another one.
pub const SECTOR: usize = 512;

/// Something that happened to a disk.
#[derive(Debug)]
pub enum Event {
    /// Bytes were written at this offset.
    Write { offset: usize, bytes: Vec<u8> },
    /// All that was written before is kept from now on.
    Flush,
}

/// Reads a log to its last flush.
///
/// # Errors
/// If it isn't such a log, or has something in it that isn't expected of FAT.
pub fn read(path: &Path) -> Result<Vec<Event>, String> {
    let log = fs::read(path).map_err(|error| format!("reading {}: {error}", path.display()))?;
    parse(&log).map_err(|error| format!("{}: {error}", path.display()))
}

/// What a mark says, if this is one: a write to the last sector of a disk of that size.
pub fn mark(event: &Event, size: usize) -> Option<&str> {
    match event {
        Event::Write { offset, bytes } if *offset == size - SECTOR => {
            std::str::from_utf8(bytes).ok().map(str::trim_end)
        }
        _ => None,
    }
}

fn parse(log: &[u8]) -> Result<Vec<Event>, String> {
    let number = |at: usize| -> Result<u64, String> {
        let bytes = log.get(at..at + 8).ok_or_else(|| format!("it ends before byte {at}"))?;
        Ok(u64::from_le_bytes(bytes.try_into().unwrap()))
    };
    let size = |at| -> Result<usize, String> { Ok(usize::try_from(number(at)?).unwrap()) };
    // Superblock: magic, version, number of entries, sector size (32 bits).
    if number(0)? != MAGIC || number(8)? != 1 || number(24)? & 0xffff_ffff != SECTOR as u64 {
        return Err("it isn't a log of version 1 with sectors of 512 bytes".to_owned());
    }
    let mut events = Vec::new();
    let mut at = SECTOR;
    for _ in 0..number(16)? {
        // Entry: sector, number of sectors, flags, length of further data.
        let (offset, length, flags) = (size(at)? * SECTOR, size(at + 8)? * SECTOR, number(at + 16)?);
        at += SECTOR;
        match flags {
            FLUSH => events.push(Event::Flush),
            0 => {
                let bytes = log.get(at..at + length).ok_or("it ends within a write")?.to_vec();
                at += length;
                events.push(Event::Write { offset, bytes });
            }
            DISCARD => return Err(format!("something at {offset} was discarded, which FAT doesn't do by itself")),
            _ => return Err(format!("flags {flags:#x}")),
        }
    }
    Ok(events)
}
