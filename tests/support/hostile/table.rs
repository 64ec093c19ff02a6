//! Images whose partition table doesn't hold together.

use super::{NAME, Row, vendor};
use crate::ddi::{Blueprint, Crc, RawImage, Which, entry, good, header};
use crate::trees::{Tree, noise};
use ddi::PartitionKind::{Root, RootVeritySig};

fn image() -> RawImage {
    good(NAME, vendor()).render()
}

pub fn rows() -> Vec<Row> {
    [files(), headers(), entries(), strays()].into_iter().flatten().collect()
}

fn bad(what: &'static str, image: impl Into<Vec<u8>>) -> Row {
    Row::image("bad-gpt", what, image)
}

fn files() -> Vec<Row> {
    let len = image().bytes.len();
    vec![
        bad("an empty file", Vec::new()),
        bad("a single byte", vec![0]),
        bad("random bytes", noise(100_000)),
        bad("a bare squashfs", Tree::sysext(NAME).squashfs().as_slice()),
        bad("cut to its first sector", image().truncate(512)),
        bad("cut to its partition table", image().truncate(34 * 512)),
        bad("cut in the middle", image().truncate(len / 2)),
        bad("cut by its last sector", image().truncate(len - 512)),
        bad("cut by its last byte", image().truncate(len - 1)),
        bad("a byte longer", image().append(&[0])),
        bad("a sector longer", image().append(&[0; 512])),
        Row::placed("bad-gpt", "a hole of 7 GiB", format!("{NAME}.sysext.raw"), |path| {
            std::fs::File::create(path).unwrap().set_len(7 << 30).unwrap();
        }),
        Row::placed("too-large", "a hole of 8 EiB", format!("{NAME}.sysext.raw"), |path| {
            let file = std::fs::File::create(path).unwrap();
            // Not every file system takes that much; what it takes is too large in any case.
            let taken = [1_u64 << 62, 1 << 43].into_iter().any(|len| file.set_len(len).is_ok());
            assert!(taken);
        }),
    ]
}

fn headers() -> Vec<Row> {
    let patched = |which, field, bytes: &[u8]| image().patch_header(which, field, bytes, Crc::Fix);
    let both = |field, bytes: &[u8]| patched(Which::Both, field, bytes);
    vec![
        bad("no boot signature", image().patch(510, &[0, 0])),
        bad("boot code", image().patch(0, &[0xeb, 0x3c])),
        bad("no protective partition", image().patch(446 + 4, &[0x83])),
        bad("a second MBR partition", image().patch(462 + 4, &[0x83])),
        bad("no primary header", image().patch(512, &[0; 8])),
        bad("no backup header", patched(Which::Backup, header::SIGNATURE, b"EFI PARX")),
        bad(
            "wrong checksum of the primary header",
            image().patch_header(Which::Primary, header::CRC, &[1; 4], Crc::Leave),
        ),
        bad(
            "wrong checksum of the backup header",
            image().patch_header(Which::Backup, header::CRC, &[1; 4], Crc::Leave),
        ),
        bad("two valid headers with different disk GUIDs", patched(Which::Backup, header::DISK_GUID, &[9; 16])),
        bad(
            "two valid headers with different ranges",
            patched(Which::Primary, header::LAST_USABLE, &100_u64.to_le_bytes()),
        ),
        bad("a revision that nobody knows", both(header::REVISION, &[0, 0, 2, 0])),
        bad("a header of 4 GiB", both(header::HEADER_SIZE, &[0xff; 4])),
        bad("a header of no size", both(header::HEADER_SIZE, &[0; 4])),
        bad("something reserved in use", both(header::RESERVED, &[1])),
        bad("a header that is elsewhere", patched(Which::Primary, header::MY_LBA, &[2])),
        bad("a backup that is elsewhere", patched(Which::Primary, header::ALTERNATE_LBA, &[40])),
        bad("a backup of itself", patched(Which::Backup, header::ALTERNATE_LBA, &[7])),
        bad("entries elsewhere", patched(Which::Primary, header::ENTRIES_LBA, &[3])),
        bad("entries beyond the end", patched(Which::Primary, header::ENTRIES_LBA, &[0xff; 8])),
        bad("backup entries elsewhere", patched(Which::Backup, header::ENTRIES_LBA, &[2, 0, 0, 0, 0, 0, 0, 0])),
        bad("no entries", both(header::ENTRY_COUNT, &[0; 4])),
        bad("4 billion entries", both(header::ENTRY_COUNT, &[0xff; 4])),
        bad("entries of 256 bytes", both(header::ENTRY_SIZE, &[0, 1, 0, 0])),
        bad("entries of no size", both(header::ENTRY_SIZE, &[0; 4])),
        bad("partitions may cover the table", both(header::FIRST_USABLE, &[1])),
        bad("partitions may cover the backup", both(header::LAST_USABLE, &[0xff, 0xff, 0xff])),
        bad("no room for partitions", both(header::FIRST_USABLE, &[0xff; 8])),
        bad("sectors of 1024 bytes", Blueprint { sector_size: 1024, ..good(NAME, vendor()) }),
        bad("129 entries", both(header::ENTRY_COUNT, &129_u32.to_le_bytes())),
        bad("a header for another sector size too", image().patch(2048, b"EFI PART")),
    ]
}

fn entries() -> Vec<Row> {
    let patched = |which, index, field, bytes: &[u8]| image().patch_entry(which, index, field, bytes, Crc::Fix);
    let both = |index, field, bytes: &[u8]| patched(Which::Both, index, field, bytes);
    let verity_start = (image().places[1].1.start / 512) as u64;
    vec![
        bad("wrong checksum of the entries", image().patch_entry(Which::Both, 0, entry::FLAGS, &[1], Crc::Leave)),
        bad("backup entries that disagree", patched(Which::Backup, 0, entry::UUID, &[5; 16])),
        bad("a partition beyond the end", both(2, entry::LAST_LBA, &[0xff; 6])),
        bad("a partition on top of the table", both(0, entry::FIRST_LBA, &2_u64.to_le_bytes())),
        bad("a partition that ends before it begins", both(0, entry::LAST_LBA, &40_u64.to_le_bytes())),
        bad("a partition of 2^64 sectors", both(0, entry::LAST_LBA, &[0xff; 8])),
        bad("overlapping partitions", both(0, entry::LAST_LBA, &verity_start.to_le_bytes())),
        bad("a nested partition", both(1, entry::FIRST_LBA, &(2048_u64).to_le_bytes())),
        bad("an unused entry with content", both(77, entry::UUID, &[1])),
        bad("a name that spells the magic number of ext4", both(0, entry::NAME, &[0x53, 0xef])),
        bad("bytes behind the end of a name", both(0, entry::NAME + 70, &[b'x', 0])),
    ]
}

fn strays() -> Vec<Row> {
    let (root, signature) = (image().place(Root), image().place(RootVeritySig));
    let len = image().bytes.len();
    vec![
        bad("bytes behind the primary header", image().patch(512 + 92, &[1])),
        bad("bytes between entries and first partition", image().patch(64 * 1024 + 64, b"_BHRfS_M")),
        bad("a byte in front of the first partition", image().patch(root.start - 1, &[1])),
        bad("a byte behind the last partition", image().patch(signature.end, &[1])),
        bad("bytes behind the backup header", image().patch(len - 100, &[1])),
    ]
}
