//! The JSON of the signature partition.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sextant::build::{signature_json, signature_partition};
use sextant::image::signature_partition::parse;

fuzz_target!(|data: &[u8]| {
    let Ok(claim) = parse(data) else { return };
    assert!(!claim.signature.is_empty() && claim.signature.len() < data.len());
    // Written again it reads the same.
    let fingerprint = claim.certificate_fingerprint.as_deref().unwrap_or_default();
    let text = signature_json(&claim.root_hash, fingerprint, &claim.signature);
    let again = parse(&signature_partition(text.as_bytes()));
    let again = again.unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!((again.root_hash, again.signature), (claim.root_hash, claim.signature));
    assert_eq!(again.certificate_fingerprint.as_deref(), Some(fingerprint));
});
