//! The process that reads an image, and everything that it could do instead.

use super::vendor;
use ddi::Class;
use ddi::verity::RootHash;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use sextant::agent::{BUDGET, Environment, Options, stage as stage_here};
use sextant::confine::Confinement;
use sextant::confine::fault::STEPS;
use sextant::firmware::{DirectoryVariables, Firmware};
use sextant::policy::Policy;
use sextant::trust::TrustStore;
use sextant::verify::{Accepted, Candidate, Findings, InPlaceCustody, Session, Verifier};
use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};
use support::ddi::{good_image, native};
use support::keys;
use support::machine::Machine;

/// Three good images, the second of which will go wrong.
fn three_images() -> Machine {
    ["a", "victim", "z"].into_iter().fold(Machine::trusting(&[vendor()]), |machine, name| {
        machine.sysext(&format!("{name}.sysext.raw"), &good_image(name, vendor()))
    })
}

/// The agent, to stage them while reading the second one goes wrong at `step`.
fn faulty(machine: &Machine, step: &str, kind: &str) -> Command {
    let mut command = machine.agent("stage");
    command.env("SEXTANT_FAULT", format!("victim/{step}/{kind}"));
    command
}

fn check(step: &str, kind: &str, reason: &str, detail: &str) {
    let machine = three_images();
    let outcome = machine.outcome(faulty(&machine, step, kind));
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
        check(step, "abort", "internal-error", "crashed or ran out of memory (SIG");
        check(step, "stack", "internal-error", "crashed or ran out of memory (SIG");
        check(step, "exit", "internal-error", "ended with status 3");
    }
}

#[test]
fn a_process_that_answers_nonsense_costs_one_row() {
    for step in STEPS {
        check(step, "nonsense", "internal-error", "returned an invalid answer");
        check(step, "flood", "internal-error", "returned an invalid answer");
    }
}

#[test]
fn a_process_refuses_an_image_for_nothing_but_the_image() {
    for step in ["table", "signature"] {
        check(step, "slander", "internal-error", "returned an invalid answer");
    }
}

#[test]
fn a_memory_bomb_at_any_step_costs_one_row() {
    for step in STEPS {
        check(step, "memory", "internal-error", "crashed or ran out of memory (SIG");
    }
}

#[test]
fn an_endless_loop_at_any_step_costs_one_row() {
    for step in STEPS {
        check(step, "loop", "out-of-time", "took more than ");
    }
}

/// Bounds of our own are told as such; so is a limit that comes with the unit, which is no crash.
#[test]
fn a_tight_limit_of_processor_time_is_told_as_one() {
    for step in ["table", "contents"] {
        let machine = three_images();
        let agent = faulty(&machine, step, "loop");
        let mut limited = Command::new("sh");
        limited.args(["-c", r#"ulimit -t 2; exec "$0" "$@""#]).arg(agent.get_program()).args(agent.get_args());
        limited.envs(agent.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let outcome = machine.outcome(limited);
        assert_eq!(outcome.status, Some(0), "{step}: {}", outcome.stderr);
        assert_eq!(machine.staged_names(), ["a", "z"], "{step}");
        assert_eq!(outcome.verdict("victim.sysext.raw"), ("rejected", "out-of-time"), "{step}");
        let detail =
            "reading the image took all processor time that the process may use (RLIMIT_CPU; LimitCPU= of a unit)";
        assert_eq!(outcome.row("victim.sysext.raw")["detail"], detail, "{step}");
    }
}

#[test]
fn a_process_that_waits_for_ever_costs_one_row() {
    check("signature", "sleep", "out-of-time", "took more than 10 seconds");
}

#[test]
fn code_of_an_attackers_reaches_nothing() {
    for step in STEPS {
        check(step, "escape", "internal-error", "escaped by [false, false, false, false, false, false, false]");
        assert!(!std::path::Path::new("/tmp/sextant-escape").exists());
    }
}

#[test]
fn a_process_that_is_killed_costs_one_row() {
    for step in STEPS {
        let machine = three_images();
        let mut agent = faulty(&machine, step, "sleep").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let children = format!("/proc/{0}/task/{0}/children", agent.id());
        let patience = Instant::now() + Duration::from_secs(8);
        // Of the workers that there are one after the other the one that waits is there for long.
        let mut last = String::new();
        while agent.try_wait().unwrap().is_none() && Instant::now() < patience {
            let now = fs::read_to_string(&children).unwrap_or_default().trim().to_owned();
            if !now.is_empty() && now == last && is_waiting(&now) {
                kill(Pid::from_raw(now.parse().unwrap()), Signal::SIGKILL).unwrap();
            }
            last = now;
            sleep(Duration::from_millis(300));
        }
        let output = agent.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{step}: {said}");
        assert!(said.contains("crashed or ran out of memory (SIGKILL) (internal-error)"), "{step}: {said}");
        assert_eq!(machine.staged_names(), ["a", "z"], "{step}: {said}");
    }
}

/// Whether a process has nothing to do.
fn is_waiting(process: &str) -> bool {
    fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| stat.contains(") S "))
}

/// The filter is there before the agent waits for the lock, which is before it reads anything.
#[test]
fn the_agent_has_a_filter_of_its_own() {
    for verb in ["stage", "adopt", "merge"] {
        let machine = three_images();
        machine.stage();
        let lock = fs::File::open(machine.path("run/sextant/lock")).unwrap();
        lock.lock().unwrap();
        let mut agent = machine.agent(verb).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let status = format!("/proc/{}/status", agent.id());
        let is_filtered = || {
            let status = fs::read_to_string(&status).unwrap();
            ["\nNoNewPrivs:\t1\n", "\nSeccomp:\t2\n"].iter().all(|line| status.contains(line))
        };
        while !is_filtered() && agent.try_wait().unwrap().is_none() {
            sleep(Duration::from_millis(10));
        }
        assert!(agent.try_wait().unwrap().is_none(), "{verb} ended without a filter, or without the lock");
        lock.unlock().unwrap();
        let output = agent.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{verb}: {said}");
        assert_eq!(machine.staged_names(), ["a", "victim", "z"], "{verb}: {said}");
    }
}

/// Verifies images of `machine`, each in a process of its own or the one before it, with what `test` does.
fn with_session(machine: &Machine, test: impl FnOnce(&Session<'_>)) {
    let policy = Policy::default();
    let firmware = Firmware::read(&DirectoryVariables::new(machine.path("sys/firmware/efi/efivars"))).unwrap();
    let verifier = Verifier {
        policy: &policy,
        trust: &TrustStore::of_machine(&firmware, &[], &policy.sources),
        architecture: native(),
        host: None,
        activation: None,
        confinement: Confinement::Worker { until: None },
        threads: 1,
        now: SystemTime::now(),
    };
    test(&verifier.session());
}

fn candidate(machine: &Machine, name: &str) -> Candidate {
    Candidate::open(&machine.path(format!(".extra/sysext/{name}.sysext.raw")), Class::Sysext).unwrap()
}

fn root_hash(session: &Session<'_>, candidate: Candidate) -> Option<RootHash> {
    let image = session.verify(candidate, &Accepted::default(), &InPlaceCustody, &mut Findings::default());
    image.ok().map(|image| image.root_hash().clone())
}

/// What the worker has read ahead is the answer for that file alone.
#[test]
fn an_image_that_was_not_announced_is_read_itself() {
    let machine = three_images();
    with_session(&machine, |session| {
        let [a, z] = ["a", "z"].map(|name| root_hash(session, candidate(&machine, name)).unwrap());
        assert_ne!(a, z);
        let announced = candidate(&machine, "a");
        session.announce(&announced);
        assert_eq!(root_hash(session, candidate(&machine, "z")), Some(z));
        session.announce(&announced);
        assert_eq!(root_hash(session, announced), Some(a));
    });
}

/// A process that has read nothing but good images reads the next one too, and no other does.
#[test]
fn a_worker_is_kept_for_64_good_images_and_no_bad_one() {
    let stranger = keys::rsa("Stranger");
    let machine = three_images().sysext("bad.sysext.raw", &good_image("bad", stranger));
    let workers = || fs::read_to_string("/proc/thread-self/children").unwrap().trim().to_owned();
    with_session(&machine, |session| {
        assert_eq!(workers(), "");
        let first = candidate(&machine, "a");
        session.announce(&first);
        let worker = workers();
        assert_ne!(worker, "", "it reads ahead");
        assert!(root_hash(session, first).is_some());
        for read in 2..=64 {
            assert_eq!(workers(), worker, "before image {read}");
            assert!(root_hash(session, candidate(&machine, "a")).is_some());
        }
        assert_eq!(workers(), "");
        assert!(root_hash(session, candidate(&machine, "a")).is_some());
        assert!(!workers().is_empty() && workers() != worker);
        assert_eq!(root_hash(session, candidate(&machine, "bad")), None);
        assert_eq!(workers(), "");
    });
}

#[test]
fn a_run_ends_in_time_and_hands_over_what_it_has() {
    let run = |budget| {
        let machine = (0..20).fold(Machine::trusting(&[vendor()]), |machine, number| {
            let name = format!("image{number:02}");
            machine.sysext(&format!("{name}.sysext.raw"), &good_image(&name, vendor()))
        });
        let options = Options { config: Vec::new(), architecture: native(), confined: true, budget };
        stage_here(&Environment::open(Some(machine.root())).unwrap(), &options).unwrap();
        let report = fs::read(machine.path("run/sextant/report.json")).unwrap();
        let report: Value = serde_json::from_slice(&report).unwrap();
        assert_eq!(report["error"], Value::Null);
        let rows = report["images"].as_array().unwrap();
        assert_eq!(rows.len(), 20);
        let staged = rows.iter().filter(|row| row["verdict"] == "staged").count();
        let late = rows.iter().filter(|row| row["reason"] == "out-of-time").count();
        assert_eq!(staged + late, 20, "{report:#}");
        assert_eq!(machine.staged_names().len(), staged);
        // What could not be looked at is not lost.
        assert_eq!(machine.left_in_extra().len(), staged);
        staged
    };
    assert_eq!(run(Duration::ZERO), 0);
    run(Duration::from_millis(20));
    assert_eq!(run(BUDGET), 20);
}
