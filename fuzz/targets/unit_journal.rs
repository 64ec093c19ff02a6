//! Lines of the journal about units: whatever they are, a few starts for each unit, of times in order.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sextant_cli::plot::parse_journal;
use sextant_fuzz as _;

/// Those of the seed.
const NAMES: [&str; 4] =
    ["dracut-cmdline.service", "sextant-stage.service", "systemd-udevd.service", "initrd-root-fs.target"];

fuzz_target!(|data: &[u8]| {
    let units = parse_journal(data, &NAMES, "ea06c616421e4a858d563f2cde4f6625");
    assert!(units.len() <= 4 * NAMES.len(), "{units:?}");
    for unit in &units {
        assert!(NAMES.iter().any(|name| unit.name == *name), "{unit:?}");
        assert!(unit.starting.begin <= unit.starting.end, "{unit:?}");
        assert!(unit.until.is_none_or(|until| unit.starting.end <= until), "{unit:?}");
    }
});
