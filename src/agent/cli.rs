//! Command line of `sextant-agent`.

use super::adopt::{adopt, preview};
use super::confirm::confirm;
use super::environment::Environment;
use super::merge::merge;
use super::options::{BUDGET, Options};
use super::stage::stage;
use super::status;
use super::unmerge::unmerge;
use crate::confine::{FilterError, filter_agent};
use crate::report::{self, Adoption, Event};
use crate::sys;
use anyhow::Context;
use clap::{Parser, Subcommand};
use ddi::{Architecture, Class};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Verify system extensions in the initrd and stage them for systemd-sysext
#[derive(Debug, Parser)]
#[command(name = "sextant-agent", version = super::version::shown(), arg_required_else_help = true, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Verify the images in /.extra and stage the accepted ones
    #[command(after_help = "\
Examples:
  sextant-agent stage
        run in the initrd, as sextant-stage.service does
  sextant-agent stage --root /tmp/tree
        run on a directory tree, without privileges; firmware variables are in
        /tmp/tree/sys/firmware/efi/efivars, images in /tmp/tree/.extra/sysext
  sextant-agent stage --root /tmp/tree --config ./sextant.yaml
        use a configuration that is not in the tree

Results:
  /run/extensions/NAME.raw    images that systemd-sysext may merge
  /run/verity.d/*.crt         trust anchors for systemd
  /run/sextant/report.json    verdict on each file

Without --root the command works only in an initrd: /etc/initrd-release exists, or PID 1 is immucore and booted from a \
UKI. `--root /` is the machine itself.

Exit status: 0 completed (rejected images are not an error); 1 not completed; 2 usage.")]
    Stage {
        /// Operate on the tree at DIR, without kernel features [default: the machine]
        #[arg(long, value_name = "DIR")]
        root: Option<PathBuf>,
        /// Read the configuration from FILE; can be repeated, and later files apply over earlier ones [default:
        /// /etc/sextant.yaml, else /usr/lib/sextant.yaml, with the drop-ins of /etc/sextant.yaml.d and
        /// /usr/lib/sextant.yaml.d]
        #[arg(long, value_name = "FILE")]
        config: Vec<PathBuf>,
        /// Architecture of the machine, as systemd names it [default: that of this machine]
        #[arg(long, value_name = "ARCH", value_parser = Architecture::parse)]
        arch: Option<Architecture>,
    },
    /// Verify extensions that other programs provided and stage the accepted ones
    #[command(after_help = "\
Examples:
  sextant-agent adopt
        run before the merge, as systemd-sysext.service does
  sextant-agent adopt --dry-run
        print what would be done as JSON (`sextant refresh --dry-run` shows it
        as a table)
  sextant-agent adopt --root /tmp/tree
        run on a directory tree

Files, links and directories in /run/extensions and /run/confexts that `stage` did not create are verified by the same \
rules, with the policy and the trust anchors of this boot. An accepted image is replaced by a read-only mount of the \
verified file. Everything else is moved to /run/sextant/set-aside, so that systemd neither merges it nor refuses all \
extensions because of it. Nothing is deleted. An adopted extension whose file was changed or removed is withdrawn.

In images of Kairos the command belongs in yip's stage initramfs.before, after immucore created its links. On the host \
systemd-sysext.service and systemd-confext.service run it.

A dry run applies the same rules, but does not ask the kernel to mount images.

Exit status: 0 everything left was verified; 1 not completed, and the calling unit does not merge; 2 usage.")]
    Adopt {
        /// Operate on the tree at DIR, without kernel features [default: the machine]
        #[arg(long, value_name = "DIR")]
        root: Option<PathBuf>,
        /// Print what would be done as JSON, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// Architecture of the machine, as systemd names it [default: that of this machine]
        #[arg(long, value_name = "ARCH", value_parser = Architecture::parse)]
        arch: Option<Architecture>,
    },
    /// Permit systemd-sysext and systemd-confext on the host to merge staged images
    #[command(after_help = "\
Examples:
  sextant-agent merge
        run as the last step of the initrd, as sextant-merge.service does
  sextant-agent merge --root /tmp/tree
        run on a directory tree

Running it again has no effect unless staged images or the policy changed. Without --root the command works only in an \
initrd, like `stage`.

Results:
  /run/systemd/system/systemd-{sysext,confext}.service.d/zz-sextant.conf
        image policy of the units: signed images only
  /run/systemd/system/sysinit.target.wants/
        enables both units on the host
  /run/systemd/{sysext,confext}.conf.d/zz-sextant.conf
        the same policy for calls by hand
  /run/sextant/sextant-agent
        this program, to confirm the merge
  /run/sextant/merge
        the gate: without this file nothing is merged

If PID 1 is immucore, or /init of the tree is a link to immucore, nothing is written to /run/systemd. The image must \
then contain the same files in /usr/lib/systemd. If one is missing or different, nothing is merged.

Exit status: 0 the host will merge; 1 the host will merge nothing (see the journal); 2 usage.")]
    Merge {
        /// Operate on the tree at DIR, without kernel features [default: the machine]
        #[arg(long, value_name = "DIR")]
        root: Option<PathBuf>,
    },
    /// Compare merged extensions with staged ones and complete the report
    #[command(after_help = "\
Examples:
  sextant-agent confirm
        run on the host after the merge, as sextant-confirm.service does
  systemctl restart sextant-confirm.service
        run it again after a merge by hand

With `required` in the configuration, /run/sextant/fulfilled says that all required extensions are merged. Without that \
file sextant-required.target fails, and so does boot-complete.target: the boot is not marked as good.

Exit status: 0 compared (missing extensions are not an error unless they are required); 1 not compared, or a required \
extension is not merged; 2 usage.")]
    Confirm {
        /// Operate on the tree at DIR [default: the machine]
        #[arg(long, value_name = "DIR")]
        root: Option<PathBuf>,
    },
    /// Show the extensions of this boot, and why files were rejected
    #[command(after_help = "\
Examples:
  /run/sextant/sextant-agent status
        show verdicts, merge state and trust anchors on a host without sextant
  /run/sextant/sextant-agent status --prometheus
        print metrics for the textfile collector of Prometheus' node exporter

The output is that of `sextant status`.

Exit status: 0 all extensions are merged, or left out by an administrator; 1 there is no report, or the agent could not \
do its work; 2 usage; 3 a file was rejected; 4 a staged extension is not merged, or an extension is merged and was not \
staged. Of several, 1 comes before 4, and 4 before 3.")]
    Status(status::Arguments),
    /// Unmerge extensions, unless their unit is restarted
    #[command(after_help = "\
Examples:
  sextant-agent unmerge sysext
        run when systemd-sysext.service stops
  sextant-agent unmerge confext
        run when systemd-confext.service stops

Before a restart nothing is unmerged: the start that follows mounts all new images first, then replaces the merge, and \
keeps it if an image cannot be mounted. `systemctl stop`, a shutdown, and a restart with nothing to merge do unmerge.

Exit status: 0 unmerged, or kept for a restart; else that of systemd-sysext or systemd-confext; 2 usage.")]
    Unmerge {
        /// Class of the extensions: sysext or confext
        #[arg(value_name = "CLASS", value_parser = class)]
        class: Class,
    },
}

fn class(name: &str) -> Result<Class, &'static str> {
    Class::ALL.into_iter().find(|class| class.as_str() == name).ok_or("expected sysext or confext")
}

/// Does what the command line asks for, in a process that does nothing else: its system calls are filtered from here on.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    sys::openssl::initialize();
    // Before there is a second thread, or anything is read. Commands that run systemd's
    // programs have no filter of their own.
    let is_alone = matches!(&cli.command, Command::Stage { .. } | Command::Adopt { .. } | Command::Merge { .. });
    let filtered = if is_alone { filter_agent() } else { Ok(()) };
    execute(cli, filtered)
}

/// Does the same in a process that goes on: its system calls are not filtered.
#[must_use]
pub fn run_here(cli: Cli) -> ExitCode {
    execute(cli, Ok(()))
}

fn execute(cli: Cli, filtered: Result<(), FilterError>) -> ExitCode {
    if let Command::Status(arguments) = &cli.command {
        return status::run(arguments);
    }
    let (environment, root) = match &cli.command {
        Command::Stage { root, .. } | Command::Merge { root } => (Environment::open_initrd(root.as_deref()), root),
        Command::Adopt { root, .. } | Command::Confirm { root } => (Environment::open(root.as_deref()), root),
        Command::Unmerge { .. } | Command::Status(_) => (Environment::open(None), &None),
    };
    // A machine that isn't in its initrd is told so as a machine is.
    let machine = environment.as_ref().map_or_else(|_| is_machine(root.as_deref()), Environment::is_machine);
    // A dry run leaves nothing in the journal either.
    report::install_logger(machine && !matches!(cli.command, Command::Adopt { dry_run: true, .. }));
    if let Err(error) = filtered {
        Event::Failed.emit(format_args!("{error}; continuing without a filter"));
    }
    let outcome = environment.and_then(|environment| match cli.command {
        Command::Stage { config, arch, .. } => {
            let options = Options { config, architecture: architecture(arch)?, confined: true, budget: BUDGET };
            stage(&environment, &options).map(|()| true)
        }
        Command::Adopt { arch, dry_run, .. } => {
            let options =
                Options { config: Vec::new(), architecture: architecture(arch)?, confined: true, budget: BUDGET };
            let done = if dry_run { print(&preview(&environment, &options)?) } else { adopt(&environment, &options) };
            done.map(|()| true)
        }
        Command::Merge { .. } => merge(&environment).map(|()| true),
        Command::Confirm { .. } => confirm(&environment),
        Command::Unmerge { class } => unmerge(&environment, class).map(|()| true),
        Command::Status(_) => Ok(true),
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        // A required extension is missing, as the journal says.
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            Event::Failed.emit(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Writes what a dry run came to to standard output. All of its text is [`ddi::text::Text`] or [`ddi::text::Message`].
#[expect(clippy::disallowed_methods, reason = "what is written here is bounded and escaped")]
fn print(adoption: &Adoption) -> anyhow::Result<()> {
    let mut text = serde_json::to_vec_pretty(adoption).context("encoding the result")?;
    text.push(b'\n');
    std::io::stdout().write_all(&text).context("writing the result")
}

fn architecture(named: Option<Architecture>) -> anyhow::Result<Architecture> {
    named
        .or_else(Architecture::native)
        .context("no partition types are defined for this machine's architecture: use --arch")
}

fn is_machine(root: Option<&Path>) -> bool {
    Environment::open(root).is_ok_and(|environment| environment.is_machine())
}
