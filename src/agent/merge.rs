//! `sextant-agent merge`: the last thing in the initrd.

use super::environment::Environment;
use super::lock;
use crate::merge;
use crate::report::{self, Event, Merge, PATH, Recorded};
use crate::stage::recheck;
use anyhow::{Context, Result};

/// Hands what was staged over to the host's systemd.
///
/// Doing it again changes nothing, unless something else did in between: the policy is put back, and what is no
/// longer the file that was verified is taken back. So whoever calls it last has the last word.
///
/// # Errors
/// Why nothing will be merged.
pub fn merge(environment: &Environment) -> Result<()> {
    let _lock = lock::exclusive(environment.root())?;
    if let Err(error) = environment.sweep() {
        Event::Failed.emit(&format!("removing what the agent left when it was stopped: {error:#}"));
    }
    let outcome = hand_over(environment);
    if outcome.is_err() {
        // Whatever was opened before: it is for this run to say, and the first error is the one to tell.
        let _ = merge::close(environment.root());
    }
    outcome
}

fn hand_over(environment: &Environment) -> Result<()> {
    let root = environment.root();
    // The policy comes first: it has to be there whatever else goes wrong.
    merge::prepare(root, environment.delivery())?;
    let mut recorded = Recorded::read(root)?.with_context(|| format!("there is no {PATH}: nothing was verified"))?;
    let withdrawn = recheck(root, &|class, name| recorded.staged().any(|staged| staged == (class, name)))?;
    for image in &withdrawn {
        let file = image.file.display();
        Event::Withdrawn.emit(&format!("{file} ({}) will not be merged: {}", image.class, image.cause));
    }
    merge::admit(&recorded)?;
    if recorded.requested && merge::is_open(root) && withdrawn.is_empty() {
        report::tell_terminal("everything staged has been handed over to the host already");
        return Ok(());
    }
    let merge = Merge { requested: true, ..Merge::default() };
    recorded.complete(root, &merge)?;
    merge::open(root)?;
    let is_withdrawn =
        |class, name: &str| withdrawn.iter().any(|image| image.class == class && *image.file == *format!("{name}.raw"));
    let left = recorded.staged().filter(|(class, name)| !is_withdrawn(*class, name));
    let names: Vec<_> = left.map(|(_, name)| name).collect();
    let text = match names.as_slice() {
        [] => "there is no extension to merge".to_owned(),
        names => format!("{} to be merged by the host: {}", count(names.len()), names.join(", ")),
    };
    Event::MergeRequested.emit(&text);
    Ok(())
}

fn count(number: usize) -> String {
    if number == 1 { "1 extension".to_owned() } else { format!("{number} extensions") }
}
