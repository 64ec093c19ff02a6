//! Distribution of numbered units of work to threads.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

/// Maximum number of threads. With more, memory bandwidth is the limit.
pub(super) const MAX_THREADS: usize = 8;

/// Number of units (4 MiB of data) from which on each thread is started on its own processor. For less data, the two
/// system calls cost more time than they save.
const MIN_SPREAD_UNITS: u64 = 8;

/// Returns the number of threads for hashing on this machine: one for each processor that the process may use, at most
/// 8.
#[must_use]
pub fn default_threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from).clamp(1, MAX_THREADS)
}

/// Calls `work` for every number below `units`, on the calling thread and up to `threads - 1` others.
///
/// Each thread has its own state, made by `state`. Numbers are assigned in ascending order. After an error no more are
/// assigned, but those already assigned are finished. So the result is the error of the lowest failing number,
/// independent of scheduling. A panic on any thread becomes a panic of the caller.
pub(super) fn for_each_unit<S, E: Send>(
    units: u64,
    threads: usize,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, u64) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let next = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let run = &|number: usize| -> Option<(u64, E)> {
        if threads > 1 && units >= MIN_SPREAD_UNITS {
            begin_on_processor(number);
        }
        let _stop_on_panic = StopOnPanic(&stop);
        let mut state = state();
        while !stop.load(Ordering::Relaxed) {
            let unit = next.fetch_add(1, Ordering::Relaxed);
            if unit >= units {
                break;
            }
            if let Err(error) = work(&mut state, unit) {
                stop.store(true, Ordering::Relaxed);
                return Some((unit, error));
            }
        }
        None
    };

    let others = usize::try_from(units).unwrap_or(usize::MAX).min(threads).saturating_sub(1);
    let failure = thread::scope(|scope| {
        // If the system refuses to start a thread, the others do all the work.
        let handles: Vec<_> = (1..=others)
            .map_while(|number| thread::Builder::new().spawn_scoped(scope, move || run(number)).ok())
            .collect();
        let mine = run(0);
        let theirs = handles
            .into_iter()
            .filter_map(|handle| handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        mine.into_iter().chain(theirs).min_by_key(|(unit, _)| *unit)
    });
    failure.map_or(Ok(()), |(_, error)| Err(error))
}

/// Moves the calling thread to the processor at `number` among those that it may use. The scheduler may move it on.
///
/// In a new process the scheduler leaves new threads on one processor for some milliseconds, which is 1 % of the time
/// that 1 GiB takes on two. If a system call fails, the scheduler's choice stays.
fn begin_on_processor(number: usize) {
    let this_thread = Pid::from_raw(0);
    let Ok(allowed) = sched_getaffinity(this_thread) else { return };
    let mut processors = (0..CpuSet::count()).filter(|processor| allowed.is_set(*processor).unwrap_or(false));
    let mut one = CpuSet::new();
    if processors.nth(number).is_some_and(|processor| one.set(processor).is_ok())
        && sched_setaffinity(this_thread, &one).is_ok()
    {
        // This fails only if the machine lost all of these processors meanwhile.
        let _ = sched_setaffinity(this_thread, &allowed);
    }
}

/// Stops the other threads when one panics, so that they do not process gigabytes first.
struct StopOnPanic<'a>(&'a AtomicBool);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn every_unit_is_done_once() {
        for (units, threads) in [(0, 4), (1, 4), (1000, 0), (1000, 1), (1000, 3)] {
            let done = Mutex::new(Vec::new());
            let result: Result<(), ()> = for_each_unit(
                units,
                threads,
                || (),
                |(), unit| {
                    done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(unit);
                    Ok(())
                },
            );
            assert_eq!(result, Ok(()));
            let mut done = done.into_inner().unwrap_or_default();
            done.sort_unstable();
            assert_eq!(done, (0..units).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_lowest_failing_unit_is_reported() {
        for _ in 0..200 {
            let result = for_each_unit(
                100,
                4,
                || (),
                |(), unit| {
                    // The higher numbers fail at once, the lowest one fails later.
                    if unit == 10 {
                        thread::yield_now();
                    }
                    if unit >= 10 { Err(unit) } else { Ok(()) }
                },
            );
            assert_eq!(result, Err(10));
        }
    }

    #[test]
    fn a_panic_on_any_thread_reaches_the_caller() {
        for threads in [1, 2, 5] {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                for_each_unit(
                    50,
                    threads,
                    || (),
                    |(), unit| -> Result<(), ()> {
                        assert_ne!(unit, 20, "this unit fails");
                        thread::yield_now();
                        Ok(())
                    },
                )
            }));
            assert!(outcome.is_err());
        }
    }
}
