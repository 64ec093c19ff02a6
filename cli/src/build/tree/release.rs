//! Checks the release file of a source, or writes one.

use super::path::Steps;
use super::{Content, FileTree, Kind, Metadata, PathError, Time};
use ddi::ExtensionName;
use ddi::filesystem::Tree;
use ddi::text::Text;
use ddi::{Architecture, Class};
use sextant::extension::{self, Incompatible, LookupError};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Fields of a release file to write (os-release(5), "Extensions").
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReleaseOptions {
    /// `ID=`; `_any` if none is given.
    pub id: Option<String>,
    /// `VERSION_ID=`
    pub version_id: Option<String>,
    /// `SYSEXT_LEVEL=`, `CONFEXT_LEVEL=`
    pub level: Option<String>,
    /// `SYSEXT_SCOPE=`, `CONFEXT_SCOPE=`
    pub scope: Option<String>,
    /// `EXTENSION_RELOAD_MANAGER=1`: systemd reloads its units after the merge.
    pub reload_manager: bool,
}

/// Error of the release file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseProblem {
    /// The source has a release file for another name.
    #[error("source contains {found}, which is for another name: build as {}, or remove the file", fitting(found))]
    OtherName {
        /// Its file name
        found: String,
    },
    /// A boot would reject the release file of the source.
    #[error("release file of the source: {0}")]
    Lookup(LookupError),
    /// A boot would reject the release file of the source, of this path.
    #[error("{path} of the source: {error}")]
    Unfit {
        /// Its path
        path: Text,
        /// Why
        error: Incompatible,
    },
    /// The source has a release file, and options for writing one were given.
    #[error("source contains {path}; the options for writing a release file can't be used with it")]
    Options {
        /// Its path
        path: Text,
    },
    /// The release file can't be added to the tree.
    #[error("writing {path}: {error}")]
    Path {
        /// Its path
        path: Text,
        /// Why
        error: PathError,
    },
    /// A value with an invalid character.
    #[error("{key}: {value:?} has characters other than letters, digits, \".\", \"_\", \"-\", \"+\", \"~\" and \":\"")]
    Value {
        /// Its key
        key: &'static str,
        /// What was given
        value: String,
    },
}

impl From<LookupError> for ReleaseProblem {
    fn from(cause: LookupError) -> Self {
        Self::Lookup(cause)
    }
}

fn fitting(file: &str) -> &str {
    file.strip_prefix("extension-release.").unwrap_or(file)
}

/// Adds a release file to the tree if it has none. Otherwise checks that a boot accepts the file on a machine of
/// `architecture`, whatever its operating system.
///
/// # Errors
/// [`ReleaseProblem`]
pub fn complete_release(
    tree: &mut FileTree,
    class: Class,
    name: &ExtensionName,
    architecture: Architecture,
    options: &ReleaseOptions,
    time: Time,
) -> Result<(), ReleaseProblem> {
    let directory = class.release_directory();
    match extension::find_release(&*tree, class, name) {
        Ok(found) if *options == ReleaseOptions::default() => {
            extension::judge(&found.file, class, None, "system", architecture)
                .map_err(|error| ReleaseProblem::Unfit { path: Text::new(found.path), error })?;
            return Ok(());
        }
        Ok(found) => return Err(ReleaseProblem::Options { path: Text::new(found.path) }),
        Err(LookupError::Missing { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let others = Tree::list(tree, directory).ok().flatten().unwrap_or_default();
    let other = others.iter().filter_map(|entry| entry.name.to_str()).find(|it| it.starts_with("extension-release."));
    if let Some(other) = other {
        return Err(ReleaseProblem::OtherName { found: other.to_owned() });
    }
    let text = text(class, architecture, options)?;
    let file = format!("extension-release.{name}");
    let wrap = |error: PathError| ReleaseProblem::Path { path: Text::new(format_args!("{directory}/{file}")), error };
    let before: BTreeSet<_> = tree.walk().into_iter().map(|(_, id)| id).collect();
    let parts: Vec<&[u8]> = directory.split('/').map(str::as_bytes).collect();
    let place = tree.make_directory(&parts, &mut Steps::all()).map_err(wrap)?;
    let described = Metadata { mode: 0o644, mtime: time, xattrs: BTreeMap::new(), ..Metadata::implied_directory() };
    let id = tree.add(described, Kind::File(Content::bytes(text.as_bytes()))).map_err(|error| wrap(error.into()))?;
    tree.link(place, file.as_bytes(), id).map_err(|error| wrap(error.into()))?;
    // Directories created for the file get the same time.
    for (_, id) in tree.walk() {
        if !before.contains(&id)
            && let Some(node) = tree.node_mut(id)
        {
            node.metadata.mtime = time;
        }
    }
    Ok(())
}

fn text(class: Class, architecture: Architecture, options: &ReleaseOptions) -> Result<String, ReleaseProblem> {
    let (level, scope) = (class.level_key(), class.scope_key());
    let mut text = String::new();
    let pairs = [
        ("ID", Some(options.id.as_deref().unwrap_or("_any"))),
        ("VERSION_ID", options.version_id.as_deref()),
        (level, options.level.as_deref()),
        (scope, options.scope.as_deref()),
        ("ARCHITECTURE", Some(architecture.systemd_name())),
        ("EXTENSION_RELOAD_MANAGER", options.reload_manager.then_some("1")),
    ];
    for (key, value) in pairs {
        let Some(value) = value else { continue };
        // The scope is a list separated by spaces.
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-+~:".contains(c) || (c == ' ' && key == scope);
        if value.is_empty() || !value.chars().all(plain) {
            return Err(ReleaseProblem::Value { key, value: value.to_owned() });
        }
        let quote = if value.contains(' ') { "\"" } else { "" };
        let _ = writeln!(text, "{key}={quote}{value}{quote}");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ddi::ReleaseFile;

    const TIME: Time = Time::from_seconds(7);

    fn name() -> ExtensionName {
        ExtensionName::new("k3s_1.2").unwrap()
    }

    fn with_file(path: &str, content: &str) -> FileTree {
        let mut tree = FileTree::default();
        let parts: Vec<&[u8]> = path.split('/').map(str::as_bytes).collect();
        let (file, parents) = parts.split_last().unwrap();
        let directory = tree.make_directory(parents, &mut Steps::all()).unwrap();
        let id = tree.add(Metadata::implied_directory(), Kind::File(Content::bytes(content.as_bytes()))).unwrap();
        tree.link(directory, file, id).unwrap();
        tree
    }

    fn complete(tree: &mut FileTree, options: &ReleaseOptions) -> Result<(), ReleaseProblem> {
        complete_release(tree, Class::Sysext, &name(), Architecture::Arm64, options, TIME)
    }

    #[test]
    fn a_written_release_file_says_what_was_asked_for() {
        let mut tree = FileTree::default();
        complete(&mut tree, &ReleaseOptions::default()).unwrap();
        let path = "usr/lib/extension-release.d/extension-release.k3s_1.2";
        assert_eq!(Tree::read_file(&tree, path, 100).unwrap().unwrap(), b"ID=_any\nARCHITECTURE=arm64\n");
        let written = tree.walk();
        assert!(written.iter().all(|(_, id)| tree.node(*id).unwrap().metadata.mtime == TIME));

        let options = ReleaseOptions {
            id: Some("kairos".into()),
            version_id: Some("3.5".into()),
            level: Some("2".into()),
            scope: Some("system initrd".into()),
            reload_manager: true,
        };
        let mut tree = FileTree::default();
        complete(&mut tree, &options).unwrap();
        let file = ReleaseFile::parse(&Tree::read_file(&tree, path, 500).unwrap().unwrap()).unwrap();
        let pairs: Vec<_> = file.iter().collect();
        assert_eq!(
            pairs,
            [
                ("ARCHITECTURE", "arm64"),
                ("EXTENSION_RELOAD_MANAGER", "1"),
                ("ID", "kairos"),
                ("SYSEXT_LEVEL", "2"),
                ("SYSEXT_SCOPE", "system initrd"),
                ("VERSION_ID", "3.5"),
            ]
        );
    }

    #[test]
    fn an_own_release_file_has_to_be_one_that_a_boot_accepts() {
        let none = ReleaseOptions::default();
        let directory = "usr/lib/extension-release.d";
        let own = |file: &str, content: &str| {
            complete(&mut with_file(&format!("{directory}/{file}"), content), &none).map_err(|error| error.to_string())
        };
        assert_eq!(own("extension-release.k3s_1.2", "ID=_any\n"), Ok(()));
        // systemd takes the file without the version as well.
        assert_eq!(own("extension-release.k3s", "ID=kairos\nVERSION_ID=3\nARCHITECTURE=arm64\n"), Ok(()));
        let error = own("extension-release.k3s_1.2", "ID=_any\nARCHITECTURE=x86-64\n").unwrap_err();
        assert!(error.contains("ARCHITECTURE=x86-64"), "{error}");
        let error = own("extension-release.k3s", "ID=_any\nSYSEXT_SCOPE=initrd\n").unwrap_err();
        assert!(error.contains("SYSEXT_SCOPE"), "{error}");
        let error = own("extension-release.other", "ID=_any\n").unwrap_err();
        assert!(error.contains("build as other"), "{error}");
        let options = ReleaseOptions { reload_manager: true, ..none.clone() };
        let mut tree = with_file(&format!("{directory}/extension-release.k3s_1.2"), "ID=_any\n");
        assert!(matches!(complete(&mut tree, &options), Err(ReleaseProblem::Options { .. })));
    }

    #[test]
    fn values_can_not_break_out_of_their_line() {
        for value in ["a\nID=b", "a\"b", "a b", "", "a$b", "ä"] {
            let options = ReleaseOptions { id: Some(value.into()), ..ReleaseOptions::default() };
            assert!(
                matches!(complete(&mut FileTree::default(), &options), Err(ReleaseProblem::Value { .. })),
                "{value}"
            );
        }
    }
}
