//! os-release and extension-release files.
#![no_main]

use ddi::ReleaseFile;
use libfuzzer_sys::fuzz_target;
use sextant_fuzz as _;

fuzz_target!(|data: &[u8]| {
    let Ok(file) = ReleaseFile::parse(data) else { return };
    let held: usize = file.iter().map(|(key, value)| key.len() + value.len() + 1).sum();
    assert!(held <= data.len());
    // Written again, all of it quoted, it reads the same.
    let mut text = String::new();
    for (key, value) in file.iter() {
        text.push_str(key);
        text.push_str("=\"");
        for character in value.chars() {
            if matches!(character, '"' | '\\' | '`' | '$') {
                text.push('\\');
            }
            text.push(character);
        }
        text.push_str("\"\n");
    }
    if text.len() <= ReleaseFile::MAX_LEN {
        assert_eq!(ReleaseFile::parse(text.as_bytes()).as_ref(), Ok(&file), "{text:?}");
    }
});
