//! Manual pages and completions as they are installed.

use crate::install::files;
use crate::installed::{Installed, repository};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::harness;

fn pages(installed: &Installed) -> Vec<PathBuf> {
    let directory = installed.path().join("usr/share/man");
    let pages: Vec<_> = files(&directory).iter().map(|page| directory.join(page)).collect();
    assert!(pages.len() > 20, "{pages:?}");
    pages
}

/// What a program says about a page or makes of it; the test ends as ignored where the program is missing.
fn run(program: &str, arguments: &[&str], page: &Path) -> (String, String) {
    let Ok(output) = Command::new(program).args(arguments).arg(page).output() else {
        harness::ignore(&format!("no {program} here"));
    };
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr))
}

/// Complaints of `mandoc -T lint`, but for the date, which pages have none of.
fn lint(page: &Path) -> Vec<String> {
    let (complaints, _) = run("mandoc", &["-T", "lint", "-W", "style"], page);
    complaints.lines().filter(|line| !line.contains("missing date")).map(str::to_owned).collect()
}

/// Warnings of groff, and lines that are longer than 80 columns.
fn typeset(page: &Path) -> Vec<String> {
    let (text, warnings) = run("groff", &["-man", "-Tutf8", "-ww", "-rLL=80n", "-P-cbou"], page);
    let long = text.lines().filter(|line| line.chars().count() > 80);
    warnings.lines().chain(long).map(|line| format!("{}: {line}", page.display())).collect()
}

pub(crate) fn pages_are_clean_and_fit_80_columns() {
    let installed = Installed::new();
    let complaints: Vec<_> = pages(&installed).iter().flat_map(|page| [lint(page), typeset(page)].concat()).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

pub(crate) fn an_unclean_page_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let page = directory.path().join("x.1");
    let long = "x".repeat(90);
    fs::write(&page, format!(".TH X 1\n.SH NAME\nx \\- x\n.SH X\n.PP\n.EX\n{long}\n.EE\n\\*(zz\n")).unwrap();
    assert!(lint(&page).iter().any(|line| line.contains("skipping paragraph macro")), "{:?}", lint(&page));
    let found = typeset(&page);
    for expected in [&long, "zz"] {
        assert!(found.iter().any(|line| line.contains(expected)), "{found:?}");
    }
}

/// Names in `text` behind `before`: a string, or a constant of the same text.
fn variables_behind(text: &str, before: &str, found: &mut BTreeSet<String>) {
    for (at, _) in text.match_indices(before) {
        let rest = &text[at + before.len()..];
        let argument = &rest[..rest.find(')').unwrap_or(0)];
        let name = if let Some(name) = argument.strip_prefix('"') {
            name.trim_end_matches('"').to_owned()
        } else {
            let constant = format!("const {argument}: &str = \"");
            let Some((_, value)) = text.split_once(&constant) else { continue };
            value[..value.find('"').unwrap()].to_owned()
        };
        if !name.is_empty() && name.bytes().all(|it| it.is_ascii_uppercase() || it.is_ascii_digit() || it == b'_') {
            found.insert(name);
        }
    }
}

/// Variables that the sources of a package read, its tests left out.
fn variables(sources: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let directory = repository().join(sources);
    // Style sheets name no variables of these forms.
    for file in files(&directory).iter().filter(|file| !file.ends_with("tests.rs")) {
        let text = fs::read_to_string(directory.join(file)).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        for before in ["env::var(", "env::var_os(", "variable(", "number("] {
            variables_behind(text, before, &mut found);
        }
    }
    found
}

pub(crate) fn every_variable_that_is_read_is_in_a_page() {
    let installed = Installed::new();
    let text: String = pages(&installed).iter().map(|page| fs::read_to_string(page).unwrap()).collect();
    let read: BTreeSet<_> = variables("cli/src").union(&variables("src")).cloned().collect();
    for known in
        ["NO_COLOR", "COLUMNS", "SYSTEMD_ESP_PATH", "SEXTANT_PASSPHRASE", "REGISTRY_AUTH_FILE", "SYSTEMD_PAGER"]
    {
        assert!(read.contains(known), "{known} is not recognized: {read:?}");
    }
    // What injects faults in builds for tests, and what completion scripts and the program tell each other.
    let is_internal = |name: &str| name == "SEXTANT_FAULT" || name.starts_with("_CLAP_");
    for name in read.iter().filter(|name| !is_internal(name)) {
        assert!(text.contains(&format!("\n\\fB{name}\\fR\n")), "{name} is in no page");
    }
}

pub(crate) fn pages_have_the_usual_sections() {
    let installed = Installed::new();
    let page = |name: &str| fs::read_to_string(installed.path().join("usr/share/man").join(name)).unwrap();
    let cases: [(&str, &[&str], [&str; 2]); 5] = [
        (
            "man1/sextant-list.1",
            &["FILES", "ENVIRONMENT", "EXIT STATUS", "EXAMPLES"],
            ["loader/extensions", "SYSTEMD_ESP_PATH"],
        ),
        (
            "man1/sextant-build.1",
            &["ENVIRONMENT", "EXIT STATUS", "EXAMPLES"],
            ["SOURCE_DATE_EPOCH", "PKCS11_PROVIDER_MODULE"],
        ),
        ("man1/sextant.1", &["FILES", "ENVIRONMENT", "EXAMPLES"], ["report.json", "SYSTEMD_PAGER"]),
        ("man8/sextant-agent.8", &["FILES", "ENVIRONMENT"], ["/etc/sextant.yaml", "JOURNAL_STREAM"]),
        (
            "man8/sextant-agent-stage.8",
            &["FILES", "ENVIRONMENT", "EXIT STATUS", "EXAMPLES"],
            ["efivars", "JOURNAL_STREAM"],
        ),
    ];
    for (name, sections, words) in cases {
        let text = page(name);
        for section in sections {
            assert!(text.contains(&format!(".SH {section}\n")), "{name}: no {section}");
        }
        for word in words {
            assert!(text.contains(word), "{name}: no {word}");
        }
    }
    assert!(
        page("man1/sextant-explain.1")
            .contains(".SH EXIT STATUS\n.TP\n0\nexplained\n.TP\n2\nusage, or unknown reason\n")
    );
}

/// The shells read the scripts, which ask the program.
pub(crate) fn shells_take_the_completions() {
    let installed = Installed::new();
    let share = installed.path().join("usr/share");
    for (shell, path) in [
        ("bash", "bash-completion/completions/sextant"),
        ("zsh", "zsh/site-functions/_sextant"),
        ("fish", "fish/vendor_completions.d/sextant.fish"),
    ] {
        let text = fs::read_to_string(share.join(path)).unwrap();
        assert!(
            text.contains(&format!("SEXTANT_COMPLETE=\"{shell}\"")) || text.contains("SEXTANT_COMPLETE=fish"),
            "{text}"
        );
        match Command::new(shell).arg("-n").arg(share.join(path)).output() {
            Ok(output) => assert!(output.status.success() && output.stderr.is_empty(), "{shell}: {output:?}"),
            Err(_) => harness::left_out_everywhere(&format!("no {shell} here")),
        }
    }
}
