//! `sextant`, for tests and the machines that they boot.

use std::process::ExitCode;

fn main() -> ExitCode {
    sextant_cli::commands::main()
}
