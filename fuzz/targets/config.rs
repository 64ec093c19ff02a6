//! The configuration. Only whoever signs the UKI writes it, but a mistake in it must not end in a crash.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sextant::policy::parse;
use sextant_fuzz as _;

fuzz_target!(|data: &[u8]| match parse("fuzz.yaml", data) {
    Ok(policy) => {
        assert_eq!(parse("fuzz.yaml", data).ok().as_ref(), Some(&policy));
        assert!(policy.denied_root_hashes.len() + policy.denied_entries.len() <= data.len() + 3);
    }
    Err(error) => assert!(error.to_string().contains("fuzz.yaml")),
});
