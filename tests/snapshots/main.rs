//! Texts that people read, as files: help texts, tables, and the messages of events.
//!
//! `UPDATE_SNAPSHOTS=1 cargo test --package sextant-tests --test snapshots` writes the files anew.
#![allow(clippy::unwrap_used)]

mod errors;
mod events;
mod help;
mod machines;
mod tables;

use similar::TextDiff;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

const UPDATE: &str = "UPDATE_SNAPSHOTS=1 cargo test --package sextant-tests --test snapshots";

fn directory() -> PathBuf {
    support::repository().join("tests/snapshots")
}

/// Compares texts with the files `DIRECTORY/NAME.txt`, and the files with the texts.
#[track_caller]
fn check(directory: &str, texts: &[(String, String)]) {
    let directory = self::directory().join(directory);
    let is_update = std::env::var_os("UPDATE_SNAPSHOTS").is_some();
    if is_update {
        fs::create_dir_all(&directory).unwrap();
    }
    let mut left: BTreeSet<String> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.rsplit_once('.').is_some_and(|(_, end)| end == "txt"))
        .collect();
    let mut differences = String::new();
    for (name, text) in texts {
        let file = format!("{name}.txt");
        let path = directory.join(&file);
        let known = fs::read_to_string(&path).unwrap_or_default();
        if !left.remove(&file) || known != *text {
            let diff = TextDiff::from_lines(known.as_str(), text.as_str());
            let shown = path.strip_prefix(support::repository()).unwrap().display().to_string();
            differences += &diff.unified_diff().header(&shown, "this build").to_string();
            if is_update {
                fs::write(&path, text).unwrap();
            }
        }
    }
    for file in left {
        let _ = writeln!(differences, "{file}: nothing has this snapshot any more");
        if is_update {
            fs::remove_file(directory.join(file)).unwrap();
        }
    }
    assert!(is_update || differences.is_empty(), "{differences}\nIf this is as it should be: {UPDATE}");
}

/// A text without what differs from run to run: keys, root hashes, times, free space, paths.
/// Digests keep their width.
fn normalized(text: &str, paths: &[(&str, &str)]) -> String {
    let out = paths.iter().fold(text.to_owned(), |text, (path, name)| text.replace(path, name));
    let mut lines: Vec<String> = out.lines().map(|line| hidden(line).trim_end().to_owned()).collect();
    lines.push(String::new());
    lines.join("\n")
}

/// A line without digests, times and free space.
fn hidden(line: &str) -> String {
    let mut out = String::new();
    let is_hex = |word: &str| {
        [8, 10, 12, 16, 32, 40, 64, 96, 128].contains(&word.len())
            && word.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
            && word.bytes().any(|byte| byte.is_ascii_digit() || word.len() > 8)
    };
    for piece in line.split_inclusive(|character: char| !character.is_ascii_alphanumeric()) {
        let word = piece.trim_end_matches(|character: char| !character.is_ascii_alphanumeric());
        let rest = &piece[word.len()..];
        let in_uuid = out.ends_with("#-") && word.len() == 4;
        out += &if in_uuid || is_hex(word) { "#".repeat(word.len()) } else { word.to_owned() };
        out += rest;
    }
    let words: Vec<&str> = out.split(' ').collect();
    let mut kept: Vec<String> = Vec::new();
    for (index, word) in words.iter().enumerate() {
        let next = words.get(index + 1).map_or("", |next| next.trim_end_matches([',', ';']));
        let after = words.get(index + 2).copied().unwrap_or_default();
        let is_number = word.parse::<f64>().is_ok();
        let varies = next == "ms" || (after == "free" && next.ends_with("iB"));
        kept.push(if is_number && varies { "N".to_owned() } else { (*word).to_owned() });
    }
    kept.join(" ").replace("N MiB free", "N GiB free").replace("N KiB free", "N GiB free")
}
