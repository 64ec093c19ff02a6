//! The names of the boot entry, which nobody authenticates.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sextant::firmware::entry::{BootEntry, from_loader, from_stub};
use sextant_fuzz as _;

fuzz_target!(|data: &[u8]| {
    let entry = BootEntry { loader: from_loader(data), stub: from_stub(data) };
    for name in [&entry.loader, &entry.stub].into_iter().flatten() {
        assert!(!name.is_empty() && !name.contains('\0') && name.len() <= 3 * data.len());
        // Whoever is denied by name stays denied, in any case.
        assert!(entry.matched_by(&[name.to_ascii_uppercase()]).is_some(), "{name:?}");
    }
    assert!(entry.stub.as_deref().is_none_or(|name| !name.contains(['\\', '/'])));
    assert_eq!(entry.matched_by(&[]), None);
    assert_eq!(entry.name().is_some(), entry.loader.is_some() || entry.stub.is_some());
});
