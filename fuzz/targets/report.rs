//! The report, which `confirm` and `sextant status` read again: its writer may have chosen every byte.
#![no_main]

use ddi::text::{Message, Text};
use libfuzzer_sys::fuzz_target;
use sextant::report::table::Style;
use sextant::report::{Report, SCHEMA_VERSION, status};
use sextant_fuzz as _;

/// Room for the marker with the true length behind what is kept of a text; it is counted generously.
const MARKER: usize = 64;

fuzz_target!(|data: &[u8]| {
    let Ok(report) = Report::parse(data) else { return };
    assert_eq!(report.version, SCHEMA_VERSION);
    // What was read is bounded, and harmless to a terminal.
    for image in &report.images {
        assert!(image.file.as_str().len() <= Text::LIMIT + MARKER);
        assert!(image.detail.as_ref().is_none_or(|detail| detail.as_str().len() <= Message::LIMIT + MARKER));
    }
    let show = |report: &Report| status::text(report, Style { colour: false }, true);
    let shown = show(&report);
    assert!(shown.chars().all(|character| character == '\n' || !character.is_control()), "{shown:?}");
    assert!(report.summary().as_str().len() <= Message::LIMIT + MARKER);
    // Written and read again, nothing is lost, and nothing grows from run to run.
    let again = serde_json::to_vec(&report).unwrap();
    let again = Report::parse(&again).unwrap();
    assert_eq!((show(&again), again.summary(), again.found()), (shown, report.summary(), report.found()));
    assert_eq!((again.trust.len(), again.rest.len()), (report.trust.len(), report.rest.len()));
});
