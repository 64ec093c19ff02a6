//! Metrics for a collector on the host, if the configuration asks for them.

use super::status::surroundings;
use crate::esp;
use crate::policy;
use crate::report::{Event, METRICS, Report, Surroundings, write_metrics};
use crate::root::Root;

/// Writes the metrics of this boot anew if the configuration says so. Nothing depends on them: a failure is logged.
///
/// Only a partition that is mounted already is asked for its free space, so that no boot waits for an automount point.
pub(super) fn refresh(root: &Root, report: &Report) {
    if !policy::kept(root).is_ok_and(|policy| policy.metrics) {
        return;
    }
    let surroundings = if root.is_machine() { surroundings(esp::find_mounted) } else { Surroundings::default() };
    if let Err(error) = write_metrics(root, report, surroundings) {
        Event::ReportIncomplete.emit(format_args!("completing {METRICS}: {error:#}"));
    }
}
