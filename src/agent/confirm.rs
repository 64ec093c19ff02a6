//! `sextant-agent confirm`: on the host, once systemd has merged.

use super::environment::Environment;
use super::lock;
use crate::image::Class;
use crate::merge;
use crate::report::{Event, Merge, PATH, Recorded};
use anyhow::{Context, Result, bail};
use std::io;

/// Compares what was staged with what is merged, and completes the report. A difference is logged; it isn't a failure of
/// the agent.
///
/// # Errors
/// What kept it from comparing. Where no `stage` has run in this boot, nothing is changed.
pub fn confirm(environment: &Environment) -> Result<()> {
    let root = environment.root();
    let nothing = || format!("sextant has staged nothing in this boot: there is no {PATH}");
    if matches!(root.metadata(PATH), Err(error) if error.kind() == io::ErrorKind::NotFound) {
        bail!(nothing());
    }
    let _lock = lock::exclusive(root)?;
    let mut recorded = Recorded::read(root)?.with_context(nothing)?;
    let mounts = environment.mounts()?;
    let mut outcome = Merge { requested: recorded.requested, confirmed: true, ..Merge::default() };
    for class in Class::ALL {
        let staged = recorded.staged().filter(|(of, _)| *of == class).map(|(_, name)| name);
        let hiding = merge::hiding(root, class)?;
        let comparison = merge::compare(staged, &merge::merged(root, class, &mounts)?, &hiding);
        for name in &comparison.missing {
            let why = if hiding.contains(name) {
                "/etc/extensions has another of this name, which systemd prefers".to_owned()
            } else {
                format!("see the journal of systemd-{class}.service")
            };
            let text = format!("{name} ({class}) was staged and is not merged: {why}");
            Event::NotMerged.emit_about(name, &text);
        }
        for name in &comparison.unexpected {
            Event::UnexpectedlyMerged.emit_about(name, &format!("{name} ({class}) is merged and was not staged"));
        }
        outcome.merged.extend(comparison.merged);
        outcome.missing.extend(comparison.missing);
        outcome.unexpected.extend(comparison.unexpected);
    }
    recorded.complete(root, &outcome)?;
    let total = outcome.merged.len() + outcome.missing.len();
    let names = if outcome.merged.is_empty() { String::new() } else { format!(": {}", outcome.merged.join(", ")) };
    Event::Merged.emit(&format!("{} of {total} staged extensions merged{names}", outcome.merged.len()));
    Ok(())
}
