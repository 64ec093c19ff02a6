//! Reads extended attributes and access control lists that archives store in other forms than `SCHILY.xattr.`.
//!
//! libarchive writes attributes as `LIBARCHIVE.xattr.NAME`, with escapes in the name and Base64 for the value
//! (`archive_write_set_format_pax.c`); star writes lists as text, in `SCHILY.acl.access` and `SCHILY.acl.default` (star(5)). Linux
//! keeps a list in the attribute `system.posix_acl_access` or `system.posix_acl_default` (`include/uapi/linux/posix_acl_xattr.h`).

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// libarchive omits the padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Version of the attribute's format.
const VERSION: u32 = 2;
/// Tags of entries, in the order that Linux requires.
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
/// ID of an entry without a user or group.
const NO_ID: u32 = u32::MAX;

/// Name and value of an attribute.
type Attribute = (Vec<u8>, Vec<u8>);

/// Converts a record to an attribute. `None` if the record is not an attribute in one of these forms; `Err` with the last part
/// of its keyword if it can't be converted.
pub(super) fn other_form<'k>(keyword: &'k [u8], value: &[u8]) -> Option<Result<Attribute, &'k [u8]>> {
    if let Some(name) = keyword.strip_prefix(b"LIBARCHIVE.xattr.") {
        let decoded = unescape(name).zip(BASE64.decode(value.trim_ascii_end()).ok());
        return Some(decoded.ok_or(name));
    }
    let list = keyword.strip_prefix(b"SCHILY.acl.")?;
    let name = match list {
        b"access" => &b"system.posix_acl_access"[..],
        b"default" => b"system.posix_acl_default",
        // NFSv4 lists belong to other systems.
        _ => return Some(Err(list)),
    };
    Some(posix_acl(value).map(|value| (name.to_vec(), value)).ok_or(list))
}

/// Decodes `%XX`.
fn unescape(name: &[u8]) -> Option<Vec<u8>> {
    let mut found = Vec::new();
    let mut rest = name.iter();
    while let Some(byte) = rest.next() {
        if *byte != b'%' {
            found.push(*byte);
            continue;
        }
        let digits = [*rest.next()?, *rest.next()?];
        found.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
    }
    (!found.is_empty()).then_some(found)
}

/// Converts a list in the text form of acl(5), its entries separated by commas or newlines, to the form of Linux. Users and
/// groups need a number, as their name or behind the permissions (star): names are unknown on other machines.
fn posix_acl(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    let mut entries: Vec<(u16, u32, u16)> = Vec::new();
    for entry in text.split([',', '\n']).map(str::trim).filter(|entry| !entry.is_empty() && !entry.starts_with('#')) {
        let entry = entry.split('#').next().unwrap_or_default().trim();
        let mut parts = entry.split(':').map(str::trim);
        let kind = parts.next()?;
        let mut who = parts.next()?;
        let mut permissions = parts.next();
        // `mask::rwx` and `other::rwx` may lack the empty part.
        if permissions.is_none() && matches!(kind, "mask" | "m" | "other" | "o") {
            (who, permissions) = ("", Some(who));
        }
        let id = parts.next();
        let (tag, id) = match (kind, who, id.unwrap_or(who)) {
            ("user" | "u", "", _) => (USER_OBJ, NO_ID),
            ("user" | "u", _, id) => (USER, id.parse().ok()?),
            ("group" | "g", "", _) => (GROUP_OBJ, NO_ID),
            ("group" | "g", _, id) => (GROUP, id.parse().ok()?),
            ("mask" | "m", "", _) => (MASK, NO_ID),
            ("other" | "o", "", _) => (OTHER, NO_ID),
            _ => return None,
        };
        let mut bits = 0;
        for letter in permissions?.chars() {
            bits |= match letter {
                'r' => 4,
                'w' => 2,
                'x' => 1,
                '-' => 0,
                _ => return None,
            };
        }
        entries.push((tag, id, bits));
    }
    entries.sort_unstable();
    let count = |tag: u16| entries.iter().filter(|(found, ..)| *found == tag).count();
    let needs_mask = count(USER) > 0 || count(GROUP) > 0;
    let distinct = entries.windows(2).all(|pair| !matches!(pair, [a, b] if (a.0, a.1) == (b.0, b.1)));
    // The rules of Linux (`fs/posix_acl.c`, `posix_acl_valid`).
    let valid = [USER_OBJ, GROUP_OBJ, OTHER].into_iter().all(|tag| count(tag) == 1)
        && count(MASK) <= 1
        && (count(MASK) == 1 || !needs_mask)
        && distinct;
    valid.then_some(())?;
    let mut value = VERSION.to_le_bytes().to_vec();
    for (tag, id, bits) in entries {
        value.extend_from_slice(&tag.to_le_bytes());
        value.extend_from_slice(&bits.to_le_bytes());
        value.extend_from_slice(&id.to_le_bytes());
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Reports: opencontainers/image-spec#725 (which form), moby/moby#20331 (lists in `docker save`), libarchive/libarchive#752,
    /// containerd/containerd#8947, canonical/lxd#12027.
    #[test]
    fn lists_become_what_linux_keeps() {
        let entry = |tag: u8, bits: u8, id: [u8; 4]| [&[tag, 0, bits, 0][..], &id].concat();
        let none = [0xff; 4];
        let plain = [vec![2, 0, 0, 0], entry(1, 6, none), entry(4, 4, none), entry(0x20, 4, none)].concat();
        let named = [
            vec![2, 0, 0, 0],
            entry(1, 7, none),
            entry(2, 5, [0xf6, 1, 0, 0]),
            entry(4, 5, none),
            entry(8, 1, [7, 0, 0, 0]),
            entry(0x10, 5, none),
            entry(0x20, 0, none),
        ]
        .concat();
        for (text, expected) in [
            (&b"user::rw-,group::r--,other::r--"[..], &plain),
            (b"u::rw\ng::r\no:r\n# note\n", &plain),
            (b"user::rwx,user:lisa:r-x:502,group::r-x,group:7:--x,mask::r-x,other::---", &named),
            (b"other::---,mask:r-x,group:7:--x:7,group::r-x #note,user:502:r-x,user::rwx", &named),
        ] {
            let shown = String::from_utf8_lossy(text);
            assert_eq!(posix_acl(text).as_ref(), Some(expected), "{shown}");
            let name = b"system.posix_acl_default".to_vec();
            assert_eq!(other_form(b"SCHILY.acl.default", text), Some(Ok((name, expected.clone()))), "{shown}");
        }
        for text in [
            &b"user::rw-"[..],
            b"user::rw-,group::r--",
            b"user::rw-,user::rw-,group::r--,other::r--",
            b"user::rw-,user:lisa:r--,group::r--,mask::r--,other::r--",
            b"user::rw-,user:5:r--,group::r--,other::r--",
            b"user::rwz,group::r--,other::r--",
            b"owner@:rwx::allow",
            b"\xff",
        ] {
            assert_eq!(other_form(b"SCHILY.acl.access", text), Some(Err(&b"access"[..])), "{text:?}");
        }
        assert_eq!(other_form(b"SCHILY.acl.ace", b"everyone@:r"), Some(Err(&b"ace"[..])));
        assert_eq!(other_form(b"SCHILY.fflags", b"x"), None);
    }

    #[test]
    fn attributes_of_libarchive_are_decoded() {
        let decoded = |name: &[u8], value: &[u8]| Some(Ok((name.to_vec(), value.to_vec())));
        assert_eq!(other_form(b"LIBARCHIVE.xattr.user.a", b"aGk"), decoded(b"user.a", b"hi"));
        assert_eq!(other_form(b"LIBARCHIVE.xattr.user.a%3Db", b"aGk="), decoded(b"user.a=b", b"hi"));
        for (name, value) in [("user.a", "*"), ("user.a%3", "aGk"), ("", "aGk")] {
            let keyword = format!("LIBARCHIVE.xattr.{name}");
            assert_eq!(other_form(keyword.as_bytes(), value.as_bytes()), Some(Err(name.as_bytes())), "{name}");
        }
    }
}
