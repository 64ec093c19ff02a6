//! Reading squashfs.
#![no_main]

use ddi::filesystem::Kind;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| sextant_fuzz::explore(data, Kind::Squashfs));
