//! Command line of `sextant-agent`.

use super::stage::{Options, stage};
use crate::image::Architecture;
use crate::report;
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Verifies system extensions in the initrd and hands the good ones to systemd-sysext
#[derive(Debug, Parser)]
#[command(name = "sextant-agent", version, arg_required_else_help = true, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Verify every image that systemd-stub left in /.extra, and stage the good ones
    #[command(after_help = "\
Examples:
  sextant-agent stage
        what sextant-stage.service runs in the initrd
  sextant-agent stage --root /tmp/tree
        the same on a directory tree, without any privilege: firmware variables are read from
        /tmp/tree/sys/firmware/efi/efivars, images from /tmp/tree/.extra/sysext, and so on
  sextant-agent stage --root /tmp/tree --config ./sextant.yaml
        with a configuration that isn't in the tree yet

Results:
  /run/extensions/NAME.raw    images that systemd-sysext may merge
  /run/verity.d/*.crt         certificates that it verifies them with
  /run/sextant/report.json    what was decided, and why

Exit status: 0 the work was done, whatever was rejected; 1 it could not be done; 2 usage.")]
    Stage {
        /// Take every path below DIR, and need nothing from the kernel
        #[arg(long, value_name = "DIR", default_value = "/")]
        root: PathBuf,
        /// Read the configuration from FILE instead of /etc/sextant.yaml or /usr/lib/sextant.yaml
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Architecture of the machine, as systemd names it [default: this one's]
        #[arg(long, value_name = "ARCH", value_parser = Architecture::parse)]
        arch: Option<Architecture>,
    },
}

/// Does what the command line asks for.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    match cli.command {
        Command::Stage { root, config, arch } => {
            report::install_logger(root.as_os_str() == "/");
            let architecture = arch.or_else(Architecture::native).unwrap_or(Architecture::X86_64);
            match stage(&Options { root, config, architecture }) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    report::Event::Failed.emit(&format!("{error:#}"));
                    ExitCode::FAILURE
                }
            }
        }
    }
}
