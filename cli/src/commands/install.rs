//! `sextant install`

use super::installation::{Action, Job, Outcome, Planned, Prepared, Request};
use super::original::Original;
use super::pcrlock::PcrlockOptions;
use super::put_options::PutOptions;
use super::store_options::{self, StoreOptions};
use super::table::{Cell, Layout, Table, painted, plain};
use super::verify::images;
use crate::store::Store;
use anyhow::{Context, Result, bail};
use clap::Args;
use ddi::text::Text;
use serde_json::json;
use sextant::report::Image;
use sextant::verify::{Examined, VerifiedImage};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Install extensions for boot entries
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sextant install k3s_1.31.sysext.raw --entry active --entry passive
        install for the next boot of two entries
  sextant install --dry-run *.sysext.raw --entry active
        show what would be written, and check for free space
  sextant install /run/initramfs/live --entry active --entry passive
        install all images in the root directory of an installation medium
  sextant install tools.sysext.raw --store kairos --entry common
        install for all boot states of Kairos
  sextant install tools.sysext.raw --store global
        install for all boot entries (systemd-stub 258 or later)
  sextant install k3s_1.31.sysext.raw --entry active --pcrlock
        install, and keep volumes open that are bound to PCR 13

Images are verified first, against the firmware of this machine and the certificates sealed in the initrd of this boot. \
An image that a boot would reject is not installed, and nothing is installed unless there is room for everything.

Files are copied under temporary names, and the copies are verified, before the first old file is replaced. Each file \
is replaced atomically, even across a power loss. After a power loss some files of a set may be new and others old: \
repeat the command. Identical files are not written again.

Exit status: 0 installed, or already present; 1 rejected or failed (the output lists what was done); 2 usage.")]
pub(super) struct Arguments {
    /// Images, or directories of images
    #[arg(required = true, value_name = "IMAGE|DIR")]
    images: Vec<PathBuf>,
    /// Install for the boot entry NAME, or for the boot state active, passive, recovery or common of Kairos' store;
    /// repeatable. Not used with the global store
    #[arg(long, value_name = "NAME")]
    entry: Vec<String>,
    #[command(flatten)]
    store: StoreOptions,
    /// Install images that a boot would reject. Does not override `entries.deny`
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    pcrlock: PcrlockOptions,
    #[command(flatten)]
    put: PutOptions,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let output = &arguments.put.output;
    let paths = super::images::find(&arguments.images)?;
    let store = arguments.store.open(!arguments.entry.is_empty())?;
    let policy = arguments.store.policy(&arguments.put.config)?;
    let slots = store_options::slots(&store, &arguments.entry)?;
    for slot in &slots {
        let context = || format!("installing for {} (configuration: entries.deny)", Text::new(&slot.name));
        slot.boots().map_or(Ok(()), |boots| policy.admit_entry(boots)).with_context(context)?;
    }
    arguments.store.warn_of_moves(&store, &slots)?;
    if paths.is_empty() {
        super::warn(format_args!("no extensions in {}", shown(&arguments.images)));
    }
    let machine = if paths.is_empty() { None } else { arguments.put.machine(policy, arguments.force)? };
    let judged: Vec<_> = machine.iter().flat_map(|machine| paths.iter().map(|path| machine.judge(path))).collect();
    let (verified, evidence): (Vec<Image>, Vec<_>) = judged.into_iter().unzip();
    let refused = verified.iter().filter(|image| !image.is_good()).count();
    if refused > 0 && !arguments.force {
        let text = || Ok(images(&verified, output.layout(), false));
        output.show(|| Ok(document(arguments, &store, &verified, &[])), text)?;
        bail!("nothing installed: a boot would reject {refused} of {} images (--force overrides this)", verified.len());
    }
    if refused > 0 {
        super::warn(format_args!(
            "a boot will reject {refused} of {} images; installing them because of --force",
            verified.len()
        ));
    }
    // Open from here to the end: what was verified is what is copied.
    let evidence = evidence.into_iter().chain(std::iter::repeat_with(|| None));
    let originals: Vec<Original> = paths.iter().zip(evidence).map(original).collect::<Result<_>>()?;
    let _alone = if arguments.put.dry_run { None } else { Some(store_options::lock(&store)?) };
    let request = |slot, original| Request { slot: Clone::clone(slot), original, enable: true };
    let requests = slots.iter().flat_map(|slot| originals.iter().map(move |original| request(slot, original)));
    let mut job = Job::plan(&store, requests.collect())?;
    job.admit(&store)?;
    let done = if arguments.put.dry_run {
        Ok(())
    } else {
        let prepared = job.prepare(&store, machine.as_ref()).context("nothing installed")?;
        let steps = if arguments.pcrlock.is_given() { job.steps()? } else { Vec::new() };
        let admitted = arguments.pcrlock.admit(&arguments.store, &store, &steps);
        let _recorded = admitted.context("nothing installed")?;
        commit(&store, &mut job, prepared)
    };
    let text = || text(arguments.put.dry_run, &store, &job, output.layout());
    output.show(|| Ok(document(arguments, &store, &verified, &job.planned)), text)?;
    done.map(|()| ExitCode::SUCCESS)
}

/// The file that was verified; where verification is overridden, what is there now.
fn original((path, evidence): (&PathBuf, Option<VerifiedImage<Examined>>)) -> Result<Original> {
    let original = match evidence {
        Some(image) => Original::verified(path, image),
        None => Original::unverified(path),
    };
    original.with_context(|| format!("installing {}", path.display()))
}

/// Does what was prepared, and says how far it got where that fails.
pub(super) fn commit(store: &Store, job: &mut Job<'_>, prepared: Vec<Option<Prepared>>) -> Result<()> {
    let done = job.commit(store, prepared);
    let (all, count) = (job.planned.len(), job.planned.iter().filter(|planned| planned.is_done()).count());
    let done = done.with_context(|| format!("installed {count} of {all} files"));
    // What was done stays done, whatever failed after it.
    let synced = store.sync().with_context(|| format!("syncing {}", store.path().display()));
    done.and(synced)
}

fn shown(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| Text::from_os(path.as_os_str()).to_string()).collect::<Vec<_>>().join(", ")
}

/// What is done, or would be in a dry run.
pub(super) fn text(dry_run: bool, store: &Store, job: &Job<'_>, layout: Layout) -> Result<String> {
    let style = layout.style;
    let cell = |outcome: Option<Outcome>, word: &str, colour| match outcome {
        None | Some(Outcome::Done) => painted(colour, word),
        Some(Outcome::Failed) => painted("31", "failed"),
        Some(Outcome::NotDone) => painted("31", "not done"),
    };
    let mut table = Table::new(["ENTRY", "FILE", "ACTION", "SIZE"], 1);
    for planned in &job.planned {
        let colour = if planned.action == Action::Unchanged { "2" } else { "32" };
        let what = cell(planned.outcome, planned.action.word(), colour);
        let entry = || plain(Text::new(&planned.slot.name));
        table.row([entry(), plain(&planned.file), what, plain(super::size(planned.size))]);
        if let Some(removed) = &planned.removes {
            table.row([entry(), plain(removed), cell(planned.removal, "removed", "33"), Cell::default()]);
        }
    }
    let mut out = table.render(layout);
    for left in &job.left_alone {
        writeln!(out, "{}", style.paint("33", &format!("not changed: {left}")))?;
    }
    for note in &job.notes {
        writeln!(out, "{}", style.paint("33", note.as_str()))?;
    }
    let free = store.space().with_context(|| format!("querying free space on {}", store.path().display()))?.free;
    let free = super::size(free);
    let changes = || job.planned.iter().filter(|planned| planned.changes());
    let (all, done) = (job.planned.len(), changes().filter(|planned| planned.is_done()).count());
    let what = match (dry_run, changes().count()) {
        (true, count) => format!("dry run: {count} of {all} files would change"),
        (false, 0) => "nothing to do".to_owned(),
        (false, _) => format!("{done} of {all} files done, effective from the next boot"),
    };
    if layout.legend {
        writeln!(out, "{}: {what}; {free} free", store_options::shown(store))?;
    }
    Ok(out)
}

fn document(arguments: &Arguments, store: &Store, verified: &[Image], planned: &[Planned<'_>]) -> serde_json::Value {
    json!({
        "version": 1,
        "store": store.kind(),
        "path": store.path(),
        "esp": store.esp(),
        "dry_run": arguments.put.dry_run,
        "images": verified,
        "files": planned,
    })
}
