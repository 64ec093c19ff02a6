//! Options of commands that put verified files into a store.

use super::machine::Machine;
use super::output_options::OutputOptions;
use super::trust_options::TrustOptions;
use anyhow::{Context, Result};
use clap::Args;
use ddi::Architecture;
use sextant::policy::Policy;
use std::path::PathBuf;

// The doc comment of a flattened struct would be taken for that of the command.
#[derive(Debug, Args)]
pub(super) struct PutOptions {
    /// Show what would be done, and change nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Apply the configuration FILE (format: sextant.yaml(5)); can be repeated, and later files apply over earlier
    /// ones [default: that of the running system]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Vec<PathBuf>,
    #[command(flatten)]
    trust: TrustOptions,
    #[command(flatten)]
    pub(super) output: OutputOptions,
}

impl PutOptions {
    /// The machine that judges the files; `None` where it can't be known, and `force` overrides verification.
    pub(super) fn machine(&self, policy: Policy, force: bool) -> Result<Option<Machine>> {
        let architecture = Architecture::native();
        let architecture = architecture.context("no partition types are defined for this architecture")?;
        match Machine::with_policy(&self.trust, policy, architecture) {
            Err(error) if force => {
                super::warn(format_args!("{error:#}; images are not verified (--force)"));
                Ok(None)
            }
            machine => machine.map(Some),
        }
    }
}
