//! The sealed configuration: a main file and drop-ins.
//!
//! It is read only from files that the UKI's signature covers, and refused as a whole if any part of it is unknown or
//! invalid. A typing error must not result in a default.

mod files;
mod kept;
mod keys;
mod values;

pub use files::{
    CONFIG_PATHS, DROP_IN_DIRECTORIES, MAX_DROP_INS, MAX_TOTAL, Place, find, find_files, is_drop_in, is_sealed,
};
pub use kept::{MAX_KEPT, keep, kept};

use super::Policy;
use crate::root::Root;
use crate::yaml::YamlLimit;
use ddi::text::Message;
use keys::Keys;
use std::io;
use std::path::Path;
use thiserror::Error;

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
    /// The file, or the directory of drop-ins, is a link out of what the signature of the UKI covers.
    #[error("reading {path}: it leads to {target}, which the signature of the UKI does not cover")]
    Unsealed {
        /// The file.
        path: String,
        /// The target.
        target: String,
    },
    /// The name of a drop-in is not UTF-8.
    #[error("reading {path}: name is not UTF-8")]
    Name {
        /// The file.
        path: String,
    },
    /// There are too many drop-ins, or too many other files beside them.
    #[error("reading {path}: more than {limit} {what}")]
    TooMany {
        /// The file or directory that is one too many.
        path: String,
        /// The limit.
        limit: usize,
        /// What is counted.
        what: &'static str,
    },
    /// The files are too large together.
    #[error("reading {path}: the configuration is larger than {MAX_TOTAL} bytes, all files together")]
    TooLarge {
        /// The file with which they are.
        path: String,
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
    /// A list is too long together with those of the files before.
    #[error("reading {path}, {key}: {message}, together with the files before it")]
    Together {
        /// The file with which it is.
        path: String,
        /// The key.
        key: &'static str,
        /// The limit.
        message: String,
    },
    /// An earlier run of this boot could not read the configuration.
    #[error("{message}")]
    Earlier {
        /// The copy that says so.
        path: String,
        /// The error of that run.
        message: Message,
    },
}

impl ConfigError {
    /// Returns the path of the file with the mistake, escaped for messages.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::Io { path, .. }
            | Self::Unsealed { path, .. }
            | Self::Name { path }
            | Self::TooMany { path, .. }
            | Self::TooLarge { path }
            | Self::Utf8 { path, .. }
            | Self::Limit { path, .. }
            | Self::Yaml { path, .. }
            | Self::Together { path, .. }
            | Self::Earlier { path, .. } => path,
        }
    }
}

/// A file of the configuration that has been read but not parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    path: String,
    content: Vec<u8>,
    replaces: Option<String>,
}

impl Document {
    /// Makes a document. `path` is for messages.
    #[must_use]
    pub const fn new(path: String, content: Vec<u8>) -> Self {
        Self { path, content, replaces: None }
    }

    /// Returns the path, escaped for messages.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the path of the file that does not count because of this one.
    #[must_use]
    pub fn replaces(&self) -> Option<&str> {
        self.replaces.as_deref()
    }

    /// Returns whether there is nothing in the file: it masks the one that it replaces.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.content.is_empty()
    }

    /// Checks this file alone.
    ///
    /// # Errors
    /// [`ConfigError`] for the first mistake.
    pub fn check(&self) -> Result<(), ConfigError> {
        Keys::parse(&self.path, &self.content).map(drop)
    }
}

/// The files of a configuration in the order in which they apply, or why one of them cannot be read.
#[derive(Debug, Default)]
pub struct Documents(Vec<Result<Document, ConfigError>>);

impl Documents {
    /// Iterates over the files in the order in which they apply.
    pub fn iter(&self) -> impl Iterator<Item = Result<&Document, &ConfigError>> {
        self.0.iter().map(Result::as_ref)
    }

    /// Parses all files and combines them. Without files these are the defaults.
    ///
    /// # Errors
    /// The first [`ConfigError`] in any of the files. None of them counts then.
    pub fn parse(self) -> Result<Policy, ConfigError> {
        let mut all = Keys::default();
        for document in self.0 {
            let Document { path, content, .. } = document?;
            all.add(Keys::parse(&path, &content)?, &path)?;
        }
        Ok(all.into())
    }

    /// Whether it may require extensions, be it understood or not: the word is in it somewhere.
    #[must_use]
    pub fn may_require(&self) -> bool {
        const KEY: &[u8] = b"required";
        let has_key = |document: &Document| document.content.windows(KEY.len()).any(|window| window == KEY);
        self.iter().flatten().any(has_key)
    }
}

impl FromIterator<Document> for Documents {
    fn from_iter<T: IntoIterator<Item = Document>>(documents: T) -> Self {
        Self(documents.into_iter().map(Ok).collect())
    }
}

/// Loads the configuration of a machine, or the defaults if there is none.
///
/// # Errors
/// [`ConfigError`]. Nothing may be staged then.
pub fn load(root: &Root) -> Result<Policy, ConfigError> {
    find(root).parse()
}

/// Loads the configuration in given files, of which later ones apply over earlier ones.
///
/// # Errors
/// [`ConfigError`] if one cannot be read or is invalid.
pub fn load_files<P: AsRef<Path>>(paths: &[P]) -> Result<Policy, ConfigError> {
    find_files(paths).parse()
}

/// Parses a configuration of one file. `path` is for messages.
///
/// # Errors
/// [`ConfigError`] except `Io`.
pub fn parse(path: &str, content: &[u8]) -> Result<Policy, ConfigError> {
    Documents::from_iter([Document::new(path.to_owned(), content.to_vec())]).parse()
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "config/drop_in_tests.rs"]
mod drop_in_tests;
