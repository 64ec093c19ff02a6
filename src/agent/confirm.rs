//! `sextant-agent confirm`: on the host, once systemd has merged.

use crate::image::Class;
use crate::merge;
use crate::report::{Event, Merge, PATH, Recorded};
use crate::root::Root;
use anyhow::{Context, Result};
use std::path::Path;

/// Compares what was staged with what is merged, and completes the report. A difference is logged; it isn't a failure of
/// the agent.
///
/// # Errors
/// What kept it from comparing.
pub fn confirm(root: &Path) -> Result<()> {
    let root = Root::open(root).with_context(|| format!("opening {}", root.display()))?;
    let mut recorded = Recorded::read(&root)?.with_context(|| format!("there is no {PATH}"))?;
    let mut outcome = Merge { requested: recorded.requested, confirmed: true, ..Merge::default() };
    for class in Class::ALL {
        let staged = recorded.staged().filter(|(of, _)| *of == class).map(|(_, name)| name);
        let hiding = merge::hiding(&root, class)?;
        let comparison = merge::compare(staged, &merge::merged(&root, class)?, &hiding);
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
    recorded.complete(&root, &outcome)?;
    let total = outcome.merged.len() + outcome.missing.len();
    let names = if outcome.merged.is_empty() { String::new() } else { format!(": {}", outcome.merged.join(", ")) };
    Event::Merged.emit(&format!("{} of {total} staged extensions merged{names}", outcome.merged.len()));
    Ok(())
}
