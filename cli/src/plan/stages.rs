//! Reads the stage files of yip.
//!
//! Only keys that write files or run programs are read; conditions are not evaluated. The schema is that of yip's
//! `pkg/schema/schema.go`. Of cloud-init's own keys, `write_files`, `runcmd`, `hostname` and `users` are read, which yip runs in the
//! stage `boot` if the file begins with `#cloud-config` (`pkg/schema/loader_cloudinit.go`).
//!
//! YAML is read as by Go's `yaml.v3`: the first document of a file counts, merge keys (`<<`) are applied, and a duplicate key is
//! an error. A test compares each case with yip itself.

use super::commands::{PACKAGES, UNIT_LINKS, Words, words};
use ddi::text::Text;
use serde::de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use sextant::yaml::{self, YamlLimit};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use thiserror::Error;

/// The file that the key `users` changes.
const USERS: &str = "/etc/passwd";

/// Error of a stage file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StageError {
    /// The document exceeds its bounds.
    #[error(transparent)]
    Limit(#[from] YamlLimit),
    /// Not YAML, or not yip's schema. One such file makes yip ignore its whole directory (yip 1.25).
    #[error("yip rejects this file, and with it all files in its directory: {0}")]
    Yaml(serde_yaml::Error),
}

impl From<serde_yaml::Error> for StageError {
    fn from(cause: serde_yaml::Error) -> Self {
        Self::Yaml(cause)
    }
}

/// A stage file and its steps.
#[derive(Debug)]
pub struct StageFile {
    /// Path of the file.
    pub file: Text,
    /// The steps, by the name of the stage, then in the order of the file.
    pub steps: Vec<Step>,
    /// Why yip rejects the file, although its steps can be read.
    pub refused: Option<&'static str>,
}

/// Effects of a step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// The stage.
    pub stage: String,
    /// Its number within the stage of this file, from 1.
    pub number: usize,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Absolute paths that it writes, each with the key that does so.
    pub writes: Vec<(String, &'static str)>,
    /// Programs that it runs: names, or paths.
    pub programs: Vec<String>,
    /// Units that it enables or starts.
    pub units: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Document {
    stages: BTreeMap<String, Option<Vec<Option<RawStep>>>>,
}

/// Keys of cloud-init, read if the file begins with `#cloud-config`.
#[derive(Deserialize, Default)]
#[serde(default)]
struct CloudConfig {
    write_files: Vec<Place>,
    runcmd: Vec<Run>,
    hostname: Option<String>,
    users: Option<Vec<UniqueMap>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Run {
    Line(String),
    Words(Vec<String>),
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawStep {
    name: Option<String>,
    commands: Vec<String>,
    files: Vec<Place>,
    directories: Vec<Place>,
    downloads: Vec<Place>,
    ensure_entities: Vec<Place>,
    delete_entities: Vec<Place>,
    unpack_images: Vec<Image>,
    git: Place,
    dns: Dns,
    datasource: Place,
    environment: BTreeMap<String, serde_yaml::Value>,
    environment_file: Option<String>,
    users: BTreeMap<String, Option<User>>,
    hostname: Option<String>,
    packages: Packages,
    systemctl: Systemctl,
    systemd_firstboot: BTreeMap<String, serde_yaml::Value>,
    timesyncd: BTreeMap<String, serde_yaml::Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Place {
    path: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Dns {
    path: Option<String>,
    nameservers: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Image {
    target: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct User {
    homedir: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Packages {
    install: Vec<String>,
    remove: Vec<String>,
    upgrade: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Systemctl {
    enable: Vec<String>,
    disable: Vec<String>,
    start: Vec<String>,
    mask: Vec<String>,
    overrides: Vec<Override>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Override {
    service: Option<String>,
}

/// Parses a stage file. `file` is its path for messages.
///
/// # Errors
/// [`StageError`]
pub fn parse(file: &Text, text: &str) -> Result<StageFile, StageError> {
    let is_cloud_config = is_cloud_config(text);
    let merged = merged(text)?;
    let text = merged.as_deref().unwrap_or(text);
    // An empty file is valid.
    first::<Option<Root>>(text)?;
    let document = first::<Option<Document>>(text)?.flatten().unwrap_or_default();
    let mut steps = Vec::new();
    for (stage, raw) in document.stages {
        for (index, raw) in raw.unwrap_or_default().into_iter().flatten().enumerate() {
            steps.push(Step { stage: stage.clone(), number: index.saturating_add(1), ..raw.step() });
        }
    }
    let mut plain = Step { stage: "boot".to_owned(), number: 1, ..Step::default() };
    let mut refused = None;
    if is_cloud_config {
        let document = first::<Option<CloudConfig>>(text)?.flatten().unwrap_or_default();
        write_all(&mut plain, document.write_files, "write_files");
        for run in document.runcmd {
            let line = match run {
                Run::Line(line) => line,
                Run::Words(list) => {
                    refused = Some("runcmd contains a list; yip expects each command as text");
                    list.join(" ")
                }
            };
            plain.take(words(&line));
        }
        if document.hostname.is_some() {
            plain.writes.push(("/etc/hostname".into(), "hostname"));
        }
        if document.users.is_some() {
            plain.writes.push((USERS.into(), "users"));
        }
    }
    if plain.writes.len() + plain.programs.len() + plain.units.len() > 0 {
        steps.push(plain);
    }
    Ok(StageFile { file: file.clone(), steps, refused })
}

/// Parses the first document of a text; `None` if there is none.
fn first<'t, T: Deserialize<'t>>(text: &'t str) -> Result<Option<T>, StageError> {
    Ok(yaml::deserializer(text)?.next().map(T::deserialize).transpose()?)
}

/// Applies the merge keys of the first document; `None` if it has none.
fn merged(text: &str) -> Result<Option<String>, StageError> {
    if !text.contains("<<") {
        return Ok(None);
    }
    let Some(mut value) = first::<serde_yaml::Value>(text)? else { return Ok(None) };
    value.apply_merge()?;
    Ok(Some(serde_yaml::to_string(&value)?))
}

/// Checks that no key is duplicate in the outermost mapping, and in the keys below it that yip reads.
struct Root;

impl<'de> Deserialize<'de> for Root {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Unique::map(deserializer, &|key| matches!(key, "stages" | "write_files" | "users")).map(|()| Self)
    }
}

/// Checks that the value is a mapping without duplicate keys.
struct UniqueMap;

impl<'de> Deserialize<'de> for UniqueMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Unique::map(deserializer, &|_| true).map(|()| Self)
    }
}

/// Checks that no mapping in a value has duplicate keys.
struct Unique;

impl Unique {
    fn map<'de, D: Deserializer<'de>>(deserializer: D, looks: &dyn Fn(&str) -> bool) -> Result<(), D::Error> {
        deserializer.deserialize_map(UniqueVisitor { looks, only_map: true })
    }
}

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor { looks: &|_| true, only_map: false }).map(|()| Self)
    }
}

struct UniqueVisitor<'l> {
    /// Whether the value of a key is checked too.
    looks: &'l dyn Fn(&str) -> bool,
    only_map: bool,
}

impl<'de> Visitor<'de> for UniqueVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.only_map { "a mapping" } else { "anything" })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(key) = map.next_key::<Key>()? {
            if (self.looks)(&key.0) {
                map.next_value::<Unique>()?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
            if seen.contains(&key.0) {
                return Err(de::Error::custom(format_args!("duplicate key {:?}", key.0)));
            }
            seen.insert(key.0);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        if self.only_map {
            return Err(de::Error::invalid_type(de::Unexpected::Seq, &self));
        }
        while list.next_element::<Unique>()?.is_some() {}
        Ok(())
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_none<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }
}

/// A key of any type, as text.
#[derive(Deserialize)]
struct Key(String);

/// Returns whether the file begins with `#cloud-config`. Up to nine empty lines and comments may precede it.
fn is_cloud_config(text: &str) -> bool {
    let mut lines = text.splitn(10, '\n').map(str::trim_end);
    let first = lines.find(|line| *line == "#cloud-config" || !(line.is_empty() || line.starts_with('#')));
    first == Some("#cloud-config")
}

fn write_all(step: &mut Step, places: Vec<Place>, key: &'static str) {
    step.writes.extend(places.into_iter().filter_map(|place| place.path).map(|path| (path, key)));
}

impl Step {
    fn take(&mut self, words: Words) {
        self.writes.extend(words.writes.into_iter().map(|path| (path, "commands")));
        self.programs.extend(words.programs);
        self.units.extend(words.units);
    }
}

impl RawStep {
    fn step(self) -> Step {
        let mut step = Step { name: self.name, ..Step::default() };
        write_all(&mut step, self.files, "files");
        write_all(&mut step, self.directories, "directories");
        write_all(&mut step, self.downloads, "downloads");
        write_all(&mut step, self.ensure_entities, "ensure_entities");
        write_all(&mut step, self.delete_entities, "delete_entities");
        write_all(&mut step, vec![self.git], "git");
        write_all(&mut step, vec![self.datasource], "datasource");
        let images = self.unpack_images.into_iter().filter_map(|it| it.target);
        step.writes.extend(images.map(|path| (path, "unpack_images")));
        // Keys that write without naming a path.
        let mut also = |happens: bool, path: &str, key| {
            if happens {
                step.writes.push((path.to_owned(), key));
            }
        };
        let or = |given: Option<String>, usual: &str| given.unwrap_or_else(|| usual.to_owned());
        also(!self.dns.nameservers.is_empty(), &or(self.dns.path, "/etc/resolv.conf"), "dns");
        also(!self.environment.is_empty(), &or(self.environment_file, "/etc/environment"), "environment");
        also(self.hostname.is_some_and(|hostname| !hostname.is_empty()), "/etc/hostname", "hostname");
        also(!self.timesyncd.is_empty(), "/etc/systemd/timesyncd.conf", "timesyncd");
        also(!self.systemd_firstboot.is_empty(), "/etc", "systemd_firstboot");
        also(!self.users.is_empty(), USERS, "users");
        for home in self.users.into_values().flatten().filter_map(|user| user.homedir) {
            also(true, &home, "users");
        }
        let Packages { install, remove, upgrade } = self.packages;
        also(upgrade || !install.is_empty() || !remove.is_empty(), PACKAGES, "packages");
        let Systemctl { enable, disable, start, mask, overrides } = self.systemctl;
        also(!(enable.is_empty() && disable.is_empty() && mask.is_empty()), UNIT_LINKS, "systemctl");
        for service in overrides.into_iter().filter_map(|it| it.service) {
            also(true, &format!("{UNIT_LINKS}/{service}.d"), "systemctl");
        }
        step.units.extend(enable.into_iter().chain(start));
        for command in self.commands {
            step.take(words(&command));
        }
        step.writes.retain(|(path, _)| path.starts_with('/'));
        step
    }
}
