//! The program in the initrd: see [`sextant::agent`].

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    sextant::agent::run(sextant::agent::Cli::parse())
}
