//! The parts of the page about extensions and the host.

use super::steps;
use super::{PATHS, Page, ROWS, Table, path};
use crate::plan::host::{Comparison, Shape};
use crate::plan::layers::joined;
use crate::plan::{Member, Trouble, text};
use ddi::Class;
use ddi::text::Text;
use maud::{Markup, html};
use std::collections::BTreeMap;

/// A section of the page.
#[derive(Clone, Copy)]
pub(super) struct Section {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    /// `None` where the plan has nothing to say about it.
    pub(super) content: fn(&Page<'_>) -> Option<Markup>,
    /// How much there is of it, where that is worth a number.
    count: fn(&Page<'_>) -> Option<usize>,
}

pub(super) const ALL: [Section; 8] = [
    Section { id: "order", title: "Merge order", content: order, count: |page| Some(page.plan.order.len()) },
    Section { id: "left-out", title: "Left out", content: left_out, count: |page| Some(page.plan.left_out.len()) },
    Section {
        id: "read-only",
        title: "Read-only directories",
        content: read_only,
        count: |page| Some(page.plan.read_only.len()),
    },
    Section { id: "overrides", title: "Overrides", content: overrides, count: |page| Some(page.plan.conflicts.len()) },
    Section {
        id: "hidden",
        title: "Hidden of the host",
        content: hidden,
        count: |page| Some(host(page)?.hidden.len()),
    },
    Section {
        id: "replaced",
        title: "Replaced of the host",
        content: replaced,
        count: |page| Some(host(page)?.replaced.len()),
    },
    Section {
        id: "steps",
        title: "Steps of the stages",
        content: steps::content,
        count: |page| Some(steps::count(page)),
    },
    Section { id: "paths", title: "Files of the merge", content: paths, count: |page| Some(page.paths.len()) },
];

const JSON: &str = "sextant plan --json lists all of them.";

fn host<'a>(page: &Page<'a>) -> Option<&'a Comparison> {
    page.plan.host.as_ref()
}

fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// The plan in a sentence.
pub(super) fn summary(page: &Page<'_>) -> String {
    let plan = page.plan;
    let surprising = plan.findings.iter().filter(|finding| finding.trouble != Trouble::Beneath).count();
    let mut parts = vec![
        plural(plan.order.len(), "extension is merged", "extensions are merged"),
        format!("{} left out", plan.left_out.len()),
        plural(plan.conflicts.len(), "override between extensions", "overrides between extensions"),
    ];
    if let Some(host) = host(page) {
        parts.push(plural(host.hidden.len(), "path of the host is hidden", "paths of the host are hidden"));
    }
    if !page.stages.is_empty() || !plan.unreadable.is_empty() {
        parts.push(plural(surprising, "finding about the steps", "findings about the steps"));
    }
    format!("{}.", parts.join("; "))
}

/// Links to the sections.
pub(super) fn links(page: &Page<'_>, sections: &[(Section, Markup)]) -> Markup {
    html! {
        nav aria-label="Sections" {
            ul {
                @for (section, _) in sections {
                    li {
                        a href={ "#" (section.id) } { (section.title) }
                        @if let Some(count) = (section.count)(page) { " (" (count) ")" }
                    }
                }
            }
        }
    }
}

fn names(list: &[Text]) -> Vec<String> {
    list.iter().map(Text::to_string).collect()
}

/// Paths by the extension that they are about.
type Counts<'a> = BTreeMap<(Class, &'a Text), usize>;

/// The stack of each class, the uppermost first, as it lies over the host.
fn order(page: &Page<'_>) -> Option<Markup> {
    let plan = page.plan;
    if plan.order.is_empty() {
        return None;
    }
    let (mut wins, mut losses) = (Counts::new(), Counts::new());
    for owned in page.paths.iter().filter(|owned| !owned.hidden.is_empty()) {
        *wins.entry((owned.class, &owned.winner)).or_default() += 1;
        for name in &owned.hidden {
            *losses.entry((owned.class, name)).or_default() += 1;
        }
    }
    let shown =
        |counts: &Counts<'_>, member: &Member| counts.get(&(member.class, &member.name)).copied().unwrap_or_default();
    Some(html! {
        p { "Files of an extension override those of the extensions below it, and of the host." }
        div.stacks {
            @for class in Class::ALL {
                @let members: Vec<&Member> = plan.order.iter().rev().filter(|member| member.class == class).collect();
                @if !members.is_empty() {
                    div.stack {
                        h3 id={ "stack-" (class) } { "Merged as " (class) ", uppermost first" }
                        ol aria-labelledby={ "stack-" (class) } {
                            @for member in members {
                                li {
                                    strong { (member.name) }
                                    span { (plural(member.files, "file", "files")) }
                                    @if shown(&wins, member) > 0 {
                                        span { "overrides others at " (plural(shown(&wins, member), "path", "paths")) }
                                    }
                                    @if shown(&losses, member) > 0 {
                                        span.lost { "is overridden at " (plural(shown(&losses, member), "path", "paths")) }
                                    }
                                    @if member.unseen > 0 {
                                        span.lost { (plural(member.unseen, "file is", "files are")) " outside of what is merged" }
                                    }
                                }
                            }
                            li.host {
                                strong { "Host" }
                                @if let Some(host) = host(page) { span { (path(&host.root)) } }
                            }
                        }
                    }
                }
            }
        }
    })
}

fn left_out(page: &Page<'_>) -> Option<Markup> {
    let table = Table {
        caption: "Images that a boot would reject",
        columns: &["File", "Reason", "Detail"],
        rows: &page.plan.left_out,
        most: ROWS,
        more: JSON,
    };
    (!page.plan.left_out.is_empty()).then(|| {
        table.render(|row| {
            let reason = row.reason.as_ref().map_or("unreadable", |reason| reason.as_str());
            (vec![path(&row.file.as_str()), html! { code { (reason) } }, html! { (row.detail) }], Vec::new())
        })
    })
}

fn read_only(page: &Page<'_>) -> Option<Markup> {
    let table = Table {
        caption: "Directories that nothing can be written to after the merge",
        columns: &["Directory", "Because of"],
        rows: &page.plan.read_only,
        most: ROWS,
        more: JSON,
    };
    (!page.plan.read_only.is_empty())
        .then(|| table.render(|row| (vec![path(&row.path), html! { (joined(&row.by)) }], names(&row.by))))
}

fn overrides(page: &Page<'_>) -> Option<Markup> {
    let rows = &page.plan.conflicts;
    if page.plan.order.is_empty() {
        return None;
    }
    if rows.is_empty() {
        return Some(html! { p { "No extension overrides a file of another one." } });
    }
    let table = Table {
        caption: "Paths that several extensions have",
        columns: &["Path", "Seen", "Hidden"],
        rows,
        most: ROWS,
        more: JSON,
    };
    Some(table.render(|row| {
        let by = [std::slice::from_ref(&row.winner), &row.hidden].concat();
        let cells =
            vec![path(&row.path), html! { strong.won { (row.winner) } }, html! { span.lost { (joined(&row.hidden)) } }];
        (cells, names(&by))
    }))
}

fn shape(shape: Shape) -> &'static str {
    match shape {
        Shape::Directory => "directory",
        Shape::Link => "link",
        Shape::File => "file",
    }
}

fn hidden(page: &Page<'_>) -> Option<Markup> {
    let host = host(page)?;
    if host.hidden.is_empty() {
        return Some(html! { p { "Nothing of the host " (path(&host.root)) " is hidden." } });
    }
    let table = Table {
        caption: "Paths of the host that disappear",
        columns: &["Path", "On the host", "In the extension", "Extension", "What happens"],
        rows: &host.hidden,
        most: ROWS,
        more: JSON,
    };
    Some(html! {
        (table.render(|row| {
            let cells = vec![
                path(&row.path),
                html! { (shape(row.host)) @if let Some(target) = &row.target { " to " (path(target)) } },
                html! { (shape(row.extension)) },
                html! { strong.won { (joined(&row.by)) } },
                html! { (text::sentence(row)) },
            ];
            (cells, names(&row.by))
        }))
        @if host.omitted > 0 {
            p.alarm { "Further paths of the host that are hidden or replaced: " (host.omitted) }
        }
    })
}

fn replaced(page: &Page<'_>) -> Option<Markup> {
    let rows = &host(page)?.replaced;
    let table = Table {
        caption: "Files and links of the host in whose place an extension has others",
        columns: &["Path", "Seen"],
        rows,
        most: ROWS,
        more: JSON,
    };
    (!rows.is_empty()).then(|| {
        table.render(|row| (vec![path(&row.path), html! { strong.won { (joined(&row.by)) } }], names(&row.by)))
    })
}

fn paths(page: &Page<'_>) -> Option<Markup> {
    let table = Table {
        caption: "Who wins each path",
        columns: &["Path", "Seen", "Hidden"],
        rows: page.paths,
        most: PATHS,
        more: "sextant inspect --list IMAGE lists all files of an image.",
    };
    (!page.paths.is_empty()).then(|| {
        table.render(|row| {
            let by = [std::slice::from_ref(&row.winner), &row.hidden].concat();
            let cells = vec![
                html! { (path(&row.path)) @if row.is_directory { " (directory)" } },
                html! { (row.winner) },
                html! { @if !row.hidden.is_empty() { span.lost { (joined(&row.hidden)) } } },
            ];
            (cells, names(&by))
        })
    })
}
