//! The event log of a TPM, which another machine may have sent.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sextant::measure::{Bank, EventLog, KERNEL_CONFIG, Matched, MatchedState, SYSEXTS, compare};
use sextant_fuzz as _;

fuzz_target!(|data: &[u8]| {
    let Ok(log) = EventLog::parse(data) else { return };
    let mut count = 0;
    for pcr in [KERNEL_CONFIG, SYSEXTS] {
        let values = log.replay(pcr).expect("hashing");
        for bank in values.banks() {
            assert_eq!(values.of(bank).map(<[u8]>::len), Some(bank.size()));
        }
        for entry in log.of(pcr) {
            count += 1;
            assert_eq!(entry.pcr, pcr);
            let sizes = Bank::ALL.map(|bank| entry.digests.of(bank).is_none_or(|digest| digest.len() == bank.size()));
            assert!(sizes.iter().all(|fits| *fits));
        }
    }
    assert!(count <= 1024 && 16 * count <= data.len());
    // Nothing was predicted: all that the log has is said, in bounded text.
    let matched = compare(&[], &log);
    assert!(matched.len() >= log.of(SYSEXTS).count());
    assert!(matched.iter().all(|event| event.state == MatchedState::NotPredicted));
    assert!(matched.iter().filter_map(Matched::difference).all(|text| text.len() < 1024 && !text.contains('\x1b')));
    // Zeros at the end change nothing.
    let padded = [data, &[0; 64]].concat();
    assert_eq!(EventLog::parse(&padded).as_ref(), Ok(&log));
});
