//! A signature that is made by a grammar, so that its lists grow and its signatures hold.
#![no_main]

use ddi::signature_partition::SignaturePartition;
use ddi::verity::RootHash;
use libfuzzer_sys::fuzz_target;
use sextant::verify::SignedRoot;
use sextant::verify::cms::{MAX_CERTIFICATES, MAX_SIGNERS, MAX_SIZE, SignedData, parse};
use sextant_fuzz::signatures::{build, content, openssl_accepts, trust};
use std::time::{Duration, Instant};

fuzz_target!(|steps: &[u8]| {
    let der = build(steps);
    let Ok(root_hash) = RootHash::from_hex(&content()) else { return };
    let claim = SignaturePartition { root_hash, signature: der.clone().into(), certificate_fingerprint: None };
    let start = Instant::now();
    let parsed = parse(&der);
    let verdict = SignedRoot::verify(&claim, trust());
    assert!(start.elapsed() < Duration::from_secs(1), "{} bytes took {:?}", der.len(), start.elapsed());
    match &parsed {
        Ok(data) => {
            assert!(der.len() <= MAX_SIZE);
            assert!(data.to_der() == der, "not every byte is accounted for");
            assert!((1..=MAX_SIGNERS).contains(&data.signers.len()) && data.certificates.len() <= MAX_CERTIFICATES);
            let json = serde_json::to_string(data).unwrap_or_default();
            assert!(json.len() < 2 * MAX_SIZE, "{} bytes for {}", json.len(), der.len());
            assert_eq!(serde_json::from_str::<SignedData>(&json).ok().as_ref(), Some(data));
        }
        Err(_) => assert!(verdict.is_err()),
    }
    match verdict {
        // What passes here passes in systemd. What is accepted is small enough to ask OpenSSL about it.
        Ok(signed) => assert!(signed.signature() == der && openssl_accepts(&der), "accepted here alone"),
        Err(error) => assert!(error.to_string().len() < 2048, "{error}"),
    }
});
