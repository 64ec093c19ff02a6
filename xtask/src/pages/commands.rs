//! Pages of a program and of each of its commands.

use super::roff::{self, Page};
use super::surroundings;
use anyhow::Result;
use clap::Command;
use clap_mangen::Man;
use std::fmt::Write as _;

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
    let _ = writeln!(page.text, ".SH SYNOPSIS\n{}", roff::line(usage.trim_start_matches("Usage: ")));
    let manual = Man::new(command.clone());
    let mut body = Vec::new();
    manual.render_description_section(&mut body)?;
    manual.render_options_section(&mut body)?;
    page.text.push_str(&String::from_utf8(body)?);
    if command.has_subcommands() {
        page.text.push_str(".SH COMMANDS\n");
        for each in command.get_subcommands().filter(|each| each.get_name() != "help") {
            let about = each.get_about().map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(page.text, ".TP\n\\fB{}\\fR\n{}", roff::text(each.get_name()), roff::line(&about));
        }
    }
    if let Some(text) = command.get_after_help() {
        let text = text.to_string();
        if !text.lines().next().unwrap_or_default().ends_with(':') {
            page.text.push_str(".SH NOTES\n");
        }
        page.text.push_str(&sections(&text));
    }
    page.text.push_str(&surroundings::sections(command, &file_name(command)));
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
                let _ = writeln!(roff, ".SH {}", roff::text(&heading.to_uppercase()));
                prose = false;
            }
            None if line.is_empty() => prose = false,
            None => {
                if let Some(statuses) = line.strip_prefix("Exit status: ") {
                    roff.push_str(&exit_status(statuses));
                    continue;
                }
                let request = if prose { "" } else { ".PP\n" };
                let _ = writeln!(roff, "{request}{}", roff::line(line));
                prose = true;
            }
        }
    }
    roff
}

/// `0 explained; 2 usage, or unknown reason.` as a list.
fn exit_status(statuses: &str) -> String {
    let mut roff = ".SH EXIT STATUS\n".to_owned();
    for each in statuses.trim_end_matches('.').split("; ") {
        let _ = match each.split_once(' ') {
            Some((number, meaning)) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                writeln!(roff, ".TP\n{number}\n{}", roff::line(meaning))
            }
            _ => writeln!(roff, "{}", roff::line(each)),
        };
    }
    roff
}
