//! A signature: its shape, then all of its verification.
#![no_main]

use ddi::signature_partition::SignaturePartition;
use ddi::verity::RootHash;
use libfuzzer_sys::fuzz_target;
use sextant::verify::SignedRoot;
use sextant::verify::cms::parse;

fuzz_target!(|data: &[u8]| {
    let shape = parse(data);
    if let Ok(shape) = &shape {
        assert!((1..=16).contains(&shape.signers.len()));
        let held: usize = shape.certificates.iter().map(|der| der.len()).sum();
        assert!(held < data.len());
        assert!(parse(&data[..data.len() - 1]).is_err(), "cut, and still whole");
        assert!(parse(&[data, &[0]].concat()).is_err(), "a byte too many");
    }
    let Ok(root_hash) = RootHash::from_hex(&"5e".repeat(32)) else { return };
    let claim = SignaturePartition { root_hash, signature: data.to_vec().into(), certificate_fingerprint: None };
    let signed = SignedRoot::verify(&claim, sextant_fuzz::impostors());
    assert!(signed.is_err(), "a signature out of nothing: {signed:?}");
});
