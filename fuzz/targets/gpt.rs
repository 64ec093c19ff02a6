//! The partition table, as it is and with its checksums made to fit.
#![no_main]

use ddi::gpt::{SECTOR_SIZES, Table};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    check(data.to_vec());
    if let Some(mended) = sextant_fuzz::mend(data) {
        check(mended);
    }
});

fn check(image: Vec<u8>) {
    let Ok(table) = Table::read(&image) else { return };
    assert!(SECTOR_SIZES.contains(&table.sector_size));
    let sector = u64::from(table.sector_size);
    // Protective MBR, header and at least one sector of entries come first, entries and header last.
    let mut position = 3 * sector;
    for partition in &table.partitions {
        assert!(partition.start >= position, "{table:?}");
        assert!(partition.len > 0 && partition.len % sector == 0 && partition.start % sector == 0);
        assert!(partition.name.bytes().all(|byte| matches!(byte, b' '..=b'~')));
        position = partition.start + partition.len;
    }
    assert!(position + 2 * sector <= image.len() as u64, "{table:?}");
    // Nothing outside of partitions may be changed unnoticed: the last byte belongs to the backup's sector.
    let mut changed = image;
    if let Some(last) = changed.last_mut() {
        *last ^= 1;
    }
    assert!(Table::read(&changed).is_err());
}
