//! The agent as `make agent` leaves it: it has to run where there is nothing but the kernel.

use crate::installed::built_agent;
use std::fs;
use std::process::Command;
use support::harness::left_out;

/// Every initrd carries it, in the firmware's memory first and then in the machine's. 8.0 MiB when this was written.
const MAX_SIZE: usize = 17 << 19;

/// Program headers (elf(5)) of something that has to be linked at run time.
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;

fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().unwrap()
}

/// Types of the program headers of a 64-bit little-endian file.
fn program_headers(elf: &[u8]) -> Vec<u32> {
    assert_eq!(elf[..6], *b"\x7fELF\x02\x01", "not a 64-bit little-endian ELF file");
    let offset = usize::try_from(u64::from_le_bytes(number(elf, 32))).unwrap();
    let size = usize::from(u16::from_le_bytes(number(elf, 54)));
    let count = usize::from(u16::from_le_bytes(number(elf, 56)));
    (0..count).map(|at| u32::from_le_bytes(number(elf, offset + at * size))).collect()
}

pub(crate) fn the_agent_is_static_and_small() {
    let Some(path) = built_agent() else { return left_out("no target/dist/sextant-agent: run make agent") };
    let elf = fs::read(&path).unwrap();
    let headers = program_headers(&elf);
    assert!(!headers.is_empty());
    for (kind, name) in [(PT_INTERP, "an interpreter"), (PT_DYNAMIC, "a dynamic section")] {
        assert!(!headers.contains(&kind), "{} has {name}", path.display());
    }
    assert!(elf.len() <= MAX_SIZE, "{} has {} bytes, more than {MAX_SIZE}", path.display(), elf.len());
}

pub(crate) fn a_dynamic_program_would_be_noticed() {
    let headers = program_headers(&fs::read(env!("CARGO_BIN_EXE_tool-under-test")).unwrap());
    assert!(headers.contains(&PT_DYNAMIC) && headers.contains(&PT_INTERP));
}

pub(crate) fn the_agent_runs_with_nothing_around_it() {
    let Some(path) = built_agent() else { return left_out("no target/dist/sextant-agent: run make agent") };
    let output = Command::new(path).arg("--version").env_clear().output().unwrap();
    assert!(output.status.success(), "{output:?}");
}
