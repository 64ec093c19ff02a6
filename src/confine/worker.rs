//! A worker: a process that answers questions about images, one after the other.

use super::{Bounds, MEMORY, lockdown, message, worker_filter};
use crate::reason::Reason;
use crate::sys::process;
use ddi::text::Text;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, socketpair};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::thread::sleep;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Interval at which a worker's processor time is checked while its parent waits for an answer.
const TICK: Duration = Duration::from_millis(250);
/// Maximum time for a worker to end after it has closed its socket.
const GRACE: Duration = Duration::from_secs(1);

/// Errors of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// The process cannot be started, or its socket cannot be used.
    #[error("starting the process that reads the image: {0}")]
    Start(Errno),
    /// The process could not be confined.
    #[error("confining the process that reads the image: {0}")]
    Lockdown(Text),
    /// The process was killed before it answered.
    #[error("the process that reads the image crashed or ran out of memory ({0})")]
    Killed(Signal),
    /// The process exited before it answered.
    #[error("the process that reads the image ended with status {0} and gave no answer")]
    Exited(i32),
    /// The answer is invalid.
    #[error("the process that reads the image returned an invalid answer")]
    Nonsense,
    /// The process used more processor time than allowed.
    #[error("reading the image took more than {} seconds of processor time", .0.as_secs())]
    Processor(Duration),
    /// The process used more processor time than its resource limit allows: that of its unit is below our own.
    #[error("reading the image took all processor time that the process may use (RLIMIT_CPU; LimitCPU= of a unit)")]
    Exhausted,
    /// The process did not answer in time.
    #[error("reading the image took more than {} seconds", .0.as_secs_f64())]
    Clock(Duration),
    /// The run has no time left.
    #[error("no time is left: the run must end before the timeout of its unit")]
    Budget,
}

impl WorkerError {
    /// Returns the reason token.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Processor(_) | Self::Exhausted | Self::Clock(_) | Self::Budget => Reason::OutOfTime,
            _ => Reason::InternalError,
        }
    }
}

/// A message from a worker.
#[derive(Serialize, Deserialize)]
enum Reply<T> {
    /// The answer to a question.
    Answer(T),
    /// The process could not be confined. It has read nothing and exits.
    Unconfined(Text),
}

/// A worker process. Dropping it ends the process.
#[derive(Debug)]
pub struct Worker {
    process: Pid,
    /// Its processor clock, `None` if that is not available.
    clock: Option<ClockId>,
    /// Value of [`Self::clock`] when the last question was sent.
    before: Duration,
    socket: OwnedFd,
    ended: bool,
}

impl Worker {
    /// Forks a worker, which calls `serve` for each question and the descriptor sent with it. `serve` is not called in
    /// this process.
    ///
    /// # Errors
    /// [`WorkerError::Start`]
    pub fn start<Q: DeserializeOwned, A: Serialize>(
        mut serve: impl FnMut(Q, Option<OwnedFd>) -> A,
    ) -> Result<Self, WorkerError> {
        worker_filter::prepare();
        let memory = address_space().saturating_add(MEMORY);
        let (here, there) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)
            .map_err(WorkerError::Start)?;
        // Code in the worker takes no lock that another thread of this process may hold, and does not log.
        let child = process::fork_for(|| match lockdown::enter(there.as_raw_fd(), memory) {
            Ok(()) => answer_all(&mut serve),
            Err((step, errno)) => send_reply(&Reply::<()>::Unconfined(Text::new(format_args!("{step}: {errno}")))),
        })
        .map_err(WorkerError::Start)?;
        let clock = clock_getcpuclockid(child).ok();
        Ok(Self { process: child, clock, before: Duration::ZERO, socket: here, ended: false })
    }

    /// Sends a question. Its answer must be received with [`Self::answer`] before the next question; this process can
    /// do other work until then. After an error the worker must not be used again.
    ///
    /// # Errors
    /// [`WorkerError`]
    pub fn ask<Q: Serialize>(&mut self, question: &Q, image: Option<BorrowedFd<'_>>) -> Result<(), WorkerError> {
        self.before = self.processor_time();
        let question = serde_json::to_vec(question).map_err(|_| WorkerError::Nonsense)?;
        message::send(self.socket.as_raw_fd(), &question, image).map_err(|_| self.end(false))
    }

    /// Waits for the answer to the last question, within `bounds` and not after `until`. After an error the worker must
    /// not be used again.
    ///
    /// # Errors
    /// [`WorkerError`]
    pub fn answer<A: DeserializeOwned>(&mut self, bounds: Bounds, until: Option<Instant>) -> Result<A, WorkerError> {
        let started = Instant::now();
        let budget = until.map(|until| until.saturating_duration_since(started));
        let limit = Limit { bounds, started, budget, processor: self.before };
        match self.receive_reply(&limit)? {
            Reply::Answer(answer) => Ok(answer),
            Reply::Unconfined(why) => Err(WorkerError::Lockdown(why)),
        }
    }

    /// Waits for a message of the worker.
    fn receive_reply<T: DeserializeOwned>(&mut self, limit: &Limit) -> Result<T, WorkerError> {
        let mut incoming = message::Incoming::new();
        let mut has_replied = false;
        let mut processor = limit.processor;
        loop {
            let wait = limit.check(processor)?;
            let timeout = PollTimeout::try_from(wait.max(Duration::from_millis(1))).unwrap_or(PollTimeout::ZERO);
            match poll(&mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)], timeout) {
                Ok(0) | Err(Errno::EINTR) => {
                    processor = self.processor_time();
                    continue;
                }
                Ok(_) => {}
                Err(errno) => return Err(WorkerError::Start(errno)),
            }
            let count = match recv(self.socket.as_raw_fd(), incoming.room(), MsgFlags::MSG_DONTWAIT) {
                Ok(0) | Err(Errno::ECONNRESET) => return Err(self.end(has_replied)),
                Ok(count) => count,
                Err(Errno::EINTR | Errno::EAGAIN) => continue,
                Err(errno) => return Err(WorkerError::Start(errno)),
            };
            has_replied = true;
            let message = incoming.add(count).map_err(|_| WorkerError::Nonsense)?;
            if let Some(message) = message {
                return serde_json::from_slice(message).map_err(|_| WorkerError::Nonsense);
            }
            // Also for a worker that sends single bytes.
            processor = self.processor_time();
        }
    }

    /// Returns the processor time that the worker has used, zero if that is unknown.
    fn processor_time(&self) -> Duration {
        self.clock.and_then(|clock| clock_gettime(clock).ok()).map_or(Duration::ZERO, Duration::from)
    }

    /// Returns how the worker ended. One that closed its socket and continues is given up.
    fn end(&mut self, has_replied: bool) -> WorkerError {
        let started = Instant::now();
        loop {
            match waitpid(self.process, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) if started.elapsed() < GRACE => sleep(Duration::from_millis(1)),
                Err(Errno::EINTR) => {}
                Ok(WaitStatus::Signaled(_, signal, _)) => {
                    self.ended = true;
                    return if signal == Signal::SIGXCPU {
                        WorkerError::Exhausted
                    } else {
                        WorkerError::Killed(signal)
                    };
                }
                Ok(WaitStatus::Exited(_, status)) => {
                    self.ended = true;
                    return if has_replied { WorkerError::Nonsense } else { WorkerError::Exited(status) };
                }
                _ => return WorkerError::Nonsense,
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if !self.ended {
            // The worker has no state that would be lost.
            let _ = kill(self.process, Signal::SIGKILL);
            while waitpid(self.process, None) == Err(Errno::EINTR) {}
        }
    }
}

/// The limits of waiting for one answer.
struct Limit {
    bounds: Bounds,
    started: Instant,
    /// Remaining time of the run when the wait began.
    budget: Option<Duration>,
    /// Processor time that the worker had used before the question.
    processor: Duration,
}

impl Limit {
    /// Returns the time until the next check.
    fn check(&self, processor: Duration) -> Result<Duration, WorkerError> {
        let elapsed = self.started.elapsed();
        if self.budget.is_some_and(|budget| elapsed >= budget) {
            return Err(WorkerError::Budget);
        }
        if processor.saturating_sub(self.processor) >= self.bounds.processor {
            return Err(WorkerError::Processor(self.bounds.processor));
        }
        if elapsed >= self.bounds.clock {
            return Err(WorkerError::Clock(self.bounds.clock));
        }
        let left = self.bounds.clock.saturating_sub(elapsed);
        let left = self.budget.map_or(left, |budget| left.min(budget.saturating_sub(elapsed)));
        Ok(left.min(TICK))
    }
}

/// Answers all questions. Runs in the worker.
fn answer_all<Q: DeserializeOwned, A: Serialize>(serve: &mut impl FnMut(Q, Option<OwnedFd>) -> A) {
    while let Ok(Some((question, descriptor))) = message::receive(super::SOCKET) {
        let Ok(question) = serde_json::from_slice(&question) else { return };
        send_reply(&Reply::Answer(serve(question, descriptor)));
    }
}

/// Sends a message. Runs in the worker; the parent detects if this fails.
fn send_reply(reply: &impl Serialize) {
    let bytes = serde_json::to_vec(reply).unwrap_or_default();
    if message::send(super::SOCKET, &bytes, None).is_err() {
        process::leave(0);
    }
}

/// Returns the size in bytes of this process' address space (proc(5), `/proc/pid/statm`), with which a forked process
/// starts. If that cannot be read, it is more than the agent has.
fn address_space() -> u64 {
    const PAGE: u64 = 4096;
    const UNKNOWN: u64 = 1 << 30;
    let pages = fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split_ascii_whitespace().next()?.parse::<u64>().ok());
    pages.map_or(UNKNOWN, |pages| pages.saturating_mul(PAGE))
}
