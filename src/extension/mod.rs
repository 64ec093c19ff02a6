//! What makes a file system an extension: its name, its release file, and whether they fit the host.
//!
//! Everything here answers as systemd 257 and 262 do; where the two differ, the stricter answer is
//! given, because one extension that systemd refuses keeps all others from being merged.

mod compat;
mod lookup;
mod name;
mod release;
#[cfg(feature = "readers")]
mod version;

pub use compat::{Compatible, HostRelease, Incompatible, judge};
pub use lookup::{FoundRelease, LookupError, find_release, refuse_odd_hierarchies, refuse_os_release};
pub use name::{ExtensionName, NameError};
pub use release::{ReleaseError, ReleaseFile};
#[cfg(feature = "readers")]
pub use version::compare_versions;
