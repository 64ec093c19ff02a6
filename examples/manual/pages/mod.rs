//! Everything that is written, and where.

mod commands;
mod markdown;
mod roff;

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::Shell;
use std::fs;
use std::path::Path;

/// What is read of the documentation, and what it becomes.
const CONFIGURATION: (&str, &str, &str) =
    ("docs/configuration.md", "sextant.yaml", "what the initrd of a machine lets sextant-agent accept");

/// Writes all pages to `man/` and all completions to `completions/` below `directory`.
pub(crate) fn write_all(directory: &Path) -> Result<()> {
    let pages = directory.join("man");
    for page in commands::pages(sextant::cli::Cli::command(), 1)?
        .into_iter()
        .chain(commands::pages(sextant::agent::Cli::command(), 8)?)
        .chain([configuration()?])
    {
        write(&pages.join(format!("man{}", page.section)).join(page.file()), page.text.as_bytes())?;
    }
    // The agent isn't a command that anybody types, and isn't in $PATH.
    for (shell, name) in
        [(Shell::Bash, "bash/sextant"), (Shell::Zsh, "zsh/_sextant"), (Shell::Fish, "fish/sextant.fish")]
    {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut sextant::cli::Cli::command(), "sextant", &mut script);
        write(&directory.join("completions").join(name), &script)?;
    }
    Ok(())
}

fn configuration() -> Result<roff::Page> {
    let (source, name, purpose) = CONFIGURATION;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let mut page = roff::Page::new(name, 5, purpose);
    page.text.push_str(&markdown::to_roff(&text));
    page.see_also(&["sextant-agent(8)"]);
    Ok(page)
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
    fs::write(path, content).with_context(|| format!("writing {}", path.display()))
}
