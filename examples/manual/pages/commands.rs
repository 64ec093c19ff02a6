//! Pages of a program and of each of its commands.

use super::roff::{self, Page};
use anyhow::Result;
use clap::Command;
use clap_mangen::Man;

/// The page of `command` and those of its subcommands, in the same section.
pub(crate) fn pages(mut command: Command, section: u8) -> Result<Vec<Page>> {
    command.build();
    let root = format!("{}({section})", command.get_name());
    let subcommands: Vec<_> = command.get_subcommands().filter(|each| each.get_name() != "help").cloned().collect();
    let names: Vec<_> = subcommands.iter().map(|each| format!("{}({section})", file_name(each))).collect();
    let mut others: Vec<_> = names.iter().map(String::as_str).collect();
    if section == 8 {
        others.extend(["sextant.yaml(5)", "systemd-sysext(8)"]);
    }
    let mut pages = vec![page(&command, section, &others)?];
    for subcommand in &subcommands {
        pages.push(page(subcommand, section, &[&root])?);
    }
    Ok(pages)
}

/// `sextant-verify` for `sextant verify`.
fn file_name(command: &Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).replace(' ', "-")
}

fn page(command: &Command, section: u8, others: &[&str]) -> Result<Page> {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let mut page = Page::new(&file_name(command), section, &about);
    let usage = command.clone().render_usage().to_string();
    page.text.push_str(&format!(".SH SYNOPSIS\n{}\n", roff::line(usage.trim_start_matches("Usage: "))));
    let manual = Man::new(command.clone());
    let mut body = Vec::new();
    manual.render_description_section(&mut body)?;
    manual.render_options_section(&mut body)?;
    page.text.push_str(&String::from_utf8(body)?);
    if command.has_subcommands() {
        page.text.push_str(".SH COMMANDS\n");
        for each in command.get_subcommands().filter(|each| each.get_name() != "help") {
            let about = each.get_about().map(ToString::to_string).unwrap_or_default();
            page.text.push_str(&format!(".TP\n\\fB{}\\fR\n{}\n", roff::text(each.get_name()), roff::line(&about)));
        }
    }
    if let Some(text) = command.get_after_help() {
        page.text.push_str(&sections(&text.to_string()));
    }
    page.see_also(others);
    Ok(page)
}

/// What stands behind the options in `--help`: `Heading:` begins a section, what is indented keeps its form,
/// everything else is running text.
fn sections(text: &str) -> String {
    let mut roff = String::new();
    let mut verbatim = String::new();
    let mut prose = false;
    for line in text.lines().chain([""]) {
        if line.starts_with(' ') {
            verbatim.push_str(line.strip_prefix("  ").unwrap_or(line));
            verbatim.push('\n');
            continue;
        }
        if !verbatim.is_empty() {
            roff.push_str(&roff::verbatim(&verbatim));
            verbatim.clear();
            prose = false;
        }
        match line.strip_suffix(':') {
            Some(heading) => {
                roff.push_str(&format!(".SH {}\n", roff::text(&heading.to_uppercase())));
                prose = false;
            }
            None if line.is_empty() => prose = false,
            None => {
                match line.strip_prefix("Exit status: ") {
                    Some(rest) => roff.push_str(&format!(".SH EXIT STATUS\n{}\n", roff::line(rest))),
                    None if prose => roff.push_str(&format!("{}\n", roff::line(line))),
                    None => roff.push_str(&format!(".PP\n{}\n", roff::line(line))),
                }
                prose = true;
            }
        }
    }
    roff
}
