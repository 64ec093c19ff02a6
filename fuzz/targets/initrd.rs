//! Initrds and UKIs: unpacked within bounds, and checked, or refused with a sentence.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sextant_cli::initrd::{Inspection, Recorder, Subject};
use sextant_cli::system::{Archive, is_program, read_initrd_into};
use sextant_fuzz as _;

fuzz_target!(|data: &[u8]| {
    let source = data.to_vec();
    let mut archive = Archive::default();
    let uki = is_program(&source).expect("memory can be read").then_some(&source as _);
    let error = read_initrd_into(&source, &mut archive).err();
    let segments = archive.segments().to_vec();
    let recorder = Recorder::new(&archive);
    let subject = Subject { uki, system: &recorder, error: error.as_ref(), segments: &segments };
    let inspection = Inspection::of(&subject).expect("memory can be read");
    assert!(inspection.ready == inspection.checks.iter().all(|check| check.state.is_good()));
    let wanted = recorder.into_wanted();
    if error.is_none() && !wanted.is_empty() {
        let mut again = archive.to_keep(wanted.iter().map(|(path, limit)| (path.as_slice(), *limit)));
        read_initrd_into(&source, &mut again).expect("it was read before");
        let subject = Subject { uki, system: &again, error: None, segments: &segments };
        let inspection = Inspection::of(&subject).expect("memory can be read");
        assert!(!inspection.checks.is_empty());
    }
});
