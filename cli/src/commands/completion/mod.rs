//! Completions in shells: words of the command line, and names that are on this machine.
//!
//! A shell runs the program with `SEXTANT_COMPLETE` set at each tab key. So nothing here changes anything, prints messages, or waits
//! for a file system that doesn't answer. What is not readable has no candidates.
//!
//! Names on the partition were written by others, and bash inserts candidates without quoting them: names that a shell would
//! read as more than a word, or a terminal as more than text, are left out.

mod bash;

use super::store_options::StoreOptions;
use crate::store::{Held, Slot, Store};
use bash::Bash;
use clap::builder::ValueHint;
use clap::{Arg, ArgMatches, Command};
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter};
use clap_complete::env::{EnvCompleter, Fish, Shells, Zsh};
use std::collections::BTreeSet;
use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Names the shell that asks for completions.
const VARIABLE: &str = "SEXTANT_COMPLETE";

/// Maximum number of candidates of one argument.
const MAX_CANDIDATES: usize = 200;

/// How long a shell waits for file systems.
const PATIENCE: Duration = Duration::from_secs(2);

/// Shells that [`registration`] knows.
const SHELLS: Shells<'static> = Shells(&[&Bash, &Fish, &Zsh]);

/// Returns the script that makes a shell (bash, fish or zsh) ask `sextant` for completions.
///
/// # Errors
/// `ErrorKind::Unsupported` for other shells.
pub fn registration(shell: &str) -> io::Result<Vec<u8>> {
    let shell = SHELLS.completer(shell).ok_or(io::ErrorKind::Unsupported)?;
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, "sextant", "sextant", "sextant", &mut script)?;
    if shell.name() == "zsh" {
        // zsh loads the file when it needs the first completion, and calls it for that one.
        script.extend(b"\n[[ $funcstack[1] == _sextant ]] && _clap_dynamic_completer_sextant \"$@\"\n");
    }
    Ok(script)
}

/// Answers a shell, if one asks. Returns whether one did.
pub(super) fn answer(command: impl Fn() -> Command) -> bool {
    let Some(shell) = env::var_os(VARIABLE).filter(|shell| !shell.is_empty()) else { return false };
    let is_bash = shell == Bash.name();
    let words = env::args_os().skip_while(|word| word != "--").skip(1);
    let words: Vec<OsString> = words.filter(|word| !is_bash || word != bash::SIGN).collect();
    let completed = || complete(command(), &words, is_bash);
    // A shell that asks in a way that is not understood gets no candidates.
    let _ = CompleteEnv::with_factory(completed)
        .var(VARIABLE)
        .shells(SHELLS)
        .try_complete(env::args_os(), env::current_dir().ok().as_deref());
    true
}

/// Adds what is known about values to the definition of the command line.
fn complete(command: Command, words: &[OsString], is_bash: bool) -> Command {
    let machine = Machine::of(command.clone(), words);
    command.mut_subcommands(|subcommand| {
        let name = subcommand.get_name().to_owned();
        subcommand.mut_args(|argument| {
            let completer = match (name.as_str(), argument.get_id().as_str()) {
                ("enable", "names") => machine.names(|held| !held.item.enabled),
                ("disable", "names") => machine.names(|held| held.item.enabled),
                ("remove", "names") => machine.names(|_| true),
                (_, "entry") => machine.entries(),
                ("build", "layers") => starting(|| ["all", "last"].map(str::to_owned).into()),
                ("build", "source") => files(is_bash),
                _ if is_path(&argument) => files(is_bash),
                _ => return argument,
            };
            argument.add(completer)
        })
    })
}

fn is_path(argument: &Arg) -> bool {
    matches!(argument.get_value_hint(), ValueHint::AnyPath | ValueHint::FilePath | ValueHint::DirPath)
}

/// Paths, which bash completes and quotes better itself.
fn files(is_bash: bool) -> ArgValueCompleter {
    if is_bash {
        return ArgValueCompleter::new(|_: &OsStr| vec![bash::files()]);
    }
    ArgValueCompleter::new(|current: &OsStr| {
        let current = current.to_owned();
        let is_visible = |candidate: &CompletionCandidate| {
            candidate.get_value().to_str().is_some_and(|path| !path.chars().any(ddi::text::is_invisible))
        };
        patiently(move || PathCompleter::any().complete(&current))
            .into_iter()
            .filter(is_visible)
            .take(MAX_CANDIDATES)
            .collect()
    })
}

/// Those of `words` that begin with what is typed.
fn starting(words: impl Fn() -> BTreeSet<String> + Send + Sync + 'static) -> ArgValueCompleter {
    ArgValueCompleter::new(move |current: &OsStr| {
        let Some(current) = current.to_str() else { return Vec::new() };
        let found = words().into_iter().filter(|word| word.starts_with(current) && is_word(word));
        found.take(MAX_CANDIDATES).map(CompletionCandidate::new).collect()
    })
}

/// Whether a shell reads a name as one word that means itself, and sextant as no option.
fn is_word(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._+@-".contains(&byte);
    !name.is_empty() && !name.starts_with('-') && name.bytes().all(is_plain)
}

/// What `work` returns, unless a file system makes it wait.
fn patiently<T: Default + Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(PATIENCE).unwrap_or_default()
}

/// The store that the words so far select.
#[derive(Debug, Clone, Default)]
struct Machine {
    options: StoreOptions,
    /// Entries that are named.
    entries: Vec<String>,
}

impl Machine {
    fn of(command: Command, words: &[OsString]) -> Self {
        let matches = command.ignore_errors(true).try_get_matches_from(words).ok();
        matches.as_ref().and_then(ArgMatches::subcommand).map_or_else(Self::default, |(_, matches)| Self {
            options: StoreOptions::of(matches),
            entries: matches.try_get_many("entry").ok().flatten().into_iter().flatten().cloned().collect(),
        })
    }

    fn entries(&self) -> ArgValueCompleter {
        let machine = self.clone();
        starting(move || {
            let machine = machine.clone();
            patiently(move || machine.slots().map(|(_, slots)| slots.into_iter().map(|slot| slot.name).collect()))
                .unwrap_or_default()
        })
    }

    /// Names of the extensions that are `wanted`, of the entries that are named or of all.
    fn names(&self, wanted: fn(&Held) -> bool) -> ArgValueCompleter {
        let machine = self.clone();
        starting(move || {
            let machine = machine.clone();
            patiently(move || machine.held(wanted)).unwrap_or_default()
        })
    }

    fn slots(&self) -> Option<(Store, Vec<Slot>)> {
        let store = self.options.find()?;
        let slots = store.slots().ok()?.found;
        Some((store, slots))
    }

    fn held(&self, wanted: fn(&Held) -> bool) -> Option<BTreeSet<String>> {
        let (store, slots) = self.slots()?;
        let is_meant = |slot: &&Slot| self.entries.is_empty() || self.entries.contains(&slot.name);
        let sets = slots.iter().filter(is_meant).filter_map(|slot| store.set(slot).ok());
        let name = |held: &Held| held.item.name.clone().unwrap_or_else(|| held.item.file.clone());
        Some(
            sets.flat_map(|set| set.items.into_iter().filter(wanted).map(|held| name(&held)).collect::<Vec<_>>())
                .collect(),
        )
    }
}
