//! Whether all extensions are merged that the configuration requires.

use crate::agent::Environment;
use crate::merge;
use crate::policy::{self, Named};
use crate::report::{Event, Image, Merge, NotMerged, Report};
use anyhow::Result;
use ddi::Class;
use ddi::text::Text;

/// Most files that one entry names.
const NAMED: usize = 3;

/// Compares what is merged with what is required, notes what is missing in `outcome`, and tells the cause. `verified` are extensions
/// that were staged, or verified on the host, and are merged.
///
/// # Errors
/// Where it isn't known what is required.
pub(super) fn compare(
    environment: &Environment,
    verified: &[(Class, Text)],
    report: Option<&Report>,
    outcome: &mut Merge,
) -> Result<()> {
    let root = environment.root();
    if !merge::is_required(root) {
        return Ok(());
    }
    let policy = policy::kept(root)?;
    let verified: Vec<(Class, &str)> = verified.iter().map(|(class, name)| (*class, name.as_str())).collect();
    for named in policy.required.missing(&verified) {
        let cause = cause(named, outcome, report);
        Event::RequiredMissing
            .emit_about(&Text::new(named), format_args!("required extension {named} is not merged: {cause}"));
        outcome.required_missing.push(Text::new(named));
    }
    Ok(())
}

/// Why none of the extensions with this name is merged, as far as files of theirs were found.
fn cause(named: &Named, outcome: &Merge, report: Option<&Report>) -> String {
    let is_row = |row: &&NotMerged| named.is(row.class, row.name.as_str());
    let not_merged = outcome.not_merged.iter().filter(is_row).map(|row| format!("{}: {}", row.file, row.cause));
    let is_image = |image: &&Image| {
        !image.is_good() && image.name.as_ref().is_some_and(|name| named.is(image.class, name.as_str()))
    };
    let rejected = report.map(|report| &report.images).into_iter().flatten().filter(is_image).filter_map(|image| {
        let reason = image.reason.as_ref()?;
        Some(format!("{} was rejected ({reason})", image.file))
    });
    let causes: Vec<String> = not_merged.chain(rejected).take(NAMED).collect();
    if causes.is_empty() { "no file with this name was found".to_owned() } else { causes.join("; ") }
}
