//! The sealed configuration.
//!
//! It is read only from files that the UKI's signature covers, and refused as a whole if any part of it is unknown or
//! invalid. A typing error must not result in a default.

use super::directories::{Directory, MAX_DIRECTORIES};
use super::{Hierarchies, HierarchyList, HostHierarchies, Limits, Minimum, Policy, Required};
use crate::durable;
use crate::root::Root;
use crate::size::{SizeError, parse_size};
use crate::trust::Source;
use crate::yaml::{self, YamlLimit};
use ddi::verity::RootHash;
use serde::Deserialize;
use serde::de::{self, Deserializer};
use std::io::{self, Read};
use std::path::Path;
use thiserror::Error;

/// Paths of the configuration. The first that exists is used.
pub const CONFIG_PATHS: [&str; 2] = ["/etc/sextant.yaml", "/usr/lib/sextant.yaml"];
/// Maximum size in bytes of a file that is read.
const MAX_FILE: u64 = 1 << 20;

/// Errors of reading the configuration.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file exists and cannot be read.
    #[error("reading {path}: {cause}")]
    Io {
        /// The file.
        path: String,
        /// Error of the system call.
        cause: io::Error,
    },
    /// The file is not UTF-8.
    #[error("reading {path}: not UTF-8 from byte {offset} on")]
    Utf8 {
        /// The file.
        path: String,
        /// Offset in bytes.
        offset: usize,
    },
    /// The document exceeds a bound.
    #[error("reading {path}: {limit}")]
    Limit {
        /// The file.
        path: String,
        /// The bound.
        limit: YamlLimit,
    },
    /// A key or value is unknown or invalid.
    #[error("reading {path}, line {line}, {key}: {message}")]
    Yaml {
        /// The file.
        path: String,
        /// Line, from 1.
        line: usize,
        /// Path of the key in the document.
        key: String,
        /// Message of the parser.
        message: String,
    },
}

/// A configuration that has been read but not parsed.
#[derive(Debug, Clone)]
pub struct Text {
    path: String,
    content: Vec<u8>,
}

impl Text {
    /// Parses the configuration.
    ///
    /// # Errors
    /// [`ConfigError`] except `Io`.
    pub fn parse(&self) -> Result<Policy, ConfigError> {
        parse(&self.path, &self.content)
    }

    /// Whether it may require extensions, be it understood or not: the word is in it somewhere.
    #[must_use]
    pub fn may_require(&self) -> bool {
        const KEY: &[u8] = b"required";
        self.content.windows(KEY.len()).any(|window| window == KEY)
    }
}

/// Reads the configuration of a machine. Returns `None` if there is none.
///
/// # Errors
/// [`ConfigError::Io`]
pub fn find(root: &Root) -> Result<Option<Text>, ConfigError> {
    for path in CONFIG_PATHS {
        let error = |cause| ConfigError::Io { path: path.to_owned(), cause };
        match root.read(path, MAX_FILE).map_err(error)? {
            Some(content) => return Ok(Some(Text { path: path.to_owned(), content })),
            // A dangling link is an error, because it was meant to be a configuration.
            None if root.has_name(path) => return Err(error(io::ErrorKind::NotFound.into())),
            None => {}
        }
    }
    Ok(None)
}

/// Directory and name of the copy of this boot's configuration, for when the initrd is gone or covered by a mount.
const KEPT: (&str, &str) = ("/run/sextant", "sextant.yaml");

/// Copies the configuration for the later runs of this boot: it was sealed into the initrd, and the host has none or
/// another.
///
/// # Errors
/// [`ConfigError::Io`]
pub fn keep(root: &Root, text: Option<&Text>) -> Result<(), ConfigError> {
    let (directory, name) = KEPT;
    let content = text.map_or(&[][..], |text| &text.content);
    let written = root.make_directory(directory).and_then(|path| durable::write(&path.join(name), content, 0o444));
    written.map_err(|cause| ConfigError::Io { path: format!("{directory}/{name}"), cause })
}

/// Loads the copy that [`keep`] made.
///
/// # Errors
/// [`ConfigError`], even if there is no copy.
pub fn kept(root: &Root) -> Result<Policy, ConfigError> {
    let path = format!("{}/{}", KEPT.0, KEPT.1);
    match root.read(&path, MAX_FILE).and_then(|content| content.ok_or(io::ErrorKind::NotFound.into())) {
        Ok(content) => parse(&path, &content),
        Err(cause) => Err(ConfigError::Io { path, cause }),
    }
}

/// Loads the configuration of a machine, or the defaults if there is none.
///
/// # Errors
/// [`ConfigError`]. Nothing may be staged then.
pub fn load(root: &Root) -> Result<Policy, ConfigError> {
    find(root)?.as_ref().map_or_else(|| Ok(Policy::default()), Text::parse)
}

/// Loads the configuration in a given file.
///
/// # Errors
/// [`ConfigError`] if it cannot be read or is invalid.
pub fn load_file(path: &Path) -> Result<Policy, ConfigError> {
    find_file(path)?.parse()
}

/// Reads the configuration in a given file.
///
/// # Errors
/// [`ConfigError::Io`]
pub fn find_file(path: &Path) -> Result<Text, ConfigError> {
    let name = path.display().to_string();
    let read = || {
        let mut content = Vec::new();
        std::fs::File::open(path)?.take(MAX_FILE.saturating_add(1)).read_to_end(&mut content)?;
        Ok(content)
    };
    match read() {
        Ok(content) => Ok(Text { path: name, content }),
        Err(cause) => Err(ConfigError::Io { path: name, cause }),
    }
}

/// Parses a configuration. `path` is for messages.
///
/// # Errors
/// [`ConfigError`] except `Io`.
pub fn parse(path: &str, content: &[u8]) -> Result<Policy, ConfigError> {
    let path = path.to_owned();
    let text = match std::str::from_utf8(content) {
        Ok(text) => text,
        Err(error) => return Err(ConfigError::Utf8 { path, offset: error.valid_up_to() }),
    };
    // A file of comments is an empty configuration, which YAML calls null.
    let document = match yaml::deserializer(text) {
        Ok(document) => document,
        Err(limit) => {
            return Err(ConfigError::Limit { path, limit });
        }
    };
    let config: Option<Config> = serde_path_to_error::deserialize(document).map_err(|error| {
        let (key, cause) = (error.path().to_string(), error.into_inner());
        let message = cause.to_string();
        // Errors about the document as a whole have no place.
        let line = cause.location().map_or(1, |location| location.line());
        ConfigError::Yaml { path, line, key, message }
    })?;
    Ok(config.unwrap_or_default().into())
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    secure_boot: SecureBootPolicy,
    trust: Trust,
    entries: Entries,
    deny: Deny,
    limits: LimitsConfig,
    merge: MergeConfig,
    sources: Directories,
    metrics: bool,
    measurement: bool,
    required: Required,
    minimum: Minimum,
}

#[derive(Debug, Default)]
struct Directories(Vec<Directory>);

impl<'de> Deserialize<'de> for Directories {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let directories: Vec<Directory> = Vec::deserialize(deserializer)?;
        if directories.len() > MAX_DIRECTORIES {
            return Err(de::Error::custom(format!("more than {MAX_DIRECTORIES} directories")));
        }
        Ok(Self(directories))
    }
}

#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum SecureBootPolicy {
    #[default]
    Require,
    Optional,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Trust {
    sources: Option<Vec<SourceName>>,
    dbx: DbxPolicy,
}

#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum DbxPolicy {
    #[default]
    Strict,
    Lenient,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Entries {
    deny: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Deny {
    root_hashes: Vec<RootHashText>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsConfig {
    images: Option<usize>,
    image_size: Option<Size>,
    total_size: Option<Size>,
    memory: Option<Size>,
    keep_free: Option<Size>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct MergeConfig {
    hierarchies: Option<Paths>,
    confext_hierarchies: Option<Paths>,
    quarantine: bool,
}

impl From<Config> for Policy {
    fn from(config: Config) -> Self {
        let defaults = Self::default();
        let limits = defaults.limits;
        let size = |size: Option<Size>, default: u64| size.map_or(default, |size| size.0);
        Self {
            require_secure_boot: config.secure_boot == SecureBootPolicy::Require,
            sources: config
                .trust
                .sources
                .map_or(defaults.sources, |names| names.into_iter().map(|name| name.0).collect()),
            require_whole_dbx: config.trust.dbx == DbxPolicy::Strict,
            denied_entries: config.entries.deny.unwrap_or(defaults.denied_entries),
            denied_root_hashes: config.deny.root_hashes.into_iter().map(|hash| hash.0).collect(),
            limits: Limits {
                images: config.limits.images.unwrap_or(limits.images),
                image_size: size(config.limits.image_size, limits.image_size),
                total_size: size(config.limits.total_size, limits.total_size),
                memory: size(config.limits.memory, limits.memory),
                keep_free: size(config.limits.keep_free, limits.keep_free),
            },
            hierarchies: Hierarchies {
                sysext: config.merge.hierarchies.map(|paths| paths.0),
                confext: config.merge.confext_hierarchies.map(|paths| paths.0),
            },
            host_hierarchies: HostHierarchies::default(),
            directories: config.sources.0,
            required: config.required,
            minimum: config.minimum,
            quarantine: config.merge.quarantine,
            metrics: config.metrics,
            measurement: config.measurement,
        }
    }
}

#[derive(Debug)]
struct SourceName(Source);

impl<'de> Deserialize<'de> for SourceName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Source::CONFIGURABLE
            .into_iter()
            .find(|source| source.as_str() == text)
            .map(Self)
            .ok_or_else(|| de::Error::custom(format!("`{text}` is not one of PK, KEK, db, sealed")))
    }
}

#[derive(Debug)]
struct RootHashText(RootHash);

impl<'de> Deserialize<'de> for RootHashText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        RootHash::from_hex(&text.to_ascii_lowercase()).map(Self).map_err(de::Error::custom)
    }
}

#[derive(Debug)]
struct Paths(HierarchyList);

impl<'de> Deserialize<'de> for Paths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        HierarchyList::new(Vec::deserialize(deserializer)?).map(Self).map_err(de::Error::custom)
    }
}

/// A number of bytes, as an integer or in the form of [`parse_size`].
#[derive(Debug)]
struct Size(u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum NumberOrText {
            Number(u64),
            Text(String),
        }
        match NumberOrText::deserialize(deserializer).map_err(|_| de::Error::custom(SizeError))? {
            NumberOrText::Number(bytes) => Ok(Self(bytes)),
            NumberOrText::Text(text) => parse_size(&text).map(Self).map_err(de::Error::custom),
        }
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
