//! Compatibility of an extension with the host, as systemd judges it.
//!
//! The rules are those of `src/shared/extension-util.c`, `extension_release_validate`. systemd 257 compares `ID` only
//! with the host's `ID`, later versions also with the words of its `ID_LIKE`. The stricter rule of 257 is used here.

use crate::reason::Reason;
use ddi::ReleaseFile;
use ddi::{Architecture, Class};
use serde::{Deserialize, Serialize};

/// Value that stands for every operating system or architecture.
const ANY: &str = "_any";

/// Scope of an extension whose release file has none.
const DEFAULT_SCOPE: &str = "system portable";

/// The fields of the host's os-release file that matter to extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRelease {
    id: String,
    version_id: String,
    sysext_level: String,
    confext_level: String,
}

impl HostRelease {
    /// Makes it from the host's os-release file. A missing field is the same as an empty one.
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

/// The reason why an extension is compatible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fit {
    /// The extension is for every operating system.
    AnyHost,
    /// Operating system and level are equal.
    SameLevel,
    /// Operating system and version are equal.
    SameVersion,
    /// The operating system is the same and has no versions.
    RollingHost,
    /// The extension has no level, and the host has a level but no version.
    NoVersionAsked,
    /// The host is unknown. Only the rules that do not depend on it were checked.
    HostUnknown,
}

/// Evidence that an extension is compatible. Only [`judge`] makes one.
///
/// ```compile_fail,E0423
/// let compatible = sextant::extension::Compatible(sextant::extension::Fit::AnyHost);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compatible(Fit);

impl Compatible {
    /// Returns the reason.
    #[must_use]
    pub const fn fit(self) -> Fit {
        self.0
    }

    /// Makes the evidence in the agent, after a worker judged the extension.
    pub(crate) const fn attested(fit: Fit) -> Self {
        Self(fit)
    }
}

/// Errors of [`judge`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Incompatible {
    /// The release file has no assignments.
    #[error("the release file is empty")]
    Empty,
    /// The extension is for another scope.
    #[error("{key}=\"{found}\" does not include {wanted}")]
    Scope {
        /// `SYSEXT_SCOPE` or `CONFEXT_SCOPE`.
        key: &'static str,
        /// Scope of the extension.
        found: String,
        /// Required scope.
        wanted: String,
    },
    /// The extension is for another architecture.
    #[error("ARCHITECTURE={found}, this machine is {native}")]
    Architecture {
        /// Architecture of the extension.
        found: String,
        /// Architecture of the machine.
        native: Architecture,
    },
    /// The extension has no `ID`.
    #[error("ID is missing or empty")]
    NoId,
    /// The host has no `ID`. systemd merges nothing on such a host.
    #[error("the host's os-release has no ID")]
    HostWithoutId,
    /// The extension is for another operating system.
    #[error("ID={found}, the host is {host}")]
    Id {
        /// `ID` of the extension.
        found: String,
        /// The host's `ID`.
        host: String,
    },
    /// The extension is for another level.
    #[error("{key}={found}, the host has {host}")]
    Level {
        /// `SYSEXT_LEVEL` or `CONFEXT_LEVEL`.
        key: &'static str,
        /// Level of the extension.
        found: String,
        /// Level of the host.
        host: String,
    },
    /// The extension has neither a level to compare nor a version.
    #[error("VERSION_ID is missing or empty, the host has {host}")]
    NoVersion {
        /// The host's `VERSION_ID`.
        host: String,
    },
    /// The extension is for another version.
    #[error("VERSION_ID={found}, the host has {host}")]
    Version {
        /// `VERSION_ID` of the extension.
        found: String,
        /// The host's `VERSION_ID`.
        host: String,
    },
}

impl Incompatible {
    /// Returns the reason token.
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

/// Judges the release file of an extension of `class`. `scope` is the required scope (`system` after the boot),
/// `native` the architecture of the machine, and `host` its release (`None` if its os-release cannot be read).
///
/// # Errors
/// [`Incompatible`] for the first of systemd's rules that the extension breaks.
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
    // systemd checks the host's ID before it reads any image.
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
    // An empty list lacks the required word. A missing list is the default.
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
        // 257 does not know ID_LIKE, so it would skip an extension that needs it.
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
