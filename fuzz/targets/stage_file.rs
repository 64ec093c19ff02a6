//! Files of yip's stages: refused by their bounds, by the parser, or taken for steps, each in little time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sextant_cli::plan::parse;
use sextant_fuzz as _;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(file) = parse(&"fuzz.yaml".into(), text) else {
        return;
    };
    for step in &file.steps {
        assert!(step.number > 0);
        assert!(step.writes.iter().all(|(path, _)| path.starts_with('/') || step.stage == "boot"), "{step:?}");
    }
});
