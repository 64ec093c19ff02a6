//! The tool on a workstation and on an installed system.

mod advice;
mod build;
mod bundle;
mod changes;
pub mod completion;
mod explain;
mod images;
mod inspect;
mod inspect_system;
mod install;
mod installation;
mod interrupt;
mod list;
mod machine;
mod manage;
mod measure;
mod measure_policies;
mod migrate;
mod original;
mod output;
mod output_options;
mod pager;
mod pcrlock;
mod plan;
mod plot;
mod progress;
mod put_options;
mod refresh;
mod sign;
mod signing_options;
mod status;
mod store_options;
mod systemctl;
mod table;
mod target;
mod trust;
mod trust_options;
mod verify;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use output::{style, warn};
use std::process::ExitCode;

/// Build, inspect, verify, install and explain system extensions
#[derive(Debug, Parser)]
#[command(
    name = "sextant",
    version,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "\
Examples:
  sextant build k3s ./tree --private-key db.key --certificate db.crt
        build an extension from a directory
  sextant trust
        list the trust anchors of this machine
  sextant verify k3s.sysext.raw
        check an image against this machine's boot policy
  sextant verify --certificate db.crt *.raw
        check images against one trust anchor
  sextant install k3s.sysext.raw --entry active --entry passive
        install an image for two boot entries
  sextant refresh --dry-run
        preview the merge of extensions that were added after the boot
  sextant status
        show the extensions of this boot, and why files were rejected
  sextant explain corrupt
        explain a reason token and its remedy
  sextant bundle machine.tar
        collect what support needs to know about this boot

Each command has its own examples: sextant COMMAND --help"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Build(build::Arguments),
    Sign(sign::Arguments),
    Inspect(inspect::Arguments),
    Plan(plan::Arguments),
    Verify(verify::Arguments),
    Trust(trust::Arguments),
    Install(install::Arguments),
    List(list::Arguments),
    Enable(manage::Enable),
    Disable(manage::Disable),
    Remove(manage::Remove),
    Migrate(migrate::Arguments),
    Measure(measure::Arguments),
    Refresh(refresh::Arguments),
    Status(status::Arguments),
    Explain(explain::Arguments),
    Bundle(bundle::Arguments),
}

/// Reads the command line and does what it asks for.
#[must_use]
pub fn main() -> ExitCode {
    if completion::answer(Cli::command) {
        return ExitCode::SUCCESS;
    }
    let parsed = Cli::command().try_get_matches().and_then(|matches| {
        let of_command = matches.subcommand().map(|(_, matches)| matches);
        let is_quiet = of_command.and_then(|matches| matches.try_get_one::<bool>("quiet").ok().flatten().copied());
        Ok((Cli::from_arg_matches(&matches)?, is_quiet.unwrap_or(false)))
    });
    match parsed {
        Ok((cli, is_quiet)) => {
            if is_quiet {
                output::be_quiet();
            }
            run(cli)
        }
        Err(error) => output::usage(&error),
    }
}

/// Does what the command line asks for.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    let result = match cli.command {
        Command::Build(arguments) => build::run(&arguments),
        Command::Sign(arguments) => sign::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Plan(arguments) => plan::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Trust(arguments) => trust::run(&arguments),
        Command::Install(arguments) => install::run(&arguments),
        Command::List(arguments) => list::run(&arguments),
        Command::Enable(arguments) => manage::enable(&arguments),
        Command::Disable(arguments) => manage::disable(&arguments),
        Command::Remove(arguments) => manage::remove(&arguments),
        Command::Migrate(arguments) => migrate::run(&arguments),
        Command::Measure(arguments) => measure::run(&arguments),
        Command::Refresh(arguments) => refresh::run(&arguments),
        Command::Status(arguments) => status::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Bundle(arguments) => bundle::run(&arguments),
    };
    result.unwrap_or_else(|error| {
        if let Some(usage) = error.downcast_ref::<clap::Error>() {
            return output::usage(usage);
        }
        warn(format_args!("{error:#}"));
        ExitCode::FAILURE
    })
}

/// A mistake in the command line that its grammar has no words for.
fn usage(message: &str) -> anyhow::Error {
    clap::Error::raw(clap::error::ErrorKind::MissingRequiredArgument, format!("{message}\n")).into()
}

/// Bytes for people, in powers of 1024.
fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}
