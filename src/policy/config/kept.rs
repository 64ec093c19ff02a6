//! The copy of this boot's configuration, for when the initrd is gone or covered by a mount.
//!
//! A configuration of one file is copied as it is. Of several files the copy holds each one, byte for byte, after a line
//! with its length and path, so that a mistake in it is told as in the initrd. The lines begin as documents of YAML do.

use super::{ConfigError, Document, Documents};
use crate::durable;
use crate::policy::Policy;
use crate::root::Root;
use ddi::text::Message;
use std::io;

/// Directory and name of the copy.
const KEPT: (&str, &str) = ("/run/sextant", "sextant.yaml");
/// Maximum size in bytes of the copy.
pub const MAX_KEPT: u64 = 2 << 20;
/// Beginning of the line before a file.
const MARK: &[u8] = b"--- # sextant: ";
/// What follows in place of a file that could not be read.
const ERROR: &str = "error: ";
/// What is between the length of a file and its path.
const BYTES_OF: &str = " bytes of ";

/// Copies the configuration for the later runs of this boot: it was sealed into the initrd, and the host has none or
/// another.
///
/// # Errors
/// [`ConfigError::Io`]
pub fn keep(root: &Root, documents: &Documents) -> Result<(), ConfigError> {
    let (directory, name) = KEPT;
    let content = documents.to_bytes();
    let written = root.make_directory(directory).and_then(|path| durable::write(&path.join(name), &content, 0o444));
    written.map_err(|cause| ConfigError::Io { path: format!("{directory}/{name}"), cause })
}

/// Loads the copy that [`keep`] made.
///
/// # Errors
/// [`ConfigError`], even if there is no copy.
pub fn kept(root: &Root) -> Result<Policy, ConfigError> {
    let path = format!("{}/{}", KEPT.0, KEPT.1);
    match root.read(&path, MAX_KEPT).and_then(|content| content.ok_or(io::ErrorKind::NotFound.into())) {
        Ok(content) => from_bytes(&path, content).parse(),
        Err(cause) => Err(ConfigError::Io { path, cause }),
    }
}

impl Documents {
    /// Writes all files, and why others could not be read, into one.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match self.0.as_slice() {
            [] => return Vec::new(),
            [Ok(document)] if !document.content.starts_with(MARK) => return document.content.clone(),
            _ => {}
        }
        let mut bytes = Vec::new();
        for document in self.iter() {
            bytes.extend(MARK);
            match document {
                Ok(Document { path, content, .. }) => {
                    bytes.extend(format!("{}{BYTES_OF}{path}\n", content.len()).into_bytes());
                    bytes.extend(content);
                    bytes.push(b'\n');
                }
                Err(error) => bytes.extend(format!("{ERROR}{}\n", Message::new(error)).into_bytes()),
            }
        }
        bytes
    }

    /// Reads what [`Documents::to_bytes`] wrote. Anything else is the content of one file; `path` is for its messages.
    #[must_use]
    pub fn from_bytes(path: &str, bytes: &[u8]) -> Self {
        from_bytes(path, bytes.to_vec())
    }
}

pub(super) fn from_bytes(path: &str, bytes: Vec<u8>) -> Documents {
    if !bytes.starts_with(MARK) {
        return Documents(vec![Ok(Document::new(path.to_owned(), bytes))]);
    }
    let (mut found, mut rest) = (Vec::new(), bytes.as_slice());
    while !rest.is_empty() {
        let Some((document, more)) = split(path, rest) else {
            let cause = io::Error::new(io::ErrorKind::InvalidData, "not as the agent wrote it");
            found.push(Err(ConfigError::Io { path: path.to_owned(), cause }));
            break;
        };
        found.push(document);
        rest = more;
    }
    Documents(found)
}

/// Splits the first file off. Returns `None` if there is none of this form.
fn split<'b>(copy: &str, bytes: &'b [u8]) -> Option<(Result<Document, ConfigError>, &'b [u8])> {
    let bytes = bytes.strip_prefix(MARK)?;
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (line, rest) = (std::str::from_utf8(bytes.get(..end)?).ok()?, bytes.get(end.checked_add(1)?..)?);
    if let Some(error) = line.strip_prefix(ERROR) {
        return Some((Err(ConfigError::Earlier { path: copy.to_owned(), message: Message::new(error) }), rest));
    }
    let (length, path) = line.split_once(BYTES_OF)?;
    let (content, rest) = rest.split_at_checked(length.parse().ok()?)?;
    let document = Document::new(path.to_owned(), content.to_vec());
    Some((Ok(document), rest.strip_prefix(b"\n")?))
}
