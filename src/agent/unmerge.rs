//! `sextant-agent unmerge`: what `systemd-sysext.service` and `systemd-confext.service` run when they are stopped.
//!
//! A restart is a stop and a start. systemd's own units unmerge in the first and merge in the second: for a while nothing is merged, and
//! for good if the second fails, be it for one bad image. But `refresh`, which the start runs, unmerges by itself, and only once every
//! image of the new set has been verified and mounted, or if there is none (systemd 254 to 262, `src/sysext/sysext.c`,
//! `merge_subprocess` and `refresh`). So a restart needs no unmerging before it.

use super::environment::Environment;
use crate::merge;
use crate::report::Event;
use crate::root::Root;
use anyhow::{Context, Result, bail};
use ddi::Class;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Has systemd unmerge the extensions of `class`, unless its unit is only restarted and will start again.
///
/// # Errors
/// Where systemd's program can't be started. If it can, it takes the place of this one.
pub fn unmerge(environment: &Environment, class: Class) -> Result<()> {
    let root = environment.root();
    if starts_again(root, class) {
        match jobs(class) {
            Ok(jobs) if is_restart(&jobs, class) => return Ok(()),
            Ok(_) => {}
            Err(error) => Event::Failed.emit(format_args!("asking systemd for its jobs: {error:#}; unmerging")),
        }
    }
    let program = format!("systemd-{class}");
    Err(Command::new(&program).arg("unmerge").exec()).with_context(|| format!("starting {program}"))
}

/// Whether the conditions of the unit hold: its own is that a directory isn't empty, ours that the gate is open. Otherwise a
/// start does nothing, and what is merged would stay for good.
fn starts_again(root: &Root, class: Class) -> bool {
    let staged = root.list_some(class.staging_directory(), 1).ok().flatten().unwrap_or_default();
    merge::is_open(root) && !staged.is_empty()
}

/// The jobs of the unit that merges `class`.
fn jobs(class: Class) -> Result<String> {
    let mut command = Command::new("systemctl");
    command.args(["list-jobs", "--no-legend", "--no-pager", "--plain", "--full"]).arg(class.unit());
    let output = command.stdin(Stdio::null()).output().context("starting systemctl")?;
    if !output.status.success() {
        bail!("systemctl list-jobs: {}", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether the job is a restart. While a unit is stopped for one, its job is a `restart`, and becomes a `start` afterwards (systemd 254 to
/// 262, `src/core/job.c`, `job_finish_and_invalidate`). `jobs` are lines of number, unit, type and state
/// (`src/systemctl/systemctl-list-jobs.c`).
fn is_restart(jobs: &str, class: Class) -> bool {
    let unit = class.unit();
    jobs.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next() == Some(&unit) && matches!(fields.next(), Some("restart" | "try-restart"))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    #[test]
    fn only_a_restart_of_this_unit_is_one() {
        let jobs = "2345 systemd-sysext.service  restart running\n2346 systemd-confext.service stop    waiting\n";
        assert!(is_restart(jobs, Class::Sysext));
        assert!(!is_restart(jobs, Class::Confext));
        for jobs in ["", "No jobs running.\n", "1 systemd-sysext.service stop running", "restart restart"] {
            assert!(!is_restart(jobs, Class::Sysext), "{jobs}");
        }
    }

    #[test]
    fn what_would_not_start_again_is_unmerged() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let starts = || starts_again(&root, Class::Sysext);
        fs::create_dir_all(dir.path().join("run/extensions")).unwrap();
        merge::open(&root).unwrap();
        assert!(!starts(), "there is nothing to merge");
        fs::write(dir.path().join("run/extensions/a.raw"), "").unwrap();
        assert!(starts());
        merge::close(&root).unwrap();
        assert!(!starts(), "the gate is shut");
    }
}
