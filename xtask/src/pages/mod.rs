//! Everything that is written, and where.

mod commands;
mod markdown;
mod roff;
mod surroundings;

use anyhow::{Context, Result};
use clap::CommandFactory;
use sextant_cli::commands::completion;
use std::fs;
use std::path::Path;

/// Pages of the documentation that become manual pages.
const PAGES: [Source; 2] = [
    Source {
        path: "docs/configuration.md",
        name: "sextant.yaml",
        section: 5,
        purpose: "what the initrd of a machine lets sextant-agent accept",
        others: &["sextant-agent(8)"],
    },
    Source {
        path: "docs/reasons.md",
        name: "sextant-reasons",
        section: 7,
        purpose: "why an extension is rejected, and what to do about it",
        others: &["sextant-explain(1)", "sextant-verify(1)", "sextant.yaml(5)", "sextant-agent(8)"],
    },
];

struct Source {
    /// From the top of the repository.
    path: &'static str,
    name: &'static str,
    section: u8,
    purpose: &'static str,
    others: &'static [&'static str],
}

/// Writes all pages to `man/` and all completions to `completions/` below `directory`.
///
/// # Errors
/// Those of reading pages of `docs/` and of writing.
pub fn write_all(directory: &Path) -> Result<()> {
    let pages = directory.join("man");
    for page in commands::pages(sextant_cli::commands::Cli::command(), 1)?
        .into_iter()
        .chain(commands::pages(sextant::agent::Cli::command(), 8)?)
        .chain(PAGES.iter().map(page).collect::<Result<Vec<_>>>()?)
    {
        write(&pages.join(format!("man{}", page.section)).join(page.file()), roff::finished(&page.text).as_bytes())?;
    }
    // The agent isn't a command that anybody types, and isn't in $PATH.
    for (shell, name) in [("bash", "bash/sextant"), ("zsh", "zsh/_sextant"), ("fish", "fish/sextant.fish")] {
        write(&directory.join("completions").join(name), &completion::registration(shell)?)?;
    }
    Ok(())
}

fn page(source: &Source) -> Result<roff::Page> {
    let path = support::repository().join(source.path);
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let mut page = roff::Page::new(source.name, source.section, source.purpose);
    page.text.push_str(&markdown::to_roff(&text));
    page.see_also(source.others);
    Ok(page)
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
    fs::write(path, content).with_context(|| format!("writing {}", path.display()))
}
