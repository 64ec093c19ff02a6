//! Predicts what systemd-stub measures of the extensions on an EFI system partition, by [`sextant::measure`].

mod stub;

pub use sextant::measure::{
    ArchiveError, Bank, Digests, Event, EventLog, Member, Place, SYSEXTS, Values, compare, is_taken, pcr_13,
};
pub use stub::{Section, StubError, places, reads_global, sections, stub_version};
