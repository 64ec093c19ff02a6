//! `--help` of each command, in 80 columns.

use clap::{Command, CommandFactory};

const WIDTH: usize = 80;

fn texts(command: &Command, texts: &mut Vec<(String, String)>) {
    let program = command.get_name();
    let names = command.get_subcommands().map(Command::get_name);
    for name in std::iter::once(None).chain(names.map(Some)) {
        let line = std::iter::once(program).chain(name).chain(["--help"]);
        let help = command.clone().term_width(WIDTH).try_get_matches_from(line).unwrap_err().render().to_string();
        let name = name.map_or_else(|| program.to_owned(), |name| format!("{program}-{name}"));
        texts.push((name, help));
    }
}

fn all() -> Vec<(String, String)> {
    let mut all = Vec::new();
    texts(&sextant_cli::commands::Cli::command(), &mut all);
    texts(&sextant::agent::Cli::command(), &mut all);
    all
}

#[test]
fn help_texts_are_as_recorded() {
    super::check("help", &all());
}

#[test]
fn help_texts_fit_into_80_columns_and_have_examples() {
    for (name, text) in all() {
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "{name}: {line}");
        }
        if name == "sextant-agent" {
            continue;
        }
        let examples = text.split("Examples:\n").nth(1).unwrap_or_else(|| panic!("{name} has no examples"));
        let examples = examples.lines().take_while(|line| !line.is_empty());
        // A command, and what it does; or a command that others in the list explain.
        let count = examples.filter(|line| line.starts_with("  ") && !line.starts_with("   ")).count();
        assert!(count >= 2, "{name} has {count} examples");
        if name != "sextant" {
            assert!(text.contains("\nExit status: 0 "), "{name}");
        }
    }
}
