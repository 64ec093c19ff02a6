//! Formats a plan as text.

use super::host::{Comparison, Hidden, Shape};
use super::layers::joined;
use super::{Plan, Trouble};
use ddi::Class;
use sextant::report::table::Style;
use std::fmt::Write;

/// Maximum number of overrides to show.
const CONFLICTS_SHOWN: usize = 40;
/// Maximum number of paths of the host to show, of each kind.
const HIDDEN_SHOWN: usize = 40;

/// Formats the whole plan.
#[must_use]
pub fn text(plan: &Plan, style: Style) -> String {
    let mut out = String::new();
    order(&mut out, plan);
    for left_out in &plan.left_out {
        let reason = left_out.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        let _ = writeln!(out, "{}: {}: {}{reason}", style.paint("31", "left out"), left_out.file, left_out.detail);
    }
    if !plan.read_only.is_empty() {
        out.push_str("\nRead-only after the merge:\n");
        for directory in &plan.read_only {
            let _ = writeln!(out, "  {}  extended by {}", directory.path, joined(&directory.by));
        }
    }
    if !plan.conflicts.is_empty() {
        out.push_str("\nOverrides:\n");
        for conflict in plan.conflicts.iter().take(CONFLICTS_SHOWN) {
            let hidden = joined(&conflict.hidden);
            let winner = style.paint("32", &conflict.winner);
            let _ = writeln!(out, "  {}: {winner} overrides {hidden}", conflict.path);
        }
        let more = plan.conflicts.len().saturating_sub(CONFLICTS_SHOWN);
        if more > 0 {
            let _ = writeln!(out, "  and {more} more (use --json to list all)");
        }
    }
    if let Some(host) = &plan.host {
        of_host(&mut out, host, style);
    }
    if !plan.findings.is_empty() || !plan.unreadable.is_empty() {
        out.push_str("\nSteps:\n");
        for finding in &plan.findings {
            let colour = if finding.trouble == Trouble::Beneath { "2" } else { "31" };
            let name = finding.name.as_ref().map(|name| format!(" \"{name}\"")).unwrap_or_default();
            let _ = writeln!(out, "  {}: {}, step {}{name}", finding.file, finding.stage, finding.step);
            let _ = writeln!(out, "    {}: {}", style.paint(colour, finding.trouble.words()), finding.detail);
        }
        for unreadable in &plan.unreadable {
            let _ =
                writeln!(out, "  {}\n    {}: {}", unreadable.file, style.paint("31", "unreadable"), unreadable.cause);
        }
    }
    out
}

fn order(out: &mut String, plan: &Plan) {
    if plan.order.is_empty() {
        out.push_str("No extensions to merge.\n");
    }
    for class in Class::ALL {
        let members: Vec<_> = plan.order.iter().filter(|member| member.class == class).collect();
        if members.is_empty() {
            continue;
        }
        let _ = writeln!(out, "Merge order ({class}), later extensions override earlier ones:");
        for member in members {
            let unseen = match member.unseen {
                0 => String::new(),
                count => format!(", and {count} outside of the merged directories, never visible"),
            };
            let _ = writeln!(out, "  {}  {} files{unseen}", member.name, member.files);
        }
    }
}

/// Formats the hidden and replaced files of a host.
fn of_host(out: &mut String, host: &Comparison, style: Style) {
    if host.hidden.is_empty() {
        let _ = writeln!(out, "\nNo files of host {} are hidden.", host.root);
    } else {
        let _ = writeln!(out, "\nHidden on host {}:", host.root);
        for hidden in host.hidden.iter().take(HIDDEN_SHOWN) {
            let _ = writeln!(out, "  {}  {}", hidden.path, style.paint("31", &sentence(hidden)));
        }
        more(out, host.hidden.len().saturating_sub(HIDDEN_SHOWN));
    }
    if !host.replaced.is_empty() {
        let _ = writeln!(out, "\nReplaced on host {}:", host.root);
        for replaced in host.replaced.iter().take(HIDDEN_SHOWN) {
            let _ = writeln!(out, "  {}  by {}", replaced.path, joined(&replaced.by));
        }
        more(out, host.replaced.len().saturating_sub(HIDDEN_SHOWN));
    }
    if host.omitted > 0 {
        let _ = writeln!(out, "{} more hidden or replaced paths of the host", host.omitted);
    }
}

fn more(out: &mut String, count: usize) {
    if count > 0 {
        let _ = writeln!(out, "  and {count} more (use --json to list more)");
    }
}

/// Describes what an extension hides at one path.
pub(super) fn sentence(hidden: &Hidden) -> String {
    let by = joined(&hidden.by);
    let has = match hidden.extension {
        Shape::Directory => "a directory",
        Shape::Link => "a link",
        Shape::File => "a file",
    };
    let host = match (&hidden.target, hidden.host) {
        (Some(target), _) => format!("the link to {target}"),
        (None, Shape::Directory) => "the directory".to_owned(),
        (None, _) => "the file".to_owned(),
    };
    let mut text = format!("{has} of {by} hides {host}");
    if hidden.count > 0 {
        let rest = hidden.count.saturating_sub(hidden.names.len());
        let and = if rest > 0 { format!(" and {rest} more") } else { String::new() };
        let _ = write!(text, " with {}{and}", joined(&hidden.names));
    }
    text
}
