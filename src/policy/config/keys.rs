//! The keys of a configuration, and how those of several files combine.
//!
//! What denies or demands something adds up: no file takes back what another one denies. What sets or permits something
//! is replaced as a whole by the last file that has the key. `docs/configuration.md` has the table.

use super::ConfigError;
use super::values::{Paths, RootHashText, Size, SourceName};
use crate::policy::directories::Directories;
use crate::policy::{Hierarchies, HostHierarchies, Limits, Minimum, Policy, Required};
use crate::yaml;
use serde::Deserialize;
use serde::de::Deserializer;

/// The keys of one file, or of several ones combined. `None` where a key is not given.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Keys {
    #[serde(deserialize_with = "given")]
    secure_boot: Option<SecureBootPolicy>,
    trust: Trust,
    entries: Entries,
    deny: Deny,
    limits: LimitsKeys,
    merge: MergeKeys,
    sources: Directories,
    #[serde(deserialize_with = "given")]
    metrics: Option<bool>,
    #[serde(deserialize_with = "given")]
    measurement: Option<bool>,
    required: Required,
    minimum: Minimum,
}

impl Keys {
    /// Parses a file. `path` is for messages.
    pub(super) fn parse(path: &str, content: &[u8]) -> Result<Self, ConfigError> {
        let path = path.to_owned();
        let text = match std::str::from_utf8(content) {
            Ok(text) => text,
            Err(error) => return Err(ConfigError::Utf8 { path, offset: error.valid_up_to() }),
        };
        let document = match yaml::deserializer(text) {
            Ok(document) => document,
            Err(limit) => return Err(ConfigError::Limit { path, limit }),
        };
        // A file of comments is an empty configuration, which YAML calls null.
        let keys: Option<Self> = serde_path_to_error::deserialize(document).map_err(|error| {
            let (key, cause) = (error.path().to_string(), error.into_inner());
            let message = cause.to_string();
            // Errors about the document as a whole have no place.
            let line = cause.location().map_or(1, |location| location.line());
            ConfigError::Yaml { path, line, key, message }
        })?;
        Ok(keys.unwrap_or_default())
    }

    /// Applies the keys of a later file. `path` is that file, for messages.
    pub(super) fn add(&mut self, later: Self, path: &str) -> Result<(), ConfigError> {
        let Self { secure_boot, trust, entries, deny, limits, merge, sources, metrics, measurement, required, minimum } =
            later;
        replace(&mut self.secure_boot, secure_boot);
        replace(&mut self.trust.sources, trust.sources);
        replace(&mut self.trust.dbx, trust.dbx);
        match (&mut self.entries.deny, entries.deny) {
            (Some(all), Some(more)) => all.extend(more),
            (all, more) => replace(all, more),
        }
        self.deny.root_hashes.extend(deny.root_hashes);
        replace(&mut self.limits.images, limits.images);
        replace(&mut self.limits.image_size, limits.image_size);
        replace(&mut self.limits.total_size, limits.total_size);
        replace(&mut self.limits.memory, limits.memory);
        replace(&mut self.limits.keep_free, limits.keep_free);
        replace(&mut self.merge.hierarchies, merge.hierarchies);
        replace(&mut self.merge.confext_hierarchies, merge.confext_hierarchies);
        replace(&mut self.merge.quarantine, merge.quarantine);
        replace(&mut self.metrics, metrics);
        replace(&mut self.measurement, measurement);
        let together = |key, message: String| ConfigError::Together { path: path.to_owned(), key, message };
        self.sources.combine(sources).map_err(|error| together("sources", error.to_string()))?;
        self.required.combine(required).map_err(|error| together("required", error.to_string()))?;
        self.minimum.combine(minimum).map_err(|error| together("minimum", error.to_string()))
    }
}

fn replace<T>(value: &mut Option<T>, later: Option<T>) {
    if later.is_some() {
        *value = later;
    }
}

/// Deserializes a key that has to have a value if it is there.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum SecureBootPolicy {
    Require,
    Optional,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Trust {
    sources: Option<Vec<SourceName>>,
    #[serde(deserialize_with = "given")]
    dbx: Option<DbxPolicy>,
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum DbxPolicy {
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
struct LimitsKeys {
    images: Option<usize>,
    image_size: Option<Size>,
    total_size: Option<Size>,
    memory: Option<Size>,
    keep_free: Option<Size>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct MergeKeys {
    hierarchies: Option<Paths>,
    confext_hierarchies: Option<Paths>,
    #[serde(deserialize_with = "given")]
    quarantine: Option<bool>,
}

impl From<Keys> for Policy {
    fn from(keys: Keys) -> Self {
        let defaults = Self::default();
        let limits = defaults.limits;
        let size = |size: Option<Size>, default: u64| size.map_or(default, |size| size.0);
        let sources = keys.trust.sources.map(|names| names.into_iter().map(|name| name.0).collect());
        Self {
            require_secure_boot: keys.secure_boot != Some(SecureBootPolicy::Optional),
            sources: sources.unwrap_or(defaults.sources),
            require_whole_dbx: keys.trust.dbx != Some(DbxPolicy::Lenient),
            denied_entries: keys.entries.deny.unwrap_or(defaults.denied_entries),
            denied_root_hashes: keys.deny.root_hashes.into_iter().map(|hash| hash.0).collect(),
            limits: Limits {
                images: keys.limits.images.unwrap_or(limits.images),
                image_size: size(keys.limits.image_size, limits.image_size),
                total_size: size(keys.limits.total_size, limits.total_size),
                memory: size(keys.limits.memory, limits.memory),
                keep_free: size(keys.limits.keep_free, limits.keep_free),
            },
            hierarchies: Hierarchies {
                sysext: keys.merge.hierarchies.map(|paths| paths.0),
                confext: keys.merge.confext_hierarchies.map(|paths| paths.0),
            },
            host_hierarchies: HostHierarchies::default(),
            directories: keys.sources.into(),
            required: keys.required,
            minimum: keys.minimum,
            quarantine: keys.merge.quarantine.unwrap_or(defaults.quarantine),
            metrics: keys.metrics.unwrap_or(defaults.metrics),
            measurement: keys.measurement.unwrap_or(defaults.measurement),
        }
    }
}
