//! Whether a file system is an extension for this host.
//!
//! Everything here answers as systemd 257 and 262 do; where the two differ, the stricter answer is
//! given, because one extension that systemd refuses keeps all others from being merged.

mod compat;
mod hierarchy;
mod lookup;
mod metadata;

pub use compat::{Compatible, Fit, HostRelease, Incompatible, judge};
pub use hierarchy::{refuse_odd_hierarchies, refuse_possible_hierarchies};
pub use lookup::{FoundRelease, LookupError, find_release, refuse_os_release};
pub use metadata::refuse_odd_metadata;
