//! The two kinds of extension.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What an extension extends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// `/usr` and `/opt` (systemd-sysext(8)).
    Sysext,
    /// `/etc` (systemd-confext(8)).
    Confext,
}

impl Class {
    /// Both, sysext first.
    pub const ALL: [Self; 2] = [Self::Sysext, Self::Confext];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sysext => "sysext",
            Self::Confext => "confext",
        }
    }

    /// How names of its image files end.
    #[must_use]
    pub const fn file_suffix(self) -> &'static str {
        match self {
            Self::Sysext => ".sysext.raw",
            Self::Confext => ".confext.raw",
        }
    }

    /// Directories in which images are found, in the order in which they are searched. systemd-stub
    /// fills the first from beside the UKI, the second (since 258) from `\loader\extensions`.
    #[must_use]
    pub const fn source_directories(self) -> [&'static str; 2] {
        match self {
            Self::Sysext => ["/.extra/sysext", "/.extra/global_sysext"],
            Self::Confext => ["/.extra/confext", "/.extra/global_confext"],
        }
    }

    /// Directory in which systemd looks for images to merge.
    #[must_use]
    pub const fn staging_directory(self) -> &'static str {
        match self {
            Self::Sysext => "/run/extensions",
            Self::Confext => "/run/confexts",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
