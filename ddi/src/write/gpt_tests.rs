#![allow(clippy::cast_possible_truncation, clippy::naive_bytecount, clippy::ptr_arg)]
use super::*;
use std::io::Cursor;

fn partition<'a>(name: &str, content: &'a Vec<u8>) -> NewPartition<'a> {
    let (type_guid, uuid) = (Guid::from_bytes([7; 16]), Guid::from_bytes([9; 16]));
    NewPartition { type_guid, uuid, name: name.to_owned(), flags: FLAG_READ_ONLY, content }
}

fn written(table: &Table<'_>) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    table.write_to(&mut out).unwrap();
    out.into_inner()
}

#[test]
fn the_parser_reads_back_what_was_written_at_every_sector_size() {
    let contents = [vec![1; 5000], vec![2; 4096], vec![3; 1]];
    for sector_size in [512, 4096] {
        let partitions =
            ["first", "second", "third"].iter().zip(&contents).map(|(name, content)| partition(name, content));
        let table = Table::place(sector_size, Guid::from_bytes([5; 16]), partitions).unwrap();
        let image = written(&table);
        assert_eq!(image.len() as u64, table.len());
        let read = crate::gpt::Table::read(&image).unwrap();
        assert_eq!((read.sector_size, read.disk_guid), (sector_size, table.disk_guid));
        let places: Vec<_> = read.partitions.iter().map(|p| (p.name.as_str(), p.start, p.len, p.flags)).collect();
        let start = FIRST_PARTITION;
        assert_eq!(
            places,
            [
                ("first", start, 8192, FLAG_READ_ONLY),
                ("second", start + 8192, 4096, FLAG_READ_ONLY),
                ("third", start + 12288, 4096, FLAG_READ_ONLY)
            ]
        );
        for (partition, content) in read.partitions.iter().zip(&contents) {
            let (start, len) = (partition.start as usize, partition.len as usize);
            assert_eq!(&image[start..start + content.len()], content);
            assert!(image[start + content.len()..start + len].iter().all(|byte| *byte == 0));
        }
    }
}

#[test]
fn what_was_in_the_output_before_does_not_shine_through() {
    let content = vec![1; 100];
    let table = Table::place(512, Guid::ZERO, [partition("a", &content)]).unwrap();
    let mut out = Cursor::new(vec![0xff; usize::try_from(table.len()).unwrap()]);
    table.write_to(&mut out).unwrap();
    assert_eq!(out.into_inner(), written(&table));
}

#[test]
fn overlapping_and_disordered_partitions_can_be_written() {
    let contents = [vec![1; 8192], vec![2; 4096]];
    let mut table =
        Table::place(512, Guid::ZERO, [partition("a", &contents[0]), partition("b", &contents[1])]).unwrap();
    table.partitions[1].start = FIRST_PARTITION + 4096;
    table.partitions[1].first_lba = 2048 + 8;
    table.partitions.swap(0, 1);
    let image = written(&table);
    let at = |offset: u64| image[usize::try_from(offset).unwrap()];
    assert_eq!([at(FIRST_PARTITION), at(FIRST_PARTITION + 4095), at(FIRST_PARTITION + 4096)], [1, 1, 2]);
    let entries = table.entries().unwrap();
    assert_eq!(image[1024..1024 + 16384], entries);
    assert!(matches!(crate::gpt::Table::read(&image), Err(crate::gpt::GptError::Overlap { .. })));
}

#[test]
fn a_changed_header_passes_its_checksum_once_that_is_fixed() {
    let content = vec![1; 100];
    let table = Table::place(512, Guid::ZERO, [partition("a", &content)]).unwrap();
    let mut image = written(&table);
    image[512 + 56] = 0xaa;
    let error = crate::gpt::Table::read(&image).unwrap_err();
    assert!(matches!(error, crate::gpt::GptError::Checksum { .. }), "{error}");
    fix_header_crc(&mut image[512..]);
    let error = crate::gpt::Table::read(&image).unwrap_err();
    assert!(matches!(error, crate::gpt::GptError::Disagree), "{error}");
}

#[test]
fn impossible_tables_are_refused() {
    let content = vec![1; 100];
    let one = |name: &str| Table::place(512, Guid::ZERO, [partition(name, &content)]);
    assert!(matches!(Table::place(520, Guid::ZERO, []), Err(GptError::SectorSize { found: 520 })));
    assert!(matches!(
        Table::place(512, Guid::ZERO, [partition("none", &Vec::new())]),
        Err(GptError::Empty { name }) if name == "none"
    ));
    assert_eq!(one(&"x".repeat(36)).unwrap().entries().unwrap().len(), 16384);
    assert!(matches!(one(&"x".repeat(37)).unwrap().entries(), Err(GptError::Name { found: 37, .. })));
    let many = Table::place(512, Guid::ZERO, (0..129).map(|_| partition("", &content))).unwrap();
    assert!(matches!(many.primary_header(), Err(GptError::TooMany { found: 129 })));
}
