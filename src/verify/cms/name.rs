//! Distinguished names (RFC 5280, section 4.1.2.4).

use super::super::der::{DerError, OBJECT_IDENTIFIER, Reader, SEQUENCE, SET, check_nested};
use super::{CmsError, Octets, at, check_len, numbers};
use ddi::text::Text;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Maximum length of a name in bytes.
pub(super) const MAX_NAME: usize = 4096;

/// String types that a name may have.
const UTF8_STRING: u8 = 0x0c;
const NUMERIC_STRING: u8 = 0x12;
const PRINTABLE_STRING: u8 = 0x13;
const TELETEX_STRING: u8 = 0x14;
const IA5_STRING: u8 = 0x16;
const VISIBLE_STRING: u8 = 0x1a;
const UNIVERSAL_STRING: u8 = 0x1c;
const BMP_STRING: u8 = 0x1e;

/// A distinguished name in DER. `Display` formats it as `C=DE, O=Acme, CN=Vendor`, without escaping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name(Octets);

/// An attribute of a name.
struct Part<'a> {
    identifier: &'a [u8],
    tag: u8,
    value: &'a [u8],
    /// Separator before it.
    separator: &'static str,
}

impl Name {
    /// Reads a name of bounded size.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, CmsError> {
        let place = at("a name");
        let element = reader.expect(SEQUENCE).map_err(&place)?;
        check_len("name", element.whole, MAX_NAME)?;
        check_nested(element.whole).map_err(&place)?;
        parts(element.whole).map_err(place)?;
        Ok(Self(element.whole.into()))
    }

    /// Returns the whole element.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.0
    }

    /// Returns whether both names have the same parts, of any string types: a renewed certificate may have others.
    #[must_use]
    pub fn is_alike(&self, other: &Self) -> bool {
        let parts = |name: &Self| parts(&name.0).unwrap_or_default().into_iter().map(Part::text).collect::<Vec<_>>();
        !self.0.is_empty() && parts(self) == parts(other)
    }

    /// Returns the escaped name.
    #[must_use]
    pub fn to_text(&self) -> Text {
        Text::new(self)
    }
}

impl Part<'_> {
    /// All but the type of the string.
    fn text(self) -> (Vec<u8>, Vec<u8>, &'static str) {
        (self.identifier.to_vec(), self.value.to_vec(), self.separator)
    }
}

fn parts(der: &[u8]) -> Result<Vec<Part<'_>>, DerError> {
    let mut names = Reader::new(Reader::new(der).only(SEQUENCE)?);
    let mut found = Vec::new();
    while !names.is_empty() {
        let mut set = names.enter(SET)?;
        let mut separator = ", ";
        while !set.is_empty() {
            let mut pair = set.enter(SEQUENCE)?;
            let identifier = pair.expect(OBJECT_IDENTIFIER)?.content;
            let value = pair.next()?;
            pair.finish()?;
            found.push(Part { identifier, tag: value.tag, value: value.content, separator });
            separator = " + ";
        }
    }
    Ok(found)
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = parts(&self.0).unwrap_or_default();
        if parts.is_empty() {
            return f.write_str("(no name)");
        }
        for (at, part) in parts.iter().enumerate() {
            if at > 0 {
                f.write_str(part.separator)?;
            }
            part.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.identifier {
            // ITU-T X.520 (2019), Annex A
            [0x55, 4, 3] => f.write_str("CN")?,
            [0x55, 4, 4] => f.write_str("SN")?,
            [0x55, 4, 5] => f.write_str("serialNumber")?,
            [0x55, 4, 6] => f.write_str("C")?,
            [0x55, 4, 7] => f.write_str("L")?,
            [0x55, 4, 8] => f.write_str("ST")?,
            [0x55, 4, 9] => f.write_str("street")?,
            [0x55, 4, 10] => f.write_str("O")?,
            [0x55, 4, 11] => f.write_str("OU")?,
            [0x55, 4, 12] => f.write_str("title")?,
            [0x55, 4, 42] => f.write_str("GN")?,
            // RFC 4519, sections 2.4 and 2.39
            [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 25] => f.write_str("DC")?,
            [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 1] => f.write_str("UID")?,
            // RFC 2985, section 5.2.1
            [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01] => f.write_str("Email")?,
            other => f.write_str(&numbers(other))?,
        }
        f.write_str("=")?;
        match self.tag {
            UTF8_STRING | NUMERIC_STRING | PRINTABLE_STRING | IA5_STRING | VISIBLE_STRING => {
                f.write_str(&String::from_utf8_lossy(self.value))
            }
            TELETEX_STRING => self.value.iter().try_for_each(|byte| write!(f, "{}", char::from(*byte))),
            BMP_STRING => {
                let (pairs, _) = self.value.as_chunks();
                let units = pairs.iter().map(|pair| u16::from_be_bytes(*pair));
                char::decode_utf16(units)
                    .try_for_each(|unit| write!(f, "{}", unit.unwrap_or(char::REPLACEMENT_CHARACTER)))
            }
            UNIVERSAL_STRING => {
                let (quads, _) = self.value.as_chunks();
                quads.iter().try_for_each(|quad| {
                    let character = char::from_u32(u32::from_be_bytes(*quad)).unwrap_or(char::REPLACEMENT_CHARACTER);
                    write!(f, "{character}")
                })
            }
            _ => write!(f, "#{}", Octets::from(self.value)),
        }
    }
}
