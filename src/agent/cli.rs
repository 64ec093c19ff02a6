//! Command line of `sextant-agent`.

use super::adopt::{adopt, preview};
use super::confirm::confirm;
use super::environment::Environment;
use super::merge::merge;
use super::options::{BUDGET, Options};
use super::stage::stage;
use super::unmerge::unmerge;
use crate::report::{self, Adoption};
use anyhow::Context;
use clap::{Parser, Subcommand};
use ddi::{Architecture, Class};
use std::io::Write;
use std::path::{Path, PathBuf};
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

Without --root it works in an initrd only and refuses elsewhere: where /etc/initrd-release exists, or
PID 1 is immucore that boots from a UKI. `--root /` is the machine, under whatever name.

Exit status: 0 the work was done, whatever was rejected; 1 it could not be done; 2 usage.")]
    Stage {
        /// Operate on the tree at DIR, without kernel features
        #[arg(long, value_name = "DIR")]
        root: Option<PathBuf>,
        /// Read the configuration from FILE instead of /etc/sextant.yaml or /usr/lib/sextant.yaml
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Architecture of the machine, as systemd names it [default: this one's]
        #[arg(long, value_name = "ARCH", value_parser = Architecture::parse)]
        arch: Option<Architecture>,
    },
    /// Verify what others have put where extensions are staged, and stage the good ones
    #[command(after_help = "\
Whatever lies in /run/extensions and /run/confexts and wasn't staged by `stage`, a file, a link or a directory, is
judged by the same rules. A good image gives way to a read-only mount of the file that was verified; anything else is
moved to /run/sextant/set-aside, so that systemd neither merges it nor refuses all others for its sake. Nothing is deleted.
What was adopted before and whose file is another one by now, or gone, is taken back.

Where immucore boots it belongs into yip's stage initramfs.before, after immucore's links were made; on the host
systemd-sysext.service and systemd-confext.service run it before they merge. The policy and the trust anchors are those
of this boot.

A dry run judges by the same rules and writes, moves and mounts nothing. The kernel isn't asked whether it can mount an image.
`sextant refresh` is this for people, with the merge after it.

Exit status: 0 nothing is left that wasn't verified; 1 it could not be done, and the unit that called it does not merge; 2 usage.")]
    Adopt {
        /// Operate on the tree at DIR, without kernel features
        #[arg(long, value_name = "DIR")]
        root: Option<PathBuf>,
        /// Output what would be done as JSON, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// Architecture of the machine, as systemd names it [default: this one's]
        #[arg(long, value_name = "ARCH", value_parser = Architecture::parse)]
        arch: Option<Architecture>,
    },
    /// Hand what was staged over to the host's systemd-sysext and systemd-confext
    #[command(after_help = "\
The last thing in the initrd: what sextant-merge.service runs after all else and before the switch of root.
Doing it again changes nothing, unless what was staged or the policy was changed in between.
Without --root it works in an initrd only, like `stage`.

Results:
  /run/systemd/system/systemd-{sysext,confext}.service.d/zz-sextant.conf    only signed images are merged
  /run/systemd/system/sysinit.target.wants/                                 both are enabled on the host
  /run/systemd/{sysext,confext}.conf.d/zz-sextant.conf                      the same policy for calls by hand
  /run/sextant/sextant-agent                                                 this program, to confirm the merge
  /run/sextant/merge                                                         without this file nothing is merged

Where PID 1 is immucore, nothing is written to /run/systemd. The same files have to be in /usr/lib/systemd
of the image, and are compared; if one is missing or another, nothing is merged. A tree whose /init is a
link to immucore is such an image.

Exit status: 0 the host will merge; 1 it will merge nothing, and the journal says why; 2 usage.")]
    Merge {
        /// Operate on the tree at DIR, without kernel features
        #[arg(long, value_name = "DIR")]
        root: Option<PathBuf>,
    },
    /// On the host, compare what was staged with what is merged, and complete the report
    #[command(after_help = "\
What sextant-confirm.service runs on the host after systemd-sysext.service and systemd-confext.service.
`systemctl restart sextant-confirm.service` does it again after a merge by hand.

Exit status: 0 compared, whatever is missing; 1 it could not be compared; 2 usage.")]
    Confirm {
        /// Operate on the tree at DIR
        #[arg(long, value_name = "DIR")]
        root: Option<PathBuf>,
    },
    /// Unmerge extensions, unless the unit that merges them is only restarted
    #[command(after_help = "\
What systemd-sysext.service and systemd-confext.service run when they are stopped. Before a restart nothing is unmerged: the
start that follows replaces what is merged once every new image is mounted, and keeps it if one can't be. `systemctl stop`, the shutdown, and
a restart with nothing to start for unmerge, as systemd's own units do.

Exit status: 0 unmerged, or kept for a restart; otherwise that of systemd-sysext or systemd-confext; 2 usage.")]
    Unmerge {
        /// `sysext` or `confext`
        #[arg(value_name = "CLASS", value_parser = class)]
        class: Class,
    },
}

fn class(name: &str) -> Result<Class, &'static str> {
    Class::ALL.into_iter().find(|class| class.as_str() == name).ok_or("neither sysext nor confext")
}

/// Does what the command line asks for.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    let (environment, root) = match &cli.command {
        Command::Stage { root, .. } | Command::Merge { root } => (Environment::open_initrd(root.as_deref()), root),
        Command::Adopt { root, .. } | Command::Confirm { root } => (Environment::open(root.as_deref()), root),
        Command::Unmerge { .. } => (Environment::open(None), &None),
    };
    // A machine that isn't in its initrd is told so as a machine is.
    let machine = environment.as_ref().map_or_else(|_| is_machine(root.as_deref()), Environment::is_machine);
    // A dry run leaves nothing in the journal either.
    report::install_logger(machine && !matches!(cli.command, Command::Adopt { dry_run: true, .. }));
    let outcome = environment.and_then(|environment| match cli.command {
        Command::Stage { config, arch, .. } => {
            stage(&environment, &Options { config, architecture: architecture(arch)?, confined: true, budget: BUDGET })
        }
        Command::Adopt { arch, dry_run, .. } => {
            let options = Options { config: None, architecture: architecture(arch)?, confined: true, budget: BUDGET };
            if dry_run { print(&preview(&environment, &options)?) } else { adopt(&environment, &options) }
        }
        Command::Merge { .. } => merge(&environment),
        Command::Confirm { .. } => confirm(&environment),
        Command::Unmerge { class } => unmerge(&environment, class),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::Event::Failed.emit(format_args!("{error:#}"));
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
