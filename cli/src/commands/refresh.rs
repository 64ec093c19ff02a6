//! `sextant refresh`
//!
//! Only the units of this boot verify, stage and merge (`ExecReload=` of their drop-ins): what they mount has to be seen by PID 1,
//! and their policy is that of the boot. The tool has the agent of the boot say what that will come to, decides whether to
//! begin, and compares.

use super::changes::{Changes, Merged};
use super::output_options::OutputOptions;
use super::progress::Waiting;
use super::systemctl::{said, systemctl};
use anyhow::{Context, Result, bail};
use clap::Args;
use ddi::Class;
use ddi::text::{Message, Text};
use sextant::merge::{self, AGENT, CONFIRM};
use sextant::report::{Adoption, Report, SCHEMA_VERSION};
use sextant::root::Root;
use sextant::state;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// Exit status of wrong usage.
const USAGE: i32 = 2;

/// Verify and merge extensions that were added after the boot
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sextant refresh --dry-run
        show what would be added, replaced, removed or refused
  sextant refresh
        merge a link that was added to /run/extensions, or a file that was
        added to a directory of `sources`
  sextant refresh --json | jq -r '.extensions[] \\
      | select(.change == \"refused\") | .file + \": \" + .remedy'
        print a remedy for each refused file

The agent of this boot verifies the files in /run/extensions, /run/confexts and the directories of the host by the \
policy and the trust anchors of this boot. systemd-sysext.service and systemd-confext.service are then reloaded: they \
verify again, stage and merge. sextant-confirm.service compares the result. If the refresh fails, merged extensions \
stay merged. It does not start if systemd would refuse all extensions because of one image of the host.

Changes:
  added         merged now, and not before
  replaced      another build is merged now
  removed       not merged any more
  unchanged     merged before and now
  missing       verified and not merged
  refused       rejected by the policy

A dry run does not ask the kernel to mount images.

Exit status: 0 all extensions are merged; 1 some are refused or missing, or an error occurred; 2 usage.")]
pub(super) struct Arguments {
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputOptions,
    /// Operate on the tree at DIR and the systemctl in PATH: for tests
    #[arg(long, value_name = "DIR", hide = true)]
    root: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let path = arguments.root.as_deref().unwrap_or(Path::new("/"));
    let root = Root::open(path).with_context(|| format!("opening {}", path.display()))?;
    check_boot(&root)?;
    let before = Merged::read(&root)?;
    let preview = preview(&root, path)?;
    let mut changes = Changes::new(arguments.dry_run);
    let blocking: Vec<&Text> = before.blocking(&preview).collect();
    if let [first, rest @ ..] = blocking.as_slice() {
        let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
        changes.compare(&before, &before, &preview, None);
        changes.fail(format_args!(
            "not refreshed: systemd would refuse all extensions because of {first}{more}; {}",
            before.stay()
        ));
    } else if arguments.dry_run {
        changes.compare(&before, &before.after(&preview), &preview, None);
    } else {
        let failure = refresh(&before, &preview, &mut changes);
        let after = Merged::read(&root)?;
        changes.compare(&before, &after, &preview, Report::read(&root).ok().flatten().as_ref());
        if let Some(failure) = failure {
            changes.fail(format_args!("{failure}; {}", after.stay()));
        }
    }
    arguments.output.show(|| Ok(&changes), || Ok(changes.text(arguments.output.layout())))?;
    if let Some(error) = changes.error() {
        super::warn(error);
    }
    Ok(if changes.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether sextant decided about the extensions of this boot, and lets systemd merge.
fn check_boot(root: &Root) -> Result<()> {
    if matches!(root.metadata(state::PATH), Err(error) if error.kind() == io::ErrorKind::NotFound) {
        bail!("sextant-agent did not run in this boot: {} does not exist", state::PATH);
    }
    if !merge::is_open(root) {
        bail!(
            "merging is not permitted in this boot: {} does not exist (see journalctl -b -t sextant-agent)",
            merge::GATE
        );
    }
    Ok(())
}

/// Has the agent of this boot say what it would do.
fn preview(root: &Root, path: &Path) -> Result<Adoption> {
    let agent = path.join(AGENT.trim_start_matches('/'));
    let mut command = Command::new(&agent);
    command.args(["adopt", "--dry-run"]);
    if !root.is_machine() {
        command.arg("--root").arg(path);
    }
    let output = {
        let _waiting = Waiting::begin(Text::new("verifying extensions"));
        command.stdin(Stdio::null()).output().with_context(|| format!("starting {}", agent.display()))?
    };
    let said = said(&output);
    match output.status.code() {
        Some(0) => {}
        Some(USAGE) => bail!("{AGENT} has another version and does not support `adopt --dry-run`: {said}"),
        _ => bail!("{AGENT}: {said}"),
    }
    let adoption: Adoption = serde_json::from_slice(&output.stdout)
        .map_err(|error| anyhow::anyhow!("{AGENT} has another version: {}", Message::new(error)))?;
    if adoption.version != SCHEMA_VERSION {
        bail!("{AGENT} has another version: its output has version {}; expected {SCHEMA_VERSION}", adoption.version);
    }
    Ok(adoption)
}

/// Has systemd verify, stage and merge, and then compare. Returns why it could not.
fn refresh(before: &Merged, preview: &Adoption, changes: &mut Changes) -> Option<Message> {
    let mut failure = None;
    for class in Class::ALL.into_iter().filter(|class| before.has(*class) || preview.concerns(*class)) {
        let unit = class.unit();
        let _waiting = Waiting::begin(Text::new(format_args!("refreshing {unit}")));
        match systemctl("reload-or-restart", &unit) {
            Ok(()) => changes.refreshed(class),
            Err(error) => {
                let text = format_args!("refreshing {unit}: {error:#} (see journalctl -b -u {unit} -t sextant-agent)");
                failure.get_or_insert_with(|| Message::new(text));
            }
        }
    }
    if changes.has_refreshed()
        && let Err(error) = systemctl("restart", CONFIRM)
    {
        super::warn(format_args!("{CONFIRM} did not confirm the merge: {error:#}"));
    }
    failure
}
