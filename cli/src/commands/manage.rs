//! `sextant remove`, `sextant enable`, `sextant disable`

use super::advice::advised;
use super::installation::{Outcome, whole_set};
use super::output_options::OutputOptions;
use super::pcrlock::{self, PcrlockOptions};
use super::store_options::{self, EntryOptions, StoreOptions};
use crate::similar::Available;
use crate::store::{Held, Kind, Link, Set, Slot, Store};
use anyhow::{Context, Result, bail};
use clap::Args;
use ddi::Class;
use ddi::text::{Message, Text};
use serde_json::json;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;

/// Remove extensions from boot entries
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sextant remove k3s_1.30 --entry active --entry passive
        remove this version, and no other, from two boot entries
  sextant remove k3s_1.30.sysext.raw --all
        remove a file from all boot entries
  sextant remove k3s_1.30 --all --dry-run
        show what would be removed

NAME is the full name of an extension (k3s_1.30, not k3s) or of its file. A merged extension stays merged until the \
next boot. In Kairos' store the file is deleted once no boot state uses it.

Exit status: 0 removed; 1 no such extension, or an error occurred; 2 usage.")]
pub(super) struct Remove {
    #[command(flatten)]
    which: Which,
}

/// Re-enable disabled extensions
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sextant enable k3s_1.30 --entry active
        enable this version from the next boot on
  sextant enable k3s_1.30 --store kairos --entry common
        enable it for all boot states of Kairos

Exit status: 0 enabled, or already enabled; 1 no such extension, or an error occurred; 2 usage.")]
pub(super) struct Enable {
    #[command(flatten)]
    which: Which,
    /// Apply the configuration FILE (format: sextant.yaml(5)); can be repeated, and later files apply over earlier
    /// ones [default: that of the running system]
    #[arg(long, value_name = "FILE")]
    config: Vec<PathBuf>,
}

/// Disable extensions without deleting them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sextant disable k3s_1.31 --entry active
        fall back to an older version from the next boot on
  sextant disable k3s_1.31 --all
        disable it for all boot entries

The file is renamed to NAME.sysext.raw.disabled, which systemd-stub does not load. In Kairos' store the link is removed.

Exit status: 0 disabled, or already disabled; 1 no such extension, or an error occurred; 2 usage.")]
pub(super) struct Disable {
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
struct Which {
    /// Full names of extensions or of their files
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    entries: EntryOptions,
    #[command(flatten)]
    store: StoreOptions,
    #[command(flatten)]
    pcrlock: PcrlockOptions,
    /// Show what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Remove,
    Enable,
    Disable,
}

impl Verb {
    const fn doing(self) -> &'static str {
        match self {
            Self::Remove => "removing",
            Self::Enable => "enabling",
            Self::Disable => "disabling",
        }
    }

    const fn done(self) -> &'static str {
        match self {
            Self::Remove => "removed",
            Self::Enable => "enabled",
            Self::Disable => "disabled",
        }
    }

    /// Whether a file is already as it should be. `others` tells whether another slot has it.
    fn is_idle(self, held: &Held, others: bool) -> bool {
        match self {
            Self::Remove => !held.item.enabled && others,
            Self::Enable => held.is_enabled_soundly() || (held.item.enabled && !held.is_stored),
            Self::Disable => !held.item.enabled,
        }
    }
}

pub(super) fn remove(arguments: &Remove) -> Result<ExitCode> {
    carry_out(Verb::Remove, &arguments.which, |_| Ok(()))
}

pub(super) fn enable(arguments: &Enable) -> Result<ExitCode> {
    let policy = arguments.which.store.policy(&arguments.config)?;
    carry_out(Verb::Enable, &arguments.which, |slot| {
        slot.boots().map_or(Ok(()), |boots| policy.admit_entry(boots))?;
        Ok(())
    })
}

pub(super) fn disable(arguments: &Disable) -> Result<ExitCode> {
    carry_out(Verb::Disable, &arguments.which, |_| Ok(()))
}

/// One file of one slot.
struct Step {
    slot: Slot,
    held: Held,
    idle: bool,
    /// `None` in a dry run.
    outcome: Option<Outcome>,
    /// Why the file stays in the store, where it was to go.
    stays: Option<Message>,
}

impl Step {
    fn is_same_file(&self, other: &Self) -> bool {
        let (one, another) = (&self.held, &other.held);
        self.slot.directory.eq_ignore_ascii_case(&other.slot.directory)
            && one.now == another.now
            && one.item.class == another.item.class
    }
}

fn carry_out(verb: Verb, which: &Which, admit: impl Fn(&Slot) -> Result<()>) -> Result<ExitCode> {
    let store = which.store.open(which.entries.is_given())?;
    let _alone = if which.dry_run { None } else { Some(store_options::lock(&store)?) };
    let slots = which.entries.slots(&store)?;
    if verb == Verb::Enable {
        which.store.warn_of_moves(&store, &slots)?;
    }
    let mut steps = plan(verb, which, &store, &slots, admit)?;
    let done = if which.dry_run {
        Ok(())
    } else {
        let changes = if which.pcrlock.is_given() { changes(verb, &steps)? } else { Vec::new() };
        let admitted = which.pcrlock.admit(&which.store, &store, &changes);
        let _recorded = admitted.with_context(|| format!("nothing {}", verb.done()))?;
        change_all(verb, &mut steps, &store)
    };
    let action = |step: &Step| if step.idle { "unchanged" } else { verb.done() };
    let document = || {
        let files = steps.iter().map(|step| {
            let item = &step.held.item;
            let mut file = json!({
                "entry": step.slot.name, "directory": step.slot.directory_of(item.class), "file": item.file, "class": item.class,
                "action": action(step), "size": item.size,
            });
            if let (Some(outcome), Some(file)) = (step.outcome, file.as_object_mut()) {
                file.insert("outcome".to_owned(), json!(outcome));
            }
            file
        });
        Ok(json!({
            "version": 1, "store": store.kind(), "path": store.path(), "esp": store.esp(), "dry_run": which.dry_run,
            "files": files.collect::<Vec<_>>(),
        }))
    };
    let text = || {
        let mut out = String::new();
        for step in &steps {
            let (dry, slot) = (if which.dry_run { "dry run: " } else { "" }, Text::new(&step.slot.name));
            let what = match step.outcome {
                None | Some(Outcome::Done) => action(step),
                Some(Outcome::Failed) => "failed",
                Some(Outcome::NotDone) => "not done",
            };
            let stays = step.stays.as_ref().map(|line| format!(" ({line})")).unwrap_or_default();
            writeln!(out, "{dry}{slot}: {} {what}{stays}", Text::new(&step.held.now))?;
        }
        if which.output.layout().legend {
            writeln!(out, "{}", store_options::shown(&store))?;
        }
        Ok(out)
    };
    which.output.show(document, text)?;
    done.map(|()| ExitCode::SUCCESS)
}

/// What the next boot loads otherwise after each step.
fn changes(verb: Verb, steps: &[Step]) -> Result<Vec<pcrlock::Step>> {
    let of_step = |step: &Step| {
        let (directory, item) = (&step.slot.directory, &step.held.item);
        match verb {
            Verb::Enable => {
                let path = step.held.path()?;
                let file = File::open(path).with_context(|| format!("opening {}", path.display()));
                Some(file.and_then(|file| pcrlock::Step::put(directory, &item.file, &file)))
            }
            Verb::Remove | Verb::Disable if item.enabled => Some(Ok(pcrlock::Step::gone(directory, &item.file))),
            Verb::Remove | Verb::Disable => None,
        }
    };
    steps.iter().filter(|step| !step.idle).filter_map(of_step).collect()
}

/// Does one step after the other, each on the disk before the next begins, until one fails.
fn change_all(verb: Verb, steps: &mut [Step], store: &Store) -> Result<()> {
    for step in &mut *steps {
        step.outcome = Some(if step.idle { Outcome::Done } else { Outcome::NotDone });
    }
    let failed = steps.iter_mut().filter(|step| !step.idle).try_for_each(|step| {
        let (slot, item) = (&step.slot, &step.held.item);
        let result = match verb {
            Verb::Remove => store.remove(slot, item).map(|stays| step.stays = stays),
            Verb::Enable => store.enable(slot, item),
            Verb::Disable => store.disable(slot, item),
        };
        step.outcome = Some(Outcome::of(&result));
        let context = || format!("{} {} for {}", verb.doing(), step.held.now, Text::new(&step.slot.name));
        result.map_err(advised).with_context(context)
    });
    let (all, count) = (steps.len(), steps.iter().filter(|step| step.outcome == Some(Outcome::Done)).count());
    let failed = failed.with_context(|| format!("{} {count} of {all} files", verb.done()));
    // What was done stays done, whatever failed after it.
    let synced = store.sync().with_context(|| format!("syncing {}", store.path().display()));
    failed.and(synced)
}

/// Finds all files before the first is touched.
fn plan(
    verb: Verb,
    which: &Which,
    store: &Store,
    slots: &[Slot],
    admit: impl Fn(&Slot) -> Result<()>,
) -> Result<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    let mut unknown: BTreeSet<&String> = which.names.iter().collect();
    let mut there = BTreeSet::new();
    for slot in slots {
        let set = whole_set(store, slot)?;
        there.extend(set.items.iter().map(|held| held.item.name.clone().unwrap_or_else(|| held.item.file.clone())));
        for name in &which.names {
            let context = || format!("{} {} for {}", verb.doing(), Text::new(name), Text::new(&slot.name));
            let found = only_one(verb, &set, name).with_context(context)?;
            let is_odd = || Class::ALL.iter().any(|class| set.is_odd(&format!("{name}{}", class.file_suffix())));
            if found.is_empty() && (set.is_odd(name) || is_odd()) {
                let place = Text::new(&slot.directory);
                let cause = "has of this name is not a regular file, and no boot takes it: delete it by hand";
                bail!("{}: what {place} {cause}", context());
            }
            if found.is_empty() && !which.entries.is_all() {
                bail!("{}: no such extension; {}", context(), listed(name, &there));
            }
            for held in found {
                let step = step(verb, store, slot, &set, held).with_context(context)?;
                if !step.idle {
                    admit(slot).with_context(context)?;
                }
                unknown.remove(name);
                // Under another name, or for another entry with the same UKI.
                if !steps.iter().any(|other| other.is_same_file(&step)) {
                    steps.push(step);
                }
            }
        }
    }
    if let Some(name) = unknown.first() {
        bail!("{} {}: no such extension in any boot entry; {}", verb.doing(), Text::new(name), listed(name, &there));
    }
    if store.kind() == Kind::Kairos && verb == Verb::Remove && which.entries.is_all() {
        only_those_that_have_it(&mut steps);
    }
    Ok(steps)
}

/// Of the states of Kairos that might have a file, those that do; one of them where none does, so that the file goes.
fn only_those_that_have_it(steps: &mut Vec<Step>) {
    let mut kept: Vec<Step> = Vec::new();
    for step in steps.drain(..) {
        let is_it = |other: &Step| other.held.now == step.held.now && other.held.item.class == step.held.item.class;
        if !step.idle && (step.held.item.enabled || !kept.iter().any(is_it)) {
            kept.push(step);
        }
    }
    *steps = kept;
}

fn step(verb: Verb, store: &Store, slot: &Slot, set: &Set, held: &Held) -> Result<Step> {
    let others = store.kind() == Kind::Kairos
        && verb == Verb::Remove
        && store.users(&held.item).0.iter().any(|user| *user != slot.name);
    let idle = verb.is_idle(held, others);
    if !idle {
        set.check_twins(&held.item.file)??;
        if verb == Verb::Disable && held.link == Some(Link::File) {
            bail!(
                "{}/{} is a file, not a link: disabling would delete it (use `sextant remove`)",
                slot.directory_of(held.item.class),
                held.now
            );
        }
    }
    Ok(Step { slot: slot.clone(), held: held.clone(), idle, outcome: None, stays: None })
}

/// The file that a name means; both of its forms where it is to be removed.
fn only_one<'s>(verb: Verb, set: &'s Set, name: &str) -> Result<Vec<&'s Held>> {
    let mut found = set.called(name);
    if let [first, .., last] = found.as_slice()
        && (first.item.file != last.item.file || first.item.class != last.item.class)
    {
        bail!("ambiguous: matches {} and {}; give the file name", first.now, last.now);
    }
    // Where one file is there in both forms, one of them is as it should be.
    if verb != Verb::Remove && found.len() > 1 {
        found.retain(|held| verb.is_idle(held, false));
    }
    Ok(found)
}

fn listed(wanted: &str, names: &BTreeSet<String>) -> String {
    let known: Vec<String> = names.iter().map(|name| Text::new(name).to_string()).collect();
    Available(wanted, &known).to_string()
}
