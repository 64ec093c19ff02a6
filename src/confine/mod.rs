//! Processing of hostile bytes in a confined process.
//!
//! The process is forked and executes no program. Before it reads a byte, it drops its capabilities, its descriptors
//! and nearly every system call. It can still read the image that it receives, compute, and answer (`lockdown`). Its
//! memory, its processor time and the time that its parent waits for it are bounded. So a fault that an image causes in
//! a parser (a crash, an endless loop, excessive memory, even code of the attacker) affects only the verdict about this
//! image: an answer is data of bounded size, and the caller uses it for this image only.
//!
//! The agent itself, which has the privileges, filters its system calls too, though less strictly ([`filter_agent`]).
//!
//! Code in the worker must not take a lock that another thread of the parent may hold, and must not log: it has no
//! descriptor for that.

mod agent_filter;
pub mod fault;
mod filter;
mod guard;
mod lockdown;
mod message;
mod worker;
mod worker_filter;

pub use agent_filter::{FilterError, filter_agent};
pub use guard::guard;
pub use worker::{Worker, WorkerError};

use std::os::fd::RawFd;
use std::time::{Duration, Instant};

/// The descriptor for questions and answers. It is standard input, to which nothing is written by mistake.
const SOCKET: RawFd = 0;

/// The place where hostile bytes are read.
#[derive(Debug, Clone, Copy, Default)]
pub enum Confinement {
    /// In a worker process. No answer is waited for after `until`, whatever [`Bounds`] allow.
    Worker {
        /// End of the whole run, `None` for no limit.
        until: Option<Instant>,
    },
    /// In this process, for tests and fuzzing.
    #[default]
    InProcess,
}

/// Limits of one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Processor time of all threads together.
    pub processor: Duration,
    /// Wall clock time.
    pub clock: Duration,
}

/// Address space in bytes that a worker may have in addition to that of its parent.
pub const MEMORY: u64 = 256 << 20;

impl Bounds {
    /// Processor seconds for work that does not depend on the size of the image.
    const BASE: u64 = 5;
    /// Number of bytes of an image that are hashed per processor second, even by a processor that is emulated in
    /// software.
    const BYTES_PER_SECOND: u64 = 4 << 20;

    /// Returns the limits for reading the structure of an image.
    #[must_use]
    pub fn of_structure() -> Self {
        Self::of_contents(0)
    }

    /// Returns the limits for reading all of an image of `size` bytes.
    #[must_use]
    pub fn of_contents(size: u64) -> Self {
        let seconds = Self::BASE.saturating_add(size / Self::BYTES_PER_SECOND);
        // Other processes use the processor, too.
        Self { processor: Duration::from_secs(seconds), clock: Duration::from_secs(seconds.saturating_mul(2)) }
    }
}

#[cfg(test)]
mod tests;
