//! Files as this version ships them, compared with those that are there.

use super::check::{Checks, Group};
use super::look::{File, Look};
use ddi::text::Message;
use std::io;

/// Where `make install` puts the agent unless it is told otherwise, as the shipped files have it.
const SHIPPED: &str = "/usr/lib/sextant/sextant-agent";
/// Largest unit, drop-in or stage file.
pub(super) const MAX_FILE: usize = 64 << 10;

/// What became of a comparison.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Compared {
    Same,
    Absent,
    Different(Message),
}

/// The path of the agent that a unit or a stage file calls.
pub(super) fn called(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?;
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let mut words = lines.flat_map(|line| line.split([' ', '\t', '=']));
    words.find(|word| word.starts_with('/') && word.ends_with("/sextant-agent") && word.len() < 256).map(str::to_owned)
}

/// Compares the file at `path` with the one that is shipped, in which the agent lies at `agent`.
pub(super) fn compare(look: &Look<'_>, path: &str, shipped: &str, agent: Option<&str>) -> io::Result<Compared> {
    let expected = match agent {
        Some(agent) => shipped.replace(SHIPPED, agent),
        None => shipped.to_owned(),
    };
    Ok(match look.read(path, MAX_FILE)? {
        File::Bytes(found) if found == expected.as_bytes() => Compared::Same,
        File::Bytes(_) => {
            let version = env!("CARGO_PKG_VERSION");
            Compared::Different(Message::new(format_args!("file is not the one of version {version}")))
        }
        File::Absent => Compared::Absent,
        File::Unreadable(cause) => Compared::Different(cause),
    })
}

/// The same as a check, with what a boot does without the file.
pub(super) fn check(
    look: &Look<'_>,
    (group, path, shipped): (Group, &str, &str),
    agent: Option<&str>,
    effect: &'static str,
    checks: &mut Checks,
) -> io::Result<()> {
    match compare(look, path, shipped, agent)? {
        Compared::Same => checks.ok(group, path, None),
        Compared::Absent => checks.missing(group, path, effect),
        Compared::Different(cause) => checks.wrong(group, path, cause, effect),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::called;

    #[test]
    fn the_agent_is_found_in_units_and_stage_files() {
        let unit = b"# /old/sextant-agent stage\n[Service]\nExecStart=/usr/libexec/sextant/sextant-agent stage\n";
        assert_eq!(called(unit).as_deref(), Some("/usr/libexec/sextant/sextant-agent"));
        let stages = b"  commands:\n    - /opt/s/sextant-agent adopt\n";
        assert_eq!(called(stages).as_deref(), Some("/opt/s/sextant-agent"));
        assert_eq!(called(b"ExecStart=sextant-agent stage\n\xff"), None);
        assert_eq!(called(b"ExecStart=sextant-agent stage\n"), None);
    }
}
