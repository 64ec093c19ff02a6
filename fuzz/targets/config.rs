//! The configuration. An input is one file, or several with NUL bytes between them: a main file and drop-ins.
//!
//! The signature of the UKI covers it, so no attacker writes it; a mistake in it must not end in a crash.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sextant::policy::{Document, Documents, Policy, parse};
use sextant_fuzz as _;

fn documents(files: &[&[u8]]) -> Documents {
    let path = |number| format!("fuzz-{number}.yaml");
    files.iter().enumerate().map(|(number, content)| Document::new(path(number), content.to_vec())).collect()
}

fuzz_target!(|data: &[u8]| {
    let files: Vec<&[u8]> = data.split(|byte| *byte == 0).collect();
    let kept = documents(&files).to_bytes();
    let again = Documents::from_bytes("fuzz.yaml", &kept);
    assert_eq!(documents(&files).may_require(), again.may_require());
    match (documents(&files).parse(), again.parse()) {
        (Ok(policy), Ok(again)) => {
            assert_eq!(policy, again);
            assert!(policy.denied_root_hashes.len() + policy.denied_entries.len() <= data.len() + 3);
            files.iter().for_each(|file| combined(&policy, file));
        }
        (Err(error), Err(_)) => assert!(error.to_string().contains("fuzz-")),
        (one, other) => panic!("{one:?}, {other:?}"),
    }
});

/// What a file denies or demands holds in the configuration that it is a part of.
fn combined(policy: &Policy, file: &[u8]) {
    let alone = parse("fuzz.yaml", file).expect("each file of a configuration that is understood is so alone");
    assert!(alone.denied_root_hashes.iter().all(|hash| policy.denied_root_hashes.contains(hash)));
    assert!(policy.required.missing(&[]).count() >= alone.required.missing(&[]).count());
    assert!(alone.directories.iter().all(|it| policy.directories.iter().any(|other| other.directory == it.directory)));
}
