//! `sextant remove`, `sextant enable`, `sextant disable`

use super::esp_options::{self, EntryOptions, EspOptions};
use super::install::advised;
use super::installation::Outcome;
use crate::esp::{Entry, Esp, Extra, Item, change};
use crate::text::Text;
use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::json;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Take extensions away from boot entries
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sextant remove k3s_1.30 --entry active --entry passive
        this version, and no other, from both
  sextant remove k3s_1.30.sysext.raw --all
        by the name of the file, from all boot entries

NAME is the whole name of an extension (k3s_1.30, not k3s) or of its file. What is merged stays merged until the next boot.

Exit status: 0 done; 1 there is none of this name, or it could not be done; 2 usage.")]
pub(super) struct Remove {
    #[command(flatten)]
    which: Which,
}

/// Have boot entries take extensions again that were disabled
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sextant enable k3s_1.30 --entry active

Exit status: 0 enabled, or it was already; 1 there is none of this name, or it could not be done; 2 usage.")]
pub(super) struct Enable {
    #[command(flatten)]
    which: Which,
    /// Apply the configuration in FILE, which is in the form of the initrd's /etc/sextant.yaml [default: that of the
    /// running system]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Keep extensions on the partition without a boot taking them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sextant disable k3s_1.31 --entry active
        an older version beside it counts again from the next boot on

The file gets \".disabled\" behind its name, which systemd-stub doesn't look at.

Exit status: 0 disabled, or it was already; 1 there is none of this name, or it could not be done; 2 usage.")]
pub(super) struct Disable {
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
struct Which {
    /// Whole names of extensions, or of their files
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    entries: EntryOptions,
    #[command(flatten)]
    esp: EspOptions,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Print for programs
    #[arg(long)]
    json: bool,
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

    /// Whether an item is already as it should be.
    fn is_idle(self, item: &Item) -> bool {
        match self {
            Self::Remove => false,
            Self::Enable => item.enabled,
            Self::Disable => !item.enabled,
        }
    }
}

pub(super) fn remove(arguments: &Remove) -> Result<ExitCode> {
    carry_out(Verb::Remove, &arguments.which, |_| Ok(()))
}

pub(super) fn enable(arguments: &Enable) -> Result<ExitCode> {
    let policy = esp_options::policy(arguments.config.as_deref())?;
    carry_out(Verb::Enable, &arguments.which, |entry| Ok(policy.admit_entry(&entry.boot_entry())?))
}

pub(super) fn disable(arguments: &Disable) -> Result<ExitCode> {
    carry_out(Verb::Disable, &arguments.which, |_| Ok(()))
}

/// One file of one entry.
struct Step {
    entry: Entry,
    extra: String,
    place: PathBuf,
    item: Item,
    idle: bool,
    /// `None` in a dry run.
    outcome: Option<Outcome>,
}

impl Step {
    fn is_same_file(&self, other: &Self) -> bool {
        self.extra.eq_ignore_ascii_case(&other.extra) && self.item.file_now() == other.item.file_now()
    }
}

fn carry_out(verb: Verb, which: &Which, admit: impl Fn(&Entry) -> Result<()>) -> Result<ExitCode> {
    let esp = which.esp.open()?;
    let _alone = if which.dry_run { None } else { Some(esp_options::lock(&esp)?) };
    let mut steps = plan(verb, which, &esp, admit)?;
    let done = if which.dry_run { Ok(()) } else { change_all(verb, &mut steps, &esp) };
    let action = |step: &Step| if step.idle { "unchanged" } else { verb.done() };
    if which.json {
        let files = steps.iter().map(|step| {
            let mut file = json!({
                "entry": step.entry.name, "directory": step.extra, "file": step.item.file, "class": step.item.class,
                "action": action(step), "size": step.item.size,
            });
            if let (Some(outcome), Some(file)) = (step.outcome, file.as_object_mut()) {
                file.insert("outcome".to_owned(), json!(outcome));
            }
            file
        });
        let value = json!({
            "version": 1, "esp": esp.path(), "dry_run": which.dry_run, "files": files.collect::<Vec<_>>(),
        });
        super::output::json(&value)?;
    } else {
        let mut out = String::new();
        for step in &steps {
            let (dry, entry) = (if which.dry_run { "dry run: " } else { "" }, Text::new(&step.entry.name));
            let what = match step.outcome {
                None | Some(Outcome::Done) => action(step),
                Some(Outcome::Failed) => "failed",
                Some(Outcome::NotDone) => "not done",
            };
            writeln!(out, "{dry}{entry}: {} {what}", step.item.file_now())?;
        }
        super::print(&out)?;
    }
    done.map(|()| ExitCode::SUCCESS)
}

/// Does one step after the other, each on the disk before the next begins, until one fails.
fn change_all(verb: Verb, steps: &mut [Step], esp: &Esp) -> Result<()> {
    for step in &mut *steps {
        step.outcome = Some(if step.idle { Outcome::Done } else { Outcome::NotDone });
    }
    let failed = steps.iter_mut().filter(|step| !step.idle).try_for_each(|step| {
        let (now, file) = (step.item.file_now(), &step.item.file);
        let result = match verb {
            Verb::Remove => change::remove(&step.place, &now),
            Verb::Enable => change::rename(&step.place, &now, file),
            Verb::Disable => change::rename(&step.place, &now, &change::disabled(file)),
        };
        step.outcome = Some(Outcome::of(&result));
        result.map_err(advised).with_context(|| format!("{} {now} for {}", verb.doing(), Text::new(&step.entry.name)))
    });
    let (all, count) = (steps.len(), steps.iter().filter(|step| step.outcome == Some(Outcome::Done)).count());
    let failed = failed.with_context(|| format!("{count} of {all} files are {}, the others are not", verb.done()));
    // What was done stays done, whatever failed after it.
    let synced = change::sync(esp.path()).with_context(|| format!("syncing {}", esp.path().display()));
    failed.and(synced)
}

/// Finds all files before the first is touched.
fn plan(verb: Verb, which: &Which, esp: &Esp, admit: impl Fn(&Entry) -> Result<()>) -> Result<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    let mut unknown: BTreeSet<&String> = which.names.iter().collect();
    let mut there = BTreeSet::new();
    for entry in which.entries.entries(esp)? {
        let extra = esp.extra(&entry).with_context(|| format!("listing {}", entry.extra_directory()))?;
        there.extend(extra.items.iter().map(|item| item.name.clone().unwrap_or_else(|| item.file.clone())));
        for name in &which.names {
            let context = || format!("{} {} for {}", verb.doing(), Text::new(name), Text::new(&entry.name));
            let items = only_one(verb, &extra, name).with_context(context)?;
            if items.is_empty() && !which.entries.is_all() {
                bail!("{}: there is none of this whole name; there are: {}", context(), listed(&there));
            }
            for item in items {
                let step = step(verb, &entry, &extra, item).with_context(context)?;
                if !step.idle {
                    admit(&entry).with_context(context)?;
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
        bail!(
            "{} {}: no boot entry has one of this whole name; there are: {}",
            verb.doing(),
            Text::new(name),
            listed(&there)
        );
    }
    Ok(steps)
}

fn step(verb: Verb, entry: &Entry, extra: &Extra, item: &Item) -> Result<Step> {
    let idle = verb.is_idle(item);
    if !idle {
        change::check_twins(extra, &item.file)??;
    }
    let place = extra.place().context("the directory is gone")?.to_owned();
    Ok(Step { entry: entry.clone(), extra: extra.directory.clone(), place, item: item.clone(), idle, outcome: None })
}

/// The file that a name means; both of its forms where it is to be removed.
fn only_one<'e>(verb: Verb, extra: &'e Extra, name: &str) -> Result<Vec<&'e Item>> {
    let mut items = extra.called(name);
    if let [first, .., last] = items.as_slice()
        && first.file != last.file
    {
        bail!("it is both {} and {}: say which file", first.file_now(), last.file_now());
    }
    // Where one file is there in both forms, one of them is as it should be.
    if verb != Verb::Remove && items.len() > 1 {
        items.retain(|item| verb.is_idle(item));
    }
    Ok(items)
}

fn listed(names: &BTreeSet<String>) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    names.iter().map(|name| Text::new(name).to_string()).collect::<Vec<_>>().join(", ")
}
