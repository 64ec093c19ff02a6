//! The two classes of extensions, and the properties in which they differ.

use crate::bytes::strip_suffix_ignore_case;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The class of an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// System extension, merged into `/usr` and `/opt` (systemd-sysext(8)).
    Sysext,
    /// Configuration extension, merged into `/etc` (systemd-confext(8)).
    Confext,
}

/// The properties of a class (systemd 257, `src/sysext/sysext.c`, `image_class_info`, and
/// `src/shared/extension-util.c`).
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
    version_keys: [&'static str; 2],
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
    version_keys: ["SYSEXT_IMAGE_VERSION", "SYSEXT_VERSION_ID"],
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
    version_keys: ["CONFEXT_IMAGE_VERSION", "CONFEXT_VERSION_ID"],
    merged_list: ".systemd-confext/confexts",
    origin_file: ".systemd-confext/origin",
    hierarchies_variable: "SYSTEMD_CONFEXT_HIERARCHIES",
};

impl Class {
    /// Both classes, sysext first.
    pub const ALL: [Self; 2] = [Self::Sysext, Self::Confext];

    const fn properties(self) -> &'static Properties {
        match self {
            Self::Sysext => &SYSEXT,
            Self::Confext => &CONFEXT,
        }
    }

    /// Returns the class and `NAME` of a file called `NAME.sysext.raw` or `NAME.confext.raw`. The suffix decides, in
    /// any case. Returns `None` for any other file name.
    #[must_use]
    pub fn of_file_name(file_name: &str) -> Option<(Self, &str)> {
        Self::by_suffix(file_name, Self::file_suffix)
    }

    /// Returns the class and `NAME` of a file called `NAME.sysext.unsigned` or `NAME.confext.unsigned`, as
    /// `sextant build --unsigned` writes it.
    #[must_use]
    pub fn of_unsigned_file_name(file_name: &str) -> Option<(Self, &str)> {
        Self::by_suffix(file_name, Self::unsigned_suffix)
    }

    fn by_suffix(file_name: &str, suffix: impl Fn(Self) -> &'static str) -> Option<(Self, &str)> {
        Self::ALL.into_iter().find_map(|class| Some((class, strip_suffix_ignore_case(file_name, suffix(class))?)))
    }

    /// Returns `sysext` or `confext`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.properties().name
    }

    /// Returns the suffix of image files, such as `.sysext.raw`.
    #[must_use]
    pub const fn file_suffix(self) -> &'static str {
        self.properties().file_suffix
    }

    /// Returns the suffix of image files without a signature, such as `.sysext.unsigned`.
    #[must_use]
    pub const fn unsigned_suffix(self) -> &'static str {
        self.properties().unsigned_suffix
    }

    /// Returns the directories that contain images, in the order in which they are searched. systemd-stub fills the
    /// first with the extensions beside the UKI, and from version 258 on the second with those of `\loader\extensions`.
    #[must_use]
    pub const fn source_directories(self) -> [&'static str; 2] {
        self.properties().source_directories
    }

    /// Returns the directory in which systemd looks for images to merge.
    #[must_use]
    pub const fn staging_directory(self) -> &'static str {
        self.properties().staging_directory
    }

    /// Returns the directories into which systemd merges by default.
    #[must_use]
    pub const fn hierarchies(self) -> &'static [&'static str] {
        self.properties().hierarchies
    }

    /// Returns the directory of the release file inside an image, without a leading slash.
    #[must_use]
    pub const fn release_directory(self) -> &'static str {
        self.properties().release_directory
    }

    /// Returns the path of the os-release file that would hide the host's own, without a leading slash.
    #[must_use]
    pub const fn os_release(self) -> &'static str {
        self.properties().os_release
    }

    /// Returns the release file's field with the level of the host's interface (os-release(5)).
    #[must_use]
    pub const fn level_key(self) -> &'static str {
        self.properties().level_key
    }

    /// Returns the release file's field with the kind of system that an extension is for (os-release(5)).
    #[must_use]
    pub const fn scope_key(self) -> &'static str {
        self.properties().scope_key
    }

    /// The fields of the release file that say the version of the extension itself, the first that has a value counts
    /// (systemd 257, `src/portable/portable.c`, `append_release_log_fields`).
    #[must_use]
    pub const fn version_keys(self) -> [&'static str; 2] {
        self.properties().version_keys
    }

    /// Returns the file, relative to a hierarchy, in which systemd lists the extensions that it merged there (systemd
    /// 257, `src/sysext/sysext.c`, `write_extensions_file`).
    #[must_use]
    pub const fn merged_list(self) -> &'static str {
        self.properties().merged_list
    }

    /// Returns the unit that merges extensions on the host (systemd-sysext(8)).
    #[must_use]
    pub fn unit(self) -> String {
        format!("systemd-{self}.service")
    }

    /// Returns the file, relative to a hierarchy, in which systemd records the sources of the merged extensions
    /// (systemd 262, `src/sysext/sysext.c`, `write_origin_file`).
    #[must_use]
    pub const fn origin_file(self) -> &'static str {
        self.properties().origin_file
    }

    /// Returns the environment variable with the hierarchies for systemd.
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
