//! The program: see [`sextant_cli::commands`].

use std::process::ExitCode;

fn main() -> ExitCode {
    sextant_cli::commands::main()
}
