//! Extracts the PIN from PKCS#11 URIs (RFC 7512).
//!
//! Providers get the URI without the PIN, and ask for the PIN when they need it. So every provider gets it in the same way, and
//! no message contains it.
#![deny(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use thiserror::Error;
use zeroize::Zeroizing;

const SCHEME: &str = "pkcs11:";

/// Source of a PIN.
#[derive(Clone, PartialEq, Eq)]
pub enum Pin {
    /// The PIN itself (`pin-value`).
    Value(Zeroizing<Vec<u8>>),
    /// The first line of a file (`pin-source`).
    File(PathBuf),
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(_) => f.write_str("Value"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// Error of the PIN in a URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UriError {
    /// A `%` without two hexadecimal digits, or a NUL.
    #[error("{0} of the URI is not percent-encoded text")]
    Encoding(&'static str),
    /// A `pin-source` other than a file.
    #[error("pin-source of the URI is not a file: use pin-source=file:/PATH")]
    Source,
    /// More than one PIN.
    #[error("the URI has more than one of pin-value and pin-source")]
    Several,
}

/// A URI without its PIN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uri {
    /// The URI without the PIN, fit to be shown
    pub text: String,
    /// The PIN that the URI contained
    pub pin: Option<Pin>,
}

/// Returns whether `text` is a PKCS#11 URI.
#[must_use]
pub fn is_pkcs11(text: &str) -> bool {
    text.get(..SCHEME.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME))
}

impl Uri {
    /// Extracts the PIN of a PKCS#11 URI. RFC 7512 puts it among the attributes behind the `?`; it is found among the others too,
    /// where users often write it.
    ///
    /// # Errors
    /// [`UriError`]
    pub fn parse(text: &str) -> Result<Self, UriError> {
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        let mut pin = None;
        let mut keep = |attribute: &&str| -> Result<bool, UriError> {
            let Some(found) = pin_of(attribute.strip_prefix(SCHEME).unwrap_or(attribute))? else { return Ok(true) };
            if pin.replace(found).is_some() {
                return Err(UriError::Several);
            }
            Ok(false)
        };
        let mut kept = [Vec::new(), Vec::new()];
        for (kept, (part, separator)) in kept.iter_mut().zip([(path, ';'), (query, '&')]) {
            for attribute in part.split(separator).filter(|attribute| !attribute.is_empty()) {
                if keep(&attribute)? {
                    kept.push(attribute);
                }
            }
        }
        let [path, query] = kept;
        let mut text = path.join(";");
        if !is_pkcs11(&text) {
            text.insert_str(0, SCHEME);
        }
        if !query.is_empty() {
            text.push('?');
            text.push_str(&query.join("&"));
        }
        Ok(Self { text, pin })
    }
}

fn pin_of(attribute: &str) -> Result<Option<Pin>, UriError> {
    let Some((name, value)) = attribute.split_once('=') else { return Ok(None) };
    match name {
        "pin-value" => Ok(Some(Pin::Value(decode(value).ok_or(UriError::Encoding("pin-value"))?))),
        "pin-source" => {
            let value = decode(value).ok_or(UriError::Encoding("pin-source"))?;
            let path = value.strip_prefix(b"file:").unwrap_or(&value);
            // file://HOST/PATH, with no host or this one.
            let path = path.strip_prefix(b"//localhost").or_else(|| path.strip_prefix(b"//")).unwrap_or(path);
            match path {
                [] | [b'|', ..] => Err(UriError::Source),
                path => Ok(Some(Pin::File(OsString::from_vec(path.to_vec()).into()))),
            }
        }
        _ => Ok(None),
    }
}

/// Decodes percent-encoded text; `None` if it is malformed or contains a NUL.
fn decode(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    // Allocated once: a vector that grows leaves copies of the PIN in memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let byte = match byte {
            b'%' => digit(rest.next()?)?.checked_mul(16)?.checked_add(digit(rest.next()?)?)?,
            byte => byte,
        };
        if byte == 0 {
            return None;
        }
        bytes.push(byte);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_pin_is_taken_out_wherever_it_stands() {
        let value = |pin: &str| Some(Pin::Value(Zeroizing::new(pin.as_bytes().to_vec())));
        let file = |path: &str| Some(Pin::File(path.into()));
        let rows = [
            ("pkcs11:token=t;object=o", "pkcs11:token=t;object=o", None),
            ("pkcs11:token=t?pin-value=12%2034", "pkcs11:token=t", value("12 34")),
            ("pkcs11:token=t;object=o?module-name=x&pin-value=1", "pkcs11:token=t;object=o?module-name=x", value("1")),
            ("pkcs11:token=t;pin-value=1;object=o", "pkcs11:token=t;object=o", value("1")),
            ("pkcs11:pin-value=1;object=o", "pkcs11:object=o", value("1")),
            ("PKCS11:object=o?pin-value=1", "PKCS11:object=o", value("1")),
            ("pkcs11:object=o?pin-source=file:/a%20b", "pkcs11:object=o", file("/a b")),
            ("pkcs11:object=o?pin-source=/a", "pkcs11:object=o", file("/a")),
            ("pkcs11:object=o?pin-source=file:///a", "pkcs11:object=o", file("/a")),
            ("pkcs11:object=pin-value", "pkcs11:object=pin-value", None),
        ];
        for (text, rest, pin) in rows {
            assert_eq!(Uri::parse(text), Ok(Uri { text: rest.to_owned(), pin }), "{text}");
        }
        let shown = format!("{:?}", Uri::parse("pkcs11:object=o?pin-value=secret").unwrap());
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn what_is_no_pin_is_refused_without_showing_it() {
        let rows = [
            ("pkcs11:object=o?pin-value=%zz", UriError::Encoding("pin-value")),
            ("pkcs11:object=o?pin-value=1%0", UriError::Encoding("pin-value")),
            ("pkcs11:object=o?pin-value=%00", UriError::Encoding("pin-value")),
            ("pkcs11:object=o?pin-source=%7Ccat", UriError::Source),
            ("pkcs11:object=o?pin-source=", UriError::Source),
            ("pkcs11:object=o?pin-source=/a&pin-value=1", UriError::Several),
        ];
        for (text, error) in rows {
            assert_eq!(Uri::parse(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(pkcs11:)?[a-z%?;&=:/-]{0,40}(pin-value=[0-9a-f%]{0,9})?") {
            if let Ok(uri) = Uri::parse(&text) {
                prop_assert!(is_pkcs11(&uri.text));
                // Nothing is left to be taken out.
                prop_assert_eq!(Uri::parse(&uri.text), Ok(Uri { text: uri.text.clone(), pin: None }));
            }
        }
    }
}
