//! Whether an extension fits the host, as systemd judges it.
//!
//! The rules are those of `src/shared/extension-util.c`, `extension_release_validate`. 257 compares
//! `ID` with the host's `ID` alone, later versions with the words of its `ID_LIKE` too; the first is
//! stricter and is what is done here.
#![deny(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

use crate::reason::Reason;
use ddi::ReleaseFile;
use ddi::{Architecture, Class};
use serde::{Deserialize, Serialize};

/// Stands for every operating system or architecture.
const ANY: &str = "_any";

/// Where an extension may be used if it doesn't say.
const DEFAULT_SCOPE: &str = "system portable";

/// What the host's os-release file says that matters to extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRelease {
    id: String,
    version_id: String,
    sysext_level: String,
    confext_level: String,
}

impl HostRelease {
    /// Takes what matters out of the host's os-release file. A missing field is the same as an empty one.
    #[must_use]
    pub fn new(file: &ReleaseFile) -> Self {
        let field = |key| file.get(key).unwrap_or_default().to_owned();
        Self {
            id: field("ID"),
            version_id: field("VERSION_ID"),
            sysext_level: field("SYSEXT_LEVEL"),
            confext_level: field("CONFEXT_LEVEL"),
        }
    }

    fn level(&self, class: Class) -> &str {
        match class {
            Class::Sysext => &self.sysext_level,
            Class::Confext => &self.confext_level,
        }
    }
}

/// Why an extension fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fit {
    /// It says that it fits every operating system.
    AnyHost,
    /// Same operating system, same level.
    SameLevel,
    /// Same operating system, same version.
    SameVersion,
    /// Same operating system, which has no versions.
    RollingHost,
    /// The extension has no level, and the host has nothing but a level.
    NoVersionAsked,
    /// Nobody knows what the host is: only what doesn't depend on it has been judged.
    HostUnknown,
}

/// Evidence that an extension fits. Only [`judge`] makes one.
///
/// ```compile_fail,E0423
/// let compatible = sextant::extension::Compatible(sextant::extension::Fit::AnyHost);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compatible(Fit);

impl Compatible {
    /// Why it fits.
    #[must_use]
    pub const fn fit(self) -> Fit {
        self.0
    }

    /// Returns the same evidence in the process that waited while another one judged the extension.
    pub(crate) const fn attested(fit: Fit) -> Self {
        Self(fit)
    }
}

/// Why an extension doesn't fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Incompatible {
    /// A release file that assigns nothing.
    #[error("the release file is empty")]
    Empty,
    /// Not made for this use.
    #[error("{key}=\"{found}\" does not include {wanted}")]
    Scope {
        /// `SYSEXT_SCOPE` or `CONFEXT_SCOPE`.
        key: &'static str,
        /// What the extension says.
        found: String,
        /// What it is wanted for.
        wanted: String,
    },
    /// Made for another processor.
    #[error("ARCHITECTURE={found}, this machine is {native}")]
    Architecture {
        /// What the extension says.
        found: String,
        /// The machine's.
        native: Architecture,
    },
    /// Nothing says for which operating system it is made.
    #[error("ID is missing or empty")]
    NoId,
    /// systemd merges nothing at all on such a host.
    #[error("the host's os-release has no ID")]
    HostWithoutId,
    /// Made for another operating system.
    #[error("ID={found}, the host is {host}")]
    Id {
        /// What the extension says.
        found: String,
        /// The host's `ID`.
        host: String,
    },
    /// Made for another level.
    #[error("{key}={found}, the host has {host}")]
    Level {
        /// `SYSEXT_LEVEL` or `CONFEXT_LEVEL`.
        key: &'static str,
        /// What the extension says.
        found: String,
        /// The host's.
        host: String,
    },
    /// Neither a level to compare nor a version.
    #[error("VERSION_ID is missing or empty, the host has {host}")]
    NoVersion {
        /// The host's `VERSION_ID`.
        host: String,
    },
    /// Made for another version.
    #[error("VERSION_ID={found}, the host has {host}")]
    Version {
        /// What the extension says.
        found: String,
        /// The host's `VERSION_ID`.
        host: String,
    },
}

impl Incompatible {
    /// The rule that the extension breaks.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Empty | Self::Architecture { .. } | Self::NoId => Reason::WrongExtensionRelease,
            Self::Scope { .. } => Reason::WrongScope,
            Self::HostWithoutId
            | Self::Id { .. }
            | Self::Level { .. }
            | Self::NoVersion { .. }
            | Self::Version { .. } => Reason::IncompatibleHost,
        }
    }
}

/// Judges the release file of an extension of `class` for use in `scope` (`system` after the boot)
/// on a machine of architecture `native` that runs `host` (`None` where its os-release can't be read).
///
/// # Errors
/// The first of systemd's rules that the extension breaks.
pub fn judge(
    extension: &ReleaseFile,
    class: Class,
    host: Option<&HostRelease>,
    scope: &str,
    native: Architecture,
) -> Result<Compatible, Incompatible> {
    if extension.is_empty() {
        return Err(Incompatible::Empty);
    }
    check_scope(extension, class, scope)?;
    if let Some(found) = extension.get_non_empty("ARCHITECTURE")
        && found != ANY
        && found != native.systemd_name()
    {
        return Err(Incompatible::Architecture { found: found.to_owned(), native });
    }
    let id = extension.get_non_empty("ID").ok_or(Incompatible::NoId)?;
    // systemd looks whether the host has an ID before it looks at any image.
    if host.is_some_and(|host| host.id.is_empty()) {
        return Err(Incompatible::HostWithoutId);
    }
    if id == ANY {
        return Ok(Compatible(Fit::AnyHost));
    }
    let Some(host) = host else { return Ok(Compatible(Fit::HostUnknown)) };
    if id != host.id {
        return Err(Incompatible::Id { found: id.to_owned(), host: host.id.clone() });
    }
    check_version(extension, class, host)
}

fn check_scope(extension: &ReleaseFile, class: Class, wanted: &str) -> Result<(), Incompatible> {
    let key = class.scope_key();
    // An empty list is a list without the wanted word, unlike a missing one.
    let found = extension.get(key).unwrap_or(DEFAULT_SCOPE);
    if found.split([' ', '\t', '\n', '\r']).any(|word| word == wanted) {
        return Ok(());
    }
    Err(Incompatible::Scope { key, found: found.to_owned(), wanted: wanted.to_owned() })
}

fn check_version(extension: &ReleaseFile, class: Class, host: &HostRelease) -> Result<Compatible, Incompatible> {
    let key = class.level_key();
    let host_level = host.level(class);
    if host_level.is_empty() && host.version_id.is_empty() {
        return Ok(Compatible(Fit::RollingHost));
    }
    if let Some(found) = extension.get_non_empty(key)
        && !host_level.is_empty()
    {
        if found == host_level {
            return Ok(Compatible(Fit::SameLevel));
        }
        return Err(Incompatible::Level { key, found: found.to_owned(), host: host_level.to_owned() });
    }
    if host.version_id.is_empty() {
        return Ok(Compatible(Fit::NoVersionAsked));
    }
    match extension.get_non_empty("VERSION_ID") {
        None => Err(Incompatible::NoVersion { host: host.version_id.clone() }),
        Some(found) if found == host.version_id => Ok(Compatible(Fit::SameVersion)),
        Some(found) => Err(Incompatible::Version { found: found.to_owned(), host: host.version_id.clone() }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const DEBIAN: &str = "ID=debian\nID_LIKE=\"gnu unix\"\nVERSION_ID=13\n";

    fn file(text: &str) -> ReleaseFile {
        ReleaseFile::parse(text.as_bytes()).unwrap()
    }

    fn judged(extension: &str, class: Class, host: &str) -> Result<Fit, Incompatible> {
        judge(&file(extension), class, Some(&HostRelease::new(&file(host))), "system", Architecture::X86_64)
            .map(Compatible::fit)
    }

    fn sysext(extension: &str, host: &str) -> Result<Fit, Incompatible> {
        judged(extension, Class::Sysext, host)
    }

    fn text(result: Result<Fit, Incompatible>) -> (Reason, String) {
        let error = result.unwrap_err();
        (error.reason(), error.to_string())
    }

    #[test]
    fn an_empty_file_and_a_missing_id_are_no_release_data() {
        assert_eq!(sysext("# nothing\n", DEBIAN), Err(Incompatible::Empty));
        assert_eq!(sysext("VERSION_ID=13\n", DEBIAN), Err(Incompatible::NoId));
        assert_eq!(sysext("ID=\n", DEBIAN), Err(Incompatible::NoId));
        assert_eq!(Incompatible::NoId.reason(), Reason::WrongExtensionRelease);
    }

    #[test]
    fn the_scope_list_must_contain_system() {
        let with = |scope: &str| sysext(&format!("ID=_any\n{scope}\n"), DEBIAN);
        for scope in ["", "SYSEXT_SCOPE=system", "SYSEXT_SCOPE=\"initrd  system\"", "CONFEXT_SCOPE=initrd"] {
            assert_eq!(with(scope), Ok(Fit::AnyHost), "{scope}");
        }
        for scope in ["initrd", "portable initrd", "systemd", "system,initrd", ""] {
            let (reason, cause) = text(with(&format!("SYSEXT_SCOPE=\"{scope}\"")));
            assert_eq!(reason, Reason::WrongScope);
            assert_eq!(cause, format!("SYSEXT_SCOPE=\"{scope}\" does not include system"));
        }
        assert_eq!(judged("ID=_any\nSYSEXT_SCOPE=initrd", Class::Confext, DEBIAN), Ok(Fit::AnyHost));
        assert!(judged("ID=_any\nCONFEXT_SCOPE=initrd", Class::Confext, DEBIAN).is_err());
    }

    #[test]
    fn without_a_scope_the_initrd_is_not_meant() {
        let extension = file("ID=_any\n");
        let found = judge(&extension, Class::Sysext, None, "initrd", Architecture::X86_64);
        assert_eq!(found.unwrap_err().reason(), Reason::WrongScope);
        assert!(judge(&extension, Class::Sysext, None, "portable", Architecture::X86_64).is_ok());
    }

    #[test]
    fn the_architecture_has_systemds_name_or_is_any() {
        let with = |name: &str| sysext(&format!("ID=_any\nARCHITECTURE={name}\n"), DEBIAN);
        for name in ["x86-64", "_any", ""] {
            assert_eq!(with(name), Ok(Fit::AnyHost), "{name}");
        }
        for name in ["x86_64", "amd64", "arm64", "X86-64"] {
            let (reason, cause) = text(with(name));
            assert_eq!(reason, Reason::WrongExtensionRelease);
            assert_eq!(cause, format!("ARCHITECTURE={name}, this machine is x86-64"));
        }
        let arm = judge(&file("ID=_any\nARCHITECTURE=arm64"), Class::Sysext, None, "system", Architecture::Arm64);
        assert_eq!(arm.map(Compatible::fit), Ok(Fit::AnyHost));
    }

    #[test]
    fn any_host_needs_no_version() {
        assert_eq!(sysext("ID=_any\n", DEBIAN), Ok(Fit::AnyHost));
        assert_eq!(sysext("ID=_any\nVERSION_ID=1\nSYSEXT_LEVEL=9\n", DEBIAN), Ok(Fit::AnyHost));
    }

    #[test]
    fn the_id_is_compared_with_the_hosts_id_alone() {
        assert_eq!(sysext("ID=debian\nVERSION_ID=13", DEBIAN), Ok(Fit::SameVersion));
        let (reason, cause) = text(sysext("ID=fedora\nVERSION_ID=13", DEBIAN));
        assert_eq!((reason, cause.as_str()), (Reason::IncompatibleHost, "ID=fedora, the host is debian"));
        // 257 doesn't know ID_LIKE, so an extension that needs it would be skipped there.
        assert!(matches!(sysext("ID=gnu\nVERSION_ID=13", DEBIAN), Err(Incompatible::Id { .. })));
        assert!(matches!(sysext("ID=Debian\nVERSION_ID=13", DEBIAN), Err(Incompatible::Id { .. })));
    }

    #[test]
    fn versions_are_the_same_or_not() {
        assert!(matches!(sysext("ID=debian", DEBIAN), Err(Incompatible::NoVersion { .. })));
        assert!(matches!(sysext("ID=debian\nVERSION_ID=", DEBIAN), Err(Incompatible::NoVersion { .. })));
        assert!(matches!(sysext("ID=debian\nVERSION_ID=13.0", DEBIAN), Err(Incompatible::Version { .. })));
    }

    #[test]
    fn levels_go_before_versions_where_both_sides_have_one() {
        let host = "ID=debian\nVERSION_ID=13\nSYSEXT_LEVEL=2\nCONFEXT_LEVEL=7\n";
        assert_eq!(sysext("ID=debian\nVERSION_ID=12\nSYSEXT_LEVEL=2", host), Ok(Fit::SameLevel));
        let (reason, cause) = text(sysext("ID=debian\nVERSION_ID=13\nSYSEXT_LEVEL=1", host));
        assert_eq!((reason, cause.as_str()), (Reason::IncompatibleHost, "SYSEXT_LEVEL=1, the host has 2"));
        assert_eq!(sysext("ID=debian\nVERSION_ID=13", host), Ok(Fit::SameVersion));
        assert_eq!(sysext("ID=debian\nVERSION_ID=13\nSYSEXT_LEVEL=2", DEBIAN), Ok(Fit::SameVersion));
        assert!(matches!(sysext("ID=debian\nSYSEXT_LEVEL=2", DEBIAN), Err(Incompatible::NoVersion { .. })));
        let confext = judged("ID=debian\nCONFEXT_LEVEL=7\nSYSEXT_LEVEL=1", Class::Confext, host);
        assert_eq!(confext, Ok(Fit::SameLevel));
    }

    #[test]
    fn a_host_without_versions_takes_all_of_its_id() {
        assert_eq!(sysext("ID=arch\nVERSION_ID=5", "ID=arch\n"), Ok(Fit::RollingHost));
        assert_eq!(sysext("ID=arch", "ID=arch\nVERSION_ID=\n"), Ok(Fit::RollingHost));
        assert_eq!(sysext("ID=arch", "ID=arch\nSYSEXT_LEVEL=3\n"), Ok(Fit::NoVersionAsked));
        assert!(matches!(
            sysext("ID=arch\nSYSEXT_LEVEL=2", "ID=arch\nSYSEXT_LEVEL=3\n"),
            Err(Incompatible::Level { .. })
        ));
    }

    #[test]
    fn on_a_host_without_id_nothing_is_merged() {
        for extension in ["ID=_any", "ID=debian\nVERSION_ID=13"] {
            assert_eq!(sysext(extension, "VERSION_ID=13\n"), Err(Incompatible::HostWithoutId));
        }
    }

    #[test]
    fn without_the_hosts_file_the_rest_is_still_judged() {
        let unknown = |extension: &str| {
            judge(&file(extension), Class::Sysext, None, "system", Architecture::X86_64).map(Compatible::fit)
        };
        assert_eq!(unknown("ID=debian"), Ok(Fit::HostUnknown));
        assert_eq!(unknown("VERSION_ID=13"), Err(Incompatible::NoId));
        assert_eq!(unknown("ID=debian\nSYSEXT_SCOPE=initrd").unwrap_err().reason(), Reason::WrongScope);
        assert_eq!(unknown("ID=debian\nARCHITECTURE=ia64").unwrap_err().reason(), Reason::WrongExtensionRelease);
    }
}
