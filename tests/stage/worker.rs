//! The process that reads an image, and everything that it could do instead.

use super::vendor;
use crate::support::ddi::good_image;
use crate::support::machine::{Machine, Outcome};
use sextant::confine::fault::STEPS;

/// Stages three images, while reading the second one goes wrong at `step`.
fn stage(step: &str, kind: &str) -> (Machine, Outcome) {
    let machine = ["a", "victim", "z"].into_iter().fold(Machine::trusting(&[vendor()]), |machine, name| {
        machine.sysext(&format!("{name}.sysext.raw"), &good_image(name, vendor()))
    });
    let mut command = machine.agent("stage");
    command.env("SEXTANT_FAULT", format!("victim/{step}/{kind}"));
    let outcome = machine.outcome(command);
    (machine, outcome)
}

fn check(step: &str, kind: &str, reason: &str, detail: &str) {
    let (machine, outcome) = stage(step, kind);
    let context = format!("{kind} at {step}: {}", outcome.stderr);
    assert_eq!(outcome.status, Some(0), "{context}");
    assert_eq!(machine.staged_names(), ["a", "z"], "{context}");
    assert_eq!(outcome.verdict("victim.sysext.raw"), ("rejected", reason), "{context}");
    let said = &outcome.row("victim.sysext.raw")["detail"];
    assert!(said.as_str().unwrap().contains(detail), "{said}");
}

#[test]
fn a_crash_at_any_step_costs_one_row() {
    for step in STEPS {
        check(step, "panic", "internal-error", "a fault on demand");
        check(step, "abort", "internal-error", "ended by SIG");
        check(step, "stack", "internal-error", "ended by SIG");
        check(step, "exit", "internal-error", "ended with status 3");
    }
}

#[test]
fn a_process_that_answers_nonsense_costs_one_row() {
    for step in STEPS {
        check(step, "nonsense", "internal-error", "no answer that makes sense");
        check(step, "flood", "internal-error", "no answer that makes sense");
    }
}

#[test]
fn a_memory_bomb_at_any_step_costs_one_row() {
    for step in STEPS {
        check(step, "memory", "internal-error", "ended by SIG");
    }
}

#[test]
fn an_endless_loop_costs_one_row() {
    // Looking at a structure has less time than hashing, and both have an end.
    check("table", "loop", "out-of-time", "took more than 5 seconds of processor time");
    check("look", "loop", "out-of-time", "took more than 5 seconds of processor time");
}

#[test]
fn a_process_that_waits_for_ever_costs_one_row() {
    check("signature", "sleep", "out-of-time", "took more than 10 seconds");
}

#[test]
fn code_of_an_attackers_reaches_nothing() {
    for step in STEPS {
        check(step, "escape", "internal-error", "escaped by [false, false, false, false, false, false]");
        assert!(!std::path::Path::new("/tmp/sextant-escape").exists());
    }
}
