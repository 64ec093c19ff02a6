//! Extensions that the configuration names: those that have to be merged, and the lowest version of those that may be.
//!
//! The name of a file isn't signed. systemd takes `k3s_9.9.raw` with a release file called `extension-release.k3s`, and even any
//! name where the release file has the attribute `user.extension-release.strict=0`. So a version counts only as far as the signed
//! file system says it: by the name of the release file, or by a field in it.

use crate::reason::{Reason, Refusal};
use ddi::text::Text;
use ddi::{Class, ExtensionName, NameError, ReleaseFile, compare_versions};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use std::cmp::Reverse;
use std::fmt;
use thiserror::Error;

/// Most entries of each list.
const MAX_ENTRIES: usize = 64;
/// Longest version, in bytes.
const MAX_VERSION: usize = 64;
/// What separates a name from its version (systemd 257, `src/basic/os-util.c`, `path_extract_image_name`).
const SEPARATORS: [char; 2] = ['_', '+'];

/// Why a text names no extension, or no version of one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RequiredError {
    /// No valid name.
    #[error("`{text}` does not name an extension: {error}")]
    Name {
        /// What was given.
        text: Text,
        /// Why.
        error: NameError,
    },
    /// A name with a version, where that is given apart from it.
    #[error("`{text}` has a version; expected a name without one")]
    Versioned {
        /// What was given.
        text: Text,
    },
    /// A version that systemd's order isn't about.
    #[error("`{text}` is not a version of 1 to {MAX_VERSION} ASCII letters, digits and any of .+~^_-")]
    Version {
        /// What was given.
        text: Text,
    },
    /// The same extension once more.
    #[error("`{text}` is listed twice")]
    Twice {
        /// What was given.
        text: Text,
    },
    /// Too many.
    #[error("more than {MAX_ENTRIES} extensions")]
    TooMany,
}

/// The name of an extension in the configuration: of any version of it, unless it has one itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    class: Class,
    name: ExtensionName,
}

impl Named {
    /// Takes `NAME` (or `NAME.sysext`) for a system extension and `NAME.confext` for a configuration extension.
    ///
    /// # Errors
    /// [`RequiredError::Name`]
    pub fn parse(text: &str) -> Result<Self, RequiredError> {
        let of = |class: Class| Some((class, text.strip_suffix(class.as_str())?.strip_suffix('.')?));
        let (class, name) = Class::ALL.into_iter().find_map(of).unwrap_or((Class::Sysext, text));
        match ExtensionName::new(name) {
            Ok(name) => Ok(Self { class, name }),
            Err(error) => Err(RequiredError::Name { text: Text::new(text), error }),
        }
    }

    /// Whether the extension `name` of `class` is one of these: it has this name, or this name and a version.
    #[must_use]
    pub fn is(&self, class: Class, name: &str) -> bool {
        self.class == class && self.version(name).is_some()
    }

    /// The version in the name of one of these, empty where it has none; `None` for another extension.
    fn version<'n>(&self, name: &'n str) -> Option<&'n str> {
        let rest = name.strip_prefix(self.name.as_str())?;
        if rest.is_empty() { Some(rest) } else { rest.strip_prefix(SEPARATORS) }
    }
}

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// As in the configuration.
impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.class {
            Class::Sysext => write!(f, "{}", self.name),
            Class::Confext => write!(f, "{}.{}", self.name, self.class),
        }
    }
}

/// The extensions without which a boot is not complete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Required(Vec<Named>);

impl Required {
    /// Takes the names of a list.
    ///
    /// # Errors
    /// [`RequiredError`]
    pub fn new(list: Vec<Named>) -> Result<Self, RequiredError> {
        if list.len() > MAX_ENTRIES {
            return Err(RequiredError::TooMany);
        }
        let again =
            list.iter().enumerate().find(|(index, named)| list.iter().take(*index).any(|other| other == *named));
        match again {
            Some((_, named)) => Err(RequiredError::Twice { text: Text::new(named) }),
            None => Ok(Self(list)),
        }
    }

    /// Adds those of a later file. What several files name is required once.
    ///
    /// # Errors
    /// [`RequiredError::TooMany`]
    pub(super) fn combine(&mut self, Self(later): Self) -> Result<(), RequiredError> {
        let new = later.into_iter().filter(|named| !self.0.contains(named)).collect::<Vec<_>>();
        self.0.extend(new);
        if self.0.len() > MAX_ENTRIES { Err(RequiredError::TooMany) } else { Ok(()) }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns those that none of `merged` is, by class and name.
    pub fn missing<'r>(&'r self, merged: &'r [(Class, &str)]) -> impl Iterator<Item = &'r Named> {
        self.0.iter().filter(move |named| !merged.iter().any(|(class, name)| named.is(*class, name)))
    }
}

impl<'de> Deserialize<'de> for Required {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Vec::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// A version, in systemd's order.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Version(String);

impl Version {
    fn parse(text: &str) -> Result<Self, RequiredError> {
        let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b".+~^_-".contains(&byte);
        let says_something = text.bytes().any(|byte| byte.is_ascii_alphanumeric());
        if text.len() > MAX_VERSION || !says_something || !text.bytes().all(is_known) {
            return Err(RequiredError::Version { text: Text::new(text) });
        }
        Ok(Self(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// The lowest versions that may run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Minimum(Vec<(Named, Version)>);

impl Minimum {
    /// Takes names and versions.
    ///
    /// # Errors
    /// [`RequiredError`]
    pub fn new(entries: &[(&str, &str)]) -> Result<Self, RequiredError> {
        let mut minimum = Self::default();
        for (name, version) in entries {
            minimum.add(Named::parse(name)?, Version::parse(version)?)?;
        }
        Ok(minimum)
    }

    /// Adds those of a later file. Of two versions for one name the higher one counts, so that no file permits what another
    /// one refuses.
    ///
    /// # Errors
    /// [`RequiredError::TooMany`]
    pub(super) fn combine(&mut self, Self(later): Self) -> Result<(), RequiredError> {
        for (named, version) in later {
            match self.0.iter_mut().find(|(other, _)| *other == named) {
                Some((_, lowest)) if compare_versions(&lowest.0, &version.0).is_lt() => *lowest = version,
                Some(_) => {}
                None => self.add(named, version)?,
            }
        }
        Ok(())
    }

    fn add(&mut self, named: Named, version: Version) -> Result<(), RequiredError> {
        let text = || Text::new(&named);
        if named.name.as_str().contains('+') || named.name.base().is_none() {
            return Err(RequiredError::Versioned { text: text() });
        }
        if self.0.iter().any(|(other, _)| *other == named) {
            return Err(RequiredError::Twice { text: text() });
        }
        self.0.push((named, version));
        // The longest name that fits is the one that is meant.
        self.0.sort_by_key(|(named, _)| Reverse(named.name.as_str().len()));
        if self.0.len() > MAX_ENTRIES { Err(RequiredError::TooMany) } else { Ok(()) }
    }

    fn of(&self, class: Class, name: &str) -> Option<&(Named, Version)> {
        self.0.iter().find(|(named, _)| named.is(class, name))
    }

    /// Whether an extension isn't older than it may be. `name` is that of its file, `signed_name` that of its release file.
    ///
    /// # Errors
    /// [`Reason::TooOld`]: also where nothing signed says which version it is.
    pub fn admit(
        &self,
        class: Class,
        name: &ExtensionName,
        signed_name: &str,
        release: &ReleaseFile,
    ) -> Result<(), Refusal> {
        let signed = self.of(class, signed_name);
        if let Some((named, Version(minimum))) = self.of(class, name.as_str())
            && signed.is_none_or(|(other, _)| other != named)
        {
            let detail = format_args!(
                "its release file is extension-release.{}, so its signature does not cover that it is {named}; \
                 minimum.{named} is {minimum}",
                Text::new(signed_name)
            );
            return Err(Refusal::new(Reason::TooOld, detail));
        }
        let Some((named, Version(minimum))) = signed else { return Ok(()) };
        let in_name = named.version(signed_name).filter(|version| !version.is_empty());
        let in_file = || class.version_keys().into_iter().find_map(|key| release.get_non_empty(key));
        let Some(version) = in_name.or_else(in_file) else {
            let [first, second] = class.version_keys();
            let detail = format_args!(
                "its signature covers no version: neither the name of its release file, extension-release.{}, nor {first} or \
                 {second} in it has one; minimum.{named} is {minimum}",
                Text::new(signed_name)
            );
            return Err(Refusal::new(Reason::TooOld, detail));
        };
        if compare_versions(version, minimum).is_lt() {
            let detail = format_args!("version is {}; minimum.{named} is {minimum}", Text::new(version));
            return Err(Refusal::new(Reason::TooOld, detail));
        }
        Ok(())
    }
}

/// A mapping of names to versions. A name that is there twice is a mistake.
impl<'de> Deserialize<'de> for Minimum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Minimum;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping of names to versions")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Minimum, A::Error> {
                let mut minimum = Minimum::default();
                while let Some(named) = entries.next_key()? {
                    minimum.add(named, entries.next_value()?).map_err(de::Error::custom)?;
                }
                Ok(minimum)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn required(names: &[&str]) -> Result<Required, RequiredError> {
        Required::new(names.iter().map(|name| Named::parse(name)).collect::<Result<_, _>>()?)
    }

    fn minimum(entries: &[(&str, &str)]) -> Minimum {
        Minimum::new(entries).unwrap()
    }

    #[test]
    fn a_required_name_stands_for_all_of_its_versions() {
        let named = Named::parse("k3s").unwrap();
        for name in ["k3s", "k3s_1.30", "k3s+1", "k3s_1.30+k3s1"] {
            assert!(named.is(Class::Sysext, name) && !named.is(Class::Confext, name), "{name}");
        }
        for name in ["k3", "k3s2", "k3s-1.30", "k3s.1", "K3s", "ak3s", ""] {
            assert!(!named.is(Class::Sysext, name), "{name}");
        }
        // One version alone, and names with an underscore of their own.
        let of = |text: &str, name: &str| Named::parse(text).unwrap().is(Class::Sysext, name);
        assert!(of("k3s_1.30", "k3s_1.30") && !of("k3s_1.30", "k3s_1.31") && !of("k3s_1.30", "k3s"));
        assert!(of("my_tool", "my_tool") && of("my_tool", "my_tool_2") && !of("my_tool", "my_2"));
        assert!(Named::parse("net.confext").unwrap().is(Class::Confext, "net_2"));
        for (text, shown) in [("net.confext", "net.confext"), ("net.sysext", "net"), ("net", "net")] {
            assert_eq!(Named::parse(text).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_is_missing_is_what_nothing_merged_is() {
        let required = required(&["k3s", "net.confext", "tools"]).unwrap();
        let missing = |merged: &[(Class, &str)]| required.missing(merged).map(Named::to_string).collect::<Vec<_>>();
        assert_eq!(missing(&[]), ["k3s", "net.confext", "tools"]);
        assert_eq!(missing(&[(Class::Sysext, "k3s_1.30"), (Class::Sysext, "net")]), ["net.confext", "tools"]);
        assert_eq!(
            missing(&[(Class::Sysext, "k3s"), (Class::Confext, "net"), (Class::Sysext, "tools")]),
            Vec::<&str>::new()
        );
    }

    #[test]
    fn what_names_no_extension_is_a_mistake() {
        for name in ["", ".hidden", "a/b", "a,b", "x.sysext.confext"] {
            assert!(matches!(required(&[name]), Err(RequiredError::Name { .. })), "{name}");
        }
        assert!(matches!(required(&["a", "a.sysext"]), Err(RequiredError::Twice { .. })));
        let many: Vec<String> = (0..65).map(|number| format!("n{number}")).collect();
        assert_eq!(required(&many.iter().map(String::as_str).collect::<Vec<_>>()), Err(RequiredError::TooMany));
        let add = |name: &str, version: &str| Minimum::new(&[(name, version)]);
        for version in ["", "...", "1 2", "1\n", "1.0é", &"1".repeat(65)] {
            assert!(matches!(add("k3s", version), Err(RequiredError::Version { .. })), "{version:?}");
        }
        assert!(matches!(add("k3s+1", "1"), Err(RequiredError::Versioned { .. })));
        assert!(matches!(add("_1", "1"), Err(RequiredError::Versioned { .. })));
        assert!(matches!(Minimum::new(&[("a", "1"), ("a.sysext", "2")]), Err(RequiredError::Twice { .. })));
    }

    /// The verdict on a file called `name`, which has a release file called so, with this text.
    fn verdict(minimum: &Minimum, name: &str, signed_name: &str, text: &str) -> Result<(), String> {
        let release = ReleaseFile::parse(text.as_bytes()).unwrap();
        let admitted = minimum.admit(Class::Sysext, &ExtensionName::new(name).unwrap(), signed_name, &release);
        admitted.map_err(|refusal| {
            assert_eq!(refusal.reason(), Reason::TooOld);
            refusal.detail().to_owned()
        })
    }

    #[test]
    fn versions_are_compared_as_systemd_compares_them() {
        let minimum = minimum(&[("k3s", "1.30")]);
        let of = |name: &str| verdict(&minimum, name, name, "ID=_any\n");
        for name in ["k3s_1.30", "k3s_1.30.0", "k3s_1.100", "k3s_2", "k3s+1.30", "k3s_1.30+k3s1", "k3s_1.30-rc1"] {
            assert_eq!(of(name), Ok(()), "{name}");
        }
        for name in ["k3s_1.29", "k3s_1.9", "k3s_1.30~rc1", "k3s_1", "k3s_0", "k3s_v1.31", "k3s_latest"] {
            let version = name.trim_start_matches("k3s_");
            assert_eq!(of(name), Err(format!("version is {version}; minimum.k3s is 1.30")), "{name}");
        }
        for other in ["tools_1.0", "k3s-agent_1.0", "k3", "other"] {
            assert_eq!(of(other), Ok(()), "{other}");
        }
    }

    /// Who can write to the ESP can give an old image any name that systemd takes.
    #[test]
    fn a_version_that_no_signature_covers_does_not_count() {
        let minimum = minimum(&[("k3s", "1.30")]);
        let of = |name: &str, signed: &str, text: &str| verdict(&minimum, name, signed, text);
        let unknown = "its signature covers no version: neither the name of its release file, extension-release.k3s, nor \
                       SYSEXT_IMAGE_VERSION or SYSEXT_VERSION_ID in it has one; minimum.k3s is 1.30";
        for name in ["k3s_9.9", "k3s", "k3s+9", "other"] {
            assert_eq!(of(name, "k3s", "ID=_any\n"), Err(unknown.to_owned()), "{name}");
        }
        // The fields say it, whatever the file is called.
        for key in ["SYSEXT_IMAGE_VERSION", "SYSEXT_VERSION_ID"] {
            assert_eq!(of("k3s_9.9", "k3s", &format!("ID=_any\n{key}=1.30\n")), Ok(()));
            let old = of("k3s_9.9", "k3s", &format!("ID=_any\n{key}=1.29\n"));
            assert_eq!(old, Err("version is 1.29; minimum.k3s is 1.30".to_owned()));
        }
        assert!(of("k3s", "k3s", "VERSION_ID=13\nCONFEXT_VERSION_ID=2\nSYSEXT_VERSION_ID=\n").is_err());
        assert_eq!(of("k3s", "k3s", "SYSEXT_VERSION_ID=1\nSYSEXT_IMAGE_VERSION=1.30\n"), Ok(()), "the first counts");
        // A release file that fits any name: what it is called counts, and the file must not claim to be another.
        assert!(of("other", "k3s_1.29", "ID=_any\n").is_err());
        let claims = of("k3s_1.31", "tools_2.0", "ID=_any\nSYSEXT_VERSION_ID=1.31\n");
        assert!(claims.unwrap_err().starts_with("its release file is extension-release.tools_2.0, so its signature"));
    }

    #[test]
    fn the_longest_name_is_the_one_that_is_meant() {
        let minimum = minimum(&[("k3s", "1.30"), ("k3s_agent", "2")]);
        let of = |name: &str| verdict(&minimum, name, name, "");
        assert_eq!(of("k3s_agent_2.1"), Ok(()));
        assert_eq!(of("k3s_agent_1.9"), Err("version is 1.9; minimum.k3s_agent is 2".to_owned()));
        assert_eq!(of("k3s_1.30"), Ok(()));
    }
}
