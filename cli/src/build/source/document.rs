//! Reads and checks the JSON documents of images.

use super::{SourceError, Spool};
use ddi::io::ReadAt;
use openssl::hash::{Hasher, MessageDigest};
use serde::de::DeserializeOwned;
use std::io::Read;

/// Maximum size of a manifest, index or configuration in bytes, the same as that of registries.
pub(super) const MAX_LEN: u64 = 4 << 20;

/// Reads a document. `what` names it in errors.
pub(super) fn bytes(spool: &Spool, what: &str) -> Result<Vec<u8>, SourceError> {
    if spool.len() > MAX_LEN {
        return Err(SourceError::Document { what: what.to_owned(), cause: format!("larger than {MAX_LEN} bytes") });
    }
    let mut content = Vec::new();
    spool.reader().read_to_end(&mut content).map_err(SourceError::io(format!("reading {what}")))?;
    Ok(content)
}

/// Parses a document. `what` names it in errors.
pub(super) fn parse<T: DeserializeOwned>(content: &[u8], what: &str) -> Result<T, SourceError> {
    let wrong = |error: serde_json::Error| SourceError::Document { what: what.to_owned(), cause: error.to_string() };
    serde_json::from_slice(content).map_err(wrong)
}

/// Parses a document of a Go program, which writes empty lists as `null`. `lists` are the JSON pointers of such lists.
pub(super) fn parse_go<T: DeserializeOwned>(content: &[u8], what: &str, lists: &[&str]) -> Result<T, SourceError> {
    let wrong = |error: serde_json::Error| SourceError::Document { what: what.to_owned(), cause: error.to_string() };
    let mut value: serde_json::Value = serde_json::from_slice(content).map_err(wrong)?;
    for list in lists {
        if let Some(null) = value.pointer_mut(list).filter(|found| found.is_null()) {
            *null = serde_json::Value::Array(Vec::new());
        }
    }
    serde_json::from_value(value).map_err(wrong)
}

/// Checks that `spool` has this digest (`sha256:…` or `sha512:…`).
pub(super) fn check_digest(spool: &Spool, digest: &str) -> Result<(), SourceError> {
    let unknown =
        || SourceError::Document { what: format!("digest {digest:?}"), cause: "not SHA-256 or SHA-512".into() };
    let (algorithm, wanted) = digest.split_once(':').ok_or_else(unknown)?;
    let (kind, len) = match algorithm {
        "sha256" => (MessageDigest::sha256(), 64),
        "sha512" => (MessageDigest::sha512(), 128),
        _ => return Err(unknown()),
    };
    // Checked because the digest may become a part of a path.
    if wanted.len() != len || !wanted.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(unknown());
    }
    let failed =
        |error: openssl::error::ErrorStack| SourceError::Document { what: digest.to_owned(), cause: error.to_string() };
    let mut hasher = Hasher::new(kind).map_err(failed)?;
    let mut reader = spool.reader();
    let mut buf = vec![0; 1 << 18];
    loop {
        let count = reader.read(&mut buf).map_err(SourceError::io(format!("reading {digest}")))?;
        let Some(read) = buf.get(..count).filter(|read| !read.is_empty()) else { break };
        hasher.update(read).map_err(failed)?;
    }
    let found = ddi::bytes::hex(&hasher.finish().map_err(failed)?);
    if found == wanted {
        return Ok(());
    }
    Err(SourceError::Digest { blob: digest.to_owned(), found: format!("{algorithm}:{found}") })
}
