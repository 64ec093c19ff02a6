//! Checks whether a file system is an extension for this host.
//!
//! All checks agree with systemd 257 and 262. Where the two differ, the stricter one decides, because one extension
//! that systemd refuses prevents the merge of all others.
// For all modules of this folder.
#![deny(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

mod compat;
mod hierarchy;
mod lookup;
mod metadata;

pub use compat::{Compatible, Fit, HostRelease, Incompatible, judge};
pub use hierarchy::{refuse_odd_hierarchies, refuse_possible_hierarchies};
pub use lookup::{FoundRelease, LookupError, find_release, refuse_os_release};
pub use metadata::refuse_odd_metadata;
