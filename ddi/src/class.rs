//! The two kinds of extension, and all in which they differ.

use crate::bytes::strip_suffix_ignore_case;
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

/// What belongs to a class (systemd 257, `src/sysext/sysext.c`, `image_class_info`, and `src/shared/extension-util.c`).
struct Properties {
    name: &'static str,
    file_suffix: &'static str,
    unsigned_suffix: &'static str,
    source_directories: [&'static str; 2],
    staging_directory: &'static str,
    hierarchies: &'static [&'static str],
    release_directory: &'static str,
    os_release: &'static str,
    level_key: &'static str,
    scope_key: &'static str,
    merged_list: &'static str,
    origin_file: &'static str,
    hierarchies_variable: &'static str,
}

const SYSEXT: Properties = Properties {
    name: "sysext",
    file_suffix: ".sysext.raw",
    unsigned_suffix: ".sysext.unsigned",
    source_directories: ["/.extra/sysext", "/.extra/global_sysext"],
    staging_directory: "/run/extensions",
    hierarchies: &["/usr", "/opt"],
    release_directory: "usr/lib/extension-release.d",
    os_release: "usr/lib/os-release",
    level_key: "SYSEXT_LEVEL",
    scope_key: "SYSEXT_SCOPE",
    merged_list: ".systemd-sysext/extensions",
    origin_file: ".systemd-sysext/origin",
    hierarchies_variable: "SYSTEMD_SYSEXT_HIERARCHIES",
};

const CONFEXT: Properties = Properties {
    name: "confext",
    file_suffix: ".confext.raw",
    unsigned_suffix: ".confext.unsigned",
    source_directories: ["/.extra/confext", "/.extra/global_confext"],
    staging_directory: "/run/confexts",
    hierarchies: &["/etc"],
    release_directory: "etc/extension-release.d",
    os_release: "etc/os-release",
    level_key: "CONFEXT_LEVEL",
    scope_key: "CONFEXT_SCOPE",
    merged_list: ".systemd-confext/confexts",
    origin_file: ".systemd-confext/origin",
    hierarchies_variable: "SYSTEMD_CONFEXT_HIERARCHIES",
};

impl Class {
    /// Both, sysext first.
    pub const ALL: [Self; 2] = [Self::Sysext, Self::Confext];

    const fn properties(self) -> &'static Properties {
        match self {
            Self::Sysext => &SYSEXT,
            Self::Confext => &CONFEXT,
        }
    }

    /// The class of a file called `NAME.sysext.raw` or `NAME.confext.raw`, and `NAME`. The suffix decides, in any case;
    /// `None` for any other file name.
    #[must_use]
    pub fn of_file_name(file_name: &str) -> Option<(Self, &str)> {
        Self::by_suffix(file_name, Self::file_suffix)
    }

    /// The same for `NAME.sysext.unsigned` or `NAME.confext.unsigned`, which `sextant build --unsigned` writes.
    #[must_use]
    pub fn of_unsigned_file_name(file_name: &str) -> Option<(Self, &str)> {
        Self::by_suffix(file_name, Self::unsigned_suffix)
    }

    fn by_suffix(file_name: &str, suffix: impl Fn(Self) -> &'static str) -> Option<(Self, &str)> {
        Self::ALL.into_iter().find_map(|class| Some((class, strip_suffix_ignore_case(file_name, suffix(class))?)))
    }

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.properties().name
    }

    /// How names of its image files end.
    #[must_use]
    pub const fn file_suffix(self) -> &'static str {
        self.properties().file_suffix
    }

    /// How names of its image files end while they have no signature.
    #[must_use]
    pub const fn unsigned_suffix(self) -> &'static str {
        self.properties().unsigned_suffix
    }

    /// Directories in which images are found, in the order in which they are searched. systemd-stub
    /// fills the first from beside the UKI, the second (since 258) from `\loader\extensions`.
    #[must_use]
    pub const fn source_directories(self) -> [&'static str; 2] {
        self.properties().source_directories
    }

    /// Directory in which systemd looks for images to merge.
    #[must_use]
    pub const fn staging_directory(self) -> &'static str {
        self.properties().staging_directory
    }

    /// Where systemd merges unless it is told otherwise.
    #[must_use]
    pub const fn hierarchies(self) -> &'static [&'static str] {
        self.properties().hierarchies
    }

    /// The directory of the release file inside an image, without a slash in front.
    #[must_use]
    pub const fn release_directory(self) -> &'static str {
        self.properties().release_directory
    }

    /// The os-release file that would hide the host's own, without a slash in front.
    #[must_use]
    pub const fn os_release(self) -> &'static str {
        self.properties().os_release
    }

    /// The field of a release file that names the level of the host's interface (os-release(5)).
    #[must_use]
    pub const fn level_key(self) -> &'static str {
        self.properties().level_key
    }

    /// The field of a release file that says what kind of system it is for (os-release(5)).
    #[must_use]
    pub const fn scope_key(self) -> &'static str {
        self.properties().scope_key
    }

    /// The file in each hierarchy in which systemd notes what it merged there, relative to the hierarchy
    /// (systemd 257, `src/sysext/sysext.c`, `write_extensions_file`).
    #[must_use]
    pub const fn merged_list(self) -> &'static str {
        self.properties().merged_list
    }

    /// The unit that merges extensions on the host (systemd-sysext(8)).
    #[must_use]
    pub fn unit(self) -> String {
        format!("systemd-{self}.service")
    }

    /// The file beside it in which systemd notes from what it merged (systemd 262, `src/sysext/sysext.c`,
    /// `write_origin_file`).
    #[must_use]
    pub const fn origin_file(self) -> &'static str {
        self.properties().origin_file
    }

    /// The environment variable that tells systemd where to merge.
    #[must_use]
    pub const fn hierarchies_variable(self) -> &'static str {
        self.properties().hierarchies_variable
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suffix_decides_in_any_case_and_nothing_before_it() {
        let (sysext, confext) = (Class::Sysext, Class::Confext);
        assert_eq!(Class::of_file_name("a.confext.b.sysext.raw"), Some((sysext, "a.confext.b")));
        assert_eq!(Class::of_file_name("a.sysext.b.CONFEXT.Raw"), Some((confext, "a.sysext.b")));
        assert_eq!(Class::of_file_name("a.sysext.raw.disabled"), None);
        assert_eq!(Class::of_file_name("a.confext.raw.raw"), None);
        assert_eq!(Class::of_file_name("a.raw"), None);
        assert_eq!(Class::of_unsigned_file_name("a.confext.b.Sysext.UNSIGNED"), Some((sysext, "a.confext.b")));
        assert_eq!(Class::of_unsigned_file_name("a.sysext.raw"), None);
    }
}
