//! Reads mode, owner, time and extended attributes from a member of a layer.

use super::acl;
use super::header::{GID, MODE, MTIME, Member, UID};
use super::member_error::MemberError;
use super::overlay::Notes;
use super::path::display;
use super::pax::{self, PaxError};
use super::select::is_extended;
use super::{Metadata, Time};
use ddi::Class;
use std::collections::BTreeMap;
use tar::EntryType;

/// Maximum size of all extended attributes of a file, names and values, in bytes: 64 KiB of values and 64 KiB of names, which are
/// Linux's limits for one value and for the list of names (xattr(7)).
const MAX_XATTRS: usize = 128 << 10;

/// Maximum number of extended attributes of a file. Real files have a few.
const MAX_XATTR_COUNT: usize = 256;

/// The latest time of a file, in 2262: nanoseconds since 1970 in an `i64`.
const LATEST: Time = Time { seconds: 9_223_372_036, nanoseconds: 854_775_807 };

/// Reads the marks of overlayfs of a member.
pub(super) fn notes(member: &Member) -> Notes {
    let has_notes = member.pax.iter().any(|(keyword, _)| keyword.windows(7).any(|it| it == b"overlay"));
    if !has_notes {
        return Notes::default();
    }
    let mut attributes = BTreeMap::new();
    for (keyword, value) in &member.pax {
        if let Some(name) = keyword.strip_prefix(b"SCHILY.xattr.").filter(|_| value.len() <= MAX_XATTRS) {
            attributes.insert(name.to_vec(), value.clone());
        }
    }
    Notes::take(&mut attributes)
}

/// Returns whether a member is a whiteout of overlayfs.
pub(super) fn is_whiteout(member: &Member) -> bool {
    match member.entry_type() {
        EntryType::Char => member.device() == Some((0, 0)),
        EntryType::Regular => notes(member).whiteout,
        _ => false,
    }
}

pub(super) fn metadata(member: &Member, class: Option<Class>) -> Result<Metadata, MemberError> {
    let number = |field: &'static str, place| {
        let cause = || MemberError::Field { field, cause: "not a number".to_owned() };
        member.number(place).ok_or_else(cause)
    };
    let mode = u16::try_from(number("mode", MODE)? & 0o7777).unwrap_or_default();
    let owner = |keyword: &'static str, name: &'static str, place| -> Result<u32, MemberError> {
        if let Some(value) = member.record(keyword) {
            let value = pax::integer(value).ok_or(PaxError::Number { keyword })?;
            return u32::try_from(value).map_err(|error| MemberError::Field { field: name, cause: error.to_string() });
        }
        let value = number(name, place)?;
        u32::try_from(value).map_err(|error| MemberError::Field { field: name, cause: error.to_string() })
    };
    let uid = owner("uid", "owner", UID)?;
    let gid = owner("gid", "group", GID)?;
    let mtime = if let Some(value) = member.record("mtime") {
        pax::time(value).ok_or(PaxError::Number { keyword: "mtime" })?
    } else {
        Time::from_seconds(number("time", MTIME)?)
    };
    // containerd and moby replace times before 1970 or after [`LATEST`] by the beginning of 1970 (containerd,
    // `pkg/archive/time.go`, `boundTime`).
    let mtime = if (Time::default()..=LATEST).contains(&mtime) { mtime } else { Time::default() };
    Ok(Metadata { mode, uid, gid, mtime, xattrs: xattrs(member, class)? })
}

/// Reads extended attributes as GNU tar, star, Go and libarchive write them, and access control lists of star. Unreadable ones of
/// files outside the hierarchies of `class` are ignored.
fn xattrs(member: &Member, class: Option<Class>) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, MemberError> {
    let is_taken = class.is_none_or(|class| is_extended(class, &member.path));
    let mut found = BTreeMap::new();
    let mut held: usize = 0;
    let mut keep = |found: &mut BTreeMap<Vec<u8>, Vec<u8>>, name: &[u8], value: &[u8]| {
        if name.is_empty() || name.len() > 255 || name.contains(&0) {
            return Err(MemberError::Attribute { name: display(name) });
        }
        held = held.saturating_add(name.len()).saturating_add(value.len());
        if found.len() >= MAX_XATTR_COUNT && !found.contains_key(name) {
            let cause = format!("more than {MAX_XATTR_COUNT}");
            return Err(MemberError::Field { field: "extended attributes", cause });
        }
        if held > MAX_XATTRS {
            let cause = format!("more than {MAX_XATTRS} bytes");
            return Err(MemberError::Field { field: "extended attributes", cause });
        }
        found.insert(name.to_vec(), value.to_vec());
        Ok(())
    };
    for (keyword, value) in &member.pax {
        if let Some(name) = keyword.strip_prefix(b"SCHILY.xattr.") {
            keep(&mut found, name, value)?;
        }
    }
    // libarchive and star write the same attributes again in their own forms, which Go ignores.
    for (keyword, value) in &member.pax {
        let Some(other) = acl::other_form(keyword, value) else { continue };
        match other {
            Ok((name, _)) if found.contains_key(&name) => {}
            Ok((name, value)) => keep(&mut found, &name, &value)?,
            Err(_) if !is_taken => {}
            Err(name) => return Err(MemberError::Attribute { name: display(name) }),
        }
    }
    Ok(found)
}
