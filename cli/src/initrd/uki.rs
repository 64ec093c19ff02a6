//! The EFI program around an initrd: sections, signature, and what the boot loader and the stub read of it.

use super::check::{Checks, Group};
use crate::measure::{Section, StubError, sections, stub_version};
use ddi::ReleaseFile;
use ddi::bytes::{u16_at, u32_at};
use ddi::io::ReadAt;
use ddi::text::{Message, Text};
use serde::{Serialize, Serializer};
use std::io;

/// Largest command line, release file and version that are read of a section.
const MAX_TEXT: u64 = 64 << 10;
/// Most command lines: one of the program, and one of each profile.
const MAX_COMMAND_LINES: usize = 32;
/// Offset of the optional header behind the signature `PE\0\0` (PE format, "COFF File Header").
const OPTIONAL: u64 = 24;
/// Offset of the directory entry of the certificates in the optional header of PE32+ and PE32.
const CERTIFICATES: [(u16, u64); 2] = [(0x20b, 144), (0x10b, 128)];

/// The machine that a program is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// As systemd names it
    pub name: &'static str,
    /// Number in PE headers
    pe: u16,
    /// Number in ELF headers
    pub(super) elf: u16,
}

/// Machines for which systemd-stub is built.
const MACHINES: [Machine; 6] = [
    Machine { name: "x86-64", pe: 0x8664, elf: 62 },
    Machine { name: "arm64", pe: 0xaa64, elf: 183 },
    Machine { name: "x86", pe: 0x14c, elf: 3 },
    Machine { name: "arm", pe: 0x1c2, elf: 40 },
    Machine { name: "riscv64", pe: 0x5064, elf: 243 },
    Machine { name: "loongarch64", pe: 0x6264, elf: 258 },
];

impl Serialize for Machine {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

/// What a UKI says about itself. Nothing of it has been verified.
#[derive(Debug, Serialize)]
pub struct Uki {
    /// For which machines it is
    #[serde(rename = "architecture")]
    pub machine: Option<Machine>,
    /// Names of its sections, in their order
    pub sections: Vec<Text>,
    /// Version of systemd-stub
    pub stub: Option<Text>,
    /// The kernel's command lines: of the program itself, then of its profiles
    pub command_lines: Vec<Text>,
    /// Name and version of the operating system
    pub os: Option<Text>,
    /// Version of the kernel
    pub uname: Option<Text>,
    /// Number of profiles
    pub profiles: usize,
    /// Whether it carries a signature. The signer is not judged
    pub signed: bool,
}

impl Uki {
    pub(super) fn read(program: &dyn ReadAt, checks: &mut Checks) -> io::Result<Self> {
        let sections = match sections(program) {
            Ok(sections) => sections,
            Err(error) => {
                let detail = Message::new(super::chain(&error));
                checks.wrong(Group::Uki, "headers", detail, "the firmware does not start it");
                Vec::new()
            }
        };
        let named = |name: &'static [u8]| sections.iter().filter(move |section| section.name() == name);
        let text = |section: &Section| -> io::Result<Option<Text>> {
            Ok(content(program, section)?.map(|bytes| Text::from_bytes(bytes.trim_ascii())))
        };
        let first = |name| named(name).next().map(text).transpose().map(Option::flatten);
        let mut command_lines = Vec::new();
        for section in named(b".cmdline").take(MAX_COMMAND_LINES) {
            command_lines.extend(text(section)?);
        }
        let os = named(b".osrel").next().map(|section| content(program, section)).transpose()?.flatten();
        let stub = stub_version(program);
        let uki = Self {
            machine: machine(program),
            sections: sections.iter().map(|section| Text::from_bytes(section.name())).collect(),
            stub: stub.as_ref().ok().map(Text::new),
            command_lines,
            os: os.and_then(|bytes| os_name(&bytes)),
            uname: first(b".uname")?,
            profiles: named(b".profile").count(),
            signed: is_signed(program).unwrap_or(false),
        };
        uki.check(&sections, program.len(), stub.err().as_ref(), checks);
        Ok(uki)
    }

    fn check(&self, sections: &[Section], len: u64, stub: Option<&StubError>, checks: &mut Checks) {
        if sections.is_empty() {
            return;
        }
        for (name, effect) in [(".linux", "systemd-stub has no kernel to start"), (".initrd", "no agent runs")] {
            let section = sections.iter().find(|section| section.name() == name.as_bytes());
            if section.is_none() {
                checks.missing(Group::Uki, name, effect);
            }
        }
        for section in sections {
            let name = Text::from_bytes(section.name());
            if section.start.saturating_add(section.len) > len {
                let detail = format_args!(
                    "section ends at byte {}; the file has {len}",
                    section.start.saturating_add(section.len)
                );
                checks.wrong(Group::Uki, name.as_str(), Message::new(detail), "the firmware does not start it");
            } else {
                checks.ok(Group::Uki, name.as_str(), None);
            }
        }
        match (&self.stub, stub) {
            (Some(stub), _) => {
                checks.ok(Group::Uki, "systemd-stub", Some(Message::new(format_args!("version {stub}"))));
            }
            (None, cause) => {
                let detail = cause.map_or_else(Message::default, |cause| Message::new(super::chain(cause)));
                let effect = "only systemd-stub loads extensions beside the UKI: none is found";
                checks.wrong(Group::Uki, "systemd-stub", detail, effect);
            }
        }
        if self.signed {
            checks.ok(Group::Uki, "signature", Some("present; the signer is not judged".into()));
        } else {
            checks.note(Group::Uki, "signature", "missing: sign it, or firmware with Secure Boot does not start it");
        }
    }
}

/// The content of a section with a text, without NULs at its end; `None` if it is too large or beyond the end.
fn content(program: &dyn ReadAt, section: &Section) -> io::Result<Option<Vec<u8>>> {
    if section.len > MAX_TEXT || section.start.saturating_add(section.len) > program.len() {
        return Ok(None);
    }
    let mut bytes = vec![0; usize::try_from(section.len).unwrap_or_default()];
    program.read_exact_at(&mut bytes, section.start)?;
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last.saturating_add(1));
    bytes.truncate(end);
    Ok(Some(bytes))
}

fn os_name(release: &[u8]) -> Option<Text> {
    let release = ReleaseFile::parse(release).ok()?;
    let name = release.get_non_empty("PRETTY_NAME").or_else(|| release.get_non_empty("NAME"))?;
    let version = release.get_non_empty("IMAGE_VERSION").or_else(|| release.get_non_empty("KAIROS_VERSION"));
    Some(match version {
        Some(version) => Text::new(format_args!("{name} {version}")),
        None => Text::new(name),
    })
}

/// Where the headers begin.
fn headers(program: &dyn ReadAt) -> Option<u64> {
    let mut start = [0; 4];
    program.read_exact_at(&mut start, 0x3c).ok()?;
    Some(u64::from(u32::from_le_bytes(start)))
}

fn machine(program: &dyn ReadAt) -> Option<Machine> {
    let mut number = [0; 2];
    program.read_exact_at(&mut number, headers(program)?.checked_add(4)?).ok()?;
    let number = u16::from_le_bytes(number);
    MACHINES.into_iter().find(|machine| machine.pe == number)
}

/// Whether there is a table of certificates inside the file (PE format, "The Attribute Certificate Table").
fn is_signed(program: &dyn ReadAt) -> Option<bool> {
    let optional = headers(program)?.checked_add(OPTIONAL)?;
    let mut magic = [0; 2];
    program.read_exact_at(&mut magic, optional).ok()?;
    let magic = u16_at(&magic, 0)?;
    let (_, offset) = CERTIFICATES.into_iter().find(|(known, _)| *known == magic)?;
    let mut entry = [0; 8];
    program.read_exact_at(&mut entry, optional.checked_add(offset)?).ok()?;
    let (start, len) = (u64::from(u32_at(&entry, 0)?), u64::from(u32_at(&entry, 4)?));
    Some(start > 0 && len > 8 && start.checked_add(len)? <= program.len())
}
