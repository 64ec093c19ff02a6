//! Conventions of the source that no compiler checks.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

use std::fs;
use std::path::{Path, PathBuf};

/// Files below a directory whose names end in a suffix.
fn files(directory: &Path, suffix: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, suffix, found);
        } else if path.extension().is_some_and(|extension| extension == suffix) {
            found.push(path);
        }
    }
}

/// Variants whose message shows what they also return as their source: anyhow's `{:#}` would tell it twice.
fn told_twice(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("#[error(\"") {
        let rest = &text[at..];
        let Some(end) = rest.find(")]\n") else { continue };
        let (message, variant) = rest.split_at(end);
        // Up to the next attribute of that kind, which belongs to the next variant.
        let variant = &variant[..variant[1..].find("#[error(").map_or(variant.len(), |end| end + 1)];
        let variant = &variant[..variant.find("\n}\n").unwrap_or(variant.len())];
        let head = variant.trim_start_matches(")]").trim_start();
        let is_tuple = head.find(['(', '{', ',']).is_some_and(|at| head[at..].starts_with('('));
        let is_source = |field: &str| {
            variant.contains(&format!("        {field}: ")) && variant.contains("#[source]")
                || field == "source" && variant.contains("        source: ")
        };
        let shows = |field: &str| [format!("{{{field}}}"), format!("{{{field}:")].iter().any(|it| message.contains(it));
        let tuple = is_tuple && (head.contains("(#[from]") || head.contains("(#[source]"));
        if tuple && shows("0") || ["source", "cause", "error"].iter().any(|field| shows(field) && is_source(field)) {
            found.push(message.to_owned());
        }
    }
    found
}

#[test]
fn no_error_tells_its_cause_twice() {
    let mut paths = Vec::new();
    for sources in ["src", "ddi/src", "cli/src"] {
        files(&support::repository().join(sources), "rs", &mut paths);
    }
    assert!(paths.len() > 100);
    let found: Vec<_> = paths
        .iter()
        .flat_map(|path| {
            let found = told_twice(&fs::read_to_string(path).unwrap());
            found.into_iter().map(move |message| format!("{}: {message}", path.display()))
        })
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn what_would_be_told_twice_is_recognized() {
    let variants = [
        ("    #[error(\"{0}\")]\n    Io(#[from] io::Error),\n", true),
        ("    #[error(\"reading: {0}\")]\n    Io(#[source] io::Error),\n", true),
        (
            "    #[error(\"reading {name}: {source}\")]\n    Io {\n        name: Name,\n        source: io::Error,\n    },\n",
            true,
        ),
        (
            "    #[error(\"reading {name}\")]\n    Io {\n        name: Name,\n        source: io::Error,\n    },\n",
            false,
        ),
        ("    #[error(transparent)]\n    Io(#[from] io::Error),\n", false),
        ("    #[error(\"reading: {0}\")]\n    Io(io::Error),\n", false),
        ("    #[error(\"reading: {cause}\")]\n    Io {\n        cause: io::Error,\n    },\n", false),
    ];
    for (variant, expected) in variants {
        assert_eq!(!told_twice(variant).is_empty(), expected, "{variant}");
    }
}

/// Documents that people read, with their text.
fn documents() -> Vec<(PathBuf, String)> {
    let root = support::repository();
    let mut paths: Vec<_> =
        ["README.md", "CONTRIBUTING.md", "RELEASES.md", "SECURITY.md"].map(|name| root.join(name)).into();
    files(&root.join("docs"), "md", &mut paths);
    assert!(paths.len() > 20);
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// Lines outside of code blocks, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let is_fence = line.starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// The anchor of a heading, as public forges derive it.
fn anchor(heading: &str) -> String {
    let kept = |character: char| character.is_alphanumeric() || matches!(character, '-' | '_' | ' ');
    heading.trim().chars().filter(|&it| kept(it)).collect::<String>().to_lowercase().replace(' ', "-")
}

fn anchors(text: &str) -> Vec<String> {
    prose(text).filter_map(|(_, line)| line.strip_prefix('#')).map(|it| anchor(it.trim_start_matches('#'))).collect()
}

/// Targets of links to other documents, and to headings.
fn links(text: &str) -> Vec<String> {
    let targets = |line: &str| -> Vec<String> {
        line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target.to_owned()).collect()
    };
    prose(text).flat_map(|(_, line)| targets(line)).filter(|target| !target.starts_with("http")).collect()
}

#[test]
fn every_link_of_a_document_leads_somewhere() {
    let mut broken = Vec::new();
    for (path, text) in documents() {
        for link in links(&text) {
            let (file, heading) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            let is_there = target.exists()
                && (heading.is_empty()
                    || anchors(&fs::read_to_string(&target).unwrap()).iter().any(|it| it == heading));
            if !is_there {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Tables and code are free; docs/comparison.md is written by a program.
#[test]
fn no_line_of_a_document_is_longer_than_120_columns() {
    let mut long = Vec::new();
    for (path, text) in documents() {
        if path.ends_with("docs/comparison.md") {
            continue;
        }
        let lines = prose(&text).filter(|(_, line)| !line.starts_with('|') && line.chars().count() > 120);
        long.extend(lines.map(|(number, _)| format!("{}:{number}", path.display())));
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn links_and_headings_of_documents_are_recognized() {
    let text = "# One `two`: three?\n[a](b.md#c) and [d](#e)\n```\n# no heading, [x](y)\n```\n[f](https://g)\n";
    assert_eq!(links(text), ["b.md#c", "#e"]);
    assert_eq!(anchors(text), ["one-two-three"]);
}

#[test]
fn the_debian_changelog_is_about_the_version_of_cargo() {
    let text = fs::read_to_string(support::repository().join("debian/changelog")).unwrap();
    let version = text.strip_prefix("sextant (").and_then(|rest| rest.split(')').next());
    assert_eq!(version, Some(env!("CARGO_PKG_VERSION")));
}
