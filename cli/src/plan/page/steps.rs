//! The part of the page about the steps of yip's stages: those before the merge, the merge, those after it.

use super::{Page, ROWS, Table, path};
use crate::plan::layers::joined;
use crate::plan::writes::is_before_merge;
use crate::plan::{Finding, StageFile, Step, Trouble};
use ddi::text::Text;
use maud::{Markup, html};
use std::collections::BTreeMap;

/// Stages of a boot, as Kairos runs them one after the other
/// (<https://kairos.io/docs/architecture/cloud-init/>, "Boot stages").
const ORDER: [&str; 6] = ["rootfs", "initramfs", "fs", "boot", "network", "reconcile"];

/// A step, and what is the matter with it.
struct Row<'a> {
    file: &'a Text,
    step: &'a Step,
    findings: Vec<&'a Finding>,
}

pub(super) fn count(page: &Page<'_>) -> usize {
    page.stages.iter().map(|file| file.steps.len()).sum()
}

/// Place of a stage: `NAME.before`, `NAME` and `NAME.after` come one after the other; others follow by name.
fn place(stage: &str) -> (usize, &str, u8) {
    let (root, part) = stage.split_once('.').unwrap_or((stage, ""));
    let number = ORDER.iter().position(|known| *known == root).unwrap_or(ORDER.len());
    let part = match part {
        "before" => 0,
        "" => 1,
        _ => 2,
    };
    (number, root, part)
}

fn rows<'a>(page: &Page<'a>) -> Vec<Row<'a>> {
    let mut findings: BTreeMap<(&Text, &str, usize), Vec<&Finding>> = BTreeMap::new();
    for finding in &page.plan.findings {
        findings.entry((&finding.file, finding.stage.as_str(), finding.step)).or_default().push(finding);
    }
    let of_file = |file: &'a StageFile| file.steps.iter().map(move |step| (&file.file, step));
    let mut rows: Vec<Row<'a>> = page
        .stages
        .iter()
        .flat_map(of_file)
        .map(|(file, step)| {
            let stage = Text::new(&step.stage);
            let findings = findings.get(&(file, stage.as_str(), step.number)).cloned().unwrap_or_default();
            Row { file, step, findings }
        })
        .collect();
    // Files stay in their order within a stage.
    rows.sort_by_key(|row| place(&row.step.stage));
    rows
}

pub(super) fn content(page: &Page<'_>) -> Option<Markup> {
    let plan = page.plan;
    if page.stages.is_empty() && plan.unreadable.is_empty() {
        return None;
    }
    let (before, after): (Vec<_>, Vec<_>) = rows(page).into_iter().partition(|row| is_before_merge(&row.step.stage));
    let unreadable = Table {
        caption: "Stage files that cannot be read",
        columns: &["File", "Cause"],
        rows: &plan.unreadable,
        most: ROWS,
        more: "",
    };
    Some(html! {
        p { "Conditions of steps are not evaluated. Commands are parsed, not run." }
        (side("Steps before the merge, in the initrd", &before))
        (line(page))
        (side("Steps after the merge, on the host", &after))
        @if !plan.unreadable.is_empty() {
            (unreadable.render(|row| {
                (vec![path(&row.file), html! { span.lost { (row.cause) } }], Vec::new())
            }))
        }
    })
}

/// The line between the two sides.
fn line(page: &Page<'_>) -> Markup {
    let names: Vec<Text> = page.plan.order.iter().map(|member| member.name.clone()).collect();
    let directories: Vec<&str> = page.plan.read_only.iter().map(|directory| directory.path.as_str()).collect();
    html! {
        p.line {
            strong { "The merge" }
            @if names.is_empty() {
                span { "nothing is merged" }
            } @else {
                span { (joined(&names)) }
                span { "read-only from here on: " (directories.join(", ")) }
            }
        }
    }
}

fn side(caption: &str, rows: &[Row<'_>]) -> Markup {
    if rows.is_empty() {
        return html! { p { (caption) ": none" } };
    }
    let table = Table {
        caption,
        columns: &["Stage", "File", "Step", "Findings"],
        rows,
        most: ROWS,
        more: "sextant plan --json lists the findings about all of them.",
    };
    table.render(|row| {
        let name = row.step.name.as_ref().map(Text::new);
        let cells = vec![
            html! { (Text::new(&row.step.stage)) },
            path(row.file),
            html! { (row.step.number) @if let Some(name) = &name { " “" (name) "”" } },
            html! {
                @if row.findings.is_empty() {
                    "none"
                } @else {
                    ul { @for finding in &row.findings { li { (sentence(finding)) } } }
                }
            },
        ];
        (cells, Vec::new())
    })
}

fn sentence(finding: &Finding) -> Markup {
    let word = finding.trouble.words();
    html! {
        @if finding.trouble == Trouble::Beneath { span { (word) } } @else { strong.lost { (word) } }
        ": " (finding.detail)
    }
}
