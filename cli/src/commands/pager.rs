//! A pager for text that is longer than the terminal, chosen as systemd's tools choose it (`systemctl(1)`, "Environment").

use super::output;
use ddi::bytes::boolean;
use nix::sys::signal::{SigSet, Signal};
use std::env;
use std::io::Write;
use std::process::{Command, Stdio};

/// What `less` is told, unless `$SYSTEMD_LESS` says otherwise (systemd 257, `src/shared/pager.c`).
const LESS: &str = "FRSXMK";
/// Set by programs that run others with more rights than their caller has.
const RAISED: [&str; 3] = ["SUDO_UID", "PKEXEC_UID", "DOAS_USER"];

/// Shows `text` in a pager if standard output is a terminal that is too small for it. Returns whether it was shown.
pub(super) fn show(text: &str) -> bool {
    let lines = text.lines().count();
    let is_long = output::terminal_size().is_some_and(|(_, rows)| lines >= rows);
    is_long && candidates(&|name| env::var(name).ok()).iter().any(|pager| run(pager, text).is_some())
}

/// A pager with its arguments, and whether it has to be kept from starting other programs.
#[derive(Debug, PartialEq, Eq)]
struct Pager {
    words: Vec<String>,
    is_secure: bool,
}

/// The pagers to try, in this order; none where none is wanted.
///
/// With raised rights a pager that the caller chose would run with these rights, and `less` could start a shell. So it is `less`
/// in its secure mode then, unless `$SYSTEMD_PAGERSECURE` says that the caller may.
fn candidates(variable: &dyn Fn(&str) -> Option<String>) -> Vec<Pager> {
    if variable("TERM").is_none_or(|term| term == "dumb") {
        return Vec::new();
    }
    let secure = variable("SYSTEMD_PAGERSECURE").and_then(|value| boolean(value.as_bytes()));
    let is_raised = RAISED.iter().any(|name| variable(name).is_some());
    let is_secure = secure.unwrap_or(is_raised);
    let chosen =
        if is_raised && secure.is_none() { None } else { variable("SYSTEMD_PAGER").or_else(|| variable("PAGER")) };
    let pager = |words: &str| Pager { words: words.split_whitespace().map(str::to_owned).collect(), is_secure };
    match chosen.as_deref().map(str::trim) {
        Some("" | "cat") => Vec::new(),
        // `more` knows no secure mode.
        chosen => chosen.into_iter().chain(["less"]).chain((!is_secure).then_some("more")).map(pager).collect(),
    }
}

/// Runs a pager; `None` where it can't be started.
fn run(pager: &Pager, text: &str) -> Option<()> {
    let (program, arguments) = pager.words.split_first()?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped());
    command.env("LESS", env::var("SYSTEMD_LESS").unwrap_or_else(|_| LESS.to_owned()));
    if let Ok(charset) = env::var("SYSTEMD_LESSCHARSET") {
        command.env("LESSCHARSET", charset);
    }
    if pager.is_secure {
        command.env("LESSSECURE", "1");
    }
    let mut child = command.spawn().ok()?;
    // Ctrl-C is for the pager, which has inherited what was blocked before.
    let _ = SigSet::from(Signal::SIGINT).thread_block();
    if let Some(mut input) = child.stdin.take() {
        // A person who has seen enough closes it early.
        let _ = input.write_all(text.as_bytes());
    }
    let _ = child.wait();
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programs(variables: &[(&str, &str)]) -> Vec<String> {
        let variables: Vec<_> = [("TERM", "xterm")].iter().chain(variables).copied().collect();
        let find =
            |name: &str| variables.iter().rev().find(|(it, _)| *it == name).map(|(_, value)| (*value).to_owned());
        let shown =
            |pager: &Pager| format!("{}{}", pager.words.join(" "), if pager.is_secure { " (secure)" } else { "" });
        candidates(&find).iter().map(shown).collect()
    }

    #[test]
    fn the_pager_is_chosen_as_systemd_does() {
        assert_eq!(programs(&[]), ["less", "more"]);
        assert_eq!(programs(&[("PAGER", "most -s")]), ["most -s", "less", "more"]);
        assert_eq!(programs(&[("PAGER", "most"), ("SYSTEMD_PAGER", "less -R")]), ["less -R", "less", "more"]);
        for none in [[("PAGER", "cat")], [("PAGER", "")], [("SYSTEMD_PAGER", " ")], [("TERM", "dumb")]] {
            assert!(programs(&none).is_empty(), "{none:?}");
        }
    }

    #[test]
    fn with_raised_rights_a_pager_starts_nothing() {
        for name in RAISED {
            assert_eq!(programs(&[(name, "1000"), ("PAGER", "sh -c id")]), ["less (secure)"]);
            let trusted = [(name, "1000"), ("PAGER", "most"), ("SYSTEMD_PAGERSECURE", "0")];
            assert_eq!(programs(&trusted), ["most", "less", "more"]);
        }
        assert_eq!(programs(&[("SYSTEMD_PAGERSECURE", "yes")]), ["less (secure)"]);
    }
}
