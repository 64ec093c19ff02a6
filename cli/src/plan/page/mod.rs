//! A plan as one HTML page, for a browser without network and for paper.
//!
//! Names in it come from images and stages and are hostile input. The templates of `maud` escape whatever they show, and the
//! page carries a policy that lets a browser run and apply nothing but the script and the style that are written here, which
//! are constants. Without scripts the page lacks its filter, and nothing else.

mod sections;
mod steps;

use super::{Owned, Plan, StageFile};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ddi::text::{Message, Text, is_invisible};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use openssl::sha::sha256;
use sections::Section;
use std::collections::BTreeSet;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Rows of a table. What is beyond is counted.
const ROWS: usize = 2000;
/// Rows of the table of all paths.
const PATHS: usize = 5000;

/// What a page shows.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    /// The plan
    pub plan: &'a Plan,
    /// Who wins each path, as [`super::paths`] says
    pub paths: &'a [Owned],
    /// The stages that the plan was made with
    pub stages: &'a [StageFile],
    /// Why the images were not verified; `None` if they were
    pub not_verified: Option<&'a Message>,
}

impl Page<'_> {
    /// Returns the whole document.
    #[must_use]
    pub fn render(&self) -> String {
        let markup = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(policy());
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="generator" content=(concat!("sextant ", env!("CARGO_PKG_VERSION")));
                    title { "Merge plan" }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    (self.body())
                    script { (PreEscaped(SCRIPT)) }
                }
            }
        };
        // Text escapes these where it is made; here is the last place where the others can be.
        let mut page = String::with_capacity(markup.0.len());
        for character in markup.0.chars() {
            if character != '\n' && is_invisible(character) {
                page.extend(character.escape_default());
            } else {
                page.push(character);
            }
        }
        page
    }

    fn body(&self) -> Markup {
        let rendered = |section: Section| Some((section, (section.content)(self)?));
        let sections: Vec<(Section, Markup)> = sections::ALL.into_iter().filter_map(rendered).collect();
        html! {
            header {
                h1 { "Merge plan" }
                p { (sections::summary(self)) }
                @match self.not_verified {
                    Some(cause) => p.alarm { strong { "Images were not verified: " } (cause) },
                    None => p { "All images below were verified. What a boot would reject is left out." },
                }
                (sections::links(self, &sections))
            }
            (filter(self.plan))
            main {
                @for (section, content) in &sections {
                    section id=(section.id) aria-labelledby={ (section.id) "-title" } {
                        h2 id={ (section.id) "-title" } { (section.title) }
                        (content)
                    }
                }
            }
            footer { p { "Made by sextant " (env!("CARGO_PKG_VERSION")) "." } }
        }
    }
}

/// Nothing is loaded from anywhere, and only our own script and style count (Content Security Policy Level 3).
fn policy() -> String {
    let hash = |text: &str| STANDARD.encode(sha256(text.as_bytes()));
    format!(
        "default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

/// The form that the script brings to life; hidden without it.
fn filter(plan: &Plan) -> Markup {
    // A system and a configuration extension may have one name.
    let names: BTreeSet<&Text> = plan.order.iter().map(|member| &member.name).collect();
    html! {
        form #filter role="search" hidden {
            label for="words" { "Search" }
            input #words type="search" autocomplete="off" spellcheck="false" aria-describedby="shown";
            label for="extension" { "Extension" }
            select #extension {
                option value="" { "all" }
                @for name in names {
                    option value=(name) { (name) }
                }
            }
            output #shown for="words extension" {}
        }
    }
}

/// A table with a caption. `rows` are shown as far as there is room; `more` says where all of them are.
struct Table<'a, T> {
    caption: &'a str,
    columns: &'a [&'a str],
    rows: &'a [T],
    most: usize,
    more: &'a str,
}

impl<T> Table<'_, T> {
    /// `row` gives the cells, and the names of the extensions that the row is about.
    fn render(&self, row: impl Fn(&T) -> (Vec<Markup>, Vec<String>)) -> Markup {
        let left = self.rows.len().saturating_sub(self.most);
        html! {
            div.table tabindex="0" role="region" aria-label=(self.caption) {
                table {
                    caption { (self.caption) }
                    thead { tr { @for column in self.columns { th scope="col" { (column) } } } }
                    tbody {
                        @for item in self.rows.iter().take(self.most) {
                            @let (cells, by) = row(item);
                            // No name of an extension has a slash.
                            tr data-by={ "/" (by.join("/")) "/" } {
                                @for (number, cell) in cells.iter().enumerate() {
                                    @if number == 0 { th scope="row" { (cell) } } @else { td { (cell) } }
                                }
                            }
                        }
                    }
                }
            }
            @if left > 0 {
                p.alarm { "The first " (self.most) " of " (self.rows.len()) " rows are shown, and " (left) " are not. " (self.more) }
            }
        }
    }
}

/// A path, which may be broken after each slash.
fn path(path: &impl AsRef<str>) -> Markup {
    html! {
        code { @for part in path.as_ref().split_inclusive('/') { (part) wbr; } }
    }
}
