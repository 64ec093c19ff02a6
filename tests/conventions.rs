//! Conventions of the source that no compiler checks.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

use std::fs;
use std::path::{Path, PathBuf};

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
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
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut paths);
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
