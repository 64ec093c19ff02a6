//! `sextant-agent merge`: the last thing in the initrd.

use super::confirm::complete;
use super::environment::Environment;
use super::lock;
use super::withdrawal;
use crate::merge;
use crate::report::{self, Event, Merge, Run, Verb};
use crate::stage::{recheck, withdraw_images};
use crate::state::{PATH, StagedExtension, State};
use anyhow::{Context, Result};

/// Hands what was staged over to the host's systemd.
///
/// Doing it again changes nothing, unless something else did in between: the policy is put back, and what is no
/// longer the file that was verified is taken back. So whoever calls it last has the last word.
///
/// # Errors
/// Why nothing will be merged.
pub fn merge(environment: &Environment) -> Result<()> {
    let begun = Run::begin(Verb::Merge);
    let _lock = lock::exclusive(environment.root())?;
    if let Err(error) = environment.sweep() {
        Event::Failed.emit(format_args!("cleaning up after an interrupted run: {error:#}"));
    }
    let outcome = hand_over(environment, begun);
    if outcome.is_err() {
        // Whatever was opened before: it is for this run to say, and the first error is the one to tell.
        let _ = merge::close(environment.root());
    }
    outcome
}

fn hand_over(environment: &Environment, begun: Run) -> Result<()> {
    let root = environment.root();
    // The policy comes first: it has to be there whatever else goes wrong.
    merge::prepare(root, environment.delivery(), environment.units())?;
    let mut state = State::read(root)?.with_context(|| format!("{PATH} does not exist: nothing was verified"))?;
    let mut withdrawn = recheck(root, &|class, name| state.is_left(class, name))?;
    let is_there =
        |extension: &&StagedExtension| !withdrawn.iter().any(|image| extension.is_staged_as(image.class, &image.file));
    let left: Vec<_> = state.left().filter(is_there).map(|it| (it.class, it.name.as_str())).collect();
    withdrawn.extend(withdraw_images(root, &merge::surplus(root, &left)?, merge::SURPLUS)?);
    withdrawal::note(&mut state, &withdrawn);
    merge::admit(&state)?;
    if state.requested && merge::is_open(root) && withdrawn.is_empty() {
        report::tell_terminal("the merge was already requested: nothing changed");
        return Ok(());
    }
    state.requested = true;
    state.write(root)?;
    merge::open(root)?;
    let names: Vec<&str> = state.left().map(|extension| extension.name.as_str()).collect();
    let text = match names.as_slice() {
        [] => "no extensions to merge".to_owned(),
        names => {
            let count = report::count(names.len(), "extension");
            format!("{count} to be merged by the host: {}", names.join(", "))
        }
    };
    Event::MergeRequested.emit(&text);
    complete(root, &state, Merge { requested: true, ..Merge::default() }, begun);
    Ok(())
}
