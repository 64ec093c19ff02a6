//! Whether an initrd has what a boot needs to verify and merge extensions, found out before it boots.
//!
//! A UKI, an initrd or a directory comes from elsewhere: what is read of it is bounded, and nothing in it is run.
#![deny(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

mod agent;
mod check;
mod command_line;
mod expected;
mod kairos;
mod kernel_modules;
mod look;
mod sealed;
mod systemd;
mod text;
mod uki;

pub use agent::Agent;
pub use check::{Check, Group, State};
pub use look::Recorder;
pub use sealed::Sealed;
pub use text::text;
pub use uki::Uki;

use crate::system::{Compression, InitrdError, Segment, System};
use check::Checks;
use ddi::io::ReadAt;
use ddi::text::{Message, Text};
use look::Look;
use serde::Serialize;
use std::io;

/// Version of the form in which this is printed for programs.
pub const SCHEMA_VERSION: u32 = 1;

/// What unpacks the initrd and runs the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// systemd as PID 1, which runs the units; made by dracut or mkosi-initrd
    Systemd,
    /// immucore as PID 1, which has yip run the stages; the initrd is the whole system
    Kairos,
}

/// What was read of an initrd, and the checks of it.
#[derive(Debug, Serialize)]
pub struct Inspection {
    /// [`SCHEMA_VERSION`]
    pub version: u32,
    /// Whether a boot would verify extensions and open the gate, as far as this can be seen
    pub ready: bool,
    /// The UKI around the initrd
    pub uki: Option<Uki>,
    /// What runs the agent; `null` if neither is recognized
    pub initrd: Option<Kind>,
    /// The parts of the initrd and their compression, as far as they were read
    pub segments: Vec<SegmentRow>,
    /// Version of systemd, from the name of its library
    pub systemd: Option<u32>,
    /// Versions of the kernels whose modules are there
    pub kernels: Vec<Text>,
    /// The agent
    pub agent: Option<Agent>,
    /// What is sealed into it
    pub sealed: Sealed,
    /// All checks, good ones too
    pub checks: Vec<Check>,
}

/// A part of an initrd.
#[derive(Debug, Serialize)]
pub struct SegmentRow {
    /// Its first byte in the initrd
    pub offset: u64,
    /// How it is compressed
    pub compression: Compression,
}

impl From<&Segment> for SegmentRow {
    fn from(segment: &Segment) -> Self {
        Self { offset: segment.offset, compression: segment.compression }
    }
}

/// An initrd to look into.
pub struct Subject<'a> {
    /// The UKI around it
    pub uki: Option<&'a dyn ReadAt>,
    /// Its files, as far as they could be read
    pub system: &'a dyn System,
    /// What kept the rest from being read
    pub error: Option<&'a InitrdError>,
    /// Its parts; none of a directory
    pub segments: &'a [Segment],
}

impl Inspection {
    /// Reads and checks what there is.
    ///
    /// # Errors
    /// If the file system or the disk below fails. What is wrong with the contents is a failed check.
    pub fn of(subject: &Subject<'_>) -> io::Result<Self> {
        let mut checks = Checks::default();
        let uki = subject.uki.map(|program| Uki::read(program, &mut checks)).transpose()?;
        segments(subject, &mut checks);
        let look = Look::new(subject.system);
        let mut found = Self {
            version: SCHEMA_VERSION,
            ready: false,
            initrd: None,
            segments: subject.segments.iter().map(SegmentRow::from).collect(),
            systemd: None,
            kernels: Vec::new(),
            agent: None,
            sealed: Sealed::default(),
            uki,
            checks: Vec::new(),
        };
        // Of what could not be unpacked nothing can be said to be missing.
        if subject.error.is_none() {
            found.examine(&look, &mut checks)?;
        }
        found.checks = checks.rows;
        found.ready = found.checks.iter().all(|check| check.state.is_good());
        Ok(found)
    }

    fn examine(&mut self, look: &Look<'_>, checks: &mut Checks) -> io::Result<()> {
        self.initrd = kind(look, checks)?;
        self.systemd = systemd::version(look)?;
        let kernel = self.uki.as_ref().and_then(|uki| uki.uname.as_ref());
        self.kernels = kernel_modules::check(look, self.initrd, kernel, checks)?;
        let called = match self.initrd {
            Some(Kind::Kairos) => kairos::check(look, self.systemd, checks)?,
            Some(Kind::Systemd) => systemd::check(look, self.systemd, checks)?,
            None => None,
        };
        let machine = self.uki.as_ref().and_then(|uki| uki.machine);
        self.agent = Agent::check(look, called.as_deref(), machine, checks)?;
        self.sealed = Sealed::check(look, checks)?;
        if let Some(uki) = &self.uki {
            command_line::check(&uki.command_lines, self.initrd, checks);
        }
        Ok(())
    }
}

/// The parts of the initrd: LZ4 keeps the kernel from unpacking what follows.
fn segments(subject: &Subject<'_>, checks: &mut Checks) {
    if let Some(error) = subject.error {
        let (state, effect) = match error {
            InitrdError::Archive(crate::system::ArchiveError::Compression {
                compression: Compression::Lz4, ..
            }) => (
                State::Wrong,
                "the kernel does not find the end of LZ4 data, and does not unpack what systemd-stub appends: no extension \
                 is found",
            ),
            InitrdError::Archive(crate::system::ArchiveError::Compression { .. }) => {
                (State::Unknown, "what is in it was not checked")
            }
            _ => (State::Wrong, "the kernel unpacks it in part or not at all"),
        };
        let detail = Message::new(chain(error));
        checks.add(Group::Initrd, "contents", state, Some(detail), Some(effect));
    } else if !subject.segments.is_empty() {
        checks.ok(Group::Initrd, "contents", None);
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// By what the agent and systemd tell an initrd from a host (`src/agent/environment.rs`).
fn kind(look: &Look<'_>, checks: &mut Checks) -> io::Result<Option<Kind>> {
    if look.is_file("etc/initrd-release")? {
        checks.ok(Group::Initrd, "/etc/initrd-release", None);
        return Ok(Some(Kind::Systemd));
    }
    let init = look.link("init")?;
    let program = init.as_deref().and_then(|target| target.rsplit(|byte| *byte == b'/').next());
    if matches!(program, Some(b"immucore" | b"kairos")) {
        checks.ok(Group::Initrd, "/init", init.map(|target| Message::new(Text::from_bytes(&target))));
        return Ok(Some(Kind::Kairos));
    }
    let detail = "there is no /etc/initrd-release, and /init is no link to immucore".into();
    let effect = "no unit runs and the agent refuses to work: nothing is merged";
    checks.add(Group::Initrd, "/etc/initrd-release", State::Missing, Some(detail), Some(effect));
    Ok(None)
}
