//! Sextant in a machine: firmware with Secure Boot, systemd-boot, a signed UKI, an initrd by dracut with our module,
//! the switch of root, the host's systemd-sysext. Each scenario is one boot (`scenarios/`); a witness inside
//! writes down what became of it, and what it found is judged here. One machine lives through several boots (`life/`), one
//! falls back to another system (`assessment/`), one has a volume that is bound to its extensions (`policies/`), and one has its power cut
//! while it writes to the ESP (`powercut/`).
//!
//! `cargo test --test qemu [-- FILTER]`; without the tools every scenario is ignored, and says why, unless
//! `SEXTANT_QEMU=require`. `SEXTANT_QEMU=skip` ignores them all. `-- --console [SCENARIO]` boots one for a person.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

mod accel;
mod assessment;
mod base;
mod brought;
mod comparison;
mod cost;
mod cpio;
mod disk;
mod evidence;
mod guest;
use support::hostile;
mod images;
mod initrd;
mod kairos;
mod keys;
mod life;
mod machine;
mod platform;
use xtask::pages;
mod policies;
mod powercut;
mod run;
mod scenarios;
mod toolbox;
mod tpm;
mod uki;
mod variables;
mod verdict;
mod witness;
mod written;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use std::process::ExitCode;
use std::time::Instant;

/// Emulated machines are slow, and slow each other; more than two gain nothing on any machine this was tried on.
const MACHINES: usize = 2;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    match words.next().as_deref() {
        Some("--console") => return console(&words.next().unwrap_or_else(|| "central-257".to_owned())),
        Some("--comparison") => return comparison::run(&words.collect::<Vec<_>>()),
        Some("--cost") => return cost::run(&words.collect::<Vec<_>>()),
        _ => {}
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(arguments.test_threads.unwrap_or(MACHINES).min(MACHINES));
    let obstacle = toolbox::obstacle();
    let whole = toolbox::whole_matrix();
    let required = std::env::var_os("SEXTANT_QEMU").is_some_and(|value| value == "require");
    let trials = tests().into_iter().map(|test| {
        let left_out = (test.left_out)();
        // Nothing is lacking here, so this is no failure where everything is required.
        let unasked = test.is_of_matrix && !whole;
        let missing = if required { left_out.clone() } else { None };
        let obstacle = obstacle.clone().or(test.obstacle).or(missing);
        let (reason, run) = (obstacle.clone(), test.run);
        let trial = Trial::ignorable_test(test.name, move || {
            reason.map_or_else(run, Err).map_err(Failed::from)?;
            Ok(left_out.map_or(Completion::Completed, Completion::ignored_with))
        });
        match &obstacle {
            _ if unasked => trial.with_kind("runs with `make machines`").with_ignored_flag(true),
            Some(reason) if !required => trial.with_kind(reason).with_ignored_flag(true),
            _ => trial,
        }
    });
    let evidence =
        evidence::tests().into_iter().chain(comparison::tests()).chain(cost::tests()).chain(accel::tests()).map(
            |(name, test)| {
                Trial::test(name, move || {
                    test();
                    Ok(())
                })
            },
        );
    let start = Instant::now();
    let conclusion = libtest_mimic::run(&arguments, trials.chain(evidence).collect());
    if let Some(accel) = accel::used() {
        let seconds = start.elapsed().as_secs();
        eprintln!("machines took {} min {} s, with {accel}", seconds / 60, seconds % 60);
    }
    conclusion.exit_code()
}

struct Test {
    name: String,
    /// Why it can't be run here, besides what none can be run for.
    obstacle: Option<String>,
    /// What it does without here, which is a failure where everything is required.
    left_out: fn() -> Option<String>,
    /// Whether only a run of all machines has it.
    is_of_matrix: bool,
    run: Box<dyn FnOnce() -> Result<(), String> + Send>,
}

/// All tests; the machine with the longest life comes first, so that two machines are busy to the end.
fn tests() -> Vec<Test> {
    let story = |name: &str, run: fn() -> Result<(), String>, left_out| Test {
        name: name.to_owned(),
        obstacle: None,
        left_out,
        is_of_matrix: false,
        run: Box::new(run),
    };
    let life = Test { is_of_matrix: true, ..story(life::NAME, life::test, toolbox::no_yip) };
    let assessment = Test {
        obstacle: assessment::obstacle(),
        is_of_matrix: true,
        ..story(assessment::NAME, assessment::test, || None)
    };
    let policies = story(policies::NAME, policies::test, || None);
    let policies = Test { obstacle: policies::obstacle(), is_of_matrix: true, ..policies };
    let power_cut = story(powercut::NAME, powercut::test, || None);
    let of = |scenario: scenarios::Scenario| Test {
        name: scenario.name.clone(),
        obstacle: scenario.obstacle_here(),
        left_out: || None,
        is_of_matrix: scenario.is_of_matrix,
        run: Box::new(move || run::test(&scenario)),
    };
    let kairos = kairos::all().into_iter().map(|story| Test {
        name: story.name.to_owned(),
        obstacle: toolbox::no_kairos(),
        left_out: || None,
        is_of_matrix: story.is_of_matrix,
        run: Box::new(move || story.test()),
    });
    [life, assessment, policies, power_cut]
        .into_iter()
        .chain(kairos)
        .chain(scenarios::all().into_iter().map(of))
        .collect()
}

fn console(name: &str) -> ExitCode {
    let own = (name == "own").then(scenarios::own);
    let Some(scenario) = own.or_else(|| scenarios::all().into_iter().find(|scenario| scenario.name == name)) else {
        eprintln!("there is no scenario {name:?}; these are there:");
        for scenario in scenarios::all() {
            eprintln!("  {:24} {}", scenario.name, scenario.about);
        }
        return ExitCode::from(2);
    };
    match toolbox::obstacle().or_else(|| scenario.obstacle_here()).map_or_else(|| run::console(&scenario), Err) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
