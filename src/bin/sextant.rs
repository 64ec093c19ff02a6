//! The tool on a workstation: see [`sextant::cli`].

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    sextant::cli::run(sextant::cli::Cli::parse())
}
