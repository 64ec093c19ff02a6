//! Reading squashfs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sextant::filesystem::Kind;

fuzz_target!(|data: &[u8]| sextant_fuzz::explore(data, Kind::Squashfs));
