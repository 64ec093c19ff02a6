//! An inspection for people, 80 columns where the contents allow it.

use super::{Check, Group, Inspection, Kind, State};
use ddi::text::Text;
use sextant::report::table::Style;
use std::fmt::{Display, Write};

/// Renders the facts, a table of the checks by group, and each check that is not simply good; `verbose` with the good ones.
/// `file` names it, `wrap` breaks a sentence into lines.
#[must_use]
pub fn text(
    found: &Inspection,
    file: &Text,
    verbose: bool,
    wrap: &dyn Fn(&str, usize) -> Vec<String>,
    style: Style,
) -> String {
    let mut out = String::new();
    let mut fact = |label: &str, value: &dyn Display| {
        let _ = writeln!(out, "{}: {value}", style.paint("1", &format!("{label:>12}")));
    };
    fact("File", file);
    if let Some(uki) = &found.uki {
        let stub = uki.stub.as_ref().map(|stub| format!(", systemd-stub {stub}")).unwrap_or_default();
        let machine = uki.machine.map_or("unknown machine", |machine| machine.name);
        fact("UKI", &format_args!("{machine}{stub}, {}", if uki.signed { "signed" } else { "not signed" }));
        if let Some(os) = &uki.os {
            fact("System", os);
        }
    }
    if let Some(uname) = found.uki.as_ref().and_then(|uki| uki.uname.as_ref()).or_else(|| found.kernels.first()) {
        fact("Kernel", uname);
    }
    let kind = match found.initrd {
        Some(Kind::Systemd) => "systemd as PID 1",
        Some(Kind::Kairos) => "immucore as PID 1 (Kairos)",
        None => "unknown",
    };
    let compression: Vec<_> = found.segments.iter().map(|segment| segment.compression.as_str()).collect();
    match compression.as_slice() {
        [] => fact("Initrd", &kind),
        parts => fact("Initrd", &format_args!("{kind}; compression: {}", parts.join(", "))),
    }
    if let Some(systemd) = found.systemd {
        fact("systemd", &systemd);
    }
    if let Some(agent) = &found.agent {
        fact(
            "Agent",
            &format_args!("{} {}", agent.path, agent.version.as_ref().map_or("of unknown version", Text::as_str)),
        );
    }
    fact("Configured", &found.sealed.configuration.as_ref().map_or("by defaults", Text::as_str));
    for drop_in in &found.sealed.drop_ins {
        fact("Drop-in", drop_in);
    }
    for certificate in found.sealed.certificates.iter().filter(|it| it.ignored.is_none()) {
        fact("Sealed", &certificate.subject.as_ref().map_or("", Text::as_str));
    }
    table(&mut out, &found.checks, style);
    for check in found.checks.iter().filter(|check| verbose || check.state != State::Ok) {
        let _ = writeln!(out, "\n{} {}", paint(check.state, style), check.subject);
        let detail = check.detail.iter().map(ToString::to_string);
        for sentence in detail.chain(check.effect.map(|effect| format!("At boot: {effect}."))) {
            for line in wrap(&sentence, 72) {
                let _ = writeln!(out, "        {line}");
            }
        }
    }
    let verdict = if found.ready {
        style.paint("32", "ready: a boot verifies and merges extensions")
    } else {
        style.paint("31", "not ready: a boot does not verify and merge all extensions")
    };
    let _ = writeln!(out, "\n{verdict}");
    out
}

fn paint(state: State, style: Style) -> String {
    let colour = match state {
        State::Ok => "32",
        State::Note => "36",
        State::Unknown => "33",
        State::Wrong | State::Missing => "31",
    };
    style.paint(colour, &format!("{:<7}", state.as_str()))
}

fn table(out: &mut String, checks: &[Check], style: Style) {
    let _ = writeln!(out, "\n{:<14} {:<7} CHECKS", "SUBJECT", "STATE");
    for group in Group::ALL {
        let rows: Vec<_> = checks.iter().filter(|check| check.group == group).collect();
        let Some(worst) = rows.iter().map(|check| check.state).max() else { continue };
        let good = rows.iter().filter(|check| check.state.is_good()).count();
        let _ = writeln!(out, "{:<14} {} {good} of {} good", group.title(), paint(worst, style), rows.len());
    }
}
