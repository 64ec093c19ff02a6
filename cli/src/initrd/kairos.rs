//! The root of a Kairos image for Trusted Boot: stage files of yip, and what the host's systemd finds.

use super::check::{Checks, Group, State};
use super::expected::{self, MAX_FILE};
use super::look::{File, Look};
use super::systemd;
use crate::plan;
use ddi::text::{Message, Text};
use sextant::merge::{IMAGE_ENABLED, image_files};
use std::io;

const STAGES: &str = "/system/oem";
const OURS: (&str, &str) =
    ("/system/oem/zz-sextant.yaml", include_str!("../../../systemd-units/kairos/zz-sextant.yaml"));
/// Directories of systemd's files, the one with ours first; files of the others hide it.
const VENDOR: &str = "/usr/lib/systemd";
const BEFORE: [&str; 2] = ["/etc/systemd", "/usr/local/lib/systemd"];

const NOT_CALLED: &str = "yip does not call the agent: no extension is merged";
const CLOSED: &str = "the agent opens no gate: no extension is merged";

/// Checks stage files, units and drop-ins, and returns the path of the agent that the stage file calls.
pub(super) fn check(look: &Look<'_>, version: Option<u32>, checks: &mut Checks) -> io::Result<Option<String>> {
    let agent = match look.read(OURS.0, MAX_FILE)? {
        File::Bytes(text) => expected::called(&text),
        _ => None,
    };
    expected::check(look, (Group::Stages, OURS.0, OURS.1), agent.as_deref(), NOT_CALLED, checks)?;
    neighbours(look, checks)?;
    for (name, shipped) in image_files() {
        let path = format!("{VENDOR}/{name}");
        expected::check(look, (Group::Units, &path, shipped), None, CLOSED, checks)?;
        for directory in BEFORE {
            let other = format!("{directory}/{name}");
            if look.has_name(&other)? {
                checks.wrong(Group::Units, &other, Message::new(format_args!("file hides {path}")), CLOSED);
            }
        }
    }
    for (directory, unit) in IMAGE_ENABLED {
        let path = format!("{VENDOR}/{directory}/{unit}");
        let target = look.link(&path)?;
        let name = target.as_deref().and_then(|target| target.rsplit(|byte| *byte == b'/').next());
        match name {
            Some(name) if name == unit.as_bytes() => checks.ok(Group::Units, &path, None),
            Some(_) => checks.wrong(Group::Units, &path, "link does not lead to the unit", CLOSED),
            None => checks.missing(Group::Units, &path, CLOSED),
        }
    }
    systemd::check_version(version, checks);
    Ok(agent)
}

/// One file that is no YAML keeps yip from running all files of its directory.
fn neighbours(look: &Look<'_>, checks: &mut Checks) -> io::Result<()> {
    for name in look.names(STAGES)? {
        let path = format!("{STAGES}/{name}");
        let extension = name.rsplit_once('.').map(|(_, extension)| extension);
        if path == OURS.0 || !matches!(extension, Some("yaml" | "yml")) {
            continue;
        }
        let problem = match look.read(&path, 1 << 20)? {
            File::Absent => continue,
            File::Unreadable(cause) => Some((State::Unknown, cause)),
            File::Bytes(bytes) => match std::str::from_utf8(&bytes).map(|text| plan::parse(&Text::new(&path), text)) {
                Err(_) => Some((State::Wrong, "file is not UTF-8".into())),
                Ok(Err(error)) => Some((State::Wrong, Message::new(error))),
                Ok(Ok(file)) => file.refused.map(|cause| (State::Wrong, Message::new(cause))),
            },
        };
        match problem {
            Some((state, cause)) => checks.add(Group::Stages, &path, state, Some(cause), Some(NOT_CALLED)),
            None => checks.ok(Group::Stages, &path, None),
        }
    }
    Ok(())
}
