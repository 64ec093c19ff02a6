//! The agent's program: is it there, which version, and for which machine.

use super::check::{Checks, Group};
use super::look::{File, Look};
use super::uki::Machine;
use ddi::bytes::u16_at;
use ddi::text::{Message, Text};
use serde::Serialize;
use std::io;

/// Largest program that is searched for its version.
const MAX_PROGRAM: usize = 64 << 20;
/// Longest version.
const MAX_VERSION: usize = 64;
/// Where it is looked for if nothing calls it.
const USUAL: &str = "/usr/lib/sextant/sextant-agent";
/// Offset of the machine in an ELF header, and the bytes that it begins with (elf(5)).
const ELF_MACHINE: usize = 18;
const ELF: &[u8] = b"\x7fELF";

const NOTHING: &str = "no image is verified or staged: no extension is merged";

/// The agent.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Agent {
    /// Its path
    pub path: Text,
    /// Its version; `null` in programs that don't name it
    pub version: Option<Text>,
}

impl Agent {
    /// Checks the program that a unit or a stage calls.
    pub(super) fn check(
        look: &Look<'_>,
        called: Option<&str>,
        machine: Option<Machine>,
        checks: &mut Checks,
    ) -> io::Result<Option<Self>> {
        let path = called.unwrap_or(USUAL);
        let program = match look.read(path, MAX_PROGRAM)? {
            File::Bytes(program) => program,
            File::Absent => {
                checks.missing(Group::Agent, path, NOTHING);
                return Ok(None);
            }
            File::Unreadable(cause) => {
                checks.wrong(Group::Agent, path, cause, NOTHING);
                return Ok(None);
            }
        };
        let version = version(&program).map(Text::new);
        let mode = look.entry(path)?.map_or(0, |entry| entry.mode);
        let of = u16_at(&program, ELF_MACHINE).filter(|_| program.starts_with(ELF));
        match of {
            None => checks.wrong(Group::Agent, path, "file is no ELF program", NOTHING),
            Some(_) if mode & 0o111 == 0 => {
                checks.wrong(
                    Group::Agent,
                    path,
                    Message::new(format_args!("mode is {mode:04o}: not executable")),
                    NOTHING,
                );
            }
            Some(of) if machine.is_some_and(|machine| machine.elf != of) => {
                let detail = format_args!(
                    "program is for ELF machine {of}; the UKI is for {}",
                    machine.map_or("?", |it| it.name)
                );
                checks.wrong(Group::Agent, path, Message::new(detail), NOTHING);
            }
            Some(_) => match &version {
                None => checks.note(
                    Group::Agent,
                    path,
                    "program does not name its version: older than this tool, or foreign",
                ),
                Some(version) if version.as_str() != env!("CARGO_PKG_VERSION") => {
                    let detail = format_args!(
                        "version {version}; this tool, {}, knows the files of its own version",
                        env!("CARGO_PKG_VERSION")
                    );
                    checks.note(Group::Agent, path, Message::new(detail));
                }
                Some(version) => checks.ok(Group::Agent, path, Some(Message::new(format_args!("version {version}")))),
            },
        }
        Ok(Some(Self { path: Text::new(path), version }))
    }
}

/// The version that a program names between the words that [`sextant::agent::MARKER`] puts around it.
fn version(program: &[u8]) -> Option<&str> {
    let (before, after) = sextant::agent::MARKER.split_once(sextant::agent::VERSION)?;
    let mut rest = program;
    loop {
        let at = rest.windows(before.len()).position(|window| window == before.as_bytes())?;
        rest = rest.get(at.checked_add(before.len())?..)?;
        let end = rest.iter().take(MAX_VERSION).position(|byte| !is_version(*byte)).unwrap_or(0);
        // The words alone are in every program that looks for them.
        if end > 0 && rest.get(end..).is_some_and(|rest| rest.starts_with(after.as_bytes())) {
            return std::str::from_utf8(rest.get(..end)?).ok();
        }
    }
}

fn is_version(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+' | b'~')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_version_is_found_among_other_bytes() {
        let marker = sextant::agent::MARKER;
        let foreign = marker.replace(sextant::agent::VERSION, "12.3.4-rc.1+deb13");
        let prefix = marker.split_once(sextant::agent::VERSION).unwrap().0;
        let program = |parts: &[&str]| parts.join("\0").into_bytes();
        assert_eq!(version(&program(&["x", marker, "y"])), Some(sextant::agent::VERSION));
        assert_eq!(version(&program(&[prefix, &foreign])), Some("12.3.4-rc.1+deb13"));
        for without in
            [prefix.to_owned(), format!("{prefix}1.0"), format!("{prefix}{}", "1".repeat(100)), String::new()]
        {
            assert_eq!(version(without.as_bytes()), None, "{without}");
        }
        assert_eq!(version(format!("{prefix}\u{1b}[2J ####").as_bytes()), None);
    }
}
