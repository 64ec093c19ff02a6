//! The JSON of the signature partition.
#![no_main]

use ddi::signature_partition::parse;
use ddi::write::{signature_json, signature_partition};
use libfuzzer_sys::fuzz_target;
use sextant_fuzz as _;

fuzz_target!(|data: &[u8]| {
    let Ok(mut claim) = parse(data) else { return };
    assert!(!claim.signature.is_empty() && claim.signature.len() < data.len());
    // Written again it reads the same; what writes it never leaves the fingerprint out.
    let fingerprint = claim.certificate_fingerprint.get_or_insert_with(|| "5e".repeat(32));
    let text = signature_json(&claim.root_hash, fingerprint, &claim.signature);
    let again = parse(&signature_partition(text.as_bytes()));
    assert_eq!(again.unwrap_or_else(|error| panic!("{text}: {error}")), claim);
});
