//! `sextant explain`

use super::output::{WIDTH, wrap};
use super::output_options::OutputOptions;
use super::table::{Layout, Table, plain};
use anyhow::Result;
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde::Serialize;
use sextant::explanation::Explanation;
use sextant::reason::Reason;
use sextant::report::table::Style;
use std::fmt::Write;
use std::process::ExitCode;

/// Columns before running text.
const INDENT: usize = 4;

/// Explain reason tokens and their remedies
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sextant explain
        list all reasons
  sextant explain unknown-signer
        explain one reason and its remedy
  sextant explain --json | jq -r '.reasons[] | [.token, .remedy] | @tsv'
        print all remedies in a script

Exit status: 0 explained; 2 usage, or unknown reason.")]
pub(super) struct Arguments {
    /// Reason token, as in the journal, the report and `sextant status`
    #[arg(value_name = "TOKEN", hide_possible_values = true, value_parser = tokens())]
    tokens: Vec<String>,
    #[command(flatten)]
    output: OutputOptions,
}

fn tokens() -> PossibleValuesParser {
    PossibleValuesParser::new(Reason::ALL.iter().map(|reason| reason.token()))
}

#[derive(Serialize)]
struct Row {
    token: Reason,
    meaning: String,
    remedy: String,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let wanted =
        |reason: &&Reason| arguments.tokens.is_empty() || arguments.tokens.iter().any(|token| token == reason.token());
    let reasons: Vec<Reason> = Reason::ALL.iter().filter(wanted).copied().collect();
    let document = || {
        let row = |reason: &Reason| {
            let Explanation { meaning, remedy } = Explanation::of(*reason);
            Row { token: *reason, meaning, remedy }
        };
        let rows: Vec<Row> = reasons.iter().map(row).collect();
        Ok(serde_json::json!({ "version": 1, "reasons": rows }))
    };
    let layout = arguments.output.layout();
    let is_list = arguments.tokens.is_empty();
    let text = || Ok(if is_list { table(&reasons, layout) } else { pages(&reasons, layout.style)? });
    arguments.output.show(document, text)?;
    Ok(ExitCode::SUCCESS)
}

fn table(reasons: &[Reason], layout: Layout) -> String {
    let mut table = Table::new(["REASON", "MEANING"], 0);
    for reason in reasons {
        table.row([plain(reason.token()), plain(Explanation::of(*reason).summary())]);
    }
    table.render(Layout { width: layout.width.or(Some(WIDTH)), ..layout })
}

fn pages(reasons: &[Reason], style: Style) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    for reason in reasons {
        let Explanation { meaning, remedy } = Explanation::of(*reason);
        let separator = if out.is_empty() { "" } else { "\n" };
        writeln!(out, "{separator}{}", style.paint("1", reason.token()))?;
        for (heading, text) in [("Meaning", meaning), ("What to do", remedy)] {
            writeln!(out, "  {heading}:")?;
            for line in wrap(&text, WIDTH.saturating_sub(INDENT)) {
                writeln!(out, "{:INDENT$}{line}", "")?;
            }
        }
    }
    Ok(out)
}
