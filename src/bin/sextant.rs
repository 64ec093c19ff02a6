//! The tool on a workstation: see [`sextant::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    sextant::cli::main()
}
