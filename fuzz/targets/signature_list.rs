//! `EFI_SIGNATURE_LIST`: what anybody who can enrol keys writes into PK, KEK, db and dbx.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sextant::firmware::signature_list::{Entry, parse, parse_revocations};
use sextant_fuzz as _;

/// `SignatureOwner` and at least one byte of data.
const LEAST_ENTRY: usize = 17;

fuzz_target!(|data: &[u8]| {
    let database = parse(data);
    assert_eq!(database, parse(data));
    // Every entry takes bytes of the variable; the last error may be about a rest of any size.
    assert!((database.entries.len() + database.errors.len().saturating_sub(1)) * LEAST_ENTRY <= data.len());
    let held: usize = database
        .entries
        .iter()
        .map(|entry| match entry {
            Entry::Certificate(bytes) => bytes.len(),
            Entry::CertificateDigest { digest, value } => {
                assert_eq!(value.len(), digest.size());
                value.len()
            }
            Entry::Other { .. } => 0,
        })
        .sum();
    assert!(held <= data.len());
    // Revocations are read further, never less far.
    let revocations = parse_revocations(data);
    assert_eq!(revocations.errors.is_empty(), database.errors.is_empty());
    assert!(revocations.entries.len() >= database.entries.len());
    // What is behind a sound variable can't change what was read of it.
    if database.errors.is_empty() {
        let twice = parse(&[data, data].concat());
        assert!(twice.errors.is_empty());
        assert_eq!(twice.entries, [database.entries.clone(), database.entries].concat());
    }
});
