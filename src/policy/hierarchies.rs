//! Hierarchies: the directories into which extensions are merged.

use ddi::Class;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// Maximum number of hierarchies of one class. Each is an overlay mount.
const MAX_HIERARCHIES: usize = 64;
/// Maximum length of a path in bytes.
const MAX_LEN: usize = 255;

/// Errors of a list of hierarchies.
///
/// systemd refuses the whole merge for such a list (systemd 257, `src/basic/env-util.c`, `getenv_path_list`), even for
/// an empty one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HierarchyError {
    /// A path is not absolute, or not normalized.
    #[error("`{0}` is not an absolute path without `.`, `..`, doubled and trailing slashes, and not `/` itself")]
    NotNormal(String),
    /// A path has a character with a meaning in an environment file, a list or a mount table.
    #[error("`{path}` has a {character:?} in it, and may have letters, digits and any of `._+@-`")]
    Character {
        /// The path.
        path: String,
        /// The first such character.
        character: char,
    },
    /// A path is longer than 255 bytes.
    #[error("path of {0} bytes; the limit is {MAX_LEN}")]
    TooLong(usize),
    /// A path is listed twice.
    #[error("`{0}` is listed twice")]
    Twice(String),
    /// One hierarchy is inside another one. It would be unmounted with the outer one when systemd merges again.
    #[error("`{inner}` lies within `{outer}`")]
    Nested {
        /// The outer path.
        outer: String,
        /// The inner path.
        inner: String,
    },
    /// The list is empty.
    #[error("empty list: systemd would merge nothing; omit the key for the defaults")]
    Empty,
    /// The list has more than 64 paths.
    #[error("{0} paths; the limit is {MAX_HIERARCHIES}")]
    TooMany(usize),
}

/// A list of hierarchies that systemd accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HierarchyList(Vec<String>);

impl HierarchyList {
    /// Checks each path, and all of them together.
    ///
    /// # Errors
    /// [`HierarchyError`] for the first fault.
    pub fn new(paths: Vec<String>) -> Result<Self, HierarchyError> {
        if paths.is_empty() {
            return Err(HierarchyError::Empty);
        }
        if paths.len() > MAX_HIERARCHIES {
            return Err(HierarchyError::TooMany(paths.len()));
        }
        let mut sound: Vec<String> = Vec::with_capacity(paths.len());
        for path in paths {
            check(&path)?;
            for other in &sound {
                if *other == path {
                    return Err(HierarchyError::Twice(path));
                }
                for (outer, inner) in [(other, &path), (&path, other)] {
                    if inner.strip_prefix(outer.as_str()).is_some_and(|rest| rest.starts_with('/')) {
                        return Err(HierarchyError::Nested { outer: outer.clone(), inner: inner.clone() });
                    }
                }
            }
            sound.push(path);
        }
        Ok(Self(sound))
    }
}

fn check(path: &str) -> Result<(), HierarchyError> {
    if path.len() > MAX_LEN {
        return Err(HierarchyError::TooLong(path.len()));
    }
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "/._+@-".contains(character);
    if let Some(character) = path.chars().find(|character| !is_plain(*character)) {
        return Err(HierarchyError::Character { path: path.to_owned(), character });
    }
    let is_name = |part: &str| !matches!(part, "" | "." | "..");
    match path.strip_prefix('/') {
        Some(rest) if rest.split('/').all(is_name) => Ok(()),
        _ => Err(HierarchyError::NotNormal(path.to_owned())),
    }
}

/// Parses the form of `$SYSTEMD_SYSEXT_HIERARCHIES`: absolute paths separated by colons (systemd,
/// `docs/ENVIRONMENT.md`). A trailing slash is ignored, as in systemd.
impl FromStr for HierarchyList {
    type Err = HierarchyError;

    fn from_str(list: &str) -> Result<Self, HierarchyError> {
        let simple = |path: &str| match path.trim_end_matches('/') {
            "" => path.to_owned(),
            simple => simple.to_owned(),
        };
        Self::new(list.split(':').filter(|path| !path.is_empty()).map(simple).collect())
    }
}

/// Writes the form of `$SYSTEMD_SYSEXT_HIERARCHIES`.
impl fmt::Display for HierarchyList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(":"))
    }
}

/// The configured hierarchies of each class. `None` means the defaults of systemd and the distribution.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hierarchies {
    /// Hierarchies of system extensions.
    pub sysext: Option<HierarchyList>,
    /// Hierarchies of configuration extensions.
    pub confext: Option<HierarchyList>,
}

impl Hierarchies {
    /// Returns the configured hierarchies of a class.
    #[must_use]
    pub fn of(&self, class: Class) -> Option<&HierarchyList> {
        match class {
            Class::Sysext => self.sysext.as_ref(),
            Class::Confext => self.confext.as_ref(),
        }
    }

    /// Iterates over the hierarchies of a class: the configured ones, else systemd's defaults.
    pub fn paths(&self, class: Class) -> impl Iterator<Item = &str> {
        let default = class.hierarchies();
        let configured = self.of(class).map(|list| list.0.iter().map(String::as_str));
        let default = configured.is_none().then(|| default.iter().copied());
        configured.into_iter().flatten().chain(default.into_iter().flatten())
    }
}

/// Hierarchies of system extensions in Kairos. It sets them in a drop-in, which it writes in the initrd after the
/// images have been verified (`99_sysext.yaml` of kairos-init).
const KAIROS: [&str; 12] = [
    "/usr/bin",
    "/usr/sbin",
    "/usr/lib",
    "/usr/share",
    "/usr/include",
    "/usr/src",
    "/usr/local/bin",
    "/usr/local/sbin",
    "/usr/local/lib",
    "/usr/local/share",
    "/usr/local/include",
    "/usr/local/src",
];

/// The hierarchies in the host's own units, as far as they are known: `$SYSTEMD_SYSEXT_HIERARCHIES` and
/// `$SYSTEMD_CONFEXT_HIERARCHIES`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostHierarchies {
    paths: [BTreeSet<String>; 2],
}

impl HostHierarchies {
    /// Adds the paths of a list in the host's units. Paths that systemd would refuse, and those over the maximum
    /// number, are left out.
    pub fn add(&mut self, class: Class, list: &str) {
        let [sysext, confext] = &mut self.paths;
        let paths = match class {
            Class::Sysext => sysext,
            Class::Confext => confext,
        };
        for path in list.split(':').map(|path| path.trim_end_matches('/')) {
            if paths.len() < MAX_HIERARCHIES && check(path).is_ok() {
                paths.insert(path.to_owned());
            }
        }
    }

    /// Iterates over the hierarchies of a class, sorted by name.
    pub fn paths(&self, class: Class) -> impl Iterator<Item = &str> {
        let [sysext, confext] = &self.paths;
        let paths = match class {
            Class::Sysext => sysext,
            Class::Confext => confext,
        };
        paths.iter().map(String::as_str)
    }

    /// Iterates over all hierarchies into which a host may merge extensions of a class, whatever is configured:
    /// systemd's defaults, which apply if systemd-sysext is called by hand; those found in the host's units; and those
    /// of Kairos, which are in its units only after the images have been verified.
    pub fn possible(&self, class: Class) -> impl Iterator<Item = &str> {
        let kairos: &[&str] = match class {
            Class::Sysext => &KAIROS,
            Class::Confext => &[],
        };
        class.hierarchies().iter().chain(kairos).copied().chain(self.paths(class))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn list(paths: &[&str]) -> Result<HierarchyList, HierarchyError> {
        HierarchyList::new(paths.iter().map(|path| (*path).to_owned()).collect())
    }

    #[test]
    fn a_sound_list_is_told_to_systemd_in_its_order() {
        let text =
            list(&["/usr/local/bin", "/usr/bin", "/usr/lib64", "/usr/lib", "/srv/a.b_c+d@e-f"]).unwrap().to_string();
        assert_eq!(text, "/usr/local/bin:/usr/bin:/usr/lib64:/usr/lib:/srv/a.b_c+d@e-f");
    }

    #[test]
    fn a_list_is_read_as_systemd_reads_its_variable() {
        for text in ["/usr/local/bin:/opt", ":/usr/local/bin/::/opt:"] {
            assert_eq!(text.parse::<HierarchyList>().unwrap(), list(&["/usr/local/bin", "/opt"]).unwrap());
        }
        for wrong in ["", ":", "usr", "/usr/../etc", "/", "/usr//bin", "/usr:./x", "/usr:/usr/"] {
            wrong.parse::<HierarchyList>().expect_err(wrong);
        }
    }

    #[test]
    fn what_is_not_configured_is_systemds() {
        let hierarchies = Hierarchies { sysext: Some("/usr/bin:/usr/lib".parse().unwrap()), confext: None };
        assert!(hierarchies.paths(Class::Sysext).eq(["/usr/bin", "/usr/lib"]));
        assert!(hierarchies.paths(Class::Confext).eq(["/etc"]));
        assert!(Hierarchies::default().paths(Class::Sysext).eq(["/usr", "/opt"]));
    }

    #[test]
    fn what_a_host_says_is_taken_path_by_path() {
        let mut host = HostHierarchies::default();
        host.add(Class::Sysext, "/usr/bin/:/srv/tools::relative:/a b:/usr/../etc:/");
        host.add(Class::Confext, "/etc/app");
        assert!(host.paths(Class::Sysext).eq(["/srv/tools", "/usr/bin"]));
        let possible: Vec<_> = host.possible(Class::Sysext).collect();
        for path in ["/usr", "/opt", "/usr/local/bin", "/srv/tools"] {
            assert!(possible.contains(&path), "{path}");
        }
        assert!(host.possible(Class::Confext).eq(["/etc", "/etc/app"]));
        let many: Vec<_> = (0..1000).map(|number| format!("/{number}")).collect();
        host.add(Class::Sysext, &many.join(":"));
        assert_eq!(host.paths(Class::Sysext).count(), 64);
    }

    #[test]
    fn what_systemd_would_refuse_or_misread_is_a_mistake() {
        for path in ["", "/", "usr", "//usr", "/usr/", "/usr//bin", "/usr/./bin", "/usr/..", "/."] {
            assert_eq!(list(&[path]), Err(HierarchyError::NotNormal(path.to_owned())));
        }
        for (path, character) in [
            ("/usr:/opt", ':'),
            ("/a b", ' '),
            ("/a\nB=c", '\n'),
            ("/a\0", '\0'),
            ("/a\"", '"'),
            ("/$HOME", '$'),
            ("/a\\b", '\\'),
            ("/ü", 'ü'),
        ] {
            assert_eq!(list(&["/usr", path]), Err(HierarchyError::Character { path: path.to_owned(), character }));
        }
        assert_eq!(list(&[]), Err(HierarchyError::Empty));
        assert_eq!(list(&[&format!("/{}", "a".repeat(255))]), Err(HierarchyError::TooLong(256)));
        assert!(list(&[&format!("/{}", "a".repeat(254))]).is_ok());
        let many: Vec<_> = (0..65).map(|number| format!("/{number}")).collect();
        assert_eq!(HierarchyList::new(many.clone()), Err(HierarchyError::TooMany(65)));
        assert!(HierarchyList::new(many.into_iter().skip(1).collect()).is_ok());
    }

    #[test]
    fn none_lies_within_another() {
        assert_eq!(list(&["/opt", "/opt"]), Err(HierarchyError::Twice("/opt".to_owned())));
        let nested = HierarchyError::Nested { outer: "/usr".to_owned(), inner: "/usr/local/bin".to_owned() };
        assert_eq!(list(&["/usr", "/opt", "/usr/local/bin"]), Err(nested.clone()));
        assert_eq!(list(&["/usr/local/bin", "/usr"]), Err(nested));
        assert!(list(&["/usr/lib", "/usr/lib64"]).is_ok());
    }
}
